//! Runs seeds: `gesta-sim [SEEDS [FIRST]]`; or corrupts a store in every place: `gesta-sim sweep
//! [KIBIBYTES]`.
//!
//! Fails if a seed violates the contract, or if many seeds exercised too little: few disk
//! operations, or almost no fault of some kind.

use std::process::ExitCode;

use gesta_sim::{Coverage, Shutdown, SweepOptions, seeds, sweep};

const USAGE: &str = "usage: gesta-sim [SEEDS [FIRST]] | gesta-sim sweep [KIBIBYTES]";

#[expect(clippy::print_stdout, clippy::print_stderr, reason = "this is what a program says")]
fn main() -> ExitCode {
    match answer(std::env::args().skip(1).collect()) {
        Ok(answer) => {
            println!("{answer}");
            ExitCode::SUCCESS
        }
        Err(failure) => {
            eprintln!("{failure}");
            ExitCode::FAILURE
        }
    }
}

fn answer(arguments: Vec<String>) -> Result<String, String> {
    let number = |place: usize, otherwise: u64| {
        let number = arguments.get(place).map_or(Ok(otherwise), |argument| argument.parse());
        number.map_err(|_| USAGE.to_owned())
    };
    if arguments.first().is_some_and(|first| first == "sweep") {
        return sweep_both(number(1, 1_024)?);
    }
    let summary = seeds(number(1, 0)?, number(0, 1_000)?).map_err(|failure| failure.to_string())?;
    match summary.shortfalls().as_slice() {
        [] => Ok(summary.to_string()),
        shortfalls => Err(format!("{summary}\n\nbelow the minimum:\n{}", shortfalls.join("\n"))),
    }
}

/// Sweeps every bit, sector and length of a closed store and of a killed one.
fn sweep_both(kibibytes: u64) -> Result<String, String> {
    let store_bytes = usize::try_from(kibibytes).map_err(|_| USAGE)? << 10;
    let of = |shutdown| sweep(SweepOptions { store_bytes, shutdown, coverage: Coverage::Every });
    let (closed, killed) = (of(Shutdown::Closed)?, of(Shutdown::Killed)?);
    Ok(format!("a closed store:\n{closed}\n\na killed store, last segment:\n{killed}"))
}
