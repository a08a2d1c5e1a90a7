//! Full-text search.
//!
//! Invariant: any input is a search for words, and never a query in the syntax of a database.

use unicode_normalization::{UnicodeNormalization as _, char::is_combining_mark};

/// A search for rows that have all of its words; each may be a prefix. Case and diacritics do not
/// matter. A text that has neither letters nor digits finds nothing.
///
/// ```
/// use shop::search::SearchText;
///
/// assert!(SearchText::new("white lantern").is_some());
/// assert!(SearchText::new(" -- ").is_some(), "it finds nothing");
/// assert!(SearchText::new("  ").is_none(), "no text is no condition");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SearchText(Vec<String>);

/// Maximum number of words in a search; the rest is ignored.
const WORDS_MAX: usize = 16;

/// Maximum length of a word; the rest is ignored. PostgreSQL indexes words of up to 2,046 bytes.
const WORD_CHARS_MAX: usize = 255;

impl SearchText {
    /// Splits a text into words; `None` if it is empty or has spaces only.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        let words = split(text).take(WORDS_MAX).map(str::to_owned).collect();
        (!text.trim().is_empty()).then_some(Self(words))
    }

    /// Returns the query of FTS5, the full-text index of SQLite.
    pub(crate) fn as_fts5(&self) -> String {
        if self.0.is_empty() {
            // A phrase without words, which no row has.
            return "\"\"".to_owned();
        }
        // A quoted word has no meaning in the syntax; the asterisk asks for a prefix.
        joined(&self.0, " ", |word| format!("\"{word}\"*"))
    }

    /// Returns whether each of the words begins one of a text's, which are given in the form of
    /// [`folded_words`].
    pub(crate) fn is_in(&self, folded: &[String]) -> bool {
        let wanted = folded_words(&self.0.join(" "));
        let is_in = |word: &String| folded.iter().any(|other| other.starts_with(word));
        !wanted.is_empty() && wanted.iter().all(is_in)
    }

    /// Returns the text of PostgreSQL's `tsquery`. An empty one finds nothing.
    pub(crate) fn as_tsquery(&self) -> String {
        joined(&folded_words(&self.0.join(" ")), " & ", |word| format!("'{word}':*"))
    }
}

fn joined(words: &[String], separator: &str, term: impl Fn(&String) -> String) -> String {
    words.iter().map(term).collect::<Vec<_>>().join(separator)
}

/// Joins texts for the full-text index.
pub(crate) fn words<'a>(texts: impl IntoIterator<Item = &'a str>) -> String {
    texts.into_iter().collect::<Vec<_>>().join(" ")
}

/// Splits a text into words in lower case and without diacritics, as SQLite's index does itself.
pub(crate) fn folded_words(text: &str) -> Vec<String> {
    let plain = text.nfd().filter(|c| !is_combining_mark(*c));
    let folded: String = plain.flat_map(char::to_lowercase).collect();
    split(&folded).map(|word| word.chars().take(WORD_CHARS_MAX).collect()).collect()
}

fn split(text: &str) -> impl Iterator<Item = &str> {
    // Letters and digits of every script form words, as in the tokenizer of SQLite's index.
    text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_syntax_of_the_index_is_only_words() {
        let text = SearchText::new("a\" OR words:*) NEAR").unwrap();
        assert_eq!(text.as_fts5(), r#""a"* "OR"* "words"* "NEAR"*"#);
        let text = SearchText::new("a' | b:* & !c").unwrap();
        assert_eq!(text.as_tsquery(), "'a':* & 'b':* & 'c':*");
    }

    #[test]
    fn a_text_is_found_by_the_beginnings_of_all_words() {
        let folded = folded_words("White Lantern, café");
        let is_found = |text: &str| SearchText::new(text).unwrap().is_in(&folded);
        assert!(is_found("lant WHITE") && is_found("cafe\u{301}"));
        assert!(!is_found("white lanterns") && !is_found("antern"));
        assert!(!is_found("--"), "a text without words finds nothing");
    }

    #[test]
    fn a_word_is_the_same_in_both_forms_of_its_diacritics() {
        for cafe in ["CAFÉ", "cafe\u{301}", "cafe"] {
            assert_eq!(folded_words(cafe), ["cafe"], "{cafe}");
        }
    }
}
