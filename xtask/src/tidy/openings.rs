//! A Rust file opens with what it owns; a library also says what is not in it, unless it is still
//! empty.

use crate::{tidy::Finding, workspace::Workspace};

/// Required words in the opening comment of a library, which point a newcomer elsewhere.
const LIBRARY_SAYS: [&str; 2] = ["Owns:", "Not here:"];

pub(super) fn check(workspace: &Workspace) -> Vec<Finding> {
    let libraries: Vec<String> = workspace
        .packages
        .iter()
        .filter(|package| package.is_library)
        .map(|package| format!("{}/src/lib.rs", package.folder))
        .collect();
    let mut findings = Vec::new();
    for file in &workspace.rust {
        let opening: String =
            file.text.lines().take_while(|line| line.starts_with("//!")).collect();
        if opening.is_empty() {
            findings.push(Finding::new(&file.path, "does not open with what it owns (`//!`)"));
        } else if libraries.contains(&file.path) && has_code(&file.text) {
            let missing = LIBRARY_SAYS.iter().filter(|words| !opening.contains(**words));
            findings.extend(missing.map(|words| {
                Finding::new(&file.path, format!("its opening comment does not say `{words}`"))
            }));
        }
    }
    findings
}

/// Returns `false` for the place of a crate that has nothing yet.
fn has_code(text: &str) -> bool {
    text.lines().any(|line| !line.trim().is_empty() && !line.starts_with("//"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIBRARY: &str = "crates/one/src/lib.rs";

    fn findings(path: &str, text: &str) -> usize {
        check(&Workspace::of(&[(path, text)])).len()
    }

    #[test]
    fn a_library_says_what_it_owns_and_what_it_does_not() {
        let both = "//! One.\n//!\n//! Owns: this. Not here: that.\n\nmod one;\n";
        assert_eq!(findings(LIBRARY, both), 0);
        assert_eq!(findings(LIBRARY, "//! One.\n//!\n//! Owns: this.\n\nmod one;\n"), 1);
        assert_eq!(findings(LIBRARY, "//! One.\n\nmod one;\n"), 2);
        assert_eq!(findings(LIBRARY, "//! One.\n"), 0, "it is empty");
    }

    #[test]
    fn any_other_file_opens_with_a_comment() {
        assert_eq!(findings("crates/one/src/two.rs", "//! Two.\n"), 0);
        assert_eq!(findings("crates/one/src/two.rs", "// Two.\nfn two() {}\n"), 1);
        assert_eq!(findings("xtask/src/main.rs", "fn main() {}\n"), 1);
    }
}
