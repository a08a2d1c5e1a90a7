//! Users, kept in the streams `$user-LOGIN` of the store.
//!
//! Owns: [`UserRecord`] with its JSON form, the rule of logins and groups, and [`UserStreams`].
//! Invariants: each event of a user's stream has the whole record, so the last one is the user; a
//! change expects the revision that was read, so two servers do not overwrite each other; the
//! audit event of a change is in the same append, and so is the event of a new user in `$users`.
//! Not here: passwords ([`passwords`](super::passwords)) and who may change users.

use std::sync::Arc;

use gesta_store::{
    Append, ContentType, DeleteStream, EventId, EventStore, EventType, ExpectedRevision,
    ListStreams, NewEvent, ReadFrom, ReadStream, RecordedAt, Revision, StoreError, StreamName,
    StreamState,
};
use serde::{Deserialize, Serialize};

use super::audit::{AuditRecord, audit_stream};

/// Prefix of the streams of users.
pub(super) const USER_PREFIX: &str = "$user-";
const EVENT_TYPE: &str = "$user";
/// The stream that tells of each created user. Clients look into it to learn that there are users.
const USERS: &str = "$users";
const CREATED_TYPE: &str = "$User";
/// Maximum length of a login or a group.
const NAME_BYTES_MAX: usize = 100;
/// Maximum length of a full name.
const FULL_NAME_BYTES_MAX: usize = 200;
const GROUPS_MAX: usize = 100;
const PAGE: usize = 1_000;

/// A user as stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct UserRecord {
    pub(crate) login: String,
    pub(crate) full_name: String,
    pub(crate) groups: Vec<String>,
    #[serde(default)]
    pub(crate) disabled: bool,
    /// The argon2id hash, in its standard text form.
    pub(crate) password_hash: String,
}

/// A user with the place of their last change.
#[derive(Clone, Debug)]
pub(crate) struct StoredUser {
    pub(crate) record: UserRecord,
    pub(crate) revision: Revision,
    pub(crate) changed_at: RecordedAt,
}

/// A user to record.
#[derive(Clone, Debug)]
pub(crate) struct UserChange {
    pub(crate) record: UserRecord,
    pub(crate) expected: ExpectedRevision,
    /// A user who must not have changed since either: the administrator who remains.
    pub(crate) remaining: Option<StoredUser>,
}

/// The streams of users.
#[derive(Clone)]
pub(crate) struct UserStreams {
    store: Arc<dyn EventStore>,
}

impl UserStreams {
    pub(super) fn new(store: Arc<dyn EventStore>) -> Self {
        Self { store }
    }

    /// Returns a user, or `None` if there is none with this login.
    pub(crate) async fn find(&self, login: &str) -> Result<Option<StoredUser>, StoreError> {
        match stream_of(login) {
            Some(stream) => self.last(stream).await,
            None => Ok(None),
        }
    }

    async fn last(&self, stream: StreamName) -> Result<Option<StoredUser>, StoreError> {
        let last = ReadStream::backwards(stream.clone()).starting(ReadFrom::End).limit(1);
        let last = match self.store.read_stream(last).collect_events().await {
            Ok(mut events) => events.pop(),
            Err(StoreError::Deleted { .. }) => None,
            Err(error) => return Err(error),
        };
        let Some(event) = last else { return Ok(None) };
        // A stream that something else has written to is no user.
        let record: Option<UserRecord> = serde_json::from_slice(&event.data).ok();
        let record = record.filter(|record| stream_of(&record.login).as_ref() == Some(&stream));
        if record.is_none() {
            tracing::warn!(%stream, "the last event is not a user; nobody can log in by it");
        }
        Ok(record.map(|record| StoredUser {
            record,
            revision: event.revision,
            changed_at: event.recorded_at,
        }))
    }

    /// Returns the revision of the last change, or `None` without such a user.
    pub(super) async fn revision(&self, login: &str) -> Result<Option<Revision>, StoreError> {
        let Some(stream) = stream_of(login) else { return Ok(None) };
        let described = self.store.describe_stream(&stream).await?;
        Ok(described.head.filter(|_| described.state == StreamState::Live))
    }

    /// Returns `true` if there never was a user with this login.
    pub(super) async fn never_existed(&self, login: &str) -> Result<bool, StoreError> {
        let Some(stream) = stream_of(login) else { return Ok(false) };
        Ok(self.store.describe_stream(&stream).await?.state == StreamState::Missing)
    }

