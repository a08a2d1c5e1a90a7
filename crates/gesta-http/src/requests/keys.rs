//! Idempotency keys, which make a retried request the same command.
//!
//! Owns: parsing `Idempotency-Key`, and deriving command ids from it. A key is scoped to its actor
//! and operation (method and route): two actors, or two operations, may use the same key.
//!
//! Invariant: keys of commands executed by earlier versions, which did not scope keys, still work
//! for the same actor and command.
//!
//! Not here: finding the earlier execution of a command id, which the pipeline does.

use axum::{
    extract::MatchedPath,
    http::{HeaderMap, request::Parts},
};
use gesta::{
    CommandId, EventId, EventMetadata, Gesta,
    store::{Capability, ReadAll, StoreError},
};
use uuid::Uuid;

use crate::{
    Problem,
    wire::headers::{self, IDEMPOTENCY_KEY},
};

/// The idempotency key of one request.
#[derive(Clone, Debug)]
pub(crate) struct Key {
    /// The header's value.
    raw: String,
    /// The first command id, made from the key, the actor and the operation.
    scoped: String,
    /// Name of the command that an earlier version executed under the unscoped key.
    earlier: Option<String>,
}

impl Key {
    /// Returns the key of a request, or `None` if it has none.
    ///
    /// # Errors
    /// A [`Problem`] if the header is malformed or the store cannot be read.
    pub(crate) async fn of(
        parts: &Parts,
        actor: &str,
        gesta: &Gesta,
    ) -> Result<Option<Self>, Problem> {
        // A quoted key may contain spaces, which `text` refuses.
        let Some(raw) = headers::text(&parts.headers, IDEMPOTENCY_KEY, NAME)
            .or_else(|problem| quoted_with_spaces(&parts.headers).ok_or(problem))?
        else {
            return Ok(None);
        };
        let key = unquoted(&raw)?;
        // The template and not the path: a key that is sent again with another id in the path is a
        // reuse (409) and not another command. Zero bytes separate the parts, because no header
        // value has one.
        let route = parts.extensions.get::<MatchedPath>().map_or("", MatchedPath::as_str);
        let scoped = scoped(&key, &format!("{} {route}\0{actor}\0{key}", parts.method));
        // Before keys were scoped, the raw key was the command id.
        let earlier = earlier(gesta, &raw, actor).await?;
        Ok(Some(Self { raw, scoped, earlier }))
    }

    /// Returns the id of the request's `ordinal`-th command, from 0.
    pub(crate) fn command_id(&self, command: &str, ordinal: u64) -> String {
        match ordinal {
            0 if self.earlier.as_deref() == Some(command) => self.raw.clone(),
            0 => self.scoped.clone(),
            later => format!("{}#{later}", self.scoped),
        }
    }

    /// Returns the id of a new resource, the same for every retry.
    pub(crate) fn new_id(&self) -> Uuid {
        let cause = if self.earlier.is_some() { &self.raw } else { &self.scoped };
        // Events of a command get ids with ordinals from 0, which never reach this one.
        EventId::derived_from(cause, u64::MAX).as_uuid()
    }

    /// Returns the causation id of the request's events.
    pub(crate) fn as_str(&self) -> &str {
        &self.raw
    }
}

const NAME: &str = "Idempotency-Key";

/// Removes double quotes: the IETF draft makes a key a structured-field string (RFC 8941), but most
/// clients send it bare. Both forms are the same key.
fn unquoted(raw: &str) -> Result<String, Problem> {
    if !raw.starts_with('"') {
        return Ok(raw.to_owned());
    }
    let inside = raw.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    let inside = inside.filter(|_| raw.len() > 2).ok_or_else(bad_string)?;
    let mut key = String::with_capacity(inside.len());
    let mut characters = inside.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' => match characters.next() {
                Some(escaped @ ('"' | '\\')) => key.push(escaped),
                Some(_) | None => return Err(bad_string()),
            },
            '"' => return Err(bad_string()),
            plain => key.push(plain),
        }
    }
    Ok(key)
}

fn bad_string() -> Problem {
    let reason = "starts with a double quote but is not a quoted string (RFC 8941); send it with a \
                  quote at both ends, or with none";
    Problem::invalid(NAME, reason)
}

/// Accepts a quoted key with spaces, which [`headers::text`] refuses.
fn quoted_with_spaces(headers: &HeaderMap) -> Option<Option<String>> {
    let mut values = headers.get_all(IDEMPOTENCY_KEY).iter();
    let text = values.next()?.to_str().ok()?;
    let fits =
        text.len() <= CommandId::BYTES_MAX && text.bytes().all(|b| (b' '..=b'~').contains(&b));
    (fits && text.starts_with('"') && values.next().is_none()).then(|| Some(text.to_owned()))
}

/// Returns the key followed by a digest of its scope, so that people can find it in the events; the
/// digest alone if that would be too long.
fn scoped(key: &str, scope: &str) -> String {
    // `#` and the 20 digits of the largest ordinal.
    const ORDINAL_BYTES_MAX: usize = 21;
    let digest = EventId::derived_from(scope, 0).as_uuid().simple().to_string();
    let readable = format!("{key}:{digest}");
    let fits = readable.len() + ORDINAL_BYTES_MAX <= CommandId::BYTES_MAX;
    if fits { readable } else { digest }
}

/// Returns the name of this actor's command that was executed under the unscoped key.
async fn earlier(gesta: &Gesta, raw: &str, actor: &str) -> Result<Option<String>, StoreError> {
    let Ok(id) = CommandId::new(raw) else { return Ok(None) };
    let store = gesta.store();
    // Without a lookup by event id an earlier command cannot be found; the key is then a new one.
    if !store.capabilities().has(Capability::FindAppend) {
        return Ok(None);
    }
    // The key of another actor's command must not be recognized: compare what its event recorded.
    let Some(appended) = store.find_append(id.unscoped_event_id(0)).await? else { return Ok(None) };
    let last = ReadAll::backwards().from(appended.position).limit(1);
    let events = store.read_all(last).collect_events().await?;
    let Some(event) = events.first() else { return Ok(None) };
    let metadata = EventMetadata::from_json(&event.metadata);
    let is_its_own =
        metadata.command_id.as_ref() == Some(&id) && metadata.actor.as_deref() == Some(actor);
    Ok(metadata.command.filter(|_| is_its_own))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quoted_key_is_the_key_inside_the_quotes() {
        for (raw, key) in [
            ("k1", "k1"),
            ("\"k1\"", "k1"),
            (r#""a\"b""#, "a\"b"),
            ("a\"b", "a\"b"),
            ("'k'", "'k'"),
        ] {
            assert_eq!(unquoted(raw).unwrap(), key, "{raw}");
        }
        for odd in ["\"", "\"\"", "\"k", r#""a"b""#, r#""a\""#, r#""a\b""#] {
            assert!(unquoted(odd).is_err(), "{odd}");
        }
    }

    #[test]
    fn a_command_id_never_is_too_long() {
        for length in [1, 100, 255] {
            let key = "k".repeat(length);
            let scoped = scoped(&key, "scope");
            assert!(CommandId::new(format!("{scoped}#{}", u64::MAX)).is_ok(), "{length}");
        }
        assert!(scoped("k1", "scope").starts_with("k1:"));
    }
}
