//! Relative links of Markdown pages lead to a file that exists, and to a heading of it.
//!
//! Owns: the anchors of headings, as GitHub and mdBook form them. Not here: links to other sites,
//! which no check can rely on.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    markdown::{inline_links, prose, resolved},
    tidy::Finding,
    workspace::{Text, Workspace},
};

pub(super) fn check(workspace: &Workspace) -> Vec<Finding> {
    let pages = workspace.texts.iter().filter(|text| text.path.ends_with(".md"));
    let anchors: BTreeMap<&str, BTreeSet<String>> =
        pages.clone().map(|page| (page.path.as_str(), anchors_of(&page.text))).collect();
    let mut findings = Vec::new();
    for page in pages {
        for (line, link) in inline_links(&page.text) {
            if let Some(problem) = problem_of(workspace, &anchors, page, link) {
                findings.push(Finding::new(format!("{}:{line}", page.path), problem));
            }
        }
    }
    findings
}

fn problem_of(
    workspace: &Workspace,
    anchors: &BTreeMap<&str, BTreeSet<String>>,
    page: &Text,
    link: &str,
) -> Option<String> {
    if link.contains(':') {
        return None;
    }
    let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
    let target = if path.is_empty() { page.path.clone() } else { resolved(&page.path, path) };
    if !exists(workspace, &target) {
        return Some(format!("links to {link}, but there is no {target}"));
    }
    let of_target = anchors.get(target.as_str())?;
    if anchor.is_empty() || of_target.contains(anchor) {
        return None;
    }
    Some(format!("links to {link}, but {target} has no such heading"))
}

fn exists(workspace: &Workspace, target: &str) -> bool {
    // Pictures, and folders outside the places with texts, are looked up on the disk.
    workspace.texts.iter().any(|text| text.path == target) || workspace.root.join(target).exists()
}

fn anchors_of(page: &str) -> BTreeSet<String> {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    let headings = prose(page).filter_map(|(_, line)| {
        let text = line.trim_start_matches('#');
        (text.len() < line.len() && text.starts_with(' ')).then(|| anchor_of(text.trim()))
    });
    let anchors = headings.map(|anchor| {
        let count = counts.entry(anchor.clone()).or_default();
        *count += 1;
        // The second heading of a text gets `-1`.
        if *count == 1 { anchor } else { format!("{anchor}-{}", *count - 1) }
    });
    anchors.collect()
}

fn anchor_of(heading: &str) -> String {
    let kept = heading.chars().filter_map(|letter| match letter {
        ' ' => Some('-'),
        '-' | '_' => Some(letter),
        letter => letter.is_alphanumeric().then_some(letter),
    });
    kept.flat_map(char::to_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(page: &str) -> Vec<String> {
        let other = "# Other page\n\n## Rows & `tags`\n\n## Rows & `tags`\n";
        let texts = [("docs/guide/page.md", page), ("docs/other.md", other)];
        check(&Workspace::of(&texts)).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_link_to_a_page_that_is_not_there_is_found() {
        assert!(findings("See [other](../other.md) and ![](../other.md).\n").is_empty());
        let found = findings("One line.\n\nSee [other](./../no-such.md).\n");
        let expected = "docs/guide/page.md:3: links to ./../no-such.md, but there is no \
                        docs/no-such.md";
        assert_eq!(found, [expected]);
    }

    #[test]
    fn a_link_to_a_heading_that_is_not_there_is_found() {
        assert!(
            findings("[a](../other.md#rows--tags), [b](../other.md#rows--tags-1)\n").is_empty()
        );
        assert_eq!(findings("[a](../other.md#rows--tags-2)\n").len(), 1);
        assert!(findings("## In short\n\n[above](#in-short)\n").is_empty());
        assert_eq!(findings("## In short\n\n[above](#in-long)\n").len(), 1);
    }

    #[test]
    fn code_and_other_sites_have_no_links() {
        let page = "`[a](no-such.md)` <https://example.org>\n\n```text\n[a](no-such.md)\n```\n\n\
                    [b](https://example.org/no-such.md)\n";
        assert!(findings(page).is_empty());
    }
}
