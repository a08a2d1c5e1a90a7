//! The right to a stream: its access control list, or the default of its kind.
//!
//! Owns: [`Right`], the defaults with their change by the stream `$settings`, and the streams that
//! no list opens. Invariants: members of `$admins` have every right but that to change the audit
//! stream; users and their password hashes are theirs alone; defaults that cannot be read give no
//! right to others. Not here: who the caller is.

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
/// The stream whose last event has the default lists.
pub(super) const SETTINGS: &str = "$settings";

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

    /// Returns `true` for streams that no list of the whole store opens: those of users, the audit
    /// stream, and those of projections, whose states may hold events of both.
    pub(super) fn is_closed(stream: &StreamName) -> bool {
        let mut stream = stream.clone();
        while let Some(described) = stream.described_stream() {
            stream = described;
        }
        let is_of_projections = stream.as_str().starts_with(PROJECTIONS_PREFIX);
        stream.as_str() == AUDIT || is_of_projections || is_about_users(&stream)
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
    fn users_the_audit_stream_and_projections_are_closed_with_their_metadata() {
        let is_closed = |name| StreamRights::is_closed(&StreamName::new(name).unwrap());
        for name in ["$user-ann", "$$$user-ann", AUDIT, "$projections-totals-checkpoint"] {
            assert!(is_closed(name), "{name}");
        }
        for name in ["order-1", "order-$user-ann", "$$order-1"] {
            assert!(!is_closed(name), "{name}");
        }
    }

    #[test]
    fn unreadable_settings_are_no_settings() {
        for json in ["", "[]", r#"{"$userStreamAcl":3}"#, r#"{"$userStreamAcl":{"$x":"ann"}}"#] {
            assert!(Defaults::read(json.as_bytes()).is_none(), "{json}");
        }
    }
}
