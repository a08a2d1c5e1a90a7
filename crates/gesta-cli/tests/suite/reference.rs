//! The page of the guide that has the help of every command.

use std::{fmt::Write as _, fs, path::PathBuf};

use crate::scene::{program, run};

/// The environment variable that writes the page anew.
const UPDATE: &str = "GESTA_UPDATE_GUIDE";
const INTRODUCTION: &str = "\
# Command line

The help of every command, as `gesta COMMAND --help` prints it, without the global options. A test \
compares this page with the program; `GESTA_UPDATE_GUIDE=1 cargo test -p gesta-cli --all-features \
reference` writes it anew.
";

#[test]
fn the_reference_has_the_help_of_every_command() {
    let page = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/guide/cli.md");
    let mut printed = INTRODUCTION.to_owned();
    describe(&[], &mut printed);
    if std::env::var_os(UPDATE).is_some() {
        fs::write(&page, &printed).unwrap();
    }
    let written = fs::read_to_string(&page).unwrap();
    let lines = || printed.lines().zip(written.lines());
    if let Some((expected, found)) = lines().find(|(expected, found)| expected != found) {
        panic!("docs/guide/cli.md has {found:?} instead of {expected:?}; {UPDATE}=1 corrects it");
    }
    assert_eq!(printed.lines().count(), written.lines().count(), "{UPDATE}=1 corrects the page");
    assert!(written.contains("## gesta server users create"), "commands of commands are listed");
}

/// Adds a command and those below it.
fn describe(command: &[&str], page: &mut String) {
    let help = run(program(&[command, &["--help"]].concat()));
    let help = help.stdout();
    let name = ["gesta"].iter().chain(command).copied().collect::<Vec<_>>().join(" ");
    // The option is the same everywhere; those for all commands are in the first block.
    let is_global = !command.is_empty();
    let shown = without_section(help, "Global options:", is_global);
    let shown = without_section(&shown, "-h, --help", is_global);
    let shown = without_empty_section(shown.trim_end());
    let _ = write!(page, "\n## {name}\n\n```text\n{shown}\n```\n");
    for below in subcommands(help) {
        describe(&[command, &[below]].concat(), page);
    }
}

/// Removes the paragraph that begins with a line, and the empty line after it.
fn without_section(help: &str, first: &str, is_removed: bool) -> String {
    let mut kept = String::new();
    let mut in_section = false;
    for line in help.lines() {
        if line.trim_start().starts_with(first) {
            in_section = is_removed;
        }
        // A section ends at the next line that is not indented.
        let begins_another = !line.is_empty() && !line.starts_with(' ');
        if in_section && begins_another && !line.starts_with(first) {
            in_section = false;
        }
        if !in_section {
            kept.push_str(line.trim_end());
            kept.push('\n');
        }
    }
    kept
}

/// Removes the heading of the options if none is left.
fn without_empty_section(help: &str) -> String {
    let lines: Vec<&str> = help.lines().collect();
    let is_empty = |at: usize| lines.get(at + 1).is_none_or(|next| !next.starts_with(' '));
    let kept = lines.iter().enumerate().filter(|(at, line)| **line != "Options:" || !is_empty(*at));
    kept.map(|(_, line)| *line).collect::<Vec<_>>().join("\n").trim_end().to_owned()
}

/// Returns the names in the section `Commands:`, without `help`.
fn subcommands(help: &str) -> Vec<&str> {
    let after = help.split_once("\nCommands:\n").map_or("", |(_, after)| after);
    let section = after.split("\n\n").next().unwrap_or_default();
    // Names are indented by two, the rest of a long text by more.
    let lines = section.lines().filter_map(|line| line.strip_prefix("  "));
    let names = lines
        .filter(|line| !line.starts_with(' '))
        .filter_map(|line| line.split_whitespace().next());
    names.filter(|name| *name != "help").collect()
}
