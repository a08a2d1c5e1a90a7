//! The trace context of a request (W3C Trace Context, level 2), which its events keep.
//!
//! Invariants: a header that the standard calls invalid is ignored, and never refused; without a
//! valid `traceparent` there is no `tracestate`.
//!
//! Not here: the span of the request ([`trace`](super::trace)).

use std::collections::BTreeSet;

use axum::http::{HeaderMap, HeaderName};

/// Key of the metadata entry with the trace and its parent; the name of the header.
pub(crate) const TRACE_PARENT: &str = "traceparent";
/// Key of the metadata entry with what tracing systems add; the name of the header.
pub(crate) const TRACE_STATE: &str = "tracestate";

/// Length of a `traceparent` of version 00.
const PARENT_CHARS: usize = 55;
/// The flags that the standard defines: sampled, and random trace id.
const KNOWN_FLAGS: u8 = 0b11;
/// Maximum number of members of a `tracestate`. A longer list is invalid.
const MEMBERS_MAX: usize = 32;
/// Length of a `tracestate` beyond which members are left out; every system must pass on this much.
const STATE_CHARS_MAX: usize = 512;
/// Length of a member beyond which it is left out first.
const LONG_MEMBER_CHARS: usize = 128;

/// A valid trace context.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TraceContext {
    pub(crate) parent: String,
    pub(crate) state: Option<String>,
}

impl TraceContext {
    /// Reads the headers of a request; `None` without a valid `traceparent`.
    pub(crate) fn of(headers: &HeaderMap) -> Option<Self> {
        let mut parents = headers.get_all(HeaderName::from_static(TRACE_PARENT)).iter();
        let (parent, further) = (parents.next()?, parents.next());
        if further.is_some() {
            return None;
        }
        let parent = parent_of(parent.to_str().ok()?.trim_matches([' ', '\t']))?;
        Some(Self { parent, state: state_of(headers) })
    }
}

/// Returns a `traceparent` in version 00, without flags that the version does not know.
fn parent_of(text: &str) -> Option<String> {
    let mut parts = text.splitn(5, '-');
    let mut hex = |digits: usize| {
        let part = parts.next().filter(|part| part.len() == digits)?;
        part.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')).then_some(part)
    };
    let (version, trace, span, flags) = (hex(2)?, hex(32)?, hex(16)?, hex(2)?);
    // A later version may have further fields, but not this one.
    let is_whole = version != "00" || text.len() == PARENT_CHARS;
    let is_zero = |id: &str| id.bytes().all(|byte| byte == b'0');
    if version == "ff" || !is_whole || is_zero(trace) || is_zero(span) {
        return None;
    }
    let flags = u8::from_str_radix(flags, 16).ok()? & KNOWN_FLAGS;
    Some(format!("00-{trace}-{span}-{flags:02x}"))
}

/// Returns the list of all `tracestate` headers; `None` if it is empty or invalid.
fn state_of(headers: &HeaderMap) -> Option<String> {
    let mut members = Vec::new();
    let mut keys = BTreeSet::new();
    for header in headers.get_all(HeaderName::from_static(TRACE_STATE)) {
        for member in header.to_str().ok()?.split(',') {
            let member = member.trim_matches([' ', '\t']);
            // Empty members are allowed and mean nothing.
            if member.is_empty() {
                continue;
            }
            let (key, value) = member.split_once('=')?;
            if !is_key(key) || !is_value(value) || members.len() == MEMBERS_MAX {
                return None;
            }
            // The leftmost member of a key is the newest.
            if keys.insert(key) {
                members.push(member);
            }
        }
    }
    shorten(&mut members);
    (!members.is_empty()).then(|| members.join(","))
}

/// Leaves out members until the list is short enough: long ones first, then the oldest.
fn shorten(members: &mut Vec<&str>) {
    let chars = |members: &[&str]| {
        members.iter().map(|member| member.len() + 1).sum::<usize>().saturating_sub(1)
    };
    while chars(members) > STATE_CHARS_MAX {
        let long = members.iter().rposition(|member| member.len() > LONG_MEMBER_CHARS);
        members.remove(long.unwrap_or(members.len() - 1));
    }
}

fn is_key(key: &str) -> bool {
    let of_chars = |text: &str| {
        text.bytes().all(|byte| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-*/".contains(&byte)
        })
    };
    let begins_with_letter =
        |text: &str| text.starts_with(|first: char| first.is_ascii_lowercase());
    match key.split_once('@') {
        None => key.len() <= 256 && begins_with_letter(key) && of_chars(key),
        Some((tenant, system)) => {
            // A tenant may begin with a digit.
            let begins = tenant.starts_with(|first: char| first.is_ascii_alphanumeric());
            let is_tenant = tenant.len() <= 241 && begins && of_chars(tenant);
            is_tenant && system.len() <= 14 && begins_with_letter(system) && of_chars(system)
        }
    }
}

