//! Every block of Rust on a page of the guide is part of a file that is compiled.
//!
//! Owns: the blocks of the pages, and the search for them in Rust files. A line `// …` on a page
//! stands for lines that are left out. Not here: the compilation and run of these files (their
//! crates' tests), and whole programs on a page ([`readme`](super::readme), tests of the crates).

use crate::{
    markdown::{Block, blocks},
    tidy::Finding,
    workspace::Workspace,
};

const PAGES: &str = "docs/guide/";
const LEFT_OUT: &str = "// …";

/// Pages with blocks that are compiled in another form, and the reason.
const FRAGMENTS: &[(&str, &str)] = &[
    ("docs/guide/access.md", "its block is from a program with keys of its own"),
    ("docs/guide/console.md", "its routes are those of the shop"),
    ("docs/guide/http.md", "its program is compared by a test of gesta-http"),
    ("docs/guide/traces.md", "its program is that of the shop, in another order"),
    ("docs/guide/tenants.md", "its applications are those of the example of `Tenants`"),
];

pub(super) fn check(workspace: &Workspace) -> Vec<Finding> {
    let compiled: Vec<String> = workspace.rust.iter().map(|file| trimmed(&file.text)).collect();
    let is_exempt = |path: &str| FRAGMENTS.iter().any(|(page, _)| *page == path);
    let pages = workspace.texts.iter().filter(|text| {
        text.path.starts_with(PAGES) && text.path.ends_with(".md") && !is_exempt(&text.path)
    });
    let mut findings = Vec::new();
    for page in pages {
        let blocks = blocks(&page.text).into_iter();
        // A fence may have attributes, such as `rust,ignore`.
        for Block { line, code, .. } in blocks.filter(|it| it.language.starts_with("rust")) {
            if let Some(first) = missing(&code, &compiled) {
                let place = format!("{}:{line}", page.path);
                let what = format!("no Rust file has this block, from {first:?} on");
                findings.push(Finding::new(place, what));
            }
        }
    }
    findings
}

/// Returns the first line of a part that no file has.
fn missing(code: &str, compiled: &[String]) -> Option<String> {
    let lines: Vec<&str> = code.lines().map(str::trim).collect();
    let mut parts = lines.split(|line| *line == LEFT_OUT).map(|part| part.join("\n"));
    let absent = parts.find(|part| {
        let part = format!("\n{}\n", part.trim_matches('\n'));
        !compiled.iter().any(|file| file.contains(&part))
    })?;
    absent.lines().find(|line| !line.is_empty()).map(str::to_owned)
}

/// Indentation differs between a page and a function body.
fn trimmed(text: &str) -> String {
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    format!("\n{}\n", lines.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "docs/guide/doors.md";
    const TEST: &str =
        "//! Test.\nfn opens() {\n    let door = 7;\n    let key = 1;\n    drop((door, key));\n}\n";

    fn findings(page: &str) -> Vec<String> {
        let workspace = Workspace::of(&[(PAGE, page), ("crates/x/tests/suite/doors.rs", TEST)]);
        check(&workspace).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_block_that_no_file_has_is_found() {
        assert!(findings("# Doors\n\n```rust\nlet door = 7;\nlet key = 1;\n```\n").is_empty());
        let found = findings("# Doors\n\n```rust\nlet door = 7;\nlet key = 2;\n```\n");
        let expected = format!("{PAGE}:4: no Rust file has this block, from \"let door = 7;\" on");
        assert_eq!(found, [expected]);
        assert_eq!(findings("```rust,ignore\nlet door = 8;\n```\n").len(), 1);
    }

    #[test]
    fn lines_may_be_left_out_but_not_reordered() {
        assert!(findings("```rust\nlet door = 7;\n// …\ndrop((door, key));\n```\n").is_empty());
        assert_eq!(findings("```rust\nlet key = 1;\nlet door = 7;\n```\n").len(), 1);
        assert_eq!(findings("```rust\nlet door = 7;\n// …\nlet lock = 3;\n```\n").len(), 1);
    }

    #[test]
    fn each_block_of_a_page_is_searched() {
        let page = "```rust\nlet door = 7;\n```\n\nText.\n\n```rust\nlet door = 9;\n```\n";
        assert_eq!(findings(page).len(), 1);
    }
}
