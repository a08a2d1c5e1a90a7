//! The example in the README equals the one that is compiled and run as a test.

use crate::{tidy::Finding, workspace::Workspace};

const README: &str = "README.md";
const COMPILED: &str = "crates/gesta/tests/suite/readme.rs";

pub(super) fn check(workspace: &Workspace) -> Vec<Finding> {
    let Some(compiled) = between(workspace, COMPILED, "// README BEGIN\n", "// README END") else {
        return vec![Finding::new(COMPILED, "has no example between README BEGIN and README END")];
    };
    let shown =
        between(workspace, README, "<!-- example:begin -->\n```rust\n", "```\n<!-- example:end");
    match shown {
        Some(shown) if shown.trim() == compiled.trim() => Vec::new(),
        Some(_) => vec![Finding::new(README, format!("its example is not the one in {COMPILED}"))],
        None => vec![Finding::new(README, "has no example between its markers")],
    }
}

fn between<'a>(workspace: &'a Workspace, path: &str, begin: &str, end: &str) -> Option<&'a str> {
    let text = workspace.texts.iter().find(|text| text.path == path)?;
    let (_, rest) = text.text.split_once(begin)?;
    rest.split_once(end).map(|(inside, _)| inside)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(shown: &str, compiled: &str) -> usize {
        let readme = format!("<!-- example:begin -->\n```rust\n{shown}```\n<!-- example:end -->\n");
        let test = format!("//! Test.\n// README BEGIN\n{compiled}// README END\n");
        check(&Workspace::of(&[(README, readme.as_str()), (COMPILED, test.as_str())])).len()
    }

    #[test]
    fn an_example_that_is_not_the_compiled_one_is_found() {
        assert_eq!(findings("fn main() {}\n", "fn main() {}\n"), 0);
        assert_eq!(findings("fn main() {}\n", "fn other() {}\n"), 1);
    }

    #[test]
    fn a_missing_example_is_found() {
        assert_eq!(check(&Workspace::of(&[(README, "# Readme\n")])).len(), 1);
    }
}
