//! The examples of the README and of the guide's page on orders equal those that are compiled and
//! run.
//!
//! In a compiled file `// README BEGIN` to `// README END` encloses the README's example, and
//! `// GUIDE BEGIN` to `// GUIDE END` the guide's. A page may show it in several blocks. Not here:
//! pages whose blocks are a whole program, which tests of the programs' crates compare.

use crate::{tidy::Finding, workspace::Workspace};

/// A page with an example.
struct Page {
    path: &'static str,
    compiled: &'static str,
    /// The word in the markers of the compiled file.
    marker: &'static str,
    /// Maximum number of lines of the first block.
    first_max: usize,
    /// Maximum number of lines of all blocks, with an empty line between two.
    lines_max: usize,
}

const README: Page = Page {
    path: "README.md",
    compiled: "crates/gesta-http/examples/newsletter.rs",
    marker: "README",
    first_max: 36,
    lines_max: 52,
};
const GUIDE: Page = Page {
    path: "docs/guide/orders.md",
    compiled: "crates/gesta/tests/suite/orders.rs",
    marker: "GUIDE",
    first_max: 250,
    lines_max: 250,
};

pub(super) fn check(workspace: &Workspace) -> Vec<Finding> {
    [README, GUIDE].iter().filter_map(|page| check_page(workspace, page)).collect()
}

fn check_page(workspace: &Workspace, page: &Page) -> Option<Finding> {
    let Page { path, compiled: of, marker, first_max, lines_max } = *page;
    let (begin, end) = (format!("// {marker} BEGIN\n"), format!("// {marker} END"));
    let Some(compiled) = between(workspace, of, &begin, &end) else {
        let what = format!("has no example between {marker} BEGIN and {marker} END");
        return Some(Finding::new(of, what));
    };
    let shown = between(workspace, path, "<!-- example:begin -->\n", "<!-- example:end");
    let blocks = shown.map(blocks_of).unwrap_or_default();
    let Some(first) = blocks.first() else {
        return Some(Finding::new(path, "has no example between its markers"));
    };
    let whole = blocks.join("\n");
    if whole.trim() != compiled.trim() {
        return Some(Finding::new(path, format!("its example is not the one in {of}")));
    }
    let counts = [(first.trim(), first_max, "first block"), (whole.trim(), lines_max, "example")];
    let counts = counts.map(|(text, max, of)| (text.lines().count(), max, of));
    let (lines, max, of) = counts.into_iter().find(|(lines, max, _)| lines > max)?;
    let what = format!("its {of} has {lines} lines; at most {max} are allowed");
    Some(Finding::new(path, what))
}

fn between<'a>(workspace: &'a Workspace, path: &str, begin: &str, end: &str) -> Option<&'a str> {
    let text = workspace.texts.iter().find(|text| text.path == path)?;
    let (_, rest) = text.text.split_once(begin)?;
    rest.split_once(end).map(|(inside, _)| inside)
}

/// Returns the blocks of Rust code in a part of a page.
fn blocks_of(part: &str) -> Vec<&str> {
    let after = part.split("```rust\n").skip(1);
    after.filter_map(|after| after.split_once("```").map(|(block, _)| block)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(blocks: &[&str]) -> String {
        let blocks: Vec<_> = blocks.iter().map(|block| format!("```rust\n{block}```\n")).collect();
        format!("<!-- example:begin -->\n{}<!-- example:end -->\n", blocks.join("\nText.\n\n"))
    }

    fn findings(readme: &[&str], compiled: &str) -> usize {
        let readme = page(readme);
        let program = format!("//! Test.\n// README BEGIN\n{compiled}// README END\n");
        let guide = page(&["struct A;\n"]);
        let test = "//! Test.\n// GUIDE BEGIN\nstruct A;\n// GUIDE END\n";
        let texts = [
            (README.path, readme.as_str()),
            (README.compiled, &program),
            (GUIDE.path, &guide),
            (GUIDE.compiled, test),
        ];
        check(&Workspace::of(&texts)).len()
    }

    #[test]
    fn an_example_that_is_not_the_compiled_one_is_found() {
        assert_eq!(findings(&["fn main() {}\n"], "fn main() {}\n"), 0);
        assert_eq!(findings(&["fn other() {}\n"], "fn main() {}\n"), 1);
    }

    #[test]
    fn an_example_in_several_blocks_is_compared_as_a_whole() {
        let compiled = "struct A;\n\nfn main() {}\n";
        assert_eq!(findings(&["struct A;\n", "fn main() {}\n"], compiled), 0);
        assert_eq!(findings(&["fn main() {}\n", "struct A;\n"], compiled), 1);
        assert_eq!(findings(&["struct A;\n"], compiled), 1);
    }

    #[test]
    fn a_long_example_in_the_readme_is_found() {
        let long = "struct A;\n".repeat(README.first_max + 1);
        assert_eq!(findings(&[&long], &long), 1);
        let rest = "struct A;\n".repeat(README.lines_max);
        assert_eq!(findings(&["struct A;\n", &rest], &format!("struct A;\n\n{rest}")), 1);
    }

    #[test]
    fn a_missing_example_is_found() {
        assert_eq!(check(&Workspace::of(&[(README.path, "# Readme\n")])).len(), 2);
    }
}
