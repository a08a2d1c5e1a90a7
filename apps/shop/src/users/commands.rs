//! Commands on users and their decisions.

use std::convert::Infallible;

use gesta::{Ref, prelude::*};

use super::{
    Email, EmailOwners, Greeting, User, UserCreated, UserDeleted, UserRejection, UserUpdated,
    UserWelcomed, user::Profile,
};
use crate::{checks, id::UserId};

/// A user, and the owners of the address in the command, if it has one.
type WithEmail = (User, Ref<Option<EmailOwners>>);

/// Creates a user.
#[derive(Command, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[command(name = "create-user", on = WithEmail, new, id = CreateUser::ids, validate = CreateUser::check)]
#[serde(rename_all = "camelCase")]
pub struct CreateUser {
    /// Id of the new user.
    pub user_id: UserId,
    /// The given name.
    pub first_name: String,
    /// The family name.
    pub last_name: String,
    /// E-mail address; no other user may have it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<Email>,
}

impl CreateUser {
    fn ids(&self) -> (UserId, Option<Email>) {
        (self.user_id.clone(), self.email.clone())
    }

    fn check(&self) -> Result<(), InvalidField> {
        check_names(&self.first_name, &self.last_name)
    }
}

impl Decide for CreateUser {
    type Rejection = UserRejection;

    fn decide(&self, (_, owners): &(User, Option<EmailOwners>)) -> Decision<Self> {
        let created = UserCreated {
            user_id: self.user_id.clone(),
            first_name: self.first_name.clone(),
            last_name: self.last_name.clone(),
            email: self.email.clone(),
        };
        // Unique without a lock or a table: the append has the condition that no event with this
        // address came in between. If one did, the command is decided again and finds its owner.
        check_email_available(owners.as_ref(), self.email.as_ref(), &self.user_id)?;
        Ok((created.into(), ()))
    }
}

/// Replaces a user's names and e-mail address.
#[derive(Command, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[command(name = "update-user", on = WithEmail, id = UpdateUser::ids, validate = UpdateUser::check)]
#[serde(rename_all = "camelCase")]
pub struct UpdateUser {
    /// Id of the user.
    pub user_id: UserId,
    /// The given name.
    pub first_name: String,
    /// The family name.
    pub last_name: String,
    /// New e-mail address; no other user may have it. `None` removes the address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<Email>,
}

impl UpdateUser {
    fn ids(&self) -> (UserId, Option<Email>) {
        (self.user_id.clone(), self.email.clone())
    }

    fn check(&self) -> Result<(), InvalidField> {
        check_names(&self.first_name, &self.last_name)
    }

    fn profile(&self) -> Profile {
        Profile {
            first_name: self.first_name.clone(),
            last_name: self.last_name.clone(),
            email: self.email.clone(),
        }
    }
}

impl Decide for UpdateUser {
    type Rejection = UserRejection;

    fn decide(&self, (user, owners): &(User, Option<EmailOwners>)) -> Decision<Self> {
        // The stream exists, so the pipeline has found the user; but it may end with a deletion.
        let user = user.existing()?;
        check_email_available(owners.as_ref(), self.email.as_ref(), &self.user_id)?;
        // No event for an update without effect: projections and ETags stay as they are.
        if user.profile == self.profile() {
            return Ok((Events::none(), ()));
        }
        // The tag of the freed address makes this event part of that address's boundary.
        let freed_email =
            user.profile.email.clone().filter(|email| Some(email) != self.email.as_ref());
        let updated = UserUpdated {
            user_id: self.user_id.clone(),
            first_name: self.first_name.clone(),
            last_name: self.last_name.clone(),
            email: self.email.clone(),
            freed_email,
        };
        Ok((updated.into(), ()))
    }
}

/// A user and the record of the welcome, which has a stream of its own.
type WithGreeting = (User, Greeting);

/// Welcomes a user, once.
///
/// The event goes to a stream of its own, so that an ETag from the user's creation stays valid
/// until the user changes.
#[derive(Command, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[command(name = "welcome-user", on = WithGreeting, id = WelcomeUser::ids)]
#[serde(rename_all = "camelCase")]
pub struct WelcomeUser {
    /// Id of the user.
    pub user_id: UserId,
}

