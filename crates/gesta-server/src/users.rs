//! The service `Users`.
//!
//! Owns: the calls that change users, and the events of the audit stream for them. Invariants: a
//! change and its audit event are one append; a deletion is followed by its event; a change of a
//! user who was changed at the same time is refused; a change that takes a right from a member of
//! `$admins` expects another one who has not changed either, so that one always remains. Not here:
//! who may call ([`access`](crate::access)), but for calls about the caller.

use std::pin::Pin;

use futures_util::{Stream, stream};
use gesta_store::{ExpectedRevision, Revision, StoreError};
use tonic::{Request, Response, Status};

use crate::{
    access::{
        ADMINS, AuditRecord, CallSubject, Caller, Guard, Sender, StoredUser, UserChange,
        UserRecord, refusal_of_password, refusal_of_user,
    },
    node::Node,
    proto::users::{
        ChangePasswordReq, ChangePasswordResp, CreateReq, CreateResp, DeleteReq, DeleteResp,
        DetailsReq, DetailsResp, DisableReq, DisableResp, EnableReq, EnableResp, ResetPasswordReq,
        ResetPasswordResp, UpdateReq, UpdateResp,
        details_resp::{UserDetails, user_details::DateTime},
        users_server::{Users, UsersServer},
    },
    wire::{access_denied, refused, status, user_conflict, user_not_found},
};

/// The service over the users of one store.
pub(crate) struct UsersService {
    node: Node,
}

/// Returns the service of this node.
pub(crate) fn service(node: Node) -> UsersServer<UsersService> {
    UsersServer::new(UsersService::of(node))
}

/// The sender of a call about a user, and their reason.
struct Asker {
    sender: Sender,
    subject: CallSubject,
}

impl Asker {
    fn of<Message>(request: &Request<Message>) -> Self {
        let extensions = request.extensions();
        Self { sender: Sender::of(extensions), subject: CallSubject::of(extensions) }
    }

    fn caller(&self) -> &Caller {
        &self.sender.caller
    }

    fn audit(&self, act: &'static str, login: &str) -> AuditRecord {
        let record = AuditRecord::new(act, self.caller(), self.sender.peer.as_ref());
        self.subject.add_to(record.with("user", login))
    }

    /// Refuses a caller who asks about another user.
    fn check_owner(&self, login: &str) -> Result<(), Status> {
        if self.caller().is_admin() || self.caller().login() == Some(login) {
            return Ok(());
        }
        Err(access_denied("only members of `$admins` may use the users of others"))
    }
}

impl UsersService {
    /// Returns the calls of this node, for programs that make them in this process.
    pub(crate) const fn of(node: Node) -> Self {
        Self { node }
    }

    /// Returns the users, which an insecure server does not have.
    fn guard(&self) -> Result<&Guard, Status> {
        let text = "this server is insecure and has no users; start it without `--insecure`";
        self.node.access().guard().ok_or_else(|| Status::failed_precondition(text))
    }

    async fn found(&self, login: &str) -> Result<StoredUser, Status> {
        let found = self.guard()?.users().find(login).await.map_err(|error| status(&error))?;
        found.ok_or_else(|| user_not_found(login))
    }

    /// Saves a user who was read at a revision. Returns the new one.
    async fn save(
        &self,
        user: StoredUser,
        remaining: Option<StoredUser>,
        audit: AuditRecord,
    ) -> Result<Option<Revision>, Status> {
        let StoredUser { record, revision, .. } = user;
        check_record(&record)?;
        let login = record.login.clone();
        let change = UserChange { record, expected: ExpectedRevision::Exact(revision), remaining };
        let saved = self.guard()?.save_user(change, audit).await;
        saved.map_err(|error| changed_meanwhile(&error, &login))
    }

