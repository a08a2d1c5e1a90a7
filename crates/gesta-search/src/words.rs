//! Words: how a text is divided, folded and compared. The same for every engine, so that all of
//! them find the same documents.
//!
//! Invariants: a word has letters and digits of any script, in lower case and without diacritics.
//! Any input is a search for words, never a query in the syntax of an engine. Not here: languages
//! that are written without spaces, whose texts are not divided; endings, which stay.

use std::ops::Range;

use unicode_normalization::{UnicodeNormalization as _, char::is_combining_mark};

/// Maximum length of a word in characters; the rest is ignored.
pub const WORD_CHARS_MAX: usize = 255;

/// Maximum number of words in a search; the rest is ignored.
pub const SEARCH_WORDS_MAX: usize = 16;

/// A word of a text, and where it stands there.
pub(crate) struct WordSpan {
    pub(crate) word: String,
    /// Bytes of the text.
    pub(crate) span: Range<usize>,
}

/// Divides a text into folded words.
pub(crate) fn spans(text: &str) -> Vec<WordSpan> {
    let mut spans = Vec::new();
    let mut start = None;
    let ends = text.char_indices().chain([(text.len(), ' ')]);
    for (at, c) in ends {
        let is_part = c.is_alphanumeric() || is_combining_mark(c);
        match (start, is_part) {
            (None, true) => start = Some(at),
            (Some(from), false) => {
                let word = text.get(from..at).map(folded).unwrap_or_default();
                if !word.is_empty() {
                    spans.push(WordSpan { word, span: from..at });
                }
                start = None;
            }
            (None, false) | (Some(_), true) => {}
        }
    }
    spans
}

/// Returns the folded words of texts, separated by spaces: what engines index.
pub(crate) fn indexed<'a>(texts: impl IntoIterator<Item = &'a str>) -> String {
    let words = texts.into_iter().flat_map(spans).map(|span| span.word);
    words.collect::<Vec<_>>().join(" ")
}

/// Returns the words of a search, each once.
pub(crate) fn searched(text: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    for WordSpan { word, .. } in spans(text) {
        if !words.contains(&word) && words.len() < SEARCH_WORDS_MAX {
            words.push(word);
        }
    }
    words
}

fn folded(word: &str) -> String {
    let plain = word.nfd().filter(|c| !is_combining_mark(*c));
    let lower = plain.flat_map(char::to_lowercase);
    // Some letters have a mark in lower case only.
    lower.filter(|c| c.is_alphanumeric()).take(WORD_CHARS_MAX).collect()
}

/// Returns the number of typos that a word of a search may have: one from 3 letters on, two from 6.
/// A word with a digit is a code or a number, and may have none.
pub(crate) fn typos_of(word: &str) -> u8 {
    if word.chars().any(char::is_numeric) {
        return 0;
    }
    match word.chars().count() {
        0..=2 => 0,
        3..=5 => 1,
        _ => 2,
    }
}

/// Returns whether a word of a text matches a word of a search.
pub(crate) fn matches(word: &str, searched: &str, typos: u8) -> bool {
    word.starts_with(searched) || (typos > 0 && distance(word, searched) <= usize::from(typos))
}

/// Counts insertions, deletions, substitutions and transpositions of neighbours, none of them at a
/// place that was changed before.
fn distance(one: &str, other: &str) -> usize {
    let (one, other): (Vec<char>, Vec<char>) = (one.chars().collect(), other.chars().collect());
    // Two typos at most count, so words of very different lengths need no table.
    if one.len().abs_diff(other.len()) > 2 {
        return usize::MAX;
    }
    let mut before_last: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=other.len()).collect();
    for (row, c) in one.iter().enumerate() {
        let mut line = vec![row + 1];
        for (column, d) in other.iter().enumerate() {
            let at =
                |line: &[usize], column: usize| line.get(column).copied().unwrap_or(usize::MAX);
            let replaced = at(&last, column) + usize::from(c != d);
            let mut best = replaced.min(at(&last, column + 1) + 1).min(at(&line, column) + 1);
            let is_swapped = row > 0
                && column > 0
                && one.get(row - 1) == Some(d)
                && other.get(column - 1) == Some(c);
            if is_swapped {
                best = best.min(at(&before_last, column - 1) + 1);
            }
            line.push(best);
        }
        before_last = last;
        last = line;
    }
    last.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_the_same_in_both_forms_of_its_diacritics() {
        for cafe in ["CAFÉ", "cafe\u{301}", "cafe", " --cafe!"] {
            assert_eq!(searched(cafe), ["cafe"], "{cafe}");
        }
        assert!(searched(" -- \u{301} ").is_empty());
    }

    #[test]
    fn the_syntax_of_an_engine_is_only_words() {
        assert_eq!(searched("a\" OR words:*) NEAR~2 a"), ["a", "or", "words", "near", "2"]);
    }

    #[test]
    fn a_word_stands_where_it_was() {
        let text = "Größe: XL";
        let found: Vec<_> = spans(text).into_iter().map(|it| (it.word, &text[it.span])).collect();
        assert_eq!(found, [("große".to_owned(), "Größe"), ("xl".to_owned(), "XL")]);
    }

    #[test]
    fn typos_depend_on_the_length() {
        let all = ["at", "cat", "lamps", "lantern", "536365", "abc12"];
        assert_eq!(all.map(typos_of), [0, 1, 1, 2, 0, 0]);
    }

    #[test]
    fn a_typo_is_a_change_or_a_swap_of_neighbours() {
        for (word, searched, expected) in [
            ("lantern", "lantern", 0),
            ("lantern", "lantren", 1),
            ("lantern", "lanter", 1),
            ("lantern", "xlantern", 1),
            ("lantern", "lampern", 2),
            ("größe", "grosse", 3),
        ] {
            assert_eq!(distance(word, searched), expected, "{word} {searched}");
        }
        assert!(matches("lanterns", "lant", 0) && !matches("lanterns", "lantren", 0));
        assert!(matches("lanterns", "lantren", 2) && !matches("lamp", "lantern", 2));
    }
}
