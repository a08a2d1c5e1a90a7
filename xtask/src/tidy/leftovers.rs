//! Machine paths, placeholders and unfinished code, which must not be left in a text.
//!
//! The words are concatenated here, so that this file does not find itself.

use crate::{tidy::Finding, workspace::Workspace};

const MACHINE_PATHS: [&str; 6] = [
    concat!("/ho", "me/"),
    concat!("/Us", "ers/"),
    concat!("/ro", "ot/"),
    concat!("/wo", "rk/"),
    concat!("/t", "mp/"),
    concat!("C:", "\\"),
];
const UNFINISHED: [&str; 5] = [
    concat!("TO", "DO"),
    concat!("FIX", "ME"),
    concat!("X", "XX"),
    concat!("TB", "D"),
    concat!("SWEEP", "TIME"),
];
/// Only meaningful in Rust; other texts may mention them.
const UNFINISHED_RUST: [&str; 3] =
    [concat!("to", "do!("), concat!("unimple", "mented!("), concat!("#[ig", "nore")];

pub(super) fn check(workspace: &Workspace) -> Vec<Finding> {
    let mut findings = Vec::new();
    for text in &workspace.texts {
        for (number, line) in (1..).zip(text.text.lines()) {
            let place = format!("{}:{number}", text.path);
            for (words, what) in kinds(&text.path) {
                let found = words.iter().find(|word| line.contains(**word));
                findings.extend(found.map(|word| Finding::new(&place, format!("{what}: {word}"))));
            }
        }
    }
    findings
}

fn kinds(path: &str) -> impl Iterator<Item = (&'static [&'static str], &'static str)> {
    let everywhere: [(&'static [&'static str], _); 2] =
        [(&MACHINE_PATHS, "a machine's path"), (&UNFINISHED, "an unfinished mark")];
    let rust: (&'static [&'static str], _) = (&UNFINISHED_RUST, "unfinished code");
    everywhere.into_iter().chain(path.ends_with(".rs").then_some(rust))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(path: &str, text: &str) -> usize {
        check(&Workspace::of(&[(path, text)])).len()
    }

    #[test]
    fn a_finished_text_is_in_order() {
        assert_eq!(findings("docs/guide.md", "Open `gesta:./data`, see /v1/users/7."), 0);
    }

    #[test]
    fn every_leftover_is_found_in_any_text() {
        for word in MACHINE_PATHS.iter().chain(&UNFINISHED) {
            assert_eq!(findings("docs/guide.md", &format!("before\nsee {word}there")), 1, "{word}");
        }
    }

    #[test]
    fn unfinished_code_is_found_in_rust_only() {
        for word in UNFINISHED_RUST {
            let comment = format!("// {word}");
            assert_eq!(findings("crates/one/src/lib.rs", &comment), 1, "{word}");
            assert_eq!(findings("STYLE.md", &comment), 0, "{word}");
        }
    }
}
