//! `gesta-bench framework`: commands, loads, projections and processes.

use anyhow::{Result, ensure};
use clap::{Args, Subcommand};
use gesta_bench::framework::{
    execute::{self, ExecuteLoad, ExecuteReport},
    fresh::Place,
    load::{self, AggregateLoad, AggregateReport},
    project::{self, ProjectLoad, ProjectReport},
    react::{self, ReactLoad, ReactReport},
};
use serde::Serialize;
use tokio::runtime::Runtime;

use crate::store_url::StoreUrl;

/// Measure the framework: commands, loads of aggregates, projections, process managers
///
/// Needs an empty directory. Each turn has a new store in it, which is removed afterwards.
#[derive(Args, Debug)]
pub(crate) struct Framework {
    #[command(subcommand)]
    load: FrameworkLoad,
}

#[derive(Subcommand, Debug)]
enum FrameworkLoad {
    /// Execute commands that create new aggregates, compared with the store's own appends
    Execute(ExecuteLoad),
    /// Load an aggregate with and without a snapshot
    Load(AggregateLoad),
    /// Catch up with a projection into SQLite, compared with bare inserts of its rows
    Project(ProjectLoad),
    /// React to events with commands, by a process manager
    React(ReactLoad),
}

#[derive(Serialize)]
#[serde(untagged)]
pub(crate) enum FrameworkOutput {
    Execute(ExecuteReport),
    Load(AggregateReport),
    Project(ProjectReport),
    React(ReactReport),
}

impl Framework {
    pub(crate) fn run(self, store: &StoreUrl) -> Result<FrameworkOutput> {
        let directory = store.directory();
        ensure!(store.is_empty()?, "{} is not empty: use an empty directory", directory.display());
        let place = Place { directory: directory.to_owned(), index: store.index() };
        let runtime = Runtime::new()?;
        Ok(match self.load {
            FrameworkLoad::Execute(load) => {
                FrameworkOutput::Execute(execute::run(&runtime, &load, &place)?)
            }
            FrameworkLoad::Load(load) => FrameworkOutput::Load(load::run(&runtime, &load, &place)?),
            FrameworkLoad::Project(load) => {
                FrameworkOutput::Project(project::run(&runtime, &load, &place)?)
            }
            FrameworkLoad::React(load) => {
                FrameworkOutput::React(react::run(&runtime, &load, &place)?)
            }
        })
    }
}
