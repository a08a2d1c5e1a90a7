//! The width of comment lines, which rustfmt does not wrap.

use crate::{
    tidy::{Finding, plain},
    workspace::Workspace,
};

const COLUMNS_MAX: usize = 100;

pub(super) fn check(workspace: &Workspace) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in plain::files(workspace) {
        let lines = (1..).zip(file.text.lines());
        for (number, line) in lines.filter(|(_, line)| line.trim_start().starts_with("//")) {
            let columns = line.chars().count();
            if columns > COLUMNS_MAX {
                let what = format!("a comment of {columns} columns; {COLUMNS_MAX} is the limit");
                findings.push(Finding::new(format!("{}:{number}", file.path), what));
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(text: &str) -> Vec<String> {
        let workspace = Workspace::of(&[("crates/gesta-sim/src/lib.rs", text)]);
        check(&workspace).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_comment_up_to_the_limit_is_in_order() {
        assert_eq!(findings(&format!("// {}\n", "ä".repeat(97))), [""; 0]);
    }

    #[test]
    fn a_wider_comment_is_found_with_its_line() {
        for comment in ["// ", "/// ", "//! "] {
            let line = format!("{comment}{}", "x".repeat(101 - comment.len()));
            let found = findings(&format!("{line}\nfn one() {{}}\n"));
            let expected =
                "crates/gesta-sim/src/lib.rs:1: a comment of 101 columns; 100 is the limit";
            assert_eq!(found, [expected], "{comment}");
        }
    }

    #[test]
    fn code_is_left_to_rustfmt() {
        assert_eq!(findings(&format!("const A: &str = \"{}\";\n", "x".repeat(120))), [""; 0]);
    }
}
