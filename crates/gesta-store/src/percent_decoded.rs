//! Texts with escaped bytes, as parts of URLs and header values have them.

/// Replaces each `%XX` by its byte, as in the parts of a URL. Returns `None` if a `%` has no two
/// digits after it, or if the bytes are no UTF-8.
///
/// A `+` stays, unlike in the parameters of a form.
///
/// ```
/// use gesta_store::percent_decoded;
///
/// assert_eq!(percent_decoded("p%40ss%3aw%C3%B6rd+").as_deref(), Some("p@ss:wörd+"));
/// assert_eq!(percent_decoded("100%"), None);
/// assert_eq!(percent_decoded("%ff"), None);
/// ```
#[must_use]
pub fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || char::from(rest.next()?).to_digit(16);
        let (high, low) = (digit()?, digit()?);
        bytes.push(u8::try_from(high * 16 + low).ok()?);
    }
    String::from_utf8(bytes).ok()
}
