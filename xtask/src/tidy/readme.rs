//! The examples of the README and of the guide to it equal those that are compiled and run.
//!
//! In the compiled file `// README BEGIN` to `// README END` encloses the README's example, and
//! `// GUIDE BEGIN` to `// GUIDE END` the guide's, of which the README's is a part.

use crate::{tidy::Finding, workspace::Workspace};

const COMPILED: &str = "crates/gesta/tests/suite/readme.rs";

/// A page with an example.
struct Page {
    path: &'static str,
    /// The word in the markers of the compiled file.
    marker: &'static str,
    lines_max: usize,
}

const README: Page = Page { path: "README.md", marker: "README", lines_max: 40 };
const GUIDE: Page = Page { path: "docs/guide/orders.md", marker: "GUIDE", lines_max: 250 };

pub(super) fn check(workspace: &Workspace) -> Vec<Finding> {
    [README, GUIDE].iter().filter_map(|page| check_page(workspace, page)).collect()
}

fn check_page(workspace: &Workspace, page: &Page) -> Option<Finding> {
    let marker = page.marker;
    let (begin, end) = (format!("// {marker} BEGIN\n"), format!("// {marker} END"));
    let Some(compiled) = between(workspace, COMPILED, &begin, &end) else {
        let what = format!("has no example between {marker} BEGIN and {marker} END");
        return Some(Finding::new(COMPILED, what));
    };
    let shown =
        between(workspace, page.path, "<!-- example:begin -->\n```rust\n", "```\n<!-- example:end");
    let Some(shown) = shown else {
        return Some(Finding::new(page.path, "has no example between its markers"));
    };
    if shown.trim() != without_markers(compiled).trim() {
        return Some(Finding::new(page.path, format!("its example is not the one in {COMPILED}")));
    }
    let (lines, max) = (shown.trim().lines().count(), page.lines_max);
    let what = || format!("its example has {lines} lines; at most {max} are allowed");
    (lines > max).then(|| Finding::new(page.path, what()))
}

fn between<'a>(workspace: &'a Workspace, path: &str, begin: &str, end: &str) -> Option<&'a str> {
    let text = workspace.texts.iter().find(|text| text.path == path)?;
    let (_, rest) = text.text.split_once(begin)?;
    rest.split_once(end).map(|(inside, _)| inside)
}

/// Removes the markers of an example inside another one.
fn without_markers(compiled: &str) -> String {
    let is_marker = |line: &str| line == "// README BEGIN" || line == "// README END";
    compiled.lines().filter(|line| !is_marker(line)).map(|line| format!("{line}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(example: &str) -> String {
        format!("<!-- example:begin -->\n```rust\n{example}```\n<!-- example:end -->\n")
    }

    fn findings(readme: &str, guide: &str, compiled: &str) -> usize {
        let (readme, guide) = (page(readme), page(guide));
        let test = format!("//! Test.\n// GUIDE BEGIN\n{compiled}// GUIDE END\n");
        let texts = [(README.path, readme.as_str()), (GUIDE.path, &guide), (COMPILED, &test)];
        check(&Workspace::of(&texts)).len()
    }

    #[test]
    fn an_example_that_is_not_the_compiled_one_is_found() {
        let compiled = "struct A;\n// README BEGIN\nfn main() {}\n// README END\n";
        let whole = "struct A;\nfn main() {}\n";
        assert_eq!(findings("fn main() {}\n", whole, compiled), 0);
        assert_eq!(findings("fn other() {}\n", whole, compiled), 1);
        assert_eq!(findings("fn main() {}\n", "fn main() {}\n", compiled), 1);
    }

    #[test]
    fn a_long_example_in_the_readme_is_found() {
        let long = "struct A;\n".repeat(README.lines_max + 1);
        let compiled = format!("// README BEGIN\n{long}// README END\n");
        assert_eq!(findings(&long, &long, &compiled), 1);
    }

    #[test]
    fn a_missing_example_is_found() {
        assert_eq!(check(&Workspace::of(&[(README.path, "# Readme\n")])).len(), 2);
    }
}
