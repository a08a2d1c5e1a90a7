//! `cargo xtask tidy`: the house rules that no compiler checks, one file each.
//!
//! Owns: the list of rules, and what they have in common. Always holds: a rule looks only at the
//! [`House`] that it is given, so its tests show it failing on a house that is out of order. Not
//! here: what rustfmt, clippy and rustdoc already say.

use std::fmt;

use anyhow::{Result, ensure};

use crate::house::House;

mod arrows;
mod examples;
mod folders;
mod leftovers;
mod lengths;
mod names;
mod openings;
mod readme;
mod recipes;
mod types;

/// Something that is out of order.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    /// A path, with a line or an item where that is known.
    place: String,
    what: String,
}

impl Finding {
    fn new(place: impl Into<String>, what: impl Into<String>) -> Self {
        Self { place: place.into(), what: what.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.what)
    }
}

/// A rule and what it says of a house in order.
type Rule = (&'static str, fn(&House) -> Vec<Finding>);

const RULES: [Rule; 9] = [
    ("crates depend only on what the table allows", arrows::check),
    ("public types use the glossary's terms", names::check),
    ("functions and files are short, or listed with a reason", lengths::check),
    ("files open by saying what they own", openings::check),
    ("public types show an example that asserts", examples::check),
    ("the README's example is the compiled one", readme::check),
    ("every recipe of the guide for trouble is a test", recipes::check),
    ("a folder is a crate and is named for what it owns", folders::check),
    ("nothing is left over from somebody's desk", leftovers::check),
];

pub(crate) fn run() -> Result<()> {
    println!("\n== tidy");
    let house = House::open()?;
    let mut findings = 0;
    for (rule, check) in RULES {
        let found = check(&house);
        println!("   {} {rule}", if found.is_empty() { "ok  " } else { "FAIL" });
        found.iter().for_each(|finding| println!("        {finding}"));
        findings += found.len();
    }
    ensure!(findings == 0, "tidy: {findings} findings");
    println!("== tidy: ok, {} files", house.texts.len());
    Ok(())
}