    /// Returns all users, in the order of their logins.
    pub(crate) async fn list(&self) -> Result<Vec<StoredUser>, StoreError> {
        let mut users = Vec::new();
        let mut after = None;
        loop {
            let page = ListStreams::all().prefix(USER_PREFIX).after(after).limit(PAGE);
            let names = self.store.list_streams(page).await?;
            let is_last = names.len() < PAGE;
            after = names.last().cloned();
            for name in names {
                users.extend(self.last(name).await?);
            }
            if is_last {
                return Ok(users);
            }
        }
    }

    /// Records users together with an audit event, if each is as expected. Returns the revisions
    /// of the records.
    pub(super) async fn save(
        &self,
        users: Vec<UserChange>,
        audit: AuditRecord,
    ) -> Result<Vec<Revision>, StoreError> {
        let mut append = Append::default().privileged();
        let (mut streams, mut created) = (Vec::new(), Vec::new());
        for UserChange { record, expected, remaining } in users {
            if expected == ExpectedRevision::NoStream {
                created.push(created_event(&record.login));
            }
            let stream = stream_of(&record.login).expect("a checked login has a stream");
            let event_type = EventType::new(EVENT_TYPE).expect("the type is a valid name");
            let data = serde_json::to_vec(&record).expect("a record is JSON");
            let event = NewEvent::json(EventId::random(), event_type, data);
            streams.push(stream.clone());
            append = append.and(stream, expected, [event]);
            if let Some(StoredUser { record, revision, .. }) = remaining {
                let stream = stream_of(&record.login).expect("a stored login has a stream");
                append = append.expecting(stream, ExpectedRevision::Exact(revision));
            }
        }
        if !created.is_empty() {
            let stream = StreamName::new(USERS).expect("the name is valid");
            append = append.and(stream, ExpectedRevision::Any, created);
        }
        let append = append.and(audit_stream(), ExpectedRevision::Any, [audit.into_event()]);
        let appended = self.store.append(append).await?;
        let revisions = appended.revisions.into_iter();
        let revisions = revisions.filter(|(stream, _)| streams.contains(stream));
        Ok(revisions.map(|(_, revision)| revision).collect())
    }

    /// Deletes a user at this revision. The login may be used again.
    pub(super) async fn delete(&self, login: &str, at: Revision) -> Result<(), StoreError> {
        let Some(stream) = stream_of(login) else { return Ok(()) };
        let delete = DeleteStream::new(stream, ExpectedRevision::Exact(at));
        self.store.delete_stream(delete).await.map(drop)
    }
}

/// The data are the login.
fn created_event(login: &str) -> NewEvent {
    let event_type = EventType::new(CREATED_TYPE).expect("the type is a valid name");
    let login = login.as_bytes().to_vec();
    NewEvent::new(EventId::random(), event_type, ContentType::OCTET_STREAM, login)
}

fn stream_of(login: &str) -> Option<StreamName> {
    refusal_of_login(login)
        .is_none()
        .then(|| StreamName::new(format!("{USER_PREFIX}{login}")).ok())?
}

/// Returns the reason why a text is not a login.
pub(crate) fn refusal_of_login(login: &str) -> Option<String> {
    if login.starts_with('$') || login.contains(':') {
        return Some("a login must not begin with `$` and has no `:`".to_owned());
    }
    refusal_of_name("a login", login)
}

/// Returns the reason why a record cannot be stored.
pub(crate) fn refusal_of_user(record: &UserRecord) -> Option<String> {
    let UserRecord { login, full_name, groups, .. } = record;
    if groups.len() > GROUPS_MAX {
        return Some(format!("a user has at most {GROUPS_MAX} groups; got {}", groups.len()));
    }
    if full_name.len() > FULL_NAME_BYTES_MAX {
        let bytes = full_name.len();
        return Some(format!("a full name has at most {FULL_NAME_BYTES_MAX} bytes; got {bytes}"));
    }
    refusal_of_login(login)
        .or_else(|| groups.iter().find_map(|group| refusal_of_name("a group", group)))
}

fn refusal_of_name(what: &str, name: &str) -> Option<String> {
    if name.is_empty() || name.len() > NAME_BYTES_MAX {
        return Some(format!("{what} must have 1 to {NAME_BYTES_MAX} bytes; got {}", name.len()));
    }
    let has_control = name.chars().any(|character| character.is_control());
    (has_control || name.trim() != name)
        .then(|| format!("{what} has no control characters, and no space at its ends"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logins_that_look_like_roles_or_break_basic_credentials_are_refused() {
        for login in ["$admins", "a:b", "", " ann", "a\nb", &"x".repeat(101)] {
            assert!(refusal_of_login(login).is_some(), "{login:?}");
        }
        for login in ["ann", "Ann O'Neil", "größe", "a@b.example", "a-b"] {
            assert_eq!(refusal_of_login(login), None, "{login:?}");
        }
    }
}
