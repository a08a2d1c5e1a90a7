//! The service `Users`.
//!
//! Owns: the calls that change users, and the events of the audit stream for them. Invariants: a
//! change and its audit event are one append; a deletion is followed by its event; a change of a
//! user who was changed at the same time is refused. Not here: who may call
//! ([`access`](crate::access)), but for calls about the caller.

use std::pin::Pin;

use futures_util::{Stream, stream};
use gesta_store::{ExpectedRevision, StoreError};
use tonic::{Request, Response, Status};

use crate::{
    access::{
        ADMINS, AuditRecord, Caller, Guard, Peer, StoredUser, UserRecord, refusal_of_password,
        refusal_of_user,
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
    UsersServer::new(UsersService { node })
}

/// The user of a call, and where it came from.
struct Sender {
    caller: Caller,
    peer: Option<Peer>,
}

impl Sender {
    fn of<Message>(request: &Request<Message>) -> Self {
        let extensions = request.extensions();
        Self { caller: Caller::of(extensions), peer: extensions.get().cloned() }
    }

    fn audit(&self, act: &'static str, login: &str) -> AuditRecord {
        AuditRecord::new(act, &self.caller, self.peer.as_ref()).with("user", login)
    }

    /// Refuses a caller who asks about another user.
    fn check_owner(&self, login: &str) -> Result<(), Status> {
        if self.caller.is_admin() || self.caller.login() == Some(login) {
            return Ok(());
        }
        Err(access_denied("only members of `$admins` may use the users of others"))
    }
}

impl UsersService {
    /// Returns the users, which an insecure server does not have.
    fn guard(&self) -> Result<&Guard, Status> {
        let text = "this server is insecure and has no users; start it without `--insecure`";
        self.node.access().guard().ok_or_else(|| Status::failed_precondition(text))
    }

    async fn found(&self, login: &str) -> Result<StoredUser, Status> {
        let found = self.guard()?.users().find(login).await.map_err(|error| status(&error))?;
        found.ok_or_else(|| user_not_found(login))
    }

    /// Saves a user who was read at a revision.
    async fn save(&self, user: StoredUser, audit: AuditRecord) -> Result<(), Status> {
        let StoredUser { record, revision, .. } = user;
        check_record(&record)?;
        let login = record.login.clone();
        let saved = self.guard()?.save_user(record, ExpectedRevision::Exact(revision), audit).await;
        saved.map_err(|error| changed_meanwhile(&error, &login))
    }

    /// Refuses a change that leaves no enabled member of `$admins`: nobody could undo it.
    async fn keep_an_administrator(&self, login: &str) -> Result<(), Status> {
        let is_administrator = |user: &&StoredUser| {
            !user.record.disabled && user.record.groups.iter().any(|group| group == ADMINS)
        };
        let users = self.guard()?.users().list().await.map_err(|error| status(&error))?;
        let mut administrators = users.iter().filter(is_administrator);
        match (administrators.next(), administrators.next()) {
            (Some(last), None) if last.record.login == login => {
                Err(Status::failed_precondition(format!(
                    "`{login}` is the last enabled member of `$admins`; make another one first"
                )))
            }
            _ => Ok(()),
        }
    }

    async fn set_disabled(&self, sender: &Sender, login: &str, to: bool) -> Result<(), Status> {
        let mut user = self.found(login).await?;
        if to {
            self.keep_an_administrator(login).await?;
        }
        user.record.disabled = to;
        let act = if to { "$user-disabled" } else { "$user-enabled" };
        self.save(user, sender.audit(act, login)).await
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
        let sender = Sender::of(&request);
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
        let audit = sender.audit("$user-created", &login).with("groups", record.groups.clone());
        let created = self.guard()?.save_user(record, ExpectedRevision::NoStream, audit).await;
        created.map_err(|error| match error {
            StoreError::Conflict(_) => user_conflict(&login),
            error => status(&error),
        })?;
        Ok(Response::new(CreateResp {}))
    }

    async fn update(&self, request: Request<UpdateReq>) -> Result<Response<UpdateResp>, Status> {
        let sender = Sender::of(&request);
        let options = request.into_inner().options.ok_or_else(without_options)?;
        let mut user = self.found(&options.login_name).await?;
        user.record.full_name = options.full_name;
        user.record.groups = options.groups;
        if !user.record.groups.iter().any(|group| group == ADMINS) {
            self.keep_an_administrator(&options.login_name).await?;
        }
        if !options.password.is_empty() {
            user.record.password_hash = self.new_hash(options.password).await?;
        }
        let audit = sender.audit("$user-updated", &options.login_name);
        let audit = audit.with("groups", user.record.groups.clone());
        self.save(user, audit).await?;
        Ok(Response::new(UpdateResp {}))
    }

    async fn delete(&self, request: Request<DeleteReq>) -> Result<Response<DeleteResp>, Status> {
        let sender = Sender::of(&request);
        let login = request.into_inner().options.ok_or_else(without_options)?.login_name;
        let user = self.found(&login).await?;
        self.keep_an_administrator(&login).await?;
        let audit = sender.audit("$user-deleted", &login);
        let deleted = self.guard()?.delete_user(&user, audit).await;
        deleted.map_err(|error| changed_meanwhile(&error, &login))?;
        Ok(Response::new(DeleteResp {}))
    }

    async fn disable(&self, request: Request<DisableReq>) -> Result<Response<DisableResp>, Status> {
        let sender = Sender::of(&request);
        let login = request.into_inner().options.ok_or_else(without_options)?.login_name;
        self.set_disabled(&sender, &login, true).await?;
        Ok(Response::new(DisableResp {}))
    }

    async fn enable(&self, request: Request<EnableReq>) -> Result<Response<EnableResp>, Status> {
        let sender = Sender::of(&request);
        let login = request.into_inner().options.ok_or_else(without_options)?.login_name;
        self.set_disabled(&sender, &login, false).await?;
        Ok(Response::new(EnableResp {}))
    }

    async fn details(
        &self,
        request: Request<DetailsReq>,
    ) -> Result<Response<Self::DetailsStream>, Status> {
        let sender = Sender::of(&request);
        // Before the caller's right: an insecure server has neither users nor rights.
        self.guard()?;
        let login = request.into_inner().options.map(|options| options.login_name);
        let users = match login.filter(|login| !login.is_empty()) {
            Some(login) => {
                sender.check_owner(&login)?;
                vec![self.found(&login).await?]
            }
            None => {
                if !sender.caller.is_admin() {
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
        let sender = Sender::of(&request);
        let options = request.into_inner().options.ok_or_else(without_options)?;
        sender.check_owner(&options.login_name)?;
        let mut user = self.found(&options.login_name).await?;
        let address = sender.peer.as_ref().map(|peer| peer.address);
        let current = options.current_password;
        if !self.guard()?.is_password(&user.record, current, address).await? {
            return Err(access_denied("the current password is wrong"));
        }
        user.record.password_hash = self.new_hash(options.new_password).await?;
        self.save(user, sender.audit("$password-changed", &options.login_name)).await?;
        Ok(Response::new(ChangePasswordResp {}))
    }

    async fn reset_password(
        &self,
        request: Request<ResetPasswordReq>,
    ) -> Result<Response<ResetPasswordResp>, Status> {
        let sender = Sender::of(&request);
        let options = request.into_inner().options.ok_or_else(without_options)?;
        let mut user = self.found(&options.login_name).await?;
        user.record.password_hash = self.new_hash(options.new_password).await?;
        self.save(user, sender.audit("$password-reset", &options.login_name)).await?;
        Ok(Response::new(ResetPasswordResp {}))
    }
}

fn without_options() -> Status {
    refused("the options are missing")
}

fn check_record(record: &UserRecord) -> Result<(), Status> {
    refusal_of_user(record).map_or(Ok(()), |reason| Err(refused(reason)))
}

fn changed_meanwhile(error: &StoreError, login: &str) -> Status {
    match error {
        StoreError::Conflict(_) => Status::failed_precondition(format!(
            "the user `{login}` was changed at the same time; try again"
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
