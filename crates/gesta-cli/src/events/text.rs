//! Events as lines of text.
//!
//! Invariant: stored bytes cannot emit terminal control characters or break the line.

use std::fmt;

use gesta_store::RecordedEvent;

use super::{json, time::moment};

/// Limit on the bytes of binary data that are shown.
const HEX_BYTES_MAX: usize = 24;

/// `position  time  stream@revision  type  tags  data`.
pub(super) struct TextLine<'a>(pub(super) &'a RecordedEvent);

impl fmt::Display for TextLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let RecordedEvent { stream, revision, position, event_type, tags, .. } = self.0;
        let (stream, event_type) = (Printable(stream.as_str()), Printable(event_type.as_str()));
        let moment = moment(self.0.recorded_at);
        write!(f, "{:>6}  {moment}  {stream}@{revision}  {event_type}", position.number())?;
        for tag in tags {
            write!(f, "  {}", Printable(tag.as_str()))?;
        }
        f.write_str("  ")?;
        write_data(self.0, f)
    }
}

fn write_data(event: &RecordedEvent, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    if json::is_json(&event.content_type)
        && let Some(json) = json::one_line(&event.data)
    {
        return write!(f, "{}", Printable(json.get()));
    }
    // The content type is only a label, so the bytes decide between text and hexadecimal.
    match std::str::from_utf8(&event.data) {
        Ok(text) => write!(f, "{}", Printable(text)),
        Err(_) => write_hex(&event.data, f),
    }
}

fn write_hex(bytes: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    f.write_str("0x")?;
    for byte in bytes.iter().take(HEX_BYTES_MAX) {
        write!(f, "{byte:02x}")?;
    }
    if bytes.len() > HEX_BYTES_MAX { write!(f, "… ({} bytes)", bytes.len()) } else { Ok(()) }
}

/// Text with control characters escaped.
pub(crate) struct Printable<'a>(pub(crate) &'a str);

impl fmt::Display for Printable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Each part ends with at most one control character. Escape sequences of a terminal start
        // with one, so the text after it is harmless.
        for part in self.0.split_inclusive(char::is_control) {
            match part.chars().next_back().filter(|last| last.is_control()) {
                Some(control) => {
                    f.write_str(part.strip_suffix(control).unwrap_or(part))?;
                    write!(f, "{}", control.escape_default())?;
                }
                None => f.write_str(part)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_control_character_is_seen_and_does_nothing() {
        let text = "a\nb\u{1b}[2J\u{9b}é";
        assert_eq!(Printable(text).to_string(), "a\\nb\\u{1b}[2J\\u{9b}é");
    }
}