    /// Returns an enabled member of `$admins` who remains when this one is none any more; `None` if
    /// this one is none now. Refuses to lose the last one: nobody could undo it.
    ///
    /// The caller is the first choice, so that two who remove each other do not both succeed.
    async fn remaining_administrator(
        &self,
        asker: &Asker,
        login: &str,
    ) -> Result<Option<StoredUser>, Status> {
        let users = self.guard()?.users().list().await.map_err(|error| status(&error))?;
        let (leaving, mut others): (Vec<_>, Vec<_>) = users
            .into_iter()
            .filter(is_administrator)
            .partition(|administrator| administrator.record.login == login);
        if leaving.is_empty() {
            return Ok(None);
        }
        others.sort_by_key(|other| asker.caller().login() != Some(other.record.login.as_str()));
        match others.into_iter().next() {
            Some(other) => Ok(Some(other)),
            None => Err(Status::failed_precondition(format!(
                "`{login}` is the last enabled member of `$admins`; make another one first"
            ))),
        }
    }

    async fn set_disabled(&self, asker: &Asker, login: &str, to: bool) -> Result<(), Status> {
        let mut user = self.found(login).await?;
        let remaining = match to {
            true => self.remaining_administrator(asker, login).await?,
            false => None,
        };
        user.record.disabled = to;
        let act = if to { "$user-disabled" } else { "$user-enabled" };
        self.save(user, remaining, asker.audit(act, login)).await.map(drop)
    }

    /// Makes sure that a user who is about to be deleted is no administrator. The deletion of a
    /// stream cannot expect another one.
    async fn disabled_before_deletion(
        &self,
        asker: &Asker,
        user: StoredUser,
    ) -> Result<StoredUser, Status> {
        let login = user.record.login.clone();
        let Some(remaining) = self.remaining_administrator(asker, &login).await? else {
            return Ok(user);
        };
        let mut disabled = user;
        disabled.record.disabled = true;
        let audit = asker.audit("$user-disabled", &login);
        let saved = self.save(disabled.clone(), Some(remaining), audit).await?;
        Ok(StoredUser { revision: saved.unwrap_or(disabled.revision), ..disabled })
    }

    async fn new_hash(&self, password: String) -> Result<String, Status> {
        if let Some(reason) = refusal_of_password(&password) {
            return Err(refused(reason));
        }
        self.guard()?.hash(password).await
    }
}

#[tonic::async_trait]
impl Users for UsersService {
    type DetailsStream = Pin<Box<dyn Stream<Item = Result<DetailsResp, Status>> + Send>>;

    async fn create(&self, request: Request<CreateReq>) -> Result<Response<CreateResp>, Status> {
        let asker = Asker::of(&request);
        let options = request.into_inner().options.ok_or_else(without_options)?;
        let mut record = UserRecord {
            login: options.login_name,
            full_name: options.full_name,
            groups: options.groups,
            disabled: false,
            password_hash: String::new(),
        };
        check_record(&record)?;
        record.password_hash = self.new_hash(options.password).await?;
        let login = record.login.clone();
        let audit = asker.audit("$user-created", &login).with("groups", record.groups.clone());
        let expected = ExpectedRevision::NoStream;
        let change = UserChange { record, expected, remaining: None };
        let created = self.guard()?.save_user(change, audit).await;
        created.map_err(|error| match error {
            StoreError::Conflict(_) => user_conflict(&login),
            error => status(&error),
        })?;
        Ok(Response::new(CreateResp {}))
    }

    async fn update(&self, request: Request<UpdateReq>) -> Result<Response<UpdateResp>, Status> {
        let asker = Asker::of(&request);
        let options = request.into_inner().options.ok_or_else(without_options)?;
        let mut user = self.found(&options.login_name).await?;
        user.record.full_name = options.full_name;
        user.record.groups = options.groups;
        let remaining = match user.record.groups.iter().any(|group| group == ADMINS) {
            true => None,
            false => self.remaining_administrator(&asker, &options.login_name).await?,
        };
        if !options.password.is_empty() {
            user.record.password_hash = self.new_hash(options.password).await?;
        }
        let audit = asker.audit("$user-updated", &options.login_name);
        let audit = audit.with("groups", user.record.groups.clone());
        self.save(user, remaining, audit).await?;
        Ok(Response::new(UpdateResp {}))
    }

    async fn delete(&self, request: Request<DeleteReq>) -> Result<Response<DeleteResp>, Status> {
        let asker = Asker::of(&request);
        let login = request.into_inner().options.ok_or_else(without_options)?.login_name;
        let user = self.found(&login).await?;
        let user = self.disabled_before_deletion(&asker, user).await?;
        let audit = asker.audit("$user-deleted", &login);
        let deleted = self.guard()?.delete_user(&user, audit).await;
        deleted.map_err(|error| changed_meanwhile(&error, &login))?;
        Ok(Response::new(DeleteResp {}))
    }

