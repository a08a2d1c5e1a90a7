//! Figures of a check, from the output of its command.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

/// Limit of the README's test command, which is run on every commit.
const TEST_TIME_MAX: Duration = Duration::from_mins(10);
/// Limit of the simulation's seeds on two cores. A slow one would not be run on every change.
const SEEDS_SECONDS_MAX: f64 = 240.0;
/// Schedules of the short form, over all scenes.
const SCHEDULES_MIN: u64 = 8_000;
/// Characters of a line that are shown.
const SHOWN_MAX: usize = 120;

/// A command that succeeded.
pub(super) struct Ran {
    pub(super) output: String,
    pub(super) elapsed: Duration,
}

impl Ran {
    fn lines_after<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = &'a str> {
        self.output.lines().filter_map(move |line| line.strip_prefix(prefix))
    }
}

/// Figures that end-to-end tests report. A name without a test is a failure.
pub(super) fn reported(ran: &Ran) -> Result<String> {
    let figures: Vec<_> = ran.lines_after("figures: ").collect();
    ensure!(!figures.is_empty(), "no test of this name reported figures: {}", ran.output);
    Ok(figures.join("; "))
}

/// Number of tests that passed. A name without a test is a failure.
pub(super) fn passed(ran: &Ran) -> Result<String> {
    let line = ran.lines_after("test result:").next().context("no closing line")?;
    let words = line.split_whitespace();
    let count = words.clone().zip(words.skip(1)).find(|(_, word)| *word == "passed;");
    let count: usize = count.context("no number of tests")?.0.parse()?;
    ensure!(count > 0, "no test has this name");
    Ok(format!("{count} tests pass"))
}

pub(super) fn test_time(ran: &Ran) -> Result<String> {
    let (taken, limit) = (ran.elapsed.as_secs(), TEST_TIME_MAX.as_secs());
    ensure!(ran.elapsed < TEST_TIME_MAX, "{taken} s, the limit is {limit} s");
    Ok(format!("{taken} s"))
}

/// Seeds and median of disk operations of a simulation. The program fails if a seed violates the
/// contract or the seeds exercise too little.
pub(super) fn simulation(ran: &Ran) -> Result<String> {
    println!("{}", ran.output);
    let median = ran.lines_after("disk operations").next();
    let median = median.and_then(|figures| figures.split_whitespace().nth(2));
    let seconds = ran.output.lines().last().and_then(|line| line.split_whitespace().next());
    let seconds: f64 = seconds.context("the summary has no time")?.parse()?;
    ensure!(seconds <= SEEDS_SECONDS_MAX, "the seeds took {seconds} s");
    let median = median.context("the summary has no medians")?;
    Ok(format!("{seconds} s, the median seed with {median} disk operations, each kind of fault"))
}

/// Schedules that were executed, over all scenes.
pub(super) fn schedules(ran: &Ran) -> Result<String> {
    let of_scene = |line: &str| line.strip_suffix(" schedules")?.rsplit_once(": ")?.1.parse().ok();
    let executed: Vec<u64> = ran.output.lines().filter_map(of_scene).collect();
    let all: u64 = executed.iter().sum();
    let asked = std::env::var("GESTA_SCHEDULES").ok().and_then(|asked| asked.parse().ok());
    let least = asked.unwrap_or(SCHEDULES_MIN);
    ensure!(all >= least, "{all} of {least} schedules were executed");
    Ok(format!("{all} schedules of {} scenes, each append answered once", executed.len()))
}

/// Mutations between threads that were caught.
pub(super) fn caught(ran: &Ran) -> Result<String> {
    let caught: Vec<_> = ran.lines_after("caught ").collect();
    ensure!(!caught.is_empty(), "no mutation is enabled");
    for how in &caught {
        println!("     {}", how.chars().take(SHOWN_MAX).collect::<String>());
    }
    Ok(format!("each of {} mutations between threads", caught.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ran(output: &str) -> Ran {
        Ran { output: output.to_owned(), elapsed: Duration::from_secs(1) }
    }

    #[test]
    fn a_name_without_a_test_is_a_failure() {
        let none = ran("running 0 tests\ntest result: ok. 0 passed; 0 failed; 0 ignored\n");
        assert!(passed(&none).is_err() && reported(&none).is_err());
        assert!(passed(&ran("nothing ran")).is_err());
        assert!(schedules(&none).is_err() && caught(&none).is_err());
    }

    #[test]
    fn figures_are_read_from_the_output_of_tests() {
        let two = ran("running 2 tests\ntest result: ok. 2 passed; 0 failed; 0 ignored\n");
        assert_eq!(passed(&two).unwrap(), "2 tests pass");
        let output = "---- one stdout ----\nfigures: 3 kills\n\ntest result: ok. 1 passed;";
        assert_eq!(reported(&ran(output)).unwrap(), "3 kills");
    }

    #[test]
    fn schedules_are_counted_by_scene() {
        let output =
            "---- one stdout ----\na write fails: 4000 schedules\n\nno room: 4000 schedules\nok";
        assert!(schedules(&ran(output)).unwrap().starts_with("8000 schedules of 2 scenes"));
    }

    #[test]
    fn a_simulation_reports_its_median_and_time() {
        let summary = "events   1 2 3 4 5\ndisk operations   10  20  274 300 400\n46.5 s";
        assert!(simulation(&ran(summary)).unwrap().starts_with("46.5 s, the median seed with 274"));
        assert!(simulation(&ran("events 1 2\n46.5 s")).is_err());
        assert!(simulation(&ran("disk operations 10 20 274\n241 s")).is_err());
    }

    #[test]
    fn a_slow_test_command_is_a_failure() {
        assert_eq!(test_time(&ran("")).unwrap(), "1 s");
        let slow = Ran { output: String::new(), elapsed: TEST_TIME_MAX };
        assert!(test_time(&slow).is_err());
    }
}
