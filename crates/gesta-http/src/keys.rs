//! Idempotency keys: what makes a request that comes again the same command.
//!
//! Owns: the reading of `Idempotency-Key`, and the command ids made of one. A key counts within its
//! actor and its operation (method and route): two actors, or two operations, may use the same key.
//! Always holds: a key whose command was executed by a version that did not tell actors and
//! operations apart is still known, for its own actor and command. Not here: finding the first time
//! of a command id; the pipeline does.

use axum::{
    extract::MatchedPath,
    http::{HeaderMap, request::Parts},
};
use gesta::{
    CommandId, EventId, EventMetadata, Gesta,
    store::{AppendLookup, ReadAll, StoreError},
};
use uuid::Uuid;

use crate::{
    Problem,
    headers::{self, IDEMPOTENCY_KEY},
};

/// The key of one request.
#[derive(Clone, Debug)]
pub(crate) struct Key {
    /// As it stands in the header.
    raw: String,
    /// The command id that it makes within its actor and operation.
    scoped: String,
    /// The name of the command that was executed under the raw key, by an earlier version.
    earlier: Option<String>,
}

impl Key {
    /// The key of a request, if it has one.
    ///
    /// # Errors
    /// The [`Problem`] that the header makes no sense, or that the store could not be asked.
    pub(crate) async fn of(
        parts: &Parts,
        actor: &str,
        gesta: &Gesta,
    ) -> Result<Option<Self>, Problem> {
        let Some(raw) = headers::text(&parts.headers, IDEMPOTENCY_KEY, NAME)
            .or_else(|problem| quoted_with_spaces(&parts.headers).ok_or(problem))?
        else {
            return Ok(None);
        };
        let key = unquoted(&raw)?;
        let route = parts.extensions.get::<MatchedPath>().map_or("", MatchedPath::as_str);
        let scoped = scoped(&key, &format!("{} {route}\0{actor}\0{key}", parts.method));
        let earlier = earlier(gesta, &raw, actor).await?;
        Ok(Some(Self { raw, scoped, earlier }))
    }

    /// The command id of the `ordinal`-th command that the request gives.
    pub(crate) fn command_id(&self, command: &str, ordinal: u64) -> String {
        match ordinal {
            0 if self.earlier.as_deref() == Some(command) => self.raw.clone(),
            0 => self.scoped.clone(),
            later => format!("{}#{later}", self.scoped),
        }
    }

    /// The id of something new, alike each time that the request comes.
    pub(crate) fn new_id(&self) -> Uuid {
        let cause = if self.earlier.is_some() { &self.raw } else { &self.scoped };
        EventId::derived_from(cause, u64::MAX).as_uuid()
    }

    /// The key as the cause of what the request brings about.
    pub(crate) fn as_str(&self) -> &str {
        &self.raw
    }
}

const NAME: &str = "Idempotency-Key";

/// The IETF's draft makes a key a string of structured fields (RFC 8941), in double quotes; most
/// clients send it bare. Both are the same key.
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
    Problem::invalid(NAME, "begins with a quote and is no string in double quotes (RFC 8941)")
}

/// Within quotes, blanks may stand.
fn quoted_with_spaces(headers: &HeaderMap) -> Option<Option<String>> {
    let mut values = headers.get_all(IDEMPOTENCY_KEY).iter();
    let text = values.next()?.to_str().ok()?;
    let fits =
        text.len() <= CommandId::BYTES_MAX && text.bytes().all(|b| (b' '..=b'~').contains(&b));
    (fits && text.starts_with('"') && values.next().is_none()).then(|| Some(text.to_owned()))
}

/// The key with a digest of its scope behind it, so that people find it in the events; the digest
/// alone, where that would be too long.
fn scoped(key: &str, scope: &str) -> String {
    // Room for the ordinal of a request's later commands.
    const ORDINAL_BYTES_MAX: usize = 21;
    let digest = EventId::derived_from(scope, 0).as_uuid().simple().to_string();
    let readable = format!("{key}:{digest}");
    let fits = readable.len() + ORDINAL_BYTES_MAX <= CommandId::BYTES_MAX;
    if fits { readable } else { digest }
}

/// The command of this actor that was executed under the raw key itself.
async fn earlier(gesta: &Gesta, raw: &str, actor: &str) -> Result<Option<String>, StoreError> {
    let Ok(id) = CommandId::new(raw) else { return Ok(None) };
    let store = gesta.store();
    if store.capabilities().find_append == AppendLookup::Unsupported {
        return Ok(None);
    }
    let Some(appended) = store.find_append(id.event_id(0)).await? else { return Ok(None) };
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
