//! `cargo xtask tutorial`: the first page of the book, carried out to the letter in an empty
//! directory.
//!
//! Owns: the run of its commands and the check of what they print. A comment after a command is the
//! line that it has to print. Blocks of Rust are the service's `src/main.rs`, from top to bottom.
//! The directory has a link `gesta` to the checkout, which the page asks for. It is outside of the
//! checkout, because cargo takes a package in a workspace for a member.
//!
//! Needs the registry of crates, as a reader does.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};

use crate::{
    markdown::{Block, blocks},
    step::Stopwatch,
    workspace::Workspace,
};

const PAGE: &str = "docs/guide/first-service.md";
/// The folder that the page's first command creates.
const SERVICE: &str = "rooms";

pub(crate) fn run() -> Result<()> {
    let workspace = Workspace::open()?;
    let page = workspace.texts.iter().find(|text| text.path == PAGE).context("no first page")?;
    let temporary = tempfile::tempdir()?;
    let directory = temporary.path();
    link(&workspace.root, &directory.join("gesta"))?;
    let target = workspace.target_directory.join("tutorial");
    let (program, commands) = parts(&page.text)?;
    let mut created = false;
    for command in &commands {
        // The program is there before the first command of the service itself.
        if !created && directory.join(SERVICE).join("src/main.rs").exists() {
            fs::write(directory.join(SERVICE).join("src/main.rs"), &program)?;
            created = true;
        }
        command.run(directory, &target, created)?;
    }
    ensure!(created, "the commands of {PAGE} created no service");
    println!("\n{} commands of {PAGE} were carried out.", commands.len());
    Ok(())
}

/// A line of a shell block.
#[derive(Debug, PartialEq, Eq)]
struct PageCommand {
    line: String,
    /// The last line that it has to print.
    prints: Option<String>,
}

impl PageCommand {
    fn of(line: &str) -> Self {
        let (command, comment) = line.split_once(" # ").unwrap_or((line, ""));
        let prints = (!comment.is_empty()).then(|| comment.trim().to_owned());
        Self { line: command.trim().to_owned(), prints }
    }

    fn run(&self, directory: &Path, target: &Path, is_created: bool) -> Result<()> {
        println!("\n$ {}", self.line);
        let stopwatch = Stopwatch::start();
        let within = if is_created { directory.join(SERVICE) } else { directory.to_owned() };
        let output = Command::new("bash")
            .args(["-e", "-c", &self.line])
            .current_dir(within)
            .env("CARGO_TARGET_DIR", target)
            .env_remove("RUSTFLAGS")
            .stdin(Stdio::null())
            .stderr(Stdio::inherit())
            .output()?;
        let printed = String::from_utf8_lossy(&output.stdout);
        print!("{printed}");
        ensure!(output.status.success(), "{:?}: {}", self.line, output.status);
        if let Some(expected) = &self.prints {
            let last = printed.lines().last().unwrap_or_default();
            ensure!(last == expected, "{:?} printed {last:?} instead of {expected:?}", self.line);
        }
        println!("   {:.1} s", stopwatch.elapsed().as_secs_f64());
        Ok(())
    }
}

/// Returns the program of a page, and its commands.
fn parts(page: &str) -> Result<(String, Vec<PageCommand>)> {
    let (mut program, mut commands) = (Vec::new(), Vec::new());
    for Block { language, code, .. } in blocks(page) {
        match language {
            "rust" => program.push(code),
            "sh" => commands.extend(code.lines().map(PageCommand::of)),
            _ => {}
        }
    }
    ensure!(!program.is_empty() && !commands.is_empty(), "{PAGE} has no program or no commands");
    Ok((program.join("\n"), commands))
}

fn link(checkout: &Path, name: &Path) -> Result<()> {
    #[cfg(unix)]
    return Ok(std::os::unix::fs::symlink(checkout, name)?);
    #[cfg(not(unix))]
    anyhow::bail!("{} has to be a link to {}", name.display(), checkout.display());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_has_one_program_and_its_commands_in_order() {
        let page = "```sh\ncargo new rooms\n```\n\n```rust\nfn a() {}\n```\n\n\
                    ```rust\nfn b() {}\n```\n\n```sh\ncargo run -- b1 book    # held\n```\n";
        let (program, commands) = parts(page).unwrap();
        assert_eq!(program, "fn a() {}\n\nfn b() {}\n");
        let new = PageCommand { line: "cargo new rooms".to_owned(), prints: None };
        let run = PageCommand {
            line: "cargo run -- b1 book".to_owned(),
            prints: Some("held".to_owned()),
        };
        assert_eq!(commands, [new, run]);
        assert!(parts("# A page without code\n").is_err());
    }

    #[test]
    fn another_output_than_that_of_the_page_is_an_error() {
        let directory = tempfile::tempdir().unwrap();
        let run = |line| PageCommand::of(line).run(directory.path(), directory.path(), false);
        assert!(run("echo held # held").is_ok());
        let error = run("echo lost # held").unwrap_err().to_string();
        assert!(error.contains(r#"printed "lost" instead of "held""#), "{error}");
        assert!(run("false").is_err());
    }
}
