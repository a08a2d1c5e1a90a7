//! A program with a reactor is killed in the middle of a thousand effects.
//!
//! The program is the example `reactor`. Its file of delivered letters is the receiver: it is
//! written outside the event store, and read here after the kills.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use gesta_services::e2e::{empty_directory, example, figures, is_full};

const KILLS_FULL: usize = 30;
const KILLS_SHORT: usize = 3;
const RECIPIENTS: usize = 50;
const LETTERS_EACH: usize = 20;
/// Effects between two kills, at least. With 30 kills they stay below a thousand.
const EFFECTS_BETWEEN_KILLS: usize = 8;
const POLL: Duration = Duration::from_micros(500);
const POLLS_MAX: usize = 120_000;
/// The recipient who refuses letters at first.
const REFUSING: &str = "recipient 7";

/// Kills the program repeatedly, lets it finish, and checks every effect.
#[test]
fn every_effect_happens_through_kills_with_one_key_in_order() -> Result<()> {
    let carrier = Carrier::build("reactor-kills")?;
    fs::write(carrier.directory.join("refused"), REFUSING)?;
    let kills = if is_full() { KILLS_FULL } else { KILLS_SHORT };
    for kill in 0..kills {
        carrier.kill_in_the_middle(kill).with_context(|| format!("kill {kill}"))?;
    }
    carrier.finish()?;
    let refused = carrier.delivered()?.into_iter().filter(|line| line.recipient == REFUSING);
    ensure!(refused.count() == 0, "a letter was delivered to {REFUSING}, who refuses them");

    fs::remove_file(carrier.directory.join("refused"))?;
    carrier.finish()?;
    let delivered = carrier.delivered()?;
    let repeated = check(&delivered)?;
    figures(format!(
        "{kills} kills in {} effects of {RECIPIENTS} streams: each at least once, with one key, in \
         order; {repeated} repeated; the letters to one recipient set aside and delivered after \
         a retry",
        RECIPIENTS * LETTERS_EACH,
    ))
}

/// The built program and its directory.
struct Carrier {
    program: PathBuf,
    directory: PathBuf,
}

/// A line of the delivered letters.
struct Delivery {
    key: String,
    recipient: String,
    number: usize,
}

impl Carrier {
    fn build(name: &str) -> Result<Self> {
        let program = example("gesta", "reactor")?;
        Ok(Self { program, directory: empty_directory(name)? })
    }

    fn start(&self) -> Result<Child> {
        let mut program = Command::new(&self.program);
        program.arg(&self.directory).stdin(Stdio::null()).stdout(Stdio::null());
        program.spawn().context("the example cannot be started")
    }

    /// Kills the program once it has had further effects, and before it has had all.
    fn kill_in_the_middle(&self, kill: usize) -> Result<()> {
        let enough = self.lines()? + EFFECTS_BETWEEN_KILLS + kill * 7 % 11;
        let mut program = self.start()?;
        for _ in 0..POLLS_MAX {
            if self.lines()? >= enough {
                break;
            }
            ensure!(program.try_wait()?.is_none(), "it ended before the kill");
            thread::park_timeout(POLL);
        }
        program.kill()?;
        program.wait()?;
        let lines = self.lines()?;
        ensure!(lines >= enough, "it had {lines} effects in time, and not {enough}");
        Ok(())
    }

    /// Runs the program to its end.
    fn finish(&self) -> Result<()> {
        let status = self.start()?.wait()?;
        ensure!(status.success(), "the example: {status}");
        Ok(())
    }

    fn lines(&self) -> Result<usize> {
        Ok(read(&self.directory)?.lines().count())
    }

    fn delivered(&self) -> Result<Vec<Delivery>> {
        read(&self.directory)?.lines().map(Delivery::parse).collect()
    }
}

fn read(directory: &Path) -> Result<String> {
    let file = directory.join("delivered");
    // Missing until the first letter is delivered.
    if !file.exists() {
        return Ok(String::new());
    }
    Ok(fs::read_to_string(file)?)
}

impl Delivery {
    fn parse(line: &str) -> Result<Self> {
        let (key, rest) = line.split_once(' ').context("a line has a key")?;
        let (recipient, number) = rest.rsplit_once(' ').context("a line has a number")?;
        Ok(Self { key: key.to_owned(), recipient: recipient.to_owned(), number: number.parse()? })
    }
}

/// Checks that every letter was delivered, always with the same key, and in the order of its
/// recipient's letters. Returns the number of repeated deliveries.
fn check(delivered: &[Delivery]) -> Result<usize> {
    let mut keys: BTreeMap<(&str, usize), BTreeSet<&str>> = BTreeMap::new();
    let mut last: BTreeMap<&str, usize> = BTreeMap::new();
    for Delivery { key, recipient, number } in delivered {
        keys.entry((recipient, *number)).or_default().insert(key);
        let last = last.entry(recipient).or_default();
        // A crash repeats letters that were not recorded, never one before a recorded one.
        ensure!(*number <= *last + 1, "letter {number} of {recipient} came after {last}");
        *last = (*last).max(*number);
    }
    ensure!(keys.len() == RECIPIENTS * LETTERS_EACH, "{} letters were delivered", keys.len());
    let two = keys.iter().find(|(_, keys)| keys.len() > 1);
    ensure!(two.is_none(), "a letter was delivered with two keys: {two:?}");
    let different: BTreeSet<&str> = keys.values().flatten().copied().collect();
    ensure!(different.len() == keys.len(), "two letters have the same key");
    Ok(delivered.len() - keys.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> Vec<Delivery> {
        let recipients = (0..RECIPIENTS).map(|it| format!("recipient {it}"));
        let letters = recipients.flat_map(|recipient| {
            (1..=LETTERS_EACH).map(move |number| Delivery {
                key: format!("{recipient}/{number}"),
                recipient: recipient.clone(),
                number,
            })
        });
        letters.collect()
    }

    #[test]
    fn a_lost_an_early_and_a_renamed_effect_are_seen() {
        assert_eq!(check(&all()).unwrap(), 0);
        let mut lost = all();
        lost.pop();
        assert!(check(&lost).is_err());
        let mut early = all();
        early.swap(0, 1);
        assert!(check(&early).is_err());
        let mut renamed = all();
        let again =
            Delivery { key: "other".to_owned(), recipient: "recipient 0".to_owned(), number: 20 };
        renamed.push(again);
        assert!(check(&renamed).is_err());
    }
}