impl WelcomeUser {
    fn ids(&self) -> (UserId, UserId) {
        (self.user_id.clone(), self.user_id.clone())
    }
}

impl Decide for WelcomeUser {
    type Rejection = UserRejection;

    fn decide(&self, (user, greeting): &WithGreeting) -> Decision<Self> {
        // Earlier versions recorded the welcome in the user's own stream.
        if user.existing()?.welcomed || greeting.sent {
            return Ok((Events::none(), Events::none()));
        }
        Ok((Events::none(), UserWelcomed { user_id: self.user_id.clone() }.into()))
    }
}

/// Deletes a user and frees the e-mail address.
#[derive(Command, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[command(name = "delete-user", on = User)]
#[serde(rename_all = "camelCase")]
pub struct DeleteUser {
    /// Id of the user.
    #[command(id)]
    pub user_id: UserId,
}

impl Decide for DeleteUser {
    type Rejection = Infallible;

    fn decide(&self, user: &User) -> Decision<Self> {
        // Idempotent: deleting a deleted user succeeds.
        let Ok(user) = user.existing() else { return Ok(Events::none()) };
        // Tags the event with the address, so that a later command on it sees that it is free.
        let freed_email = user.profile.email.clone();
        Ok(UserDeleted { user_id: self.user_id.clone(), freed_email }.into())
    }
}

fn check_names(first_name: &str, last_name: &str) -> Result<(), InvalidField> {
    checks::text("firstName", first_name)?;
    checks::text("lastName", last_name)
}

