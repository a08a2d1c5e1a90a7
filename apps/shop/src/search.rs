//! Full-text search.
//!
//! Invariant: any input is a search for words, and never a query in the syntax of FTS5.

/// A search for rows that have all of its words; each may be a prefix.
///
/// ```
/// use shop::search::SearchText;
///
/// assert!(SearchText::new("white lantern").is_some());
/// assert!(SearchText::new(" -- ").is_none(), "no word");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SearchText(String);

/// Maximum number of words in a search; the rest is ignored.
const WORDS_MAX: usize = 16;

impl SearchText {
    /// Splits a text into words; `None` if it has none.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        // Letters and digits of every script form words, as in the tokenizer of the index.
        let words = text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
        // A quoted word has no meaning in the FTS5 syntax; the asterisk asks for a prefix.
        let quoted: Vec<_> = words.take(WORDS_MAX).map(|word| format!("\"{word}\"*")).collect();
        if quoted.is_empty() { None } else { Some(Self(quoted.join(" "))) }
    }

    /// Returns the FTS5 query.
    pub(crate) fn as_match(&self) -> &str {
        &self.0
    }
}

/// Joins texts for the full-text index.
pub(crate) fn words<'a>(texts: impl IntoIterator<Item = &'a str>) -> String {
    texts.into_iter().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_syntax_of_the_index_is_only_words() {
        let text = SearchText::new("a\" OR words:*) NEAR").unwrap();
        assert_eq!(text.as_match(), r#""a"* "OR"* "words"* "NEAR"*"#);
    }
}
