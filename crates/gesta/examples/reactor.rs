//! A reactor that delivers letters: `cargo run -p gesta --example reactor -- DIRECTORY`.
//!
//! Writes 1,000 letters to 50 recipients into an event store in the directory, unless they are
//! there, and delivers each by adding a line to the file `delivered`: the idempotency key, the
//! recipient, and the number of the letter. A recipient that is named in the file `refused` takes
//! no letter: the first one becomes a dead letter, and those behind it wait. Once the file is gone,
//! the next run retries it.
//!
//! Kill it at any time and run it again: every letter is delivered at least once, and a letter that
//! is delivered twice has the same key.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use gesta::{
    Begin, EffectContext, EffectError, Gesta, Reactor, ReactorSetup, Recorded, audit::Operator,
    prelude::*, testing::drain,
};

const RECIPIENTS: usize = 50;
const LETTERS_EACH: usize = 20;

#[derive(Event, Serialize, Deserialize, Clone)]
#[event(name = "letter-written")]
struct LetterWritten {
    recipient: String,
    number: usize,
}

#[derive(EventSet, Clone)]
enum LetterEvent {
    Written(LetterWritten),
}

#[derive(Default)]
struct Mailbox {
    letters: usize,
}

impl Aggregate for Mailbox {
    const CATEGORY: &'static str = "mailbox";
    type Id = String;
    type Event = LetterEvent;

    fn evolve(&mut self, event: &LetterEvent) {
        let LetterEvent::Written(letter) = event;
        self.letters = letter.number;
    }
}

/// Writes the letter with a number, unless it is written.
#[derive(Command, Serialize, Deserialize)]
#[command(name = "write-letter", on = Mailbox, either)]
struct WriteLetter {
    #[command(id)]
    recipient: String,
    number: usize,
}

impl Decide for WriteLetter {
    type Rejection = std::convert::Infallible;

    fn decide(&self, mailbox: &Mailbox) -> Decision<Self> {
        if mailbox.letters >= self.number {
            return Ok(Events::none());
        }
        Ok(LetterWritten { recipient: self.recipient.clone(), number: self.number }.into())
    }
}

/// Delivers each letter.
struct Carrier {
    directory: PathBuf,
}

impl Reactor for Carrier {
    const NAME: &'static str = "carrier";
    type Event = LetterEvent;

    async fn react(
        &self,
        event: &Recorded<LetterEvent>,
        effect: &EffectContext,
    ) -> Result<(), EffectError> {
        let LetterEvent::Written(LetterWritten { recipient, number }) = &event.event;
        let refused = fs::read_to_string(self.directory.join("refused")).unwrap_or_default();
        if refused.lines().any(|line| line == recipient) {
            return Err(EffectError::permanent("the recipient takes no letters"));
        }
        let line = format!("{} {recipient} {number}\n", effect.key());
        let directory = self.directory.clone();
        tokio::task::spawn_blocking(move || deliver(&directory, &line)).await??;
        Ok(())
    }
}

/// Adds a line to the delivered letters, durably.
fn deliver(directory: &Path, line: &str) -> io::Result<()> {
    let mut delivered =
        OpenOptions::new().create(true).append(true).open(directory.join("delivered"))?;
    delivered.write_all(line.as_bytes())?;
    delivered.sync_data()
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let directory = std::env::args_os().nth(1).map(PathBuf::from);
    let directory = directory.ok_or("usage: reactor DIRECTORY")?;
    fs::create_dir_all(&directory)?;
    let carrier = Carrier { directory: directory.clone() };
    let setup = ReactorSetup::of(carrier, Begin::AtTheStart).concurrency(4);
    let url = format!("gesta:{}", directory.join("store").display());
    let gesta = Gesta::at(url).react_set_up(setup).open().await?;
    for number in 1..=LETTERS_EACH {
        for recipient in 0..RECIPIENTS {
            let recipient = format!("recipient {recipient}");
            gesta.execute(WriteLetter { recipient, number }).await?;
        }
    }
    if !directory.join("refused").exists() {
        let operator = Operator::new("example").because("all recipients take letters again");
        for letter in gesta.reactor_dead_letters(Carrier::NAME).await? {
            gesta.retry_effect(Carrier::NAME, letter.id, &operator).await?;
        }
    }
    drain(&gesta).await;
    gesta.close().await;
    Ok(())
}
