//! An application that moves: read models and process managers continue on the copy of its store.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use gesta::{
    Gesta,
    prelude::*,
    sqlite::{Reader, Sqlite},
    store::Rows,
    testing::{VirtualClock, drain},
};

use crate::{
    database::Database,
    scene::{Scene, program, run},
};

const HELD_FOR: Duration = Duration::from_secs(900);

#[derive(Event, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[event(name = "table-booked")]
struct TableBooked {
    table: String,
}

#[derive(Event, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[event(name = "table-released")]
struct TableReleased {
    table: String,
}

#[derive(EventSet, Clone, Debug, PartialEq)]
enum TableEvent {
    Booked(TableBooked),
    Released(TableReleased),
}

#[derive(Default)]
struct Table;

impl Aggregate for Table {
    const CATEGORY: &'static str = "table";
    type Id = String;
    type Event = TableEvent;

    fn evolve(&mut self, _: &TableEvent) {}
}

#[derive(Command, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[command(name = "book-table", on = Table, new)]
struct BookTable {
    #[command(id)]
    table: String,
}

impl Decide for BookTable {
    type Rejection = std::convert::Infallible;

    fn decide(&self, _: &Table) -> Decision<Self> {
        Ok(TableBooked { table: self.table.clone() }.into())
    }
}

#[derive(Command, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[command(name = "release-table", on = Table)]
struct ReleaseTable {
    #[command(id)]
    table: String,
}

impl Decide for ReleaseTable {
    type Rejection = std::convert::Infallible;

    fn decide(&self, _: &Table) -> Decision<Self> {
        Ok(TableReleased { table: self.table.clone() }.into())
    }
}

/// Releases each table once, after a while.
#[derive(Clone, Default)]
struct Hold {
    table: String,
}

#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
struct HeldForLong;

impl ProcessManager for Hold {
    const NAME: &'static str = "hold";
    type Event = TableEvent;
    type Timer = HeldForLong;
    type Commands = (ReleaseTable,);

    fn route(event: &Recorded<TableEvent>) -> Routing {
        match &event.event {
            TableEvent::Booked(booked) => Routing::start(&booked.table),
            TableEvent::Released(_) => Routing::Ignore,
        }
    }

    fn evolve(&mut self, input: &Input<Self>) {
        if let Input::Event(TableEvent::Booked(booked)) = input {
            self.table = booked.table.clone();
        }
    }

    fn react(&self, input: &Input<Self>, _: RecordedAt) -> Effects<Self> {
        match input {
            Input::Event(TableEvent::Booked(_)) => Effects::none().after(HELD_FOR, HeldForLong),
            Input::Timer(HeldForLong) => {
                Effects::none().send(ReleaseTable { table: self.table.clone() }).end()
            }
            Input::Event(TableEvent::Released(_)) | Input::Rejected(_) => Effects::none().end(),
        }
    }
}

/// Counts the events of each table. An event that is applied twice counts twice.
struct Counts {
    /// Events that this process has applied, which a rebuild would count again.
    applied: Arc<AtomicU64>,
}

impl Projection for Counts {
    const NAME: &'static str = "counts";
    type Event = TableEvent;
}

impl<Tx: Rows> Apply<Tx> for Counts {
    async fn apply(&self, tx: &mut Tx, events: &[Recorded<TableEvent>]) -> Result<(), ApplyError> {
        for event in events {
            let table = event.stream.as_str();
            let before: u64 = tx.get("events", table).await?.unwrap_or_default();
            tx.put("events", table, &(before + 1)).await?;
            self.applied.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }
}

#[derive(Query)]
#[query(reads = Counts, answer = Option<u64>)]
struct CountOf {
    table: String,
}

impl Answer<Reader> for CountOf {
    async fn answer(&self, rows: &mut Reader) -> Result<Option<u64>, QueryError> {
        Ok(rows.get("events", &self.table).await?)
    }
}

/// The application, with its read models in a directory that stays where it is.
struct App {
    gesta: Gesta,
    applied: Arc<AtomicU64>,
}

impl App {
    async fn open(store: &str, read_models: &Path, clock: Option<&VirtualClock>) -> Self {
        let read_models = Sqlite::open(read_models).await.unwrap();
        let applied = Arc::new(AtomicU64::new(0));
        let counts = Counts { applied: Arc::clone(&applied) };
        let builder = Gesta::at(store);
        let builder = match clock {
            Some(clock) => builder.clock(clock.clone()),
            None => builder,
        };
        let builder = builder.project(counts, &read_models).process::<Hold>();
        let gesta = builder.open().await.unwrap();
        drain(&gesta).await;
        Self { gesta, applied }
    }

