//! Search by words: what the indexes of the read models are asked.
//!
//! Always holds: whatever somebody types is a search for words, never a statement of the index's
//! own language.

/// Words that are all looked for; each may be the beginning of a longer one.
///
/// ```
/// use shop::search::SearchText;
///
/// assert!(SearchText::new("white lantern").is_some());
/// assert!(SearchText::new(" -- ").is_none(), "there is no word in it");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SearchText(String);

/// Words of one search; more are left out.
const WORDS_MAX: usize = 16;

impl SearchText {
    /// The words of a text, if it has any.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        let words = text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
        let quoted: Vec<_> = words.take(WORDS_MAX).map(|word| format!("\"{word}\"*")).collect();
        if quoted.is_empty() { None } else { Some(Self(quoted.join(" "))) }
    }

    /// In the index's language.
    pub(crate) fn as_match(&self) -> &str {
        &self.0
    }
}

/// One text of several, for the index.
pub(crate) fn words<'a>(texts: impl IntoIterator<Item = &'a str>) -> String {
    texts.into_iter().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_language_of_the_index_is_only_words() {
        let text = SearchText::new("a\" OR words:*) NEAR").unwrap();
        assert_eq!(text.as_match(), r#""a"* "OR"* "words"* "NEAR"*"#);
    }
}
