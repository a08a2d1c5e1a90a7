//! The checks of a secured server, put together.
//!
//! Owns: [`Access`], the choice between a server that checks and one that does not, and [`Guard`],
//! which answers who a caller is. Invariant: argon2 runs only after the cache and the waits for
//! failed logins were asked, and again after its turn has come.

use std::{
    net::IpAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::http::HeaderMap;
use gesta_store::{
    Append, Conflict, EventStore, ExpectedRevision, RecordedAt, StoreError, StreamName,
};
use tokio::time::Instant;
use tonic::Status;

use super::{
    audit::{AuditRecord, FailureRate, audit_stream},
    caller::{ADMINS, Caller, OPS, Peer},
    credentials::Credentials,
    failed_logins::FailedLogins,
    first_users::FirstPasswords,
    passwords::Hashing,
    stream_rights::{Right, SETTINGS, StreamRights},
    tokens::TokenRule,
    user::{StoredUser, UserRecord, UserStreams},
    verified::{CredentialMac, Remembered, Verified},
};
use crate::wire::{access_denied, status};

/// The access rule of a server.
#[derive(Clone)]
pub(crate) enum Access {
    /// Every client may do everything.
    Open,
    Guarded(Arc<Guard>),
}

/// Users and rights of a store.
pub(crate) struct Guard {
    store: Arc<dyn EventStore>,
    users: UserStreams,
    rights: StreamRights,
    tokens: Option<TokenRule>,
    hashing: Hashing,
    verified: Mutex<Verified>,
    failed: Mutex<FailedLogins>,
    failure_rate: Mutex<FailureRate>,
    started: Instant,
}

impl Access {
    pub(crate) fn guard(&self) -> Option<&Guard> {
        match self {
            Self::Open => None,
            Self::Guarded(guard) => Some(guard),
        }
    }

    /// Checks the right of a caller to a stream.
    pub(crate) async fn check_stream(
        &self,
        caller: &Caller,
        stream: &StreamName,
        right: Right,
    ) -> Result<(), Status> {
        match self.may(caller, stream, right).await {
            Ok(true) => Ok(()),
            Ok(false) if *caller == Caller::Anonymous => Err(unauthenticated()),
            Ok(false) => Err(access_denied(format!("access to the stream `{stream}` is denied"))),
            Err(error) => Err(status(&error)),
        }
    }

    /// Returns `true` if a caller has the right to a stream.
    pub(crate) async fn may(
        &self,
        caller: &Caller,
        stream: &StreamName,
        right: Right,
    ) -> Result<bool, StoreError> {
        match (self, caller) {
            (Self::Open, _) => Ok(true),
            (Self::Guarded(_), Caller::Anonymous) => Ok(false),
            (Self::Guarded(guard), Caller::User(_)) => {
                guard.rights.has(caller, stream, right).await
            }
        }
    }

    /// Returns `true` if a caller who may read the whole store sees all of its streams.
    pub(crate) fn shows_everything(&self, caller: &Caller) -> bool {
        matches!(self, Self::Open) || caller.is_admin()
    }

    /// Returns `true` for a stream that no list opens, of a server that checks.
    pub(crate) fn is_closed(&self, stream: &StreamName) -> bool {
        matches!(self, Self::Guarded(_)) && StreamRights::is_closed(stream)
    }

    /// Returns `true` if a caller who may read the whole store sees the events of a stream. No list
    /// opens those of users and the audit stream.
    pub(crate) fn shows(&self, caller: &Caller, stream: &StreamName) -> bool {
        self.shows_everything(caller) || !StreamRights::is_closed(stream)
    }

    /// Checks the right to read the whole store: that to the stream `$all`.
    pub(crate) async fn check_all(&self, caller: &Caller) -> Result<(), Status> {
        let all = StreamName::new("$all").expect("the name is valid");
        self.check_stream(caller, &all, Right::Read).await
    }

    /// Records an append that changes who may do what: an access control list, or the defaults.
    pub(crate) async fn record_change_of_rights(&self, caller: &Caller, stream: &StreamName) {
        if let Self::Guarded(guard) = self {
            let record = AuditRecord::new("$rights-changed", caller, None);
            guard.record(record.with("stream", stream.as_str())).await;
        }
    }

    /// Returns `true` if an event with this data changes who may do what.
    pub(crate) fn changes_rights(stream: &StreamName, data: &[u8]) -> bool {
        let is_list = stream.described_stream().is_some()
            && data.windows(ACL_NAME.len()).any(|window| window == ACL_NAME);
        is_list || stream.as_str() == SETTINGS
    }
}

const ACL_NAME: &[u8] = b"$acl";

impl Guard {
    pub(crate) fn new(store: Arc<dyn EventStore>, tokens: Option<TokenRule>) -> Self {
        Self {
            users: UserStreams::new(Arc::clone(&store)),
            rights: StreamRights::new(Arc::clone(&store)),
            store,
            tokens,
            hashing: Hashing::new(),
            verified: Mutex::new(Verified::new()),
            failed: Mutex::new(FailedLogins::default()),
            failure_rate: Mutex::new(FailureRate::new()),
            started: Instant::now(),
        }
    }

    pub(crate) const fn users(&self) -> &UserStreams {
        &self.users
    }

    fn now(&self) -> Duration {
        self.started.elapsed()
    }

    /// Returns the user of a request. A header is stronger than a certificate.
    pub(crate) async fn authenticate(
        &self,
        headers: &HeaderMap,
        peer: &Peer,
        now: RecordedAt,
    ) -> Result<Caller, Status> {
        match Credentials::of(headers) {
            Some(Credentials::Basic { login, password }) => {
                self.by_password(login, password, peer.address).await
            }
            Some(Credentials::Bearer(token)) => self.by_token(&token, peer.address, now).await,
            Some(Credentials::Unreadable) => Err(unauthenticated()),
            None => match &peer.certificate_login {
                Some(login) => self.by_certificate(login).await,
                None => Ok(Caller::Anonymous),
            },
        }
    }

    async fn by_password(
        &self,
        login: String,
        password: String,
        address: IpAddr,
    ) -> Result<Caller, Status> {
        let mac = self.verified.lock().expect("no holder panics").mac(&login, &password);
        if let Some(caller) = self.remembered(&mac, &login).await? {
            return Ok(caller);
        }
        self.check_wait(&login, address)?;
        let busy = || Status::unavailable("too many logins at once; try again");
        let permit = self.hashing.permit().await.ok_or_else(busy)?;
        // Others may have verified the same password, or failed, while this one waited.
        if let Some(caller) = self.remembered(&mac, &login).await? {
            return Ok(caller);
        }
        self.check_wait(&login, address)?;
        let found = self.users.find(&login).await.map_err(|error| status(&error))?;
        let found = found.filter(|user| !user.record.disabled);
        let hash = found.as_ref().map(|user| user.record.password_hash.clone());
        let is_right = permit.verify(password, hash).await;
        let Some(StoredUser { record, revision, .. }) = found.filter(|_| is_right) else {
            let now = self.now();
            self.failed.lock().expect("no holder panics").failed(&login, address, now);
            self.record_failed_login(&login, address).await;
            return Err(unauthenticated());
        };
        self.failed.lock().expect("no holder panics").succeeded(&login, address);
        let caller = Caller::user(record.login, record.groups);
        let mut verified = self.verified.lock().expect("no holder panics");
        verified.insert(mac, caller.clone(), revision, self.now());
        Ok(caller)
    }

    /// Returns the user of credentials that were verified a short time ago.
    async fn remembered(&self, mac: &CredentialMac, login: &str) -> Result<Option<Caller>, Status> {
        let remembered = self.verified.lock().expect("no holder panics").get(mac, self.now());
        let at = match remembered {
            Remembered::Trusted(caller) => return Ok(Some(caller)),
            Remembered::IfUnchanged(at) => at,
            Remembered::No => return Ok(None),
        };
        let revision = self.users.revision(login).await.map_err(|error| status(&error))?;
        let mut verified = self.verified.lock().expect("no holder panics");
        if revision == Some(at) {
            return Ok(verified.confirm(mac, self.now()));
        }
        verified.forget(login);
        Ok(None)
    }

    fn check_wait(&self, login: &str, address: IpAddr) -> Result<(), Status> {
        let failed = self.failed.lock().expect("no holder panics");
        let wait = failed.wait(login, address, self.now());
        if wait.is_zero() {
            return Ok(());
        }
        let seconds = wait.as_secs_f64().ceil();
        Err(Status::unauthenticated(format!("too many failed logins; try again in {seconds} s")))
    }

    async fn by_token(
        &self,
        token: &str,
        address: IpAddr,
        now: RecordedAt,
    ) -> Result<Caller, Status> {
        #[expect(clippy::cast_precision_loss, reason = "seconds need no more")]
        let seconds = now.micros() as f64 / 1e6;
        let caller = self.tokens.as_ref().and_then(|rule| rule.caller(token, seconds));
        if caller.is_none() {
            self.record_failed_login("(token)", address).await;
        }
        caller.ok_or_else(unauthenticated)
    }

    async fn by_certificate(&self, login: &str) -> Result<Caller, Status> {
        let found = self.users.find(login).await.map_err(|error| status(&error))?;
        match found {
            Some(user) if !user.record.disabled => {
                Ok(Caller::user(user.record.login, user.record.groups))
            }
            _ => Err(unauthenticated()),
        }
    }

    /// Compares a password with that of a user, outside of a login.
    pub(crate) async fn is_password(
        &self,
        user: &UserRecord,
        password: String,
        address: Option<IpAddr>,
    ) -> Result<bool, Status> {
        if let Some(address) = address {
            self.check_wait(&user.login, address)?;
        }
        let busy = || Status::unavailable("too many logins at once; try again");
        let permit = self.hashing.permit().await.ok_or_else(busy)?;
        let is_right = permit.verify(password, Some(user.password_hash.clone())).await;
        if let Some(address) = address.filter(|_| !is_right) {
            let now = self.now();
            self.failed.lock().expect("no holder panics").failed(&user.login, address, now);
            self.record_failed_login(&user.login, address).await;
        }
        Ok(is_right)
    }

    /// Returns the hash of a new password.
    pub(crate) async fn hash(&self, password: String) -> Result<String, Status> {
        let busy = || Status::unavailable("too many logins at once; try again");
        Ok(self.hashing.permit().await.ok_or_else(busy)?.hash(password).await)
    }

    /// Records a user and who changed them, in one append.
    pub(crate) async fn save_user(
        &self,
        record: UserRecord,
        expected: ExpectedRevision,
        audit: AuditRecord,
    ) -> Result<(), StoreError> {
        let login = record.login.clone();
        let saved = self.users.save(vec![(record, expected)], audit).await;
        self.verified.lock().expect("no holder panics").forget(&login);
        saved
    }

    /// Deletes a user, and records who did it.
    pub(crate) async fn delete_user(
        &self,
        user: &StoredUser,
        audit: AuditRecord,
    ) -> Result<(), StoreError> {
        let login = &user.record.login;
        let deleted = self.users.delete(login, user.revision).await;
        self.verified.lock().expect("no holder panics").forget(login);
        if deleted.is_ok() {
            self.record(audit).await;
        }
        deleted
    }

    /// Returns `true` if the store never had an `admin`.
    pub(crate) async fn lacks_first_users(&self) -> Result<bool, StoreError> {
        self.users.never_existed("admin").await
    }

    /// Creates `admin` and `ops` if the store never had an `admin`. Returns `false` otherwise.
    pub(crate) async fn create_first_users(
        &self,
        passwords: &FirstPasswords,
    ) -> Result<bool, StoreError> {
        if !self.users.never_existed("admin").await? {
            return Ok(false);
        }
        let mut users = Vec::new();
        let first = [("admin", ADMINS, passwords.admin()), ("ops", OPS, passwords.ops())];
        for (login, group, password) in first {
            let permit = self.hashing.permit().await.expect("nothing else waits at the start");
            let record = UserRecord {
                login: login.to_owned(),
                full_name: String::new(),
                groups: vec![group.to_owned()],
                disabled: false,
                password_hash: permit.hash(password.to_owned()).await,
            };
            users.push((record, ExpectedRevision::NoStream));
        }
        match self.users.save(users, AuditRecord::of_server("$first-users-created")).await {
            Ok(()) => Ok(true),
            Err(error @ StoreError::Conflict(Conflict::Stream { .. })) => {
                // Another server of the same store was faster, or `ops` exists without `admin`.
                if self.users.never_existed("admin").await? { Err(error) } else { Ok(false) }
            }
            Err(error) => Err(error),
        }
    }

    async fn record_failed_login(&self, login: &str, address: IpAddr) {
        let now = self.now();
        let rate = self.failure_rate.lock().expect("no holder panics").take(now);
        if let Some(suppressed) = rate {
            self.record(AuditRecord::failed_login(login, address, suppressed)).await;
        }
    }

    /// Appends to the audit stream. A failure is logged: what was done cannot be taken back.
    pub(crate) async fn record(&self, record: AuditRecord) {
        let event = record.into_event();
        let append = Append::to(audit_stream(), ExpectedRevision::Any, [event]).privileged();
        if let Err(error) = self.store.append(append).await {
            tracing::error!(%error, "an event of the audit stream was lost");
        }
    }
}

fn unauthenticated() -> Status {
    Status::unauthenticated("a valid login and password, token or client certificate is needed")
}
