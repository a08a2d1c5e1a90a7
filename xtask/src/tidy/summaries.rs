//! Summary lines of doc comments: a noun phrase or a verb, never a relative clause.

use crate::{
    tidy::{Finding, plain},
    workspace::Workspace,
};

/// First words that turn a summary into a riddle.
const RULED_OUT: [&str; 14] = [
    "what",
    "whether",
    "how",
    "where",
    "which",
    "who",
    "whom",
    "why",
    "when",
    "whose",
    "whoever",
    "whatever",
    "whichever",
    "of",
];

pub(super) fn check(workspace: &Workspace) -> Vec<Finding> {
    let files = plain::files(workspace);
    files
        .flat_map(|file| {
            summaries(&file.text).filter_map(|(number, summary)| {
                let word = first_word(summary)?;
                let place = format!("{}:{number}", file.path);
                let what = format!("the summary opens with `{word}`: say a noun or a verb");
                // Only the first word counts: later sentences may start as they like.
                RULED_OUT.contains(&word.as_str()).then(|| Finding::new(place, what))
            })
        })
        .collect()
}

/// The first line of each doc comment, with its number.
fn summaries(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut inside = None;
    (1..).zip(text.lines()).filter_map(move |(number, line)| {
        let line = line.trim_start();
        let kind = ["///", "//!"].into_iter().find(|kind| line.starts_with(kind));
        // A `//!` directly above a `///` is another comment.
        let opens = kind.is_some() && kind != inside;
        inside = kind;
        opens.then(|| (number, line.get(3..).unwrap_or_default()))
    })
}

/// The first word in lower case, without the marks around it.
fn first_word(summary: &str) -> Option<String> {
    let word = summary.split_whitespace().next()?;
    Some(word.trim_matches(|letter: char| !letter.is_alphanumeric()).to_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(text: &str) -> Vec<String> {
        let workspace = Workspace::of(&[("crates/gesta-sim/src/lib.rs", text)]);
        check(&workspace).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn nouns_and_verbs_are_in_order() {
        let text =
            "//! A store.\n\n/// Returns the head.\n/// What follows is free.\nfn head() {}\n";
        assert_eq!(findings(text), [""; 0]);
        assert_eq!(findings("// Where it is hard, a comment says why.\n"), [""; 0]);
    }

    #[test]
    fn a_summary_that_opens_with_a_relative_word_is_found_with_its_line() {
        for word in RULED_OUT {
            let found = findings(&format!(
                "//! A store.\n\nstruct A {{\n    /// `{word}` it is.\n    b: u8,\n}}\n"
            ));
            let place = "crates/gesta-sim/src/lib.rs:4: the summary opens with";
            assert!(found.len() == 1 && found[0].starts_with(place), "{word}: {found:?}");
        }
        assert_eq!(findings("//! Whose seat it is.\n").len(), 1);
    }
}
