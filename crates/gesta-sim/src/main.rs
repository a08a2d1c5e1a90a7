//! Runs many seeds: `gesta-sim [SEEDS [FIRST]]`.

use std::process::ExitCode;

use gesta_sim::seeds;

#[expect(clippy::print_stdout, clippy::print_stderr, reason = "this is what a program says")]
fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1).map(|argument| argument.parse::<u64>());
    let (count, first) = (arguments.next(), arguments.next());
    let (Ok(count), Ok(first)) = (count.unwrap_or(Ok(1_000)), first.unwrap_or(Ok(0))) else {
        eprintln!("usage: gesta-sim [SEEDS [FIRST]]");
        return ExitCode::FAILURE;
    };
    match seeds(first, count) {
        Ok(summary) => {
            println!("{summary}");
            ExitCode::SUCCESS
        }
        Err(failure) => {
            eprintln!("{failure}");
            ExitCode::FAILURE
        }
    }
}
