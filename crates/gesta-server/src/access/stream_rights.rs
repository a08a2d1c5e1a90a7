//! The right to a stream: its access control list, or the default of its kind.
//!
//! Owns: [`Right`], the defaults with their change by the stream `$settings`, and the streams that
//! no list opens. Invariants: members of `$admins` have every right but that to change the audit
//! stream, users, lists and checkpoints, and to delete what the server needs; users and their
//! password hashes are theirs alone; defaults that cannot be read give no right to others. Not
//! here: who the caller is, and what a reader of the whole store sees
//! ([`store_view`](super::store_view)).

use std::sync::{Arc, Mutex};

use gesta_store::{
    Acl, EventStore, ReadFrom, ReadStream, Revision, StoreError, StreamMetadata, StreamName,
};
use serde_json::{Map, Value, json};

use super::{
    audit::AUDIT,
    caller::{ADMINS, ALL, Caller},
    user::USER_PREFIX,
};

/// Begin of the streams of projections.
const PROJECTIONS_PREFIX: &str = "$projections-";
/// End of the names of their results, which the server does without.
const RESULT_SUFFIX: &str = "-result";
/// The stream of all changes of projections.
const PROJECTIONS: &str = "$projections-$all";
/// The stream of all consumer groups, and the begin of the streams of each.
const GROUPS: &str = "$persistentSubscriptionConfig";
const GROUPS_PREFIX: &str = "$persistentsubscription-";
/// End of the name of a group's stream of checkpoints.
const CHECKPOINT_SUFFIX: &str = "-checkpoint";
/// The stream whose last event has the default lists.
pub(super) const SETTINGS: &str = "$settings";
/// The list of all users.
const USERS: &str = "$users";

/// A right of an access control list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Right {
    Read,
    Append,
    Delete,
    ReadMetadata,
    SetMetadata,
}

impl Right {
    fn of(self, acl: &Acl) -> &[String] {
        match self {
            Self::Read => &acl.read,
            Self::Append => &acl.append,
            Self::Delete => &acl.delete,
            Self::ReadMetadata => &acl.read_metadata,
            Self::SetMetadata => &acl.set_metadata,
        }
    }

    /// Returns the right to the stream that a stream of metadata describes.
    const fn of_described(self) -> Self {
        match self {
            Self::Read | Self::ReadMetadata => Self::ReadMetadata,
            Self::Append | Self::Delete | Self::SetMetadata => Self::SetMetadata,
        }
    }

    const fn changes(self) -> bool {
        matches!(self, Self::Append | Self::Delete | Self::SetMetadata)
    }
}

/// Returns the reason why no call on streams has a right, whoever sends it.
pub(super) fn refusal_to_all(stream: &StreamName, right: Right) -> Option<&'static str> {
    let (mut stream, mut right) = (stream.clone(), right);
    while let Some(described) = stream.described_stream() {
        (stream, right) = (described, right.of_described());
    }
    let name = stream.as_str();
    if right.changes() && (name == USERS || name.starts_with(USER_PREFIX)) {
        return Some("users are changed by the calls of users alone");
    }
    let is_list = name == GROUPS || name == PROJECTIONS;
    let is_the_servers = is_list
        || name.starts_with(PROJECTIONS_PREFIX) && !name.ends_with(RESULT_SUFFIX)
        || name.starts_with(GROUPS_PREFIX) && name.ends_with(CHECKPOINT_SUFFIX);
    let is_needed = is_the_servers || name == SETTINGS || name == AUDIT;
    match right {
        // An event of somebody else's would be read as a list or a checkpoint.
        Right::Append if is_the_servers => Some("the server alone writes to the stream"),
        Right::Delete if is_needed => Some("the server needs the stream"),
        // Metadata can hide a stream as a deletion does.
        Right::SetMetadata if is_list => Some("the server needs all of the stream"),
        Right::Read | Right::Append | Right::Delete | Right::ReadMetadata | Right::SetMetadata => {
            None
        }
    }
}

/// The default lists.
#[derive(Clone, Debug)]
struct Defaults {
    users: Acl,
    system: Acl,
}

/// The rights to all streams of a store.
pub(super) struct StreamRights {
    store: Arc<dyn EventStore>,
    /// The defaults with the revision of `$settings` that they come from.
    defaults: Mutex<Option<(Revision, Arc<Defaults>)>>,
}

impl StreamRights {
    pub(super) fn new(store: Arc<dyn EventStore>) -> Self {
        Self { store, defaults: Mutex::new(None) }
    }

    /// Returns `true` if the caller, who is a user, has the right.
    pub(super) async fn has(
        &self,
        caller: &Caller,
        stream: &StreamName,
        right: Right,
    ) -> Result<bool, StoreError> {
        let (mut stream, mut right) = (stream.clone(), right);
        // A stream of metadata has a stream of metadata, too.
        while let Some(described) = stream.described_stream() {
            (stream, right) = (described, right.of_described());
        }
        if stream.as_str() == AUDIT {
            return Ok(caller.is_admin() && !right.changes());
        }
        if caller.is_admin() {
            return Ok(true);
        }
        if is_about_users(&stream) {
            return Ok(false);
        }
        let described = self.store.describe_stream(&stream).await?;
        let listed = described.metadata.acl.as_ref().map(|acl| right.of(acl));
        if let Some(names) = listed.filter(|names| !names.is_empty()) {
            return Ok(names.iter().any(|name| caller.is(name)));
        }
        let defaults = self.defaults().await?;
        let acl = if stream.is_system() { &defaults.system } else { &defaults.users };
        Ok(right.of(acl).iter().any(|name| caller.is(name)))
    }

