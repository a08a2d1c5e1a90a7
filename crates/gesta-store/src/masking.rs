//! Values and texts for people, without the passwords of URLs.
//!
//! Owns: the one rule by which programs find a password in a value that may be a URL, also one
//! with a typo. Invariant: a doubtful part is left out, so that more may be hidden than a password.
//! Not here: the URLs of each store, which print themselves without their password.

use std::borrow::Cow;

/// The text in place of a password.
const MASK: &str = "…";
/// The parameter of a URL that has a password.
const PARAMETER: &str = "password=";
/// The password and the port of the form of a URL, which help and errors show.
const FORM: &str = ":PASSWORD@";
const FORM_PORT: &str = "PORT";

/// Returns a value for messages and logs. If it may be a URL with a password, mistyped or not, the
/// part between the `:` of the user name and the last `@` is left out.
///
/// ```
/// use gesta_store::without_password;
///
/// assert_eq!(without_password("postgres://ann:secret@db/shop"), "postgres://ann:…@db/shop");
/// assert_eq!(without_password("postgres//ann:se:cr@et@db/shop"), "postgres//ann:…@db/shop");
/// assert_eq!(without_password("gesta:./data"), "gesta:./data");
/// ```
#[must_use]
pub fn without_password(value: &str) -> Cow<'_, str> {
    let without_login = match value.rsplit_once('@') {
        Some((login, place)) => without_login(login).map(|kept| format!("{kept}{MASK}@{place}")),
        None => unended_login(value).map(|kept| format!("{kept}{MASK}")),
    };
    let masked = without_login.map_or(Cow::Borrowed(value), Cow::Owned);
    match masked.to_ascii_lowercase().find(PARAMETER) {
        Some(begin) => {
            let kept = masked.get(..begin + PARAMETER.len()).unwrap_or_default();
            Cow::Owned(format!("{kept}{MASK}"))
        }
        None => masked,
    }
}

/// Returns a text in which the given values, such as the arguments of a program, stand without
/// their passwords; see [`without_password`]. Words that may be URLs are masked, too.
///
/// ```
/// use gesta_store::without_passwords;
///
/// let value = "postgres:ann:se'cret@db";
/// let text = format!("unexpected argument '{value}'");
/// assert_eq!(without_passwords(&text, [value]), "unexpected argument 'postgres:…@db'");
/// ```
#[must_use]
pub fn without_passwords(text: &str, values: impl IntoIterator<Item = impl AsRef<str>>) -> String {
    let mut masks: Vec<_> = values.into_iter().flat_map(|value| masks_of(value.as_ref())).collect();
    // A value may be a part of another one.
    masks.sort_by_key(|(given, _)| std::cmp::Reverse(given.len()));
    let mut masked = text.to_owned();
    for (given, shown) in masks {
        masked = masked.replace(&given, &shown);
    }
    masked.split_inclusive(char::is_whitespace).fold(String::new(), |mut text, part| {
        let word = part.trim_end();
        text.push_str(&masked_word(word));
        text.push_str(part.get(word.len()..).unwrap_or_default());
        text
    })
}

/// Returns the forms in which a text may repeat a value, each with its mask.
fn masks_of(value: &str) -> Vec<(String, String)> {
    let mut masks = Vec::new();
    let mut add = |given: &str| {
        let shown = without_password(given);
        if shown != given {
            masks.push((given.to_owned(), shown.clone().into_owned()));
            // Paths and texts in quotes have their escapes.
            masks.push((escaped(given), escaped(&shown)));
        }
    };
    add(value);
    if let Some((name, rest)) = value.split_once('=') {
        add(name);
        match rest.split_once('&').filter(|_| name.contains('?') && !rest.contains('@')) {
            // A URL as the parameter of another one ends before the next parameter.
            Some((url, others)) if without_password(url) == url => add(others),
            _ => add(rest),
        }
        // The parser of arguments repeats a name that it does not know, up to the first `=`.
        if let Some(kept) = rest.contains('@').then(|| without_login(name)).flatten() {
            masks.push((name.to_owned(), format!("{kept}{MASK}")));
        }
    }
    masks
}

fn escaped(text: &str) -> String {
    let quoted = format!("{text:?}");
    quoted.trim_matches('"').to_owned()
}

fn masked_word(word: &str) -> Cow<'_, str> {
    // Tags and ids such as `customer:ann@example` are none.
    let may_be_url = ["//", ":/", PARAMETER].iter().any(|part| word.contains(part));
    let is_form = word.contains(FORM);
    if may_be_url && !is_form { without_password(word) } else { Cow::Borrowed(word) }
}

/// Returns the part of a login up to the `:` after which the password may begin.
fn without_login(login: &str) -> Option<&str> {
    let colon = login.find(':')?;
    let (before, after) = login.split_at(colon + 1);
    let Some(user) = after.strip_prefix("//") else { return Some(before) };
    // The first `:` was that of the scheme.
    let colon = user.find(':')?;
    login.get(..before.len() + 2 + colon + 1)
}

