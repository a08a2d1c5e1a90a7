//! Highlights: the part of a text around the words that were found.
//!
//! Made from stored texts, with the words of `words`, so that every engine returns the same ones.

use crate::words::{self, WordSpan};

/// Maximum length of a highlight, in characters of the text.
pub const HIGHLIGHT_CHARS_MAX: usize = 240;

/// Characters of the text before the first match.
const CHARS_BEFORE: usize = 40;

/// A passage of a field's text with matching words.
///
/// The parts make up the passage in order. They are plain text: a web page has to escape them.
///
/// ```
/// use gesta_search::{Highlight, HighlightPart};
///
/// let parts = vec![HighlightPart::new("White ", false), HighlightPart::new("lantern", true)];
/// let highlight = Highlight::new("name", parts);
/// assert_eq!(highlight.marked("[", "]"), "White [lantern]");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Highlight {
    /// Name of the field.
    pub field: String,
    /// Parts of the passage, in order.
    pub parts: Vec<HighlightPart>,
}

/// A part of a highlight.
///
/// ```
/// use gesta_search::HighlightPart;
///
/// let part = HighlightPart::new("lantern", true);
/// assert!(part.is_match);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct HighlightPart {
    /// Plain text.
    pub text: String,
    /// The text is a word that matches the search.
    pub is_match: bool,
}

impl HighlightPart {
    /// Creates a part.
    pub fn new(text: impl Into<String>, is_match: bool) -> Self {
        Self { text: text.into(), is_match }
    }
}

impl Highlight {
    /// Creates the passage of a field.
    pub fn new(field: impl Into<String>, parts: Vec<HighlightPart>) -> Self {
        Self { field: field.into(), parts }
    }

    /// Returns the passage with marks around each match.
    #[must_use]
    pub fn marked(&self, before: &str, after: &str) -> String {
        let part = |part: &HighlightPart| {
            if part.is_match { format!("{before}{}{after}", part.text) } else { part.text.clone() }
        };
        self.parts.iter().map(part).collect()
    }
}

/// Returns the passage of a text around its first match. `None` without a match.
pub(crate) fn of_text(
    field: &str,
    text: &str,
    searched: &[String],
    has_typos: bool,
) -> Option<Highlight> {
    let is_match = |span: &WordSpan| {
        searched.iter().any(|word| {
            let typos = if has_typos { words::typos_of(word) } else { 0 };
            words::matches(&span.word, word, typos)
        })
    };
    let spans: Vec<_> = words::spans(text).into_iter().filter(is_match).collect();
    let first = spans.first()?.span.start;
    let (start, end) = passage(text, first);
    let mut parts = Vec::new();
    let mut push = |from: usize, to: usize, is_match: bool| {
        if let Some(text) = text.get(from..to)
            && !text.is_empty()
        {
            parts.push(HighlightPart { text: text.to_owned(), is_match });
        }
    };
    let mut at = start;
    for WordSpan { span, .. } in spans {
        let (from, to) = (span.start.min(end), span.end.min(end));
        push(at, from, false);
        push(from, to, true);
        at = to;
    }
    push(at, end, false);
    Some(Highlight { field: field.to_owned(), parts })
}

/// Returns the bytes of the passage around the first match.
fn passage(text: &str, first: usize) -> (usize, usize) {
    let before = text.get(..first).unwrap_or_default();
    let start = before.char_indices().rev().nth(CHARS_BEFORE - 1).map_or(0, |(at, _)| at);
    let rest = text.get(start..).unwrap_or_default();
    let end = rest.char_indices().nth(HIGHLIGHT_CHARS_MAX).map_or(text.len(), |(at, _)| start + at);
    (start, end)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marked(text: &str, searched: &[&str]) -> Option<String> {
        let searched: Vec<_> = searched.iter().map(|&word| word.to_owned()).collect();
        Some(of_text("name", text, &searched, true)?.marked("[", "]"))
    }

    #[test]
    fn prefixes_typos_and_diacritics_are_marked_as_whole_words() {
        let text = "WHITE hanging lantern, café";
        let expected = "[WHITE] hanging [lantern], [café]";
        assert_eq!(marked(text, &["whi", "lantren", "cafe"]).as_deref(), Some(expected));
        assert_eq!(marked(text, &["lamp"]), None);
    }

    #[test]
    fn a_long_text_is_cut_around_the_first_match() {
        let text = format!("{} lantern {}", "ä".repeat(1_000), "ö".repeat(1_000));
        let found = marked(&text, &["lantern"]).expect("a match");
        assert!(found.contains(" [lantern] "), "{found}");
        assert_eq!(found.chars().count(), HIGHLIGHT_CHARS_MAX + 2);
    }
}
