//! The project's automation in one program: `cargo xtask test`, `lint`, `tidy`, `prove`, `clients`,
//! `image`, `book`, `tutorial`, `bench`, `services`.
//!
//! Owns: the steps of each command and its exit status. Invariant: a command with a failed step
//! fails, and the output of every step is shown. Not here: the tests of the crates.
#![expect(clippy::print_stdout, reason = "this program writes to a terminal")]

use std::process::ExitCode;

use anyhow::{Context, Result, bail};

mod bench;
mod book;
mod clients;
mod failed_tests;
mod image;
mod lint;
mod markdown;
mod oldest_rust;
mod platforms;
mod prove;
mod services;
mod step;
mod test;
mod tidy;
mod tutorial;
mod workspace;

const USAGE: &str = "\
cargo xtask test [--all | -p CRATE ...]
                                     tidy, then the tests of the default members, of the whole
                                     workspace, or of these crates
cargo xtask lint                     formatting, clippy, rustdoc, packages, the oldest Rust, other
                                     platforms; a warning is an error
cargo xtask tidy                     the project's rules that no compiler checks
cargo xtask prove [PROMISE] [--short] [--all]
                                     measurements of what the project promises; --all runs the short
                                     form on what `test --all` has built
cargo xtask clients                  official KurrentDB clients against `gesta serve`
cargo xtask image [--compile]        the steps of the Dockerfiles in clean roots, on the programs that
                                     the tests have built, or compiled there; needs root
cargo xtask book                     the pages of docs/ as a book, by mdBook, in target/book/html
cargo xtask tutorial                 the commands of the book's first page, in an empty directory
cargo xtask bench [--runs N] [--seconds S] [--events N] [--engine NAME ...] [--load NAME ...]
                  [--directory DIR]  benchmarks of the engine and its peers, for docs/benchmarks.md
cargo xtask services up [NAME ...]   start real servers for tests on loopback, and print their URLs
cargo xtask services down [NAME ...] stop them and keep their data; `delete` also deletes the data
cargo xtask services crash NAME      kill a server, as a machine that fails
cargo xtask services status          the services and the URLs of those that run
cargo xtask services env             variables that point the shop at them, for a shell's `eval`";

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
        ("test", rest) => test::run(&test::Tested::parse(rest)?),
        ("lint", []) => lint::run(),
        ("tidy", []) => tidy::run(),
        ("prove", rest) => prove::run(&prove::ProveRequest::parse(rest)?),
        ("clients", []) => clients::run(),
        ("image", rest) => image::run(image::ImageRequest::parse(rest)?),
        ("book", []) => book::run(),
        ("tutorial", []) => tutorial::run(),
        ("bench", rest) => bench::run(&bench::BenchRequest::parse(rest)?),
        ("services", rest) => services::run(&services::ServicesRequest::parse(rest)?),
        ("help" | "--help" | "-h", _) => {
            println!("{USAGE}");
            Ok(())
        }
        _ => bail!("unknown command {:?}; usage:\n{USAGE}", arguments.join(" ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_command_is_refused() {
        assert!(run(vec!["deploy".to_owned()]).is_err());
        assert!(run(vec!["tidy".to_owned(), "--quickly".to_owned()]).is_err());
        assert!(run(vec![]).is_err());
    }
}