    async fn defaults(&self) -> Result<Arc<Defaults>, StoreError> {
        let settings = StreamName::new(SETTINGS).expect("the name is valid");
        let Some(head) = self.store.describe_stream(&settings).await?.head else {
            return Ok(Arc::new(Defaults::built_in()));
        };
        if let Some((at, defaults)) = &*self.defaults.lock().expect("no holder panics")
            && *at == head
        {
            return Ok(Arc::clone(defaults));
        }
        let last = ReadStream::backwards(settings).starting(ReadFrom::End).limit(1);
        let last = self.store.read_stream(last).collect_events().await?;
        let defaults = match last.first() {
            Some(event) => Defaults::read(&event.data).unwrap_or_else(|| {
                tracing::warn!("the last event of `$settings` is unreadable; only $admins may act");
                Defaults::closed()
            }),
            None => Defaults::built_in(),
        };
        let defaults = Arc::new(defaults);
        *self.defaults.lock().expect("no holder panics") = Some((head, Arc::clone(&defaults)));
        Ok(defaults)
    }
}

impl Defaults {
    /// Every user has every right to the streams of users, and `$admins` those to the system's.
    fn built_in() -> Self {
        Self { users: everything_for(ALL), system: everything_for(ADMINS) }
    }

    fn closed() -> Self {
        Self { users: everything_for(ADMINS), system: everything_for(ADMINS) }
    }

    /// Reads `{"$userStreamAcl": …, "$systemStreamAcl": …}`. A right that is left out keeps its
    /// built-in default.
    fn read(json: &[u8]) -> Option<Self> {
        let settings: Map<String, Value> = serde_json::from_slice(json).ok()?;
        let built_in = Self::built_in();
        let list = |name, built_in: Acl| match settings.get(name) {
            Some(list) => Some(completed(acl_of(list)?, &built_in)),
            None => Some(built_in),
        };
        Some(Self {
            users: list("$userStreamAcl", built_in.users)?,
            system: list("$systemStreamAcl", built_in.system)?,
        })
    }
}

fn acl_of(list: &Value) -> Option<Acl> {
    let metadata = json!({ "$acl": list }).to_string();
    StreamMetadata::from_json(metadata.as_bytes()).ok()?.acl
}

fn completed(mut acl: Acl, built_in: &Acl) -> Acl {
    let parts = [
        (&mut acl.read, &built_in.read),
        (&mut acl.append, &built_in.append),
        (&mut acl.delete, &built_in.delete),
        (&mut acl.read_metadata, &built_in.read_metadata),
        (&mut acl.set_metadata, &built_in.set_metadata),
    ];
    for (names, built_in) in parts {
        if names.is_empty() {
            names.clone_from(built_in);
        }
    }
    acl
}

fn everything_for(name: &str) -> Acl {
    let list = json!({ "$r": name, "$w": name, "$d": name, "$mr": name, "$mw": name });
    acl_of(&list).expect("the list is valid")
}

/// Returns `true` for the stream of a user, and for streams of the system that are made for it.
fn is_about_users(stream: &StreamName) -> bool {
    stream.is_system() && stream.as_str().contains(USER_PREFIX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_change_the_rights_that_they_name() {
        let json = br#"{"$userStreamAcl":{"$w":["writers"]},"$systemStreamAcl":{"$r":"$all"}}"#;
        let defaults = Defaults::read(json).unwrap();
        assert_eq!(defaults.users.append, ["writers"]);
        assert_eq!(defaults.users.read, [ALL]);
        assert_eq!(defaults.system.read, [ALL]);
        assert_eq!(defaults.system.append, [ADMINS]);
    }

    #[test]
    fn nobody_changes_users_or_what_the_server_needs() {
        let refused =
            |name: &str, right| refusal_to_all(&StreamName::new(name).unwrap(), right).is_some();
        for name in ["$users", "$user-ann", "$$$user-ann", "$$$users"] {
            for right in [Right::Append, Right::Delete, Right::SetMetadata] {
                assert!(refused(name, right), "{name} {right:?}");
            }
            assert!(!refused(name, Right::Read), "{name}");
        }
        let needed = [
            GROUPS,
            PROJECTIONS,
            SETTINGS,
            AUDIT,
            "$projections-totals-checkpoint",
            "$persistentsubscription-order-1::mail-checkpoint",
        ];
        for name in needed {
            assert!(refused(name, Right::Delete), "{name}");
            let takes_events = [SETTINGS, AUDIT].contains(&name);
            assert_eq!(refused(name, Right::Append), !takes_events, "{name}");
        }
        assert!(refused("$$$projections-$all", Right::Append));
        for name in ["order-1", "users", "$projections-totals-result", "$$order-$users"] {
            assert!(!refused(name, Right::Delete) && !refused(name, Right::Append), "{name}");
        }
        assert!(!refused("$$$settings", Right::Append));
    }

    #[test]
    fn unreadable_settings_are_no_settings() {
        for json in ["", "[]", r#"{"$userStreamAcl":3}"#, r#"{"$userStreamAcl":{"$x":"ann"}}"#] {
            assert!(Defaults::read(json.as_bytes()).is_none(), "{json}");
        }
    }
}
