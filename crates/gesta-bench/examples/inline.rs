//! The cost of an inline projection for commands.
//!
//! `cargo run --release -p gesta-bench --features postgres --example inline -- postgres://…
//! [SECONDS]` measures commands that open accounts, by 1, 8 and 64 tasks, in a store in PostgreSQL:
//! without a projection; with an inline projection that inserts one row for each event; and with
//! the same projection next to the appends, where each task waits until its row can be read. Prints
//! medians of five turns, and ratios to the first. The schemas `gesta_inline_…` are dropped.

#![expect(clippy::print_stdout, reason = "a program that prints")]

use std::{convert::Infallible, time::Duration};

use anyhow::Context as _;
use gesta::{
    Apply, ApplyError, Gesta, Recorded,
    postgres::{PostgresReadModels, PostgresStore, Tx, tokio_postgres},
    prelude::*,
};
use gesta_bench::load::clock::Stopwatch;
use tokio::task::JoinSet;
use uuid::Uuid;

const TURNS: usize = 5;
const TASKS: [usize; 3] = [1, 8, 64];

#[derive(Event, Serialize, Deserialize, Clone, Debug)]
#[event(name = "account-opened")]
struct AccountOpened {
    owner: String,
}

#[derive(EventSet, Clone, Debug)]
enum AccountEvent {
    Opened(AccountOpened),
}

#[derive(Default)]
struct Account;

impl Aggregate for Account {
    const CATEGORY: &'static str = "account";
    type Id = String;
    type Event = AccountEvent;

    fn evolve(&mut self, _: &AccountEvent) {}
}

#[derive(Command, Serialize, Deserialize)]
#[command(name = "open-account", on = Account, new)]
struct OpenAccount {
    #[command(id)]
    account: String,
    owner: String,
}

impl Decide for OpenAccount {
    type Rejection = Infallible;

    fn decide(&self, _: &Account) -> Decision<Self> {
        Ok(AccountOpened { owner: self.owner.clone() }.into())
    }
}

struct Owners;

impl Projection for Owners {
    const NAME: &'static str = "owners";
    type Event = AccountEvent;
}

impl Apply<Tx> for Owners {
    async fn prepare(&self, tx: &mut Tx) -> Result<(), ApplyError> {
        Ok(tx.batch_execute("create table owners (stream text primary key, owner text)").await?)
    }

    async fn apply(
        &self,
        tx: &mut Tx,
        events: &[Recorded<AccountEvent>],
    ) -> Result<(), ApplyError> {
        for recorded in events {
            let AccountEvent::Opened(AccountOpened { owner }) = &recorded.event;
            let stream = recorded.stream.as_str();
            tx.execute("insert into owners values ($1, $2)", &[&stream, owner]).await?;
        }
        Ok(())
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    None,
    Inline,
    Waited,
}

const KINDS: [(&str, Kind); 3] = [
    ("no projection", Kind::None),
    ("inline projection", Kind::Inline),
    ("projection that is waited for", Kind::Waited),
];

/// Returns the number of commands in a second, in a new store.
async fn rate(server: &str, kind: Kind, tasks: usize, turn: Duration) -> anyhow::Result<f64> {
    // The name of a schema with read models has at most 40 bytes.
    let id = format!("{:016x}", Uuid::new_v4().as_u64_pair().0);
    let schema = format!("gesta_inline_{id}");
    let url = format!("{server}?schema={schema}");
    let models = PostgresReadModels::connect(&url).await?;
    let builder = Gesta::on(std::sync::Arc::new(PostgresStore::connect(&url).await?));
    let gesta = match kind {
        Kind::None => builder,
        Kind::Inline => builder.project_inline(Owners, &models),
        Kind::Waited => builder.project(Owners, &models),
    };
    let gesta = gesta.open().await?;
    open_account(&gesta, kind).await?;
    let (began, mut running) = (Stopwatch::start(), JoinSet::new());
    for _ in 0..tasks {
        let gesta = gesta.clone();
        running.spawn(async move {
            let mut count = 0_u64;
            while began.elapsed() < turn {
                open_account(&gesta, kind).await?;
                count += 1;
            }
            anyhow::Ok(count)
        });
    }
    let mut count = 0;
    while let Some(ended) = running.join_next().await {
        count += ended??;
    }
    let rate = count as f64 / began.elapsed().as_secs_f64();
    gesta.close().await;
    let (client, connection) = tokio_postgres::connect(server, tokio_postgres::NoTls).await?;
    tokio::spawn(connection);
    let schemas = client
        .query("select nspname from pg_namespace where starts_with(nspname, $1)", &[&schema])
        .await?;
    for row in schemas {
        client.batch_execute(&format!("drop schema \"{}\" cascade", row.get::<_, &str>(0))).await?;
    }
    Ok(rate)
}

async fn open_account(gesta: &Gesta, kind: Kind) -> anyhow::Result<()> {
    let command =
        OpenAccount { account: Uuid::now_v7().to_string(), owner: "Ada Lovelace".to_owned() };
    let receipt = gesta.execute(command).await?;
    if kind == Kind::Waited {
        gesta.wait_for::<Owners>(&receipt).await?;
    }
    Ok(())
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let server = arguments.next().context("the first argument is the URL of a server")?;
    let turn = Duration::from_secs(arguments.next().map_or(Ok(3), |text| text.parse())?);
    println!("{:32} {:>6} {:>12}  ratio", "per second", "tasks", "commands");
    for tasks in TASKS {
        let mut rates = [const { Vec::new() }; KINDS.len()];
        for _ in 0..TURNS {
            for ((_, kind), rates) in KINDS.iter().zip(&mut rates) {
                rates.push(rate(&server, *kind, tasks, turn).await?);
            }
        }
        let medians = rates.map(|mut rates| {
            rates.sort_by(f64::total_cmp);
            rates.get(TURNS / 2).copied().unwrap_or_default()
        });
        for ((name, _), median) in KINDS.iter().zip(medians) {
            println!("{name:32} {tasks:6} {median:12.0} {:6.2}", median / medians[0]);
        }
    }
    Ok(())
}