fn check_email_available(
    owners: Option<&EmailOwners>,
    email: Option<&Email>,
    user: &UserId,
) -> Result<(), UserRejection> {
    let Some(email) = email else { return Ok(()) };
    if owners.is_some_and(|owners| owners.is_owned_by_other(email, user)) {
        return Err(UserRejection::EmailTaken { email: email.clone() });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use gesta::testing::given;

    use super::*;
    use crate::users::{UserEvent, email_owners::EmailEvent};

    fn id(text: &str) -> UserId {
        UserId::new(text).unwrap()
    }

    fn email(text: &str) -> Email {
        Email::new(text).unwrap()
    }

    fn created(user: &str, address: Option<&str>) -> UserCreated {
        UserCreated {
            user_id: id(user),
            first_name: "Ann".to_owned(),
            last_name: "Lee".to_owned(),
            email: address.map(email),
        }
    }

    fn create(user: &str, address: Option<&str>) -> CreateUser {
        CreateUser {
            user_id: id(user),
            first_name: "Ann".to_owned(),
            last_name: "Lee".to_owned(),
            email: address.map(email),
        }
    }

    fn update(user: &str, address: Option<&str>) -> UpdateUser {
        UpdateUser {
            user_id: id(user),
            first_name: "Ann".to_owned(),
            last_name: "Li".to_owned(),
            email: address.map(email),
        }
    }

    fn updated(user: &str, address: Option<&str>, freed: Option<&str>) -> UserUpdated {
        UserUpdated {
            user_id: id(user),
            first_name: "Ann".to_owned(),
            last_name: "Li".to_owned(),
            email: address.map(email),
            freed_email: freed.map(email),
        }
    }

    type Given = (Vec<UserEvent>, Option<Vec<EmailEvent>>);

    fn no_history() -> Given {
        (vec![], None)
    }

    fn taken(event: impl Into<EmailEvent>) -> Option<Vec<EmailEvent>> {
        Some(vec![event.into()])
    }

    #[test]
    fn a_user_without_an_address_is_created() {
        let happens = (created("ann", None).into(), ());
        given::<WithEmail>(no_history()).when(create("ann", None)).then(happens);
    }

    #[test]
    fn a_user_without_a_name_is_not_created() {
        let nameless = CreateUser { first_name: " ".to_owned(), ..create("ann", None) };
        given::<WithEmail>(no_history()).when(nameless).then_invalid("firstName");
    }

    #[test]
    fn an_address_that_another_user_has_is_refused_whatever_its_case() {
        given::<WithEmail>((vec![], taken(created("bob", Some("a@example.org")))))
            .when(create("ann", Some("A@Example.org")))
            .then_rejected(UserRejection::EmailTaken { email: email("a@example.org") });
    }

    #[test]
    fn an_address_whose_user_was_deleted_is_free() {
        let gone = UserDeleted { user_id: id("bob"), freed_email: Some(email("a@b.org")) };
        let history = vec![created("bob", Some("a@b.org")).into(), gone.into()];
        given::<WithEmail>((vec![], Some(history)))
            .when(create("ann", Some("a@b.org")))
            .then((created("ann", Some("a@b.org")).into(), ()));
    }

    #[test]
    fn an_address_that_its_user_gave_up_is_free() {
        let history = vec![
            created("bob", Some("a@b.org")).into(),
            updated("bob", Some("c@d.org"), Some("a@b.org")).into(),
        ];
        given::<WithEmail>((vec![], Some(history)))
            .when(create("ann", Some("a@b.org")))
            .then((created("ann", Some("a@b.org")).into(), ()));
    }

    #[test]
    fn an_update_frees_the_address_before() {
        given::<WithEmail>((vec![created("ann", Some("a@b.org")).into()], Some(vec![])))
            .when(update("ann", Some("c@d.org")))
            .then((updated("ann", Some("c@d.org"), Some("a@b.org")).into(), ()));
    }

    #[test]
    fn a_user_keeps_the_address_that_is_theirs() {
        let ann = created("ann", Some("a@b.org"));
        given::<WithEmail>((vec![ann.clone().into()], taken(ann)))
            .when(update("ann", Some("a@b.org")))
            .then((updated("ann", Some("a@b.org"), None).into(), ()));
    }

    #[test]
    fn an_update_that_changes_nothing_is_no_event() {
        let same = UpdateUser { last_name: "Lee".to_owned(), ..update("ann", None) };
        given::<WithEmail>((vec![created("ann", None).into()], None))
            .when(same)
            .then((Events::none(), ()));
    }

    #[test]
    fn a_deleted_user_is_neither_updated_nor_welcomed() {
        let gone = || UserDeleted { user_id: id("ann"), freed_email: None };
        let history = || vec![created("ann", None).into(), gone().into()];
        given::<WithEmail>((history(), None))
            .when(update("ann", None))
            .then_rejected(UserRejection::Deleted);
        given::<WithGreeting>((history(), vec![]))
            .when(WelcomeUser { user_id: id("ann") })
            .then_rejected(UserRejection::Deleted);
    }

    #[test]
    fn a_user_is_welcomed_once() {
        let welcome = || WelcomeUser { user_id: id("ann") };
        let welcomed = UserWelcomed { user_id: id("ann") };
        let ann = || created("ann", None).into();
        given::<WithGreeting>((vec![ann()], vec![]))
            .when(welcome())
            .then((Events::none(), welcomed.clone().into()));
        given::<WithGreeting>((vec![ann()], vec![welcomed.into()]))
            .when(welcome())
            .then((Events::none(), Events::none()));
    }

    #[test]
    fn a_user_who_was_welcomed_in_their_own_stream_is_not_welcomed_again() {
        let welcomed = UserWelcomed { user_id: id("ann") };
        given::<WithGreeting>((vec![created("ann", None).into(), welcomed.into()], vec![]))
            .when(WelcomeUser { user_id: id("ann") })
            .then((Events::none(), Events::none()));
    }

    #[test]
    fn a_user_is_deleted_once() {
        let delete = || DeleteUser { user_id: id("ann") };
        let gone = UserDeleted { user_id: id("ann"), freed_email: Some(email("a@b.org")) };
        let ann = || created("ann", Some("a@b.org")).into();
        given::<User>(vec![ann()]).when(delete()).then(gone.clone());
        given::<User>(vec![ann(), gone.into()]).when(delete()).then(Events::none());
    }
}