    async fn book(&self, table: &str) {
        self.gesta.execute(BookTable { table: table.to_owned() }).await.unwrap();
        drain(&self.gesta).await;
    }

    /// Returns how many events each table has in the read model.
    async fn counts(&self, tables: &[&str]) -> Vec<u64> {
        let mut counts = Vec::new();
        for table in tables {
            let query = CountOf { table: format!("table-{table}") };
            counts.push(self.gesta.ask(query).await.unwrap().unwrap_or_default());
        }
        counts
    }

    async fn close(self) {
        self.gesta.close().await;
    }
}

fn copy(source: &str, target: &str) {
    let copied = run(program(&["copy", source, target]));
    assert_eq!(copied.code, 0, "{copied:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_application_continues_on_postgresql_and_back_and_applies_each_event_once() {
    let Some(database) = Database::new_or_skip() else { return };
    let (first, last, read_models) = (Scene::empty(), Scene::empty(), Scene::empty());
    let url = |scene: &Scene| format!("gesta:{}", scene.path().display());
    let clock = VirtualClock::new();

    let app = App::open(&url(&first), read_models.path(), Some(&clock)).await;
    app.book("early").await;
    clock.advance(HELD_FOR);
    app.book("first").await;
    assert_eq!(app.counts(&["early", "first"]).await, [2, 1], "one timer has fired");
    app.close().await;

    copy(&url(&first), &database.url());
    let app = App::open(&database.url(), read_models.path(), Some(&clock)).await;
    assert_eq!(app.applied.load(Ordering::Relaxed), 0, "nothing is applied again");
    app.book("second").await;
    assert_eq!(app.counts(&["early", "first", "second"]).await, [2, 1, 1]);
    clock.advance(HELD_FOR / 2);
    drain(&app.gesta).await;
    app.close().await;

    copy(&database.url(), &url(&last));
    let app = App::open(&url(&last), read_models.path(), Some(&clock)).await;
    assert_eq!(app.applied.load(Ordering::Relaxed), 0, "nothing is applied again");
    clock.advance(HELD_FOR);
    app.book("third").await;
    let tables = ["early", "first", "second", "third"];
    assert_eq!(app.counts(&tables).await, [2, 2, 2, 1], "each timer has fired once");
    // The releases of two tables, and the third booking.
    assert_eq!(app.applied.load(Ordering::Relaxed), 3);
    app.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn read_models_that_saw_more_than_was_copied_are_built_again() {
    let Some(database) = Database::new_or_skip() else { return };
    let (first, read_models) = (Scene::empty(), Scene::empty());
    let url = format!("gesta:{}", first.path().display());
    let app = App::open(&url, read_models.path(), None).await;
    app.book("first").await;
    app.close().await;
    copy(&url, &database.url());
    // The application was not stopped for good.
    let app = App::open(&url, read_models.path(), None).await;
    app.book("lost").await;
    app.close().await;
    let app = App::open(&database.url(), read_models.path(), None).await;
    assert_eq!(app.counts(&["first", "lost"]).await, [1, 0], "only what the copy has");
    assert!(app.applied.load(Ordering::Relaxed) > 0, "rows were built again");
    app.close().await;
}
