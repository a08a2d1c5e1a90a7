//! `cargo xtask book`: the pages of the project as a book, by mdBook.
//!
//! Owns: the sources of the book in `target/book/src`, which have the folders of the checkout, so
//! that links between pages stay as they are. A link to a file that is no page leads to the
//! repository. Decisions are listed after the contents of `docs/SUMMARY.md`, so that a new one is
//! in the book at once.
//!
//! Invariants: every page of the contents exists. The first one is in the root, because mdBook
//! shows it as `index.html`, too, and its links are relative.
//!
//! Not here: the check of links ([`crate::tidy`]); the run of the tutorial ([`crate::tutorial`]).

use std::{
    collections::BTreeSet,
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};

use crate::{
    markdown::{inline_links, resolved},
    step::step,
    workspace::Workspace,
};

const CONTENTS: &str = "docs/SUMMARY.md";
const SETTINGS: &str = "docs/book.toml";
const STYLE: &str = "docs/book.css";
const DECISIONS: &str = "docs/decisions/";
const IMAGES: &str = "docs/images";
/// Base of the addresses of files that are no pages.
const REPOSITORY: &str = "https://github.com/gesta-rs/gesta/blob/main/";
/// The command that installs mdBook.
const INSTALL: &str =
    "cargo install mdbook --version 0.5.4 --no-default-features --features search --locked --debug";

pub(crate) fn run() -> Result<()> {
    let workspace = Workspace::open()?;
    let folder = workspace.target_directory.join("book");
    write_sources(&workspace, &folder)?;
    let program = std::env::var_os("MDBOOK").unwrap_or_else(|| OsString::from("mdbook"));
    let found = Command::new(&program).arg("--version").output();
    ensure!(found.is_ok(), "mdBook is not installed: {INSTALL}");
    step("the book", Command::new(&program).arg("build").arg(&folder))?;
    let first = folder.join("html/index.html");
    ensure!(first.exists(), "mdBook has not written {}", first.display());
    println!("{}", first.display());
    Ok(())
}

/// Writes the sources of the book anew.
fn write_sources(workspace: &Workspace, folder: &Path) -> Result<()> {
    let sources = folder.join("src");
    if sources.exists() {
        fs::remove_dir_all(&sources)?;
    }
    let contents = contents(workspace)?;
    let pages: BTreeSet<&str> = inline_links(&contents).map(|(_, link)| link).collect();
    for path in &pages {
        let page = with_links_out(path, text(workspace, path)?, &pages);
        write(&sources.join(path), &page)?;
    }
    write(&sources.join("SUMMARY.md"), &contents)?;
    write(&folder.join("book.toml"), text(workspace, SETTINGS)?)?;
    write(&folder.join("book.css"), text(workspace, STYLE)?)?;
    copy_images(&workspace.root.join(IMAGES), &sources.join(IMAGES))
}

/// Returns the contents with links from the root, and the decisions in the end.
fn contents(workspace: &Workspace) -> Result<String> {
    let mut contents = rewritten(text(workspace, CONTENTS)?, |link| resolved(CONTENTS, link));
    contents.push_str("\n# Decisions\n\n");
    for page in workspace.texts.iter().filter(|text| text.path.starts_with(DECISIONS)) {
        let title = page.text.lines().next().unwrap_or_default().trim_start_matches("# ");
        contents.push_str(&format!("- [{title}]({})\n", page.path));
    }
    Ok(contents)
}

/// Returns the text of a page, in which links to files that are no pages lead to the repository.
fn with_links_out(path: &str, text: &str, pages: &BTreeSet<&str>) -> String {
    rewritten(text, |link| {
        let (to, _) = link.split_once('#').unwrap_or((link, ""));
        let target = resolved(path, to);
        let is_in_the_book = pages.contains(target.as_str()) || target.starts_with(IMAGES);
        if link.contains(':') || to.is_empty() || is_in_the_book {
            return link.to_owned();
        }
        format!("{REPOSITORY}{target}")
    })
}

/// Returns a text with other destinations of its links.
fn rewritten(text: &str, of: impl Fn(&str) -> String) -> String {
    let mut result = String::with_capacity(text.len());
    let mut rest = text;
    for (_, link) in inline_links(text) {
        // A link is a part of the text, and the links come in order.
        let Some((before, after)) = rest.split_once(&format!("]({link})")) else { continue };
        result.push_str(before);
        result.push_str(&format!("]({})", of(link)));
        rest = after;
    }
    result.push_str(rest);
    result
}

fn text<'a>(workspace: &'a Workspace, path: &str) -> Result<&'a str> {
    let found = workspace.texts.iter().find(|text| text.path == path);
    Ok(&found.with_context(|| format!("there is no {path}"))?.text)
}

fn write(path: &PathBuf, text: &str) -> Result<()> {
    fs::create_dir_all(path.parent().context("a file is in a folder")?)?;
    fs::write(path, text).with_context(|| path.display().to_string())
}

fn copy_images(from: &Path, to: &Path) -> Result<()> {
    let Ok(entries) = fs::read_dir(from) else { return Ok(()) };
    fs::create_dir_all(to)?;
    for entry in entries {
        let entry = entry?;
        fs::copy(entry.path(), to.join(entry.file_name()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "See [other](other.md#rows), [code](../../crates/x/src/lib.rs), \
                        ![](../images/start.png) and [there](https://example.org).\n";

    #[test]
    fn a_link_to_a_file_that_is_no_page_leads_to_the_repository() {
        let pages = BTreeSet::from(["docs/guide/page.md", "docs/guide/other.md"]);
        let expected = PAGE.replace("../../crates/", &format!("{REPOSITORY}crates/"));
        assert_eq!(with_links_out("docs/guide/page.md", PAGE, &pages), expected);
        let alone = with_links_out("docs/guide/page.md", PAGE, &BTreeSet::new());
        assert!(alone.contains(&format!("({REPOSITORY}docs/guide/other.md)")), "{alone}");
    }

    #[test]
    fn the_contents_have_links_from_the_root_and_every_decision() {
        let texts = [
            (CONTENTS, "# Summary\n\n[Gesta](../README.md)\n\n- [Page](guide/page.md)\n"),
            ("docs/decisions/0001-one.md", "# 1. The first one\n\nText.\n"),
            ("docs/guide/page.md", PAGE),
        ];
        let contents = contents(&Workspace::of(&texts)).unwrap();
        let expected = "# Summary\n\n[Gesta](README.md)\n\n- [Page](docs/guide/page.md)\n\n\
                        # Decisions\n\n- [1. The first one](docs/decisions/0001-one.md)\n";
        assert_eq!(contents, expected);
    }

    #[test]
    fn sources_are_written_with_the_folders_of_the_checkout() {
        let folder = tempfile::tempdir().unwrap();
        let texts = [
            (CONTENTS, "# Summary\n\n[Page](guide/page.md)\n"),
            (SETTINGS, "[book]\n"),
            (STYLE, "p {}\n"),
            ("docs/guide/page.md", PAGE),
            ("docs/other.md", "# Other\n"),
        ];
        write_sources(&Workspace::of(&texts), folder.path()).unwrap();
        assert!(folder.path().join("book.toml").exists());
        assert!(!folder.path().join("src/docs/other.md").exists(), "it is not in the contents");
        let page = fs::read_to_string(folder.path().join("src/docs/guide/page.md")).unwrap();
        assert!(page.contains(REPOSITORY), "{page}");
        assert!(!folder.path().join("src/docs/SUMMARY.md").exists());
    }
}
