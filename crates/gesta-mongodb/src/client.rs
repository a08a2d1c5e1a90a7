//! The connection: the vendor's client with this crate's limits of time, and what the server can
//! do.
//!
//! Owns: the client's settings, the limit of each request ([`within`]), and the look at the
//! deployment. Reads go to the primary. Not here: requests on documents.

use std::{
    collections::BTreeMap,
    future::IntoFuture,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use mongodb::{
    Client, Database,
    bson::{Document, doc},
    event::{EventHandler, sdam::SdamEvent},
    options::{
        Acknowledgment, ClientOptions, ReadConcern, ReadPreference, SelectionCriteria, WriteConcern,
    },
};

use crate::{
    errors::{CallError, words},
    url::MongoUrl,
};

/// Time in which a connection has to be there.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(2);
/// Time in which a server that answers has to be found.
const SELECTION_TIME_MAX: Duration = Duration::from_secs(5);
/// Time of one request.
const REQUEST_TIME_MAX: Duration = Duration::from_secs(10);

/// The way in which a commit of several documents is made.
///
/// Whichever it is, readers see all of a commit or nothing of it.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Commits {
    /// The server's transactions, which need a replica set or a sharded cluster.
    Transactions,
    /// Changes are stored as a whole, then written to the rows. A commit that is cut off is
    /// completed by the next one. For every server.
    StagedBatches,
}

/// Properties of a server that this crate depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Deployment {
    pub(crate) has_transactions: bool,
    pub(crate) has_nested_arrays: bool,
    /// Replacements in one command. FerretDB 1.24 keeps one of its 100 connections to its own
    /// database for each, until the command ends. It waits for ever once none is free.
    pub(crate) replacements_max: usize,
}

/// The last failure of each server that the client looks at in the background. Clones share it.
///
/// A request that finds no server fails without the reason, which only the client's looks have.
#[derive(Clone, Debug, Default)]
pub(crate) struct Heartbeats {
    failures: Arc<Mutex<BTreeMap<String, String>>>,
}

impl Heartbeats {
    fn handler(&self) -> EventHandler<SdamEvent> {
        let own = self.clone();
        EventHandler::callback(move |event| match event {
            SdamEvent::ServerHeartbeatFailed(failed) => {
                let server = failed.server_address.to_string();
                own.failures().insert(server, words(&failed.failure));
            }
            SdamEvent::ServerHeartbeatSucceeded(succeeded) => {
                own.failures().remove(&succeeded.server_address.to_string());
            }
            _ => {}
        })
    }

    /// Adds to an error what the client's looks have met, if it is about that.
    pub(crate) fn explain(&self, error: CallError) -> CallError {
        if !matches!(error, CallError::NoServer) {
            return error;
        }
        let seconds = SELECTION_TIME_MAX.as_secs();
        let mut reason = format!("no server takes requests after {seconds} seconds");
        for (server, failure) in self.failures().iter() {
            reason.push_str(&format!("; {server}: {failure}"));
        }
        CallError::Unreachable(reason)
    }

    fn failures(&self) -> MutexGuard<'_, BTreeMap<String, String>> {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Runs one request within its limit of time.
pub(crate) async fn within<T>(
    request: impl IntoFuture<Output = Result<T, mongodb::error::Error>>,
) -> Result<T, CallError> {
    match tokio::time::timeout(REQUEST_TIME_MAX, request.into_future()).await {
        Ok(answer) => answer.map_err(CallError::from),
        Err(_) => {
            let seconds = REQUEST_TIME_MAX.as_secs();
            let reason = format!("the server has not answered within {seconds} seconds");
            Err(CallError::Unreachable(reason))
        }
    }
}

/// Connects, and asks the server what it can do.
pub(crate) async fn connect(
    url: &MongoUrl,
    heartbeats: &Heartbeats,
) -> Result<(Database, Deployment), CallError> {
    let mut options = ClientOptions::parse(url.parsed.clone()).await?;
    options.sdam_event_handler = Some(heartbeats.handler());
    options.connect_timeout = Some(CONNECT_TIME_MAX);
    options.server_selection_timeout = Some(SELECTION_TIME_MAX);
    // Read models are read right after they were written, so no secondary will do.
    options.selection_criteria = Some(SelectionCriteria::ReadPreference(ReadPreference::Primary));
    let majority = WriteConcern::builder().w(Acknowledgment::Majority).build();
    options.write_concern = Some(majority);
    let client = Client::with_options(options.clone())?;
    let database = client.database(&url.database);
    let hello = within(database.run_command(doc! { "hello": 1 })).await?;
    let build = within(database.run_command(doc! { "buildInfo": 1 })).await?;
    let deployment = Deployment::of(&hello, &build);
    if !deployment.has_transactions {
        return Ok((database, deployment));
    }
    // A write that a majority has stays when another server becomes the primary.
    options.read_concern = Some(ReadConcern::majority());
    Ok((Client::with_options(options)?.database(&url.database), deployment))
}

impl Deployment {
    /// A replica set names itself, `mongos` says that it is one, and both have sessions. FerretDB
    /// may say the same and has no transactions.
    fn of(hello: &Document, build: &Document) -> Self {
        let is_ferret = build.contains_key("ferretdbVersion");
        let is_set = hello.contains_key("setName")
            || hello.get_str("msg").is_ok_and(|name| name == "isdbgrid");
        let has_sessions = hello.contains_key("logicalSessionTimeoutMinutes");
        Self {
            has_transactions: is_set && has_sessions && !is_ferret,
            has_nested_arrays: !is_ferret,
            replacements_max: if is_ferret { 1 } else { usize::MAX },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transactions_need_a_replica_set_or_a_cluster() {
        let (build, ferret) = (doc! { "version": "7.0.42" }, doc! { "ferretdbVersion": "v1.24.2" });
        let alone = doc! { "isWritablePrimary": true, "logicalSessionTimeoutMinutes": 30 };
        let mut set = alone.clone();
        set.insert("setName", "rs0");
        let mut cluster = alone.clone();
        cluster.insert("msg", "isdbgrid");
        assert!(!Deployment::of(&alone, &build).has_transactions);
        assert!(Deployment::of(&set, &build).has_transactions);
        assert!(Deployment::of(&cluster, &build).has_transactions);
        assert!(!Deployment::of(&doc! { "setName": "rs0" }, &build).has_transactions);
        assert!(!Deployment::of(&set, &ferret).has_transactions);
        assert!(!Deployment::of(&set, &ferret).has_nested_arrays);
        assert_eq!(Deployment::of(&set, &ferret).replacements_max, 1);
    }
}
