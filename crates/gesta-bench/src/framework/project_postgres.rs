//! Catch-up of a projection into PostgreSQL, compared with a bare `COPY` of the same rows.
//!
//! The bare rows are copied on one connection, in transactions of as many rows as the projection's
//! batches had on the average, which do not wait for the disk, as those of read models do not. Not
//! here: the events.

use std::{
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use anyhow::{Context as _, Result, ensure};
use gesta::{
    Apply, ApplyError, Gesta, Projection, Recorded,
    postgres::{
        PostgresReadModels, PostgresUrl, Tx,
        tokio_postgres::{Client, Config, NoTls, binary_copy::BinaryCopyInWriter, types::Type},
    },
    store::{EventStore, ReadModelStore as _},
    testing::drain,
};

use super::{
    accounts::{Deposited, Entries, Entry, Noticed},
    rounds::{Rate, Turn},
};

const TABLE: &str = "create table entries (position bigint primary key, account text not null, \
                     amount bigint not null, reference text not null)";
const COLUMNS: [&str; 4] = ["position", "account", "amount", "reference"];

impl Apply<Tx> for Entries {
    async fn prepare(&self, tx: &mut Tx) -> Result<(), ApplyError> {
        Ok(tx.batch_execute(TABLE).await?)
    }

    async fn apply(&self, tx: &mut Tx, events: &[Recorded<Noticed>]) -> Result<(), ApplyError> {
        self.batches.fetch_add(1, Ordering::Relaxed);
        let mut rows = tx.copy_in("entries", &COLUMNS).await?;
        for recorded in events {
            let Noticed::Deposited(Deposited { account, amount, reference }) = &recorded.event;
            let (position, amount) = (number(recorded.position.number()), number(*amount));
            rows.write(&[&position, account, &amount, reference]).await?;
        }
        rows.finish().await?;
        Ok(())
    }
}

fn number(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// Returns the rate of a new projection, and the number of its batches. Drops its rows.
pub(super) async fn catch_up(
    store: Arc<dyn EventStore>,
    url: &str,
    events: u64,
) -> Result<(Rate, u64)> {
    let read_models = PostgresReadModels::connect(url).await?;
    for before in read_models.list_read_models(Entries::NAME).await? {
        read_models.drop_read_model(&before.id).await?;
    }
    let batches = Arc::new(AtomicU64::new(0));
    let turn = Turn::start();
    let projection = Entries { batches: Arc::clone(&batches) };
    let gesta =
        Gesta::on(store).without_log_hint().project(projection, &read_models).open().await?;
    drain(&gesta).await;
    let rate = turn.rate(events);
    let letters = gesta.dead_letters().await?;
    ensure!(letters.is_empty(), "{} events were not applied", letters.len());
    gesta.close().await;
    let filled = read_models.list_read_models(Entries::NAME).await?;
    let filled = filled.first().context("the projection has a read model")?;
    let mut reader = read_models.reader(&filled.id).await?;
    let count = "select count(*) from entries";
    let rows: Option<i64> = reader.find(count, &[], |row| row.try_get(0)).await?;
    ensure!(rows == Some(number(events)), "{rows:?} rows of {events} events");
    drop(reader);
    read_models.drop_read_model(&filled.id).await?;
    read_models.close().await;
    Ok((rate, batches.load(Ordering::Relaxed)))
}

/// Returns the rate of bare copies into a table of their own.
pub(super) async fn insert(url: &str, entries: &[Entry], batch_events: u64) -> Result<Rate> {
    let parsed: PostgresUrl = url.parse()?;
    let connection = url.split_once('?').map_or(url, |(connection, _)| connection);
    let config: Config = connection.parse()?;
    let (client, driver) = config.connect(NoTls).await?;
    let driver = tokio::spawn(driver);
    let schema = format!("{}_bare", parsed.schema());
    let create = format!(
        "drop schema if exists \"{schema}\" cascade; create schema \"{schema}\"; \
         set search_path = \"{schema}\"; set synchronous_commit = off; {TABLE}"
    );
    client.batch_execute(&create).await?;
    let turn = Turn::start();
    for batch in entries.chunks(usize::try_from(batch_events)?) {
        client.batch_execute("begin").await?;
        copy(&client, batch).await?;
        client.batch_execute("commit").await?;
    }
    let rate = turn.rate(entries.len() as u64);
    client.batch_execute(&format!("drop schema \"{schema}\" cascade")).await?;
    drop(client);
    driver.await??;
    Ok(rate)
}

async fn copy(client: &Client, batch: &[Entry]) -> Result<()> {
    let columns = COLUMNS.join(", ");
    let text = format!("copy entries ({columns}) from stdin with (format binary)");
    let types = [Type::INT8, Type::TEXT, Type::INT8, Type::TEXT];
    let mut rows = pin!(BinaryCopyInWriter::new(client.copy_in(&text).await?, &types));
    for Entry { position, deposited } in batch {
        let Deposited { account, amount, reference } = deposited;
        let (position, amount) = (number(*position), number(*amount));
        rows.as_mut().write(&[&position, account, &amount, reference]).await?;
    }
    rows.finish().await?;
    Ok(())
}
