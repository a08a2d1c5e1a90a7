//! Every recipe of the troubleshooting guide is an existing test.
//!
//! Owns: parsing the lines that start with `Recipe:`. Not here: the content of a recipe.

use crate::{tidy::Finding, workspace::Workspace};

const GUIDE: &str = "docs/guide/when-something-goes-wrong.md";

pub(super) fn check(workspace: &Workspace) -> Vec<Finding> {
    let Some(guide) = workspace.texts.iter().find(|text| text.path == GUIDE) else {
        return vec![Finding::new(GUIDE, "is not there")];
    };
    let mut findings = Vec::new();
    // The part before the first heading is the introduction.
    for section in guide.text.split("\n## ").skip(1) {
        let title = section.lines().next().unwrap_or_default();
        let named: Vec<&str> = recipes_of(section).collect();
        if named.is_empty() {
            findings.push(Finding::new(GUIDE, format!("{title:?} names no recipe")));
        }
        let missing = named.into_iter().filter(|name| !is_function(workspace, name));
        findings
            .extend(missing.map(|name| Finding::new(GUIDE, format!("no test is named {name}"))));
    }
    findings
}

/// Names in backquotes after `Recipe:`.
fn recipes_of(section: &str) -> impl Iterator<Item = &str> {
    let lines = section.lines().filter_map(|line| line.strip_prefix("Recipe:"));
    lines.flat_map(|line| line.split('`').skip(1).step_by(2))
}

fn is_function(workspace: &Workspace, name: &str) -> bool {
    // The name may be that of any test in the workspace.
    let wanted = format!("fn {name}(");
    workspace.rust.iter().any(|file| file.text.contains(&wanted))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(guide: &str) -> Vec<String> {
        let test = "//! Tests.\nfn a_full_disk_passes() {}\n";
        let workspace = Workspace::of(&[(GUIDE, guide), ("crates/x/tests/suite/main.rs", test)]);
        check(&workspace).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_recipe_without_its_test_is_found() {
        assert!(findings("# G\n\n## Full disk\n\nRecipe: `a_full_disk_passes`.\n").is_empty());
        let found = findings("# G\n\n## Full disk\n\nRecipe: `a_full_disk_passes`, `no_such`.\n");
        assert_eq!(found, [format!("{GUIDE}: no test is named no_such")]);
    }

    #[test]
    fn a_section_without_a_recipe_is_found() {
        assert_eq!(findings("# G\n\n## Full disk\n\nFree some room.\n").len(), 1);
    }

    #[test]
    fn a_missing_guide_is_found() {
        assert_eq!(check(&Workspace::of(&[("README.md", "# Readme\n")])).len(), 1);
    }
}
