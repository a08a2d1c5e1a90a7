//! Markdown pages: their prose, blocks of code and links.
//!
//! Not here: what a link or a block has to be ([`crate::tidy`], [`crate::book`],
//! [`crate::tutorial`]).

/// A block of code.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Block<'a> {
    /// The word after the fence, such as `rust` or `rust,ignore`.
    pub(crate) language: &'a str,
    /// Line of the first line of code, from 1.
    pub(crate) line: usize,
    pub(crate) code: String,
}

/// Returns the fenced blocks of a page, in order.
pub(crate) fn blocks(page: &str) -> Vec<Block<'_>> {
    let mut blocks = Vec::new();
    let mut open: Option<Block<'_>> = None;
    for (number, line) in (1..).zip(page.lines()) {
        match (&mut open, line.strip_prefix("```")) {
            (Some(_), Some(_)) => blocks.extend(open.take()),
            (Some(block), None) => block.code.push_str(&format!("{line}\n")),
            (None, Some(language)) => {
                let language = language.trim();
                open = Some(Block { language, line: number + 1, code: String::new() });
            }
            (None, None) => {}
        }
    }
    blocks
}

/// Lines outside code blocks, with their numbers from 1.
pub(crate) fn prose(page: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut in_code = false;
    (1..).zip(page.lines()).filter(move |(_, line)| {
        let is_fence = line.trim_start().starts_with("```");
        in_code ^= is_fence;
        !in_code && !is_fence
    })
}

/// Destinations of links and pictures in the prose of a page, each with its line, in order.
pub(crate) fn inline_links(page: &str) -> impl Iterator<Item = (usize, &str)> {
    prose(page).flat_map(|(number, line)| {
        let after = line.match_indices("](").filter_map(|(at, opening)| {
            // An odd number of backquotes before it: the text is code.
            let is_code = line.get(..at)?.matches('`').count() % 2 == 1;
            let after = line.get(at + opening.len()..)?;
            if is_code { None } else { after.split_once(')').map(|(link, _)| link) }
        });
        after.map(move |link| (number, link))
    })
}

/// Returns a path relative to the root, for one that is relative to a page.
pub(crate) fn resolved(page: &str, path: &str) -> String {
    let mut parts: Vec<&str> = page.split('/').collect();
    parts.pop();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "# Page\n\n```rust\nlet a = 1;\n```\n\nSee [b](b.md) and `[c](c.md)`, \
                        [`d`](d.md).\n\n```sh\n[e](e.md)\n```\n";

    #[test]
    fn blocks_have_their_language_and_line() {
        let blocks = blocks(PAGE);
        let rust = Block { language: "rust", line: 4, code: "let a = 1;\n".to_owned() };
        let shell = Block { language: "sh", line: 10, code: "[e](e.md)\n".to_owned() };
        assert_eq!(blocks, [rust, shell]);
    }

    #[test]
    fn code_has_no_links() {
        let links: Vec<_> = inline_links(PAGE).collect();
        assert_eq!(links, [(7, "b.md"), (7, "d.md")]);
    }

    #[test]
    fn paths_are_resolved_from_the_folder_of_the_page() {
        assert_eq!(resolved("docs/guide/a.md", "../b.md"), "docs/b.md");
        assert_eq!(resolved("docs/guide/a.md", "./c/d.md"), "docs/guide/c/d.md");
        assert_eq!(resolved("a.md", "../b.md"), "../b.md");
    }
}
