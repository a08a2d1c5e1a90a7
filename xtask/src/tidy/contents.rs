//! Every page of the guide is in the contents of the book.
//!
//! Not here: links of the contents that lead nowhere ([`links`](super::links)).

use std::collections::BTreeSet;

use crate::{
    markdown::{inline_links, resolved},
    tidy::Finding,
    workspace::Workspace,
};

const CONTENTS: &str = "docs/SUMMARY.md";
const PAGES: &str = "docs/guide/";

pub(super) fn check(workspace: &Workspace) -> Vec<Finding> {
    let Some(contents) = workspace.texts.iter().find(|text| text.path == CONTENTS) else {
        return vec![Finding::new(CONTENTS, "is not there")];
    };
    let listed: BTreeSet<String> =
        inline_links(&contents.text).map(|(_, link)| resolved(CONTENTS, link)).collect();
    let pages = workspace.texts.iter().map(|text| text.path.as_str());
    let pages = pages.filter(|path| path.starts_with(PAGES) && path.ends_with(".md"));
    let missing = pages.filter(|path| !listed.contains(*path));
    missing.map(|path| Finding::new(path, format!("is not in {CONTENTS}: add a line"))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(contents: &str) -> Vec<String> {
        let texts = [(CONTENTS, contents), ("docs/guide/a.md", "# A\n"), ("docs/b.md", "# B\n")];
        check(&Workspace::of(&texts)).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_page_that_is_not_listed_is_found() {
        assert!(findings("# Summary\n\n- [A](guide/a.md)\n").is_empty());
        let found = findings("# Summary\n");
        assert_eq!(found, [format!("docs/guide/a.md: is not in {CONTENTS}: add a line")]);
    }

    #[test]
    fn missing_contents_are_found() {
        assert_eq!(check(&Workspace::of(&[("README.md", "# Readme\n")])).len(), 1);
    }
}
