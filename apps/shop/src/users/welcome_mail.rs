//! The welcome mail: a side effect of the record that a user was welcomed.

use gesta::{EffectContext, EffectError, Reactor, prelude::*};

use super::{GreetingEvent, User, user::Profile};
use crate::outbox::{Mail, Outbox};

/// Writes a mail to each user who was welcomed and has an address.
#[derive(Clone, Debug)]
pub struct WelcomeMail {
    outbox: Outbox,
}

impl WelcomeMail {
    /// Creates the reactor with the outbox that it writes to.
    #[must_use]
    pub const fn to(outbox: Outbox) -> Self {
        Self { outbox }
    }
}

impl Reactor for WelcomeMail {
    const NAME: &'static str = "welcome-mail";
    type Event = GreetingEvent;

    async fn react(
        &self,
        event: &Recorded<GreetingEvent>,
        effect: &EffectContext,
    ) -> Result<(), EffectError> {
        let GreetingEvent::Sent(welcomed) = &event.event;
        // The event has no address, and a later attempt should use a corrected one.
        let Some(user) = effect.load::<User>(&welcomed.user_id).await? else { return Ok(()) };
        let Some(mail) = user.state.existing().ok().and_then(|user| mail_to(&user.profile)) else {
            return Ok(());
        };
        let (outbox, key) = (self.outbox.clone(), effect.key());
        // Files are written next to the runtime, which must not wait for the disk.
        tokio::task::spawn_blocking(move || outbox.write(key, &mail)).await??;
        tracing::debug!(%key, "the welcome mail is written");
        Ok(())
    }
}

/// Returns the mail to a user with an address.
fn mail_to(Profile { first_name, last_name, email }: &Profile) -> Option<Mail> {
    Some(Mail {
        to: email.as_ref()?.to_string(),
        subject: "Welcome".to_owned(),
        text: format!("Dear {first_name} {last_name},\r\n\r\nwelcome to the shop."),
    })
}

#[cfg(test)]
mod tests {
    use std::{fs, path::PathBuf};

    use gesta::testing::{ReactorHistory, react_to};

    use super::*;
    use crate::{
        id::UserId,
        users::{Email, UserCreated, UserDeleted, UserEvent, UserWelcomed},
    };

    struct Fixture {
        directory: tempfile::TempDir,
        mailer: WelcomeMail,
    }

    fn fixture() -> Fixture {
        let directory = tempfile::tempdir().unwrap();
        let mailer = WelcomeMail::to(Outbox::open(directory.path()).unwrap());
        Fixture { directory, mailer }
    }

    impl Fixture {
        fn files(&self) -> Vec<PathBuf> {
            let files = fs::read_dir(self.directory.path()).unwrap();
            files.map(|file| file.unwrap().path()).collect()
        }
    }

    fn ann() -> UserId {
        UserId::new("ann").unwrap()
    }

    async fn created(users: &mut ReactorHistory<'_, WelcomeMail>, email: Option<&str>) {
        let (first_name, last_name) = ("Ann".to_owned(), "Lee".to_owned());
        let email = email.map(|email| Email::new(email).unwrap());
        let created = UserCreated { user_id: ann(), first_name, last_name, email };
        users.given::<UserEvent>("user-ann", created).await;
    }

    #[tokio::test]
    async fn a_welcomed_user_gets_one_mail_at_any_number_of_attempts() {
        let fixture = fixture();
        let mut users = react_to(&fixture.mailer);
        created(&mut users, Some("ann@example.org")).await;
        let key = users.event("welcome-ann", UserWelcomed { user_id: ann() }).await.unwrap();
        users.again().await.unwrap();
        assert_eq!(fixture.files(), [fixture.directory.path().join(format!("{key}.eml"))]);
        let mail = fs::read_to_string(&fixture.files()[0]).unwrap();
        assert!(mail.contains("To: ann@example.org\r\n"), "{mail}");
        assert!(mail.contains(&format!("Message-ID: <{key}@")), "{mail}");
        assert!(mail.contains("Dear Ann Lee,"), "{mail}");
    }

    #[tokio::test]
    async fn a_user_without_an_address_or_deleted_before_gets_none() {
        let fixture = fixture();
        let mut users = react_to(&fixture.mailer);
        created(&mut users, None).await;
        users.event("welcome-ann", UserWelcomed { user_id: ann() }).await.unwrap();
        let mut users = react_to(&fixture.mailer);
        created(&mut users, Some("ann@example.org")).await;
        let deleted = UserDeleted { user_id: ann(), freed_email: None };
        users.given::<UserEvent>("user-ann", deleted).await;
        users.event("welcome-ann", UserWelcomed { user_id: ann() }).await.unwrap();
        assert_eq!(fixture.files(), [""; 0].map(PathBuf::from));
    }
}
