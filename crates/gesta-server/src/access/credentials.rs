//! The header `authorization`.

use axum::http::{HeaderMap, header};
use base64::{Engine as _, prelude::BASE64_STANDARD};

use super::{passwords::PASSWORD_BYTES_MAX, user::refusal_of_login};

/// Credentials that a request has with it.
#[derive(PartialEq, Eq)]
pub(super) enum Credentials {
    Basic {
        login: String,
        password: String,
    },
    Bearer(String),
    /// A header that is neither, or has a login or a password that no user can have.
    Unreadable,
}

impl Credentials {
    /// Reads the header, or returns `None` if there is none.
    pub(super) fn of(headers: &HeaderMap) -> Option<Self> {
        let mut values = headers.get_all(header::AUTHORIZATION).iter();
        let value = values.next()?;
        let read = match (value.to_str(), values.next()) {
            // Two headers could be read differently by a proxy.
            (Ok(text), None) => Self::read(text),
            _ => None,
        };
        Some(read.unwrap_or(Self::Unreadable))
    }

    fn read(text: &str) -> Option<Self> {
        let (scheme, rest) = text.split_once(' ')?;
        let rest = rest.trim();
        if scheme.eq_ignore_ascii_case("bearer") {
            return Some(Self::Bearer(rest.to_owned()));
        }
        if !scheme.eq_ignore_ascii_case("basic") {
            return None;
        }
        let pair = String::from_utf8(BASE64_STANDARD.decode(rest).ok()?).ok()?;
        let (login, password) = pair.split_once(':')?;
        let is_possible = refusal_of_login(login).is_none() && password.len() <= PASSWORD_BYTES_MAX;
        is_possible.then(|| Self::Basic { login: login.to_owned(), password: password.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(values: &[&str]) -> Option<Credentials> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(header::AUTHORIZATION, value.parse().unwrap());
        }
        Credentials::of(&headers)
    }

    fn basic(pair: &str) -> String {
        format!("Basic {}", BASE64_STANDARD.encode(pair))
    }

    #[test]
    fn both_schemes_are_read_in_any_case() {
        let (login, password) = ("ann".to_owned(), "a:b".to_owned());
        assert!(read(&[&basic("ann:a:b")]) == Some(Credentials::Basic { login, password }));
        assert!(read(&["bearer a.b.c"]) == Some(Credentials::Bearer("a.b.c".to_owned())));
        assert!(read(&[]).is_none());
    }

    #[test]
    fn other_headers_are_unreadable_and_not_absent() {
        let twice = basic("ann:changeit");
        for values in [
            vec!["Negotiate abc"],
            vec!["Basic"],
            vec!["Basic ???"],
            vec![basic("ann").as_str()],
            vec![basic("$admins:changeit").as_str()],
            vec![basic(&format!("ann:{}", "x".repeat(1_025))).as_str()],
            vec![twice.as_str(), twice.as_str()],
        ] {
            assert!(read(&values) == Some(Credentials::Unreadable), "{values:?}");
        }
    }
}
