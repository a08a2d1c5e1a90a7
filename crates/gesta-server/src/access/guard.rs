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
    Append, Conflict, EventStore, ExpectedRevision, RecordedAt, Revision, StoreError, StreamName,
};
use tokio::time::{Instant, sleep};
use tonic::Status;

use super::{
    audit::{AuditRecord, FailureRate, audit_stream},
    caller::{ADMINS, Caller, IdentitySource, OPS, Peer, Sender},
    credentials::Credentials,
    current::CurrentUsers,
    failed_logins::FailedLogins,
    first_users::FirstPasswords,
    passwords::Hashing,
    stream_rights::{self, Right, SETTINGS, StreamRights},
    tokens::TokenRule,
    user::{StoredUser, UserChange, UserRecord, UserStreams},
    verified::{CredentialMac, Remembered, Verified},
};
use crate::{
    clock::wall_now,
    wire::{access_denied, login_status, status},
};

/// The access rule of a server.
#[derive(Clone)]
pub(crate) enum Access {
    /// Every client may do everything but what nobody may.
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
    current: Mutex<CurrentUsers>,
    failed: Mutex<FailedLogins>,
    failure_rate: Arc<Mutex<FailureRate>>,
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
        if let Some(reason) = Self::refusal_to_all(stream, right) {
            return Err(access_denied(format!(
                "access to the stream `{stream}` is denied: {reason}"
            )));
        }
        match self.may(caller, stream, right).await {
            Ok(true) => Ok(()),
            Ok(false) if Self::forbids(stream, right) => {
                let reason = "`$all` is the whole store: it takes no events and is never deleted";
                Err(access_denied(reason))
            }
            Ok(false) if *caller == Caller::Anonymous => Err(unauthenticated()),
            Ok(false) => Err(access_denied(format!("access to the stream `{stream}` is denied"))),
            Err(error) => Err(status(&error)),
        }
    }

    /// Returns the reason why no client of any server may do this to a stream: users are changed by
    /// their own calls, and what the server needs stays.
    pub(crate) fn refusal_to_all(stream: &StreamName, right: Right) -> Option<&'static str> {
        stream_rights::refusal_to_all(stream, right)
    }

    /// Returns `true` if a caller has the right to a stream.
    pub(crate) async fn may(
        &self,
        caller: &Caller,
        stream: &StreamName,
        right: Right,
    ) -> Result<bool, StoreError> {
        if Self::refusal_to_all(stream, right).is_some() {
            return Ok(false);
        }
        match (self, caller) {
            _ if Self::forbids(stream, right) => Ok(false),
            (Self::Open, _) => Ok(true),
            (Self::Guarded(_), Caller::Anonymous) => Ok(false),
            (Self::Guarded(guard), Caller::User(_)) => match guard.current(caller).await? {
                Some(caller) => guard.rights.has(&caller, stream, right).await,
                None => Ok(false),
            },
        }
    }

    /// Returns `true` for what no caller may do: the name `$all` means the whole store.
    pub(crate) fn forbids(stream: &StreamName, right: Right) -> bool {
        stream.as_str() == "$all" && matches!(right, Right::Append | Right::Delete)
    }

    /// Returns `true` for a stream that a group of the whole store leaves out, because the
    /// consumers of a group need not be those who made it: every stream of the system, of a server
    /// that checks.
    pub(crate) fn is_closed_to_groups(&self, stream: &StreamName) -> bool {
        matches!(self, Self::Guarded(_)) && stream.is_system()
    }

    /// Checks the right to read the whole store: that to the stream `$all`.
    pub(crate) async fn check_all(&self, caller: &Caller) -> Result<(), Status> {
        let all = StreamName::new("$all").expect("the name is valid");
        self.check_stream(caller, &all, Right::Read).await
    }

    /// Records an append that changes who may do what: an access control list, or the defaults.
    pub(crate) async fn record_change_of_rights(&self, sender: &Sender, stream: &StreamName) {
        if let Self::Guarded(guard) = self {
            let Sender { caller, peer } = sender;
            let record = AuditRecord::new("$rights-changed", caller, peer.as_ref());
            guard.record(record.with("stream", stream.as_str())).await;
        }
    }

    /// Returns `true` if an event with this data, or a deletion, which has none, would change who
    /// may do what. Asked before the append: metadata without a list remove the list that there is.
    pub(crate) async fn changes_rights(&self, stream: &StreamName, data: &[u8]) -> bool {
        let Self::Guarded(guard) = self else { return false };
        let Some(described) = stream.described_stream() else {
            return stream.as_str() == SETTINGS;
        };
        if described.as_str() == SETTINGS
            || data.windows(ACL_NAME.len()).any(|window| window == ACL_NAME)
        {
            return true;
        }
        let before = guard.store.describe_stream(&described).await;
        before.is_ok_and(|before| before.metadata.acl.is_some())
    }
}

