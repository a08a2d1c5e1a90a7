//! The project's automation, as one program: `cargo xtask test`, `lint`, `tidy`, `prove`,
//! `bench`.
//!
//! Owns: what each command runs and how its result is told. Always holds: a command whose step
//! fails ends with a failure, and nothing that a step prints is swallowed. Not here: what the
//! crates test about themselves.
#![expect(clippy::print_stdout, reason = "a terminal is what this program talks to")]

use std::process::ExitCode;

use anyhow::{Context, Result, bail};

mod bench;
mod house;
mod lint;
mod prove;
mod step;
mod test;
mod tidy;

const USAGE: &str = "\
cargo xtask test [-p CRATE ...]      tidy, then every test of the workspace or of these crates
cargo xtask lint                     formatting, clippy and rustdoc, all without a warning
cargo xtask tidy                     the house rules that no compiler checks
cargo xtask prove [LINE] [--short]   what the project promises, measured
cargo xtask bench [--runs N] [--seconds S] [--events N] [--engine NAME ...] [--load NAME ...]
                  [--directory DIR]  the engine and its peers, into docs/benchmarks.md";

fn main() -> ExitCode {
    match run(std::env::args().skip(1).collect()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("\nFAILED: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Vec<String>) -> Result<()> {
    let (command, rest) = arguments.split_first().with_context(|| format!("usage:\n{USAGE}"))?;
    match (command.as_str(), rest) {
        ("test", rest) => test::run(&crates_of(rest)?),
        ("lint", []) => lint::run(),
        ("tidy", []) => tidy::run(),
        ("prove", rest) => prove::run(&prove::Request::parse(rest)?),
        ("bench", rest) => bench::run(&bench::Request::parse(rest)?),
        ("help" | "--help" | "-h", _) => {
            println!("{USAGE}");
            Ok(())
        }
        _ => bail!("there is no command {:?}; usage:\n{USAGE}", arguments.join(" ")),
    }
}

/// Reads `-p CRATE -p CRATE`.
fn crates_of(arguments: &[String]) -> Result<Vec<String>> {
    arguments
        .chunks(2)
        .map(|pair| match pair {
            [flag, name] if flag == "-p" => Ok(name.clone()),
            _ => bail!("only -p CRATE is understood here; usage:\n{USAGE}"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crates_are_named_one_by_one() {
        let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(crates_of(&words("-p gesta -p shop")).unwrap(), ["gesta", "shop"]);
        assert!(crates_of(&words("-p")).is_err());
        assert!(crates_of(&words("gesta shop")).is_err());
    }

    #[test]
    fn an_unknown_command_is_refused() {
        assert!(run(vec!["deploy".to_owned()]).is_err());
        assert!(run(vec!["tidy".to_owned(), "--quickly".to_owned()]).is_err());
        assert!(run(vec![]).is_err());
    }
}