/// Returns whether a value has 1 to 256 printable characters other than the separators. Spaces at
/// its end were taken for those around the member.
fn is_value(value: &str) -> bool {
    let is_allowed = |byte: u8| (b' '..=b'~').contains(&byte) && byte != b'=';
    (1..=256).contains(&value.len()) && value.bytes().all(is_allowed)
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn context(parents: &[&str], states: &[&str]) -> Option<TraceContext> {
        let mut headers = HeaderMap::new();
        for parent in parents {
            headers.append(TRACE_PARENT, HeaderValue::from_bytes(parent.as_bytes()).unwrap());
        }
        for state in states {
            headers.append(TRACE_STATE, HeaderValue::from_bytes(state.as_bytes()).unwrap());
        }
        TraceContext::of(&headers)
    }

    fn state(states: &[&str]) -> Option<String> {
        context(&[PARENT], states).unwrap().state
    }

    #[test]
    fn a_parent_of_the_standards_form_is_kept() {
        assert_eq!(context(&[PARENT], &[]).unwrap().parent, PARENT);
        assert_eq!(context(&[&format!(" {PARENT}\t")], &[]).unwrap().parent, PARENT);
    }

    #[test]
    fn a_parent_of_a_later_version_is_kept_as_far_as_this_one_knows_it() {
        let later = PARENT.replacen("00-", "cc-", 1);
        assert_eq!(context(&[&later], &[]).unwrap().parent, PARENT);
        assert_eq!(context(&[&format!("{later}-more-of-it")], &[]).unwrap().parent, PARENT);
        let flags = PARENT.replace("-01", "-ff");
        assert_eq!(context(&[&flags], &[]).unwrap().parent, PARENT.replace("-01", "-03"));
    }

    #[test]
    fn a_parent_of_another_form_is_ignored_with_its_state() {
        let odd = [
            "".to_owned(),
            "00".to_owned(),
            PARENT.to_uppercase(),
            PARENT.replacen("00-", "ff-", 1),
            PARENT.replacen("00-", "0-", 1),
            format!("{PARENT}-more"),
            format!("{PARENT}0"),
            format!("{}0", PARENT.replacen("00-", "cc-", 1)),
            PARENT.replace("4bf92f3577b34da6a3ce929d0e0e4736", &"0".repeat(32)),
            PARENT.replace("00f067aa0ba902b7", &"0".repeat(16)),
            PARENT.replace("4bf9", "4bg9"),
            PARENT.replace('-', "_"),
            PARENT.replace("4bf9", "é"),
            format!("{PARENT},{PARENT}"),
        ];
        for parent in odd {
            assert_eq!(context(&[&parent], &["a=1"]), None, "{parent:?}");
        }
        assert_eq!(context(&[PARENT, PARENT], &[]), None, "sent twice");
        assert_eq!(context(&[], &["a=1"]), None);
    }

    #[test]
    fn states_of_several_headers_are_one_list() {
        assert_eq!(state(&["a=1,b=2", "c=3"]).unwrap(), "a=1,b=2,c=3");
        assert_eq!(state(&[" a=1 ,\t, b=2,", "", "c= 3"]).unwrap(), "a=1,b=2,c= 3");
        assert_eq!(state(&["a=1,b=2", "a=3"]).unwrap(), "a=1,b=2", "the newest of a key");
        assert_eq!(state(&["0tenant@system=1,a_-*/9=x"]).unwrap(), "0tenant@system=1,a_-*/9=x");
        assert_eq!(state(&[]), None);
        assert_eq!(state(&[", ,"]), None);
    }

    #[test]
    fn a_state_of_another_form_is_ignored_and_the_parent_is_kept() {
        let (key, value) = ("k".repeat(256), "v".repeat(256));
        assert_eq!(state(&[&format!("{key}={}", "v".repeat(200))]).unwrap().len(), 457);
        for odd in [
            "a", "=1", "a=", "A=1", "1a=1", "a b=1", "a=b=c", "a@=1", "@a=1", "a@1b=1", "a@b@c=1",
            "a=é",
        ] {
            assert_eq!(state(&["b=2", odd]), None, "{odd:?}");
        }
        assert_eq!(state(&[&format!("k{key}=1")]), None);
        assert_eq!(state(&[&format!("a=v{value}")]), None);
        let many: Vec<String> = (0..33).map(|n| format!("a{n}=1")).collect();
        assert_eq!(state(&[&many.join(",")]), None);
        assert_eq!(state(&[&many[1..].join(",")]).unwrap().split(',').count(), 32);
    }

    #[test]
    fn a_long_state_loses_its_long_members_and_then_its_oldest() {
        let (long, short) = (format!("long={}", "x".repeat(200)), "y".repeat(90));
        let members: Vec<String> = (0..6).map(|n| format!("a{n}={short}")).collect();
        let kept = state(&[&long, &members.join(",")]).unwrap();
        assert_eq!(kept, members[..5].join(","));
        assert!(kept.len() <= STATE_CHARS_MAX);
    }
}