const ACL_NAME: &[u8] = b"$acl";
/// The same text whether there is such a user or not.
const WRONG_PASSWORD: &str = "the login or the password is wrong, or the user is disabled";
const WRONG_TOKEN: &str =
    "the token is not valid here: its signature, its time, its issuer or its audience";
/// Time after which failed logins that were left out are told, if no later one has told them.
const SUPPRESSED_TOLD_AFTER: Duration = Duration::from_secs(60);

impl Guard {
    pub(crate) fn new(store: Arc<dyn EventStore>, tokens: Option<TokenRule>) -> Self {
        Self {
            users: UserStreams::new(Arc::clone(&store)),
            rights: StreamRights::new(Arc::clone(&store)),
            store,
            tokens,
            hashing: Hashing::new(),
            verified: Mutex::new(Verified::new()),
            current: Mutex::default(),
            failed: Mutex::new(FailedLogins::default()),
            failure_rate: Arc::new(Mutex::new(FailureRate::new())),
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
            Some(Credentials::Unreadable) => Err(Status::unauthenticated(
                "the header `authorization` has no login and password, and no token",
            )),
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
        self.check_wait_of_login(&login, address).await?;
        let busy = || Status::unavailable("too many logins at once; try again");
        let permit = self.hashing.permit().await.ok_or_else(busy)?;
        // Others may have verified the same password, or failed, while this one waited.
        if let Some(caller) = self.remembered(&mac, &login).await? {
            return Ok(caller);
        }
        self.check_wait_of_login(&login, address).await?;
        let found = self.users.find(&login).await.map_err(|error| login_status(&error))?;
        let found = found.filter(|user| !user.record.disabled);
        let hash = found.as_ref().map(|user| user.record.password_hash.clone());
        let is_right = permit.verify(password, hash).await;
        let Some(StoredUser { record, revision, .. }) = found.filter(|_| is_right) else {
            let now = self.now();
            self.failed.lock().expect("no holder panics").failed(&login, address, now);
            self.record_failed_login(&login, address).await;
            return Err(Status::unauthenticated(WRONG_PASSWORD));
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
        let revision = self.users.revision(login).await.map_err(|error| login_status(&error))?;
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

    /// The same for a login, whose refusal is recorded as a failure.
    async fn check_wait_of_login(&self, login: &str, address: IpAddr) -> Result<(), Status> {
        let checked = self.check_wait(login, address);
        if checked.is_err() {
            self.record_failed_login(login, address).await;
        }
        checked
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
        caller.ok_or_else(|| Status::unauthenticated(WRONG_TOKEN))
    }

    /// Returns a caller with the groups that they have now, or `None` if their user is disabled or
    /// deleted, or their token has expired: calls and sockets go on for longer than their
    /// authentication is true.
    async fn current(&self, caller: &Caller) -> Result<Option<Caller>, StoreError> {
        let Caller::User(identity) = caller else { return Ok(Some(caller.clone())) };
        if let IdentitySource::Token { ends } = identity.source {
            return Ok((wall_now() < ends).then(|| caller.clone()));
        }
        let login = &identity.login;
        let known = self.current.lock().expect("no holder panics").get(login, self.now());
        if let Some(known) = known {
            return Ok(known);
        }
        let found = self.enabled(login).await?;
        let mut current = self.current.lock().expect("no holder panics");
        current.insert(login, found.clone(), self.now());
        Ok(found)
    }

    /// Forgets what is known of a user who has changed.
    fn forget(&self, login: &str) {
        self.verified.lock().expect("no holder panics").forget(login);
        self.current.lock().expect("no holder panics").forget(login);
    }

    async fn by_certificate(&self, login: &str) -> Result<Caller, Status> {
        let found = self.enabled(login).await.map_err(|error| login_status(&error))?;
        found.ok_or_else(|| {
            Status::unauthenticated(
                "the login of the client certificate is that of no user, or of a disabled one",
            )
        })
    }

    /// Returns a user as the store has them, or `None` if they are disabled or there is none.
    async fn enabled(&self, login: &str) -> Result<Option<Caller>, StoreError> {
        let found = self.users.find(login).await?.filter(|user| !user.record.disabled);
        Ok(found.map(|user| Caller::user(user.record.login, user.record.groups)))
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

    /// Records a user and who changed them, in one append. Returns the revision of the record.
    pub(crate) async fn save_user(
        &self,
        change: UserChange,
        audit: AuditRecord,
    ) -> Result<Option<Revision>, StoreError> {
        let login = change.record.login.clone();
        let saved = self.users.save(vec![change], audit).await;
        self.forget(&login);
        saved.map(|revisions| revisions.first().copied())
    }

    /// Deletes a user, and records who did it.
    pub(crate) async fn delete_user(
        &self,
        user: &StoredUser,
        audit: AuditRecord,
    ) -> Result<(), StoreError> {
        let login = &user.record.login;
        let deleted = self.users.delete(login, user.revision).await;
        self.forget(login);
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
            let expected = ExpectedRevision::NoStream;
            users.push(UserChange { record, expected, remaining: None });
        }
        match self.users.save(users, AuditRecord::of_server("$first-users-created")).await {
            Ok(_) => Ok(true),
            Err(error @ StoreError::Conflict(Conflict::Stream { .. })) => {
                // Another server of the same store was faster, or `ops` exists without `admin`.
                if self.users.never_existed("admin").await? { Err(error) } else { Ok(false) }
            }
            Err(error) => Err(error),
        }
    }

    async fn record_failed_login(&self, login: &str, address: IpAddr) {
        let now = self.now();
        let (rate, suppressed) = {
            let mut rate = self.failure_rate.lock().expect("no holder panics");
            (rate.take(now), rate.suppressed())
        };
        match rate {
            Some(before) => self.record(AuditRecord::failed_login(login, address, before)).await,
            // The first one that is left out: the end of a flood must be told, too.
            None if suppressed == 1 => self.tell_suppressed_later(),
            None => {}
        }
    }

    fn tell_suppressed_later(&self) {
        let (store, rate) = (Arc::clone(&self.store), Arc::clone(&self.failure_rate));
        tokio::spawn(async move {
            sleep(SUPPRESSED_TOLD_AFTER).await;
            let suppressed = rate.lock().expect("no holder panics").take_suppressed();
            if suppressed > 0 {
                record(store.as_ref(), AuditRecord::suppressed_failures(suppressed)).await;
            }
        });
    }

    pub(crate) async fn record(&self, act: AuditRecord) {
        record(self.store.as_ref(), act).await;
    }
}

/// Appends to the audit stream. A failure is logged: what was done cannot be taken back.
async fn record(store: &dyn EventStore, act: AuditRecord) {
    let event = act.into_event();
    let append = Append::to(audit_stream(), ExpectedRevision::Any, [event]).privileged();
    if let Err(error) = store.append(append).await {
        tracing::error!(%error, "an event of the audit stream was lost");
    }
}

fn unauthenticated() -> Status {
    Status::unauthenticated("a valid login and password, token or client certificate is needed")
}
