//! `cargo xtask tidy`: rules of the project that no compiler checks, one file each.
//!
//! Owns: the list of rules. Invariant: a rule depends only on the [`Workspace`] passed to it, so
//! its tests can show it failing. Not here: the checks of rustfmt, clippy and rustdoc.

use anyhow::{Result, ensure};

use crate::workspace::Workspace;

mod arrows;
mod circles;
mod contents;
mod examples;
mod finding;
mod folders;
mod growth;
mod guide;
mod leftovers;
mod lengths;
mod links;
mod modules;
mod openings;
mod packages;
mod plain;
mod readme;
mod recipes;
mod summaries;
mod types;
mod unique;
mod width;

use self::finding::Finding;

/// The statement of a rule, and its check.
type Rule = (&'static str, fn(&Workspace) -> Vec<Finding>);

const RULES: [Rule; 17] = [
    ("crates depend only on what the table allows", arrows::check),
    ("modules of a crate use each other in one direction", circles::check),
    ("functions and files are short, or listed with a reason", lengths::check),
    ("files open with what they own", openings::check),
    ("public types show an example that asserts", examples::check),
    ("public types that may grow are non-exhaustive", growth::check),
    ("examples of the README and of orders.md are the compiled ones", readme::check),
    ("code of the guide is part of a compiled file", guide::check),
    ("every page of the guide is in the contents of the book", contents::check),
    ("relative links lead to a file and to a heading of it", links::check),
    ("every recipe of the troubleshooting guide is a test", recipes::check),
    ("a crate's folder has the crate's name, which says what it owns", folders::check),
    ("published crates have what a registry shows, and a README that is checked", packages::check),
    ("no machine paths, placeholders or unfinished code are left", leftovers::check),
    ("summaries of doc comments are nouns or verbs", summaries::check),
    ("comment lines fit into 100 columns", width::check),
    ("a type name is defined once in a crate", unique::check),
];

pub(crate) fn run() -> Result<()> {
    println!("\n== tidy");
    let workspace = Workspace::open()?;
    let mut findings = 0;
    for (rule, check) in RULES {
        let found = check(&workspace);
        println!("   {} {rule}", if found.is_empty() { "ok  " } else { "FAIL" });
        found.iter().for_each(|finding| println!("        {finding}"));
        findings += found.len();
    }
    ensure!(findings == 0, "tidy: {findings} findings");
    println!("== tidy: ok, {} files", workspace.texts.len());
    Ok(())
}