    async fn disable(&self, request: Request<DisableReq>) -> Result<Response<DisableResp>, Status> {
        let asker = Asker::of(&request);
        let login = request.into_inner().options.ok_or_else(without_options)?.login_name;
        self.set_disabled(&asker, &login, true).await?;
        Ok(Response::new(DisableResp {}))
    }

    async fn enable(&self, request: Request<EnableReq>) -> Result<Response<EnableResp>, Status> {
        let asker = Asker::of(&request);
        let login = request.into_inner().options.ok_or_else(without_options)?.login_name;
        self.set_disabled(&asker, &login, false).await?;
        Ok(Response::new(EnableResp {}))
    }

    async fn details(
        &self,
        request: Request<DetailsReq>,
    ) -> Result<Response<Self::DetailsStream>, Status> {
        let asker = Asker::of(&request);
        // Before the caller's right: an insecure server has neither users nor rights.
        self.guard()?;
        let login = request.into_inner().options.map(|options| options.login_name);
        let users = match login.filter(|login| !login.is_empty()) {
            Some(login) => {
                asker.check_owner(&login)?;
                vec![self.found(&login).await?]
            }
            None => {
                if !asker.caller().is_admin() {
                    return Err(access_denied("only members of `$admins` may list users"));
                }
                self.guard()?.users().list().await.map_err(|error| status(&error))?
            }
        };
        Ok(Response::new(Box::pin(stream::iter(users.into_iter().map(|user| Ok(details(user)))))))
    }

    async fn change_password(
        &self,
        request: Request<ChangePasswordReq>,
    ) -> Result<Response<ChangePasswordResp>, Status> {
        let asker = Asker::of(&request);
        let options = request.into_inner().options.ok_or_else(without_options)?;
        asker.check_owner(&options.login_name)?;
        let mut user = self.found(&options.login_name).await?;
        let address = asker.sender.peer.as_ref().map(|peer| peer.address);
        let current = options.current_password;
        if !self.guard()?.is_password(&user.record, current, address).await? {
            return Err(access_denied("the current password is wrong"));
        }
        user.record.password_hash = self.new_hash(options.new_password).await?;
        self.save(user, None, asker.audit("$password-changed", &options.login_name)).await?;
        Ok(Response::new(ChangePasswordResp {}))
    }

    async fn reset_password(
        &self,
        request: Request<ResetPasswordReq>,
    ) -> Result<Response<ResetPasswordResp>, Status> {
        let asker = Asker::of(&request);
        let options = request.into_inner().options.ok_or_else(without_options)?;
        let mut user = self.found(&options.login_name).await?;
        user.record.password_hash = self.new_hash(options.new_password).await?;
        self.save(user, None, asker.audit("$password-reset", &options.login_name)).await?;
        Ok(Response::new(ResetPasswordResp {}))
    }
}

fn without_options() -> Status {
    refused("the options are missing")
}

/// Returns `true` for an enabled member of `$admins`.
fn is_administrator(user: &StoredUser) -> bool {
    !user.record.disabled && user.record.groups.iter().any(|group| group == ADMINS)
}

fn check_record(record: &UserRecord) -> Result<(), Status> {
    refusal_of_user(record).map_or(Ok(()), |reason| Err(refused(reason)))
}

fn changed_meanwhile(error: &StoreError, login: &str) -> Status {
    match error {
        StoreError::Conflict(_) => Status::failed_precondition(format!(
            "the user `{login}`, or the administrator who would remain, was changed at the same \
             time; try again"
        )),
        error => status(error),
    }
}

fn details(user: StoredUser) -> DetailsResp {
    let StoredUser { record, changed_at, .. } = user;
    let ticks = i64::try_from(changed_at.micros().saturating_mul(10)).unwrap_or(i64::MAX);
    let details = UserDetails {
        login_name: record.login,
        full_name: record.full_name,
        groups: record.groups,
        last_updated: Some(DateTime { ticks_since_epoch: ticks }),
        disabled: record.disabled,
    };
    DetailsResp { user_details: Some(details) }
}
