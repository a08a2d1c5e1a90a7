//! Users of a server.

use serde::Serialize;
use tonic::transport::Channel;

use super::{
    AdminClient, AdminError,
    proto::users::{
        CreateReq, DeleteReq, DetailsReq, DisableReq, EnableReq, ResetPasswordReq, UpdateReq,
        create_req, delete_req, details_req, details_resp::UserDetails, disable_req, enable_req,
        reset_password_req, update_req, users_client::UsersClient,
    },
};

/// A user, without their password.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct UserDescription {
    /// Name with which they log in.
    pub login: String,
    /// Name for people.
    pub full_name: String,
    /// Groups of which they are a member.
    pub groups: Vec<String>,
    /// `true` if they may not log in.
    pub is_disabled: bool,
}

impl UserDescription {
    fn of(details: UserDetails) -> Self {
        let UserDetails { login_name, full_name, groups, disabled, .. } = details;
        Self { login: login_name, full_name, groups, is_disabled: disabled }
    }
}

/// A user to create.
#[derive(Clone)]
#[non_exhaustive]
pub struct NewUser {
    /// Name with which they log in.
    pub login: String,
    /// Name for people.
    pub full_name: String,
    /// Groups of which they become a member.
    pub groups: Vec<String>,
    password: String,
}

impl NewUser {
    /// Creates a user who is in no group and whose full name is their login.
    #[must_use]
    pub fn new(login: &str, password: &str) -> Self {
        let (full_name, password) = (login.to_owned(), password.to_owned());
        Self { login: login.to_owned(), full_name, groups: Vec::new(), password }
    }
}

impl std::fmt::Debug for NewUser {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NewUser").field("login", &self.login).finish_non_exhaustive()
    }
}

impl AdminClient {
    /// Returns all users, in the order of their logins.
    ///
    /// # Errors
    ///
    /// [`AdminError`].
    pub async fn users(&self) -> Result<Vec<UserDescription>, AdminError> {
        let request = self.request(DetailsReq { options: None });
        let mut users = self
            .call(async |channel| {
                let mut answers = client(channel).details(request).await?.into_inner();
                let mut users = Vec::new();
                while let Some(answer) = answers.message().await? {
                    users.extend(answer.user_details.map(UserDescription::of));
                }
                Ok(users)
            })
            .await?;
        users.sort_by(|one, other| one.login.cmp(&other.login));
        Ok(users)
    }

    /// Returns a user.
    ///
    /// # Errors
    ///
    /// [`AdminError::NotFound`] without such a user.
    pub async fn user_named(&self, login: &str) -> Result<UserDescription, AdminError> {
        let options = Some(details_req::Options { login_name: login.to_owned() });
        let request = self.request(DetailsReq { options });
        let details = self.call(async |channel| {
            let mut answers = client(channel).details(request).await?.into_inner();
            Ok(answers.message().await?.and_then(|answer| answer.user_details))
        });
        let missing = || AdminError::NotFound { reason: format!("there is no user `{login}`") };
        details.await?.map(UserDescription::of).ok_or_else(missing)
    }

    /// Changes full name and groups of a user to those that are given. The password stays.
    ///
    /// # Errors
    ///
    /// [`AdminError::NotFound`] without such a user, [`AdminError::Refused`] if no administrator
    /// would remain or the user is changed at the same moment.
    pub async fn update_user(&self, user: UserDescription) -> Result<(), AdminError> {
        let UserDescription { login, full_name, groups, .. } = user;
        let password = String::new();
        let options = update_req::Options { login_name: login, password, full_name, groups };
        let request = self.request(UpdateReq { options: Some(options) });
        self.call(async |channel| client(channel).update(request).await.map(drop)).await
    }

    /// Creates a user.
    ///
    /// # Errors
    ///
    /// [`AdminError::Refused`] if the login is taken, [`AdminError::Invalid`] if the password is
    /// too short.
    pub async fn create_user(&self, user: NewUser) -> Result<(), AdminError> {
        let NewUser { login, full_name, groups, password } = user;
        let options = create_req::Options { login_name: login, password, full_name, groups };
        let request = self.request(CreateReq { options: Some(options) });
        self.call(async |channel| client(channel).create(request).await.map(drop)).await
    }

    /// Sets the password of a user.
    ///
    /// # Errors
    ///
    /// [`AdminError::NotFound`] without such a user.
    pub async fn reset_password(&self, login: &str, password: &str) -> Result<(), AdminError> {
        let options = reset_password_req::Options {
            login_name: login.to_owned(),
            new_password: password.to_owned(),
        };
        let request = self.request(ResetPasswordReq { options: Some(options) });
        self.call(async |channel| client(channel).reset_password(request).await.map(drop)).await
    }

    /// Lets a user log in again.
    ///
    /// # Errors
    ///
    /// [`AdminError::NotFound`] without such a user.
    pub async fn enable_user(&self, login: &str) -> Result<(), AdminError> {
        let options = enable_req::Options { login_name: login.to_owned() };
        let request = self.request(EnableReq { options: Some(options) });
        self.call(async |channel| client(channel).enable(request).await.map(drop)).await
    }

    /// Lets a user log in no more.
    ///
    /// # Errors
    ///
    /// [`AdminError::NotFound`] without such a user.
    pub async fn disable_user(&self, login: &str) -> Result<(), AdminError> {
        let options = disable_req::Options { login_name: login.to_owned() };
        let request = self.request(DisableReq { options: Some(options) });
        self.call(async |channel| client(channel).disable(request).await.map(drop)).await
    }

    /// Deletes a user.
    ///
    /// # Errors
    ///
    /// [`AdminError::NotFound`] without such a user.
    pub async fn delete_user(&self, login: &str) -> Result<(), AdminError> {
        let options = delete_req::Options { login_name: login.to_owned() };
        let request = self.request(DeleteReq { options: Some(options) });
        self.call(async |channel| client(channel).delete(request).await.map(drop)).await
    }
}

fn client(channel: Channel) -> UsersClient<Channel> {
    UsersClient::new(channel)
}