/// Returns the part of a URL without an `@` up to a `:` that no port follows.
fn unended_login(url: &str) -> Option<&str> {
    let (scheme, rest) = url.split_once("//")?;
    let servers = rest.split(['/', '?']).next().unwrap_or_default();
    let mut end = scheme.len() + 2;
    for server in servers.split(',') {
        let address = server.rfind(']').map_or(0, |bracket| bracket + 1);
        if let Some(colon) = server.get(address..).and_then(|after| after.find(':')) {
            let port = server.get(address + colon + 1..).unwrap_or_default();
            // A text may have a quote or a full stop after the URL.
            let port = port.trim_end_matches(|last: char| !last.is_alphanumeric());
            if port.parse::<u16>().is_err() && port != FORM_PORT {
                return url.get(..end + address + colon + 1);
            }
        }
        end += server.len() + 1;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_that_may_be_a_url_is_shown_without_its_password() {
        for (value, shown) in [
            ("postgres://ann:PW@h/d", "postgres://ann:…@h/d"),
            ("postgres://ann:P@W:PW@h/d", "postgres://ann:…@h/d"),
            ("postgres://ann:P/W?PW@h/d", "postgres://ann:…@h/d"),
            ("postgres:ann:PW@h/d", "postgres:…@h/d"),
            ("postgres//ann:PW@h/d", "postgres//ann:…@h/d"),
            ("postgres:/ann:PW@h/d", "postgres:…@h/d"),
            ("//ann:PW@h", "//ann:…@h"),
            ("ann:PW@h", "ann:…@h"),
            ("sqlite:postgres://ann:PW@h/d", "sqlite:…@h/d"),
            ("--store=postgres://ann:P=W@h/d", "--store=postgres://ann:…@h/d"),
            ("postgres://ann@h/d?password=PW&schema=s", "postgres://ann@h/d?password=…"),
            ("postgres://ann@h/d?Password=P@W", "postgres://ann@h/d?Password=…"),
            ("host=h user=ann password=PW", "host=h user=ann password=…"),
            ("postgres://ann:PW", "postgres://ann:…"),
            ("postgres://ann:PW/d", "postgres://ann:…"),
        ] {
            assert_eq!(without_password(value), shown, "{value}");
            assert_eq!(without_password(shown), shown, "{value}, masked again");
        }
        for plain in [
            "postgres://ann@h:5432/d",
            "postgres://h:5432,i:5433/d",
            "postgres://[::1]:5432/d",
            "gesta:./data",
            "table.csv",
            "",
        ] {
            assert_eq!(without_password(plain), plain);
        }
    }

    #[test]
    fn a_text_repeats_values_without_their_passwords() {
        for value in [
            "postgres://ann:se'cret PW@h/d?schem=x",
            "postgres:ann:\"PW\\@h/d",
            "ann:\nPW@h",
            "--postgres://ann:P=PW@h",
        ] {
            let parts = [value.to_owned(), format!("{value:?}")];
            let name = value.split_once('=').map(|(name, _)| format!("'{name}'"));
            for text in parts.into_iter().chain(name) {
                let masked = without_passwords(&format!("a value: '{text}' is wrong"), [value]);
                assert!(!masked.contains("PW") && !masked.contains("ann:P"), "{masked}");
                assert!(masked.starts_with("a value: '"), "{masked}");
                assert!(masked.ends_with("is wrong"), "{masked}");
            }
        }
        let none: [&str; 0] = [];
        for (text, shown) in [
            ("cannot read postgres://ann:PW@h/d, now", "cannot read postgres://ann:…@h/d, now"),
            ("no directory postgres:/ann:PW@h/d", "no directory postgres:…@h/d"),
            ("unknown parameter `password=PW` there", "unknown parameter `password=… there"),
            ("a scheme postgres//ann: is wrong", "a scheme postgres//ann:… is wrong"),
        ] {
            assert_eq!(without_passwords(text, none), shown);
        }
        let url = "dynamodb://eu/shop?endpoint=http://127.0.0.1:8000&emulator=yes";
        let text = format!("no store at '{url}'");
        assert_eq!(without_passwords(&text, [url]), text);
        let url = "dynamodb://eu/shop?endpoint=http://ann:PW&emulator=yes";
        let masked = without_passwords(&format!("no store at '{url}'"), [url]);
        assert!(!masked.contains("PW"), "{masked}");
        for plain in [
            "expected redis://:PASSWORD@HOST:PORT?prefix=NAME",
            "expected postgres://USER:PASSWORD@HOST:PORT/DATABASE?schema=NAME\n  or 'gesta:DIR'",
            "listening on 'http://127.0.0.1:3000', stop with Ctrl-C",
            "no event has the tag customer:ann@example",
        ] {
            assert_eq!(without_passwords(plain, none), plain);
        }
    }
}
