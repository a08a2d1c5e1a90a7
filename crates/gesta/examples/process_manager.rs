//! Measures one process manager: `cargo run --release -p gesta --example process_manager [USERS]`.
//!
//! The store has USERS users (default 20,000) with one event each. It is in a temporary directory
//! and syncs every append. A process manager that is opened on it reacts to each event with one
//! command to the same user. Prints the events handled per second, until all commands are
//! executed, of five runs, and the median.

#![expect(clippy::print_stdout, reason = "it prints its result")]
#![expect(clippy::disallowed_methods, reason = "a measurement reads the real time")]

use std::{path::Path, time::Instant};

use gesta::{
    Effects, EventId, EventType, Gesta, Input, ProcessManager, Recorded, RecordedAt, Routing,
    StreamName,
    prelude::*,
    store::{Append, ExpectedRevision, NewEvent},
    testing::drain,
};

type Done<T> = Result<T, Box<dyn std::error::Error>>;

const RUNS: usize = 5;

#[derive(Event, Serialize, Deserialize, Clone)]
#[event(name = "user-created")]
struct UserCreated {
    user: String,
}

#[derive(Event, Serialize, Deserialize, Clone)]
#[event(name = "user-welcomed")]
struct UserWelcomed {
    user: String,
}

#[derive(EventSet, Clone)]
enum UserEvent {
    Created(UserCreated),
    Welcomed(UserWelcomed),
}

#[derive(Default)]
struct User {
    welcomed: bool,
}

impl Aggregate for User {
    const CATEGORY: &'static str = "user";
    type Id = String;
    type Event = UserEvent;

    fn evolve(&mut self, event: &UserEvent) {
        match event {
            UserEvent::Created(_) => {}
            UserEvent::Welcomed(_) => self.welcomed = true,
        }
    }
}

#[derive(Command, Serialize, Deserialize)]
#[command(name = "welcome-user", on = User)]
struct WelcomeUser {
    #[command(id)]
    user: String,
}

impl Decide for WelcomeUser {
    type Rejection = std::convert::Infallible;

    fn decide(&self, user: &User) -> Decision<Self> {
        if user.welcomed {
            return Ok(Events::none());
        }
        Ok(UserWelcomed { user: self.user.clone() }.into())
    }
}

#[derive(EventSet, Clone)]
enum Noticed {
    Created(UserCreated),
}

#[derive(Clone, Default)]
struct Welcome;

impl ProcessManager for Welcome {
    const NAME: &'static str = "welcome";
    type Event = Noticed;
    type Timer = ();
    type Commands = (WelcomeUser,);

    fn route(event: &Recorded<Noticed>) -> Routing {
        match &event.event {
            Noticed::Created(created) => Routing::start(&created.user),
        }
    }

    fn evolve(&mut self, _: &Input<Self>) {}

    fn react(&self, input: &Input<Self>, _: RecordedAt) -> Effects<Self> {
        match input {
            Input::Event(Noticed::Created(created)) => {
                Effects::none().send(WelcomeUser { user: created.user.clone() }).end()
            }
            Input::Timer(()) | Input::Rejected(_) => Effects::none(),
        }
    }
}

fn url(directory: &Path) -> String {
    format!("gesta:{}", directory.display())
}

async fn create_users(directory: &Path, users: u64) -> Done<()> {
    let gesta = Gesta::at(url(directory)).open().await?;
    for number in 0..users {
        let data = format!(r#"{{"user":"u{number}"}}"#);
        let event = NewEvent::json(EventId::random(), EventType::new("user-created")?, data);
        let stream = StreamName::new(format!("user-u{number}"))?;
        let append = Append::to(stream, ExpectedRevision::NoStream, [event]);
        gesta.store().append(append).await?;
    }
    gesta.close().await;
    Ok(())
}

/// Returns the events per second of a manager that is opened on a store with `users` users.
async fn run(users: u64) -> Done<f64> {
    let directory = tempfile::tempdir()?;
    create_users(directory.path(), users).await?;
    let begun = Instant::now();
    let gesta = Gesta::at(url(directory.path())).process::<Welcome>().open().await?;
    drain(&gesta).await;
    let seconds = begun.elapsed().as_secs_f64();
    // For each user: the event, the reaction, the command's event and the record that the command
    // was executed. Checkpoints come on top.
    let head = gesta.store().head().await?.position.number();
    assert!(head >= 4 * users, "commands are left: {head} events for {users} users");
    gesta.close().await;
    Ok(users as f64 / seconds)
}

#[tokio::main]
async fn main() -> Done<()> {
    let users: u64 = std::env::args().nth(1).map_or(Ok(20_000), |text| text.parse())?;
    let mut rates = Vec::new();
    for _ in 0..RUNS {
        let rate = run(users).await?;
        println!("{rate:>8.0} events/s");
        rates.push(rate);
    }
    rates.sort_by(f64::total_cmp);
    let median = rates.get(RUNS / 2).copied().unwrap_or_default();
    println!("median {median:.0} events/s of {RUNS} runs with {users} users");
    Ok(())
}
