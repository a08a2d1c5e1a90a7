//! Engines of this machine: the embedded log, SQLite, and memory.

use anyhow::Result;
use gesta::sqlite::Sqlite;
use shop::read_models::ReadModels;

use super::driver::{Driver, EngineFuture, check_store};

pub(super) struct LogDriver;
pub(super) struct SqliteDriver;
pub(super) struct MemoryDriver;

impl Driver for LogDriver {
    fn check(&self, url: &str) -> Result<String, String> {
        check_store(url)
    }

    fn has_store<'a>(&'a self, url: &'a str) -> EngineFuture<'a, bool> {
        Box::pin(async move {
            let directory = gesta::directory_of(url)?;
            Ok(directory.map(|directory| directory.try_exists()).transpose()?.unwrap_or(false))
        })
    }
}

fn directory_of(url: &str) -> &str {
    url.split_once(':').map_or(url, |(_, directory)| directory)
}

impl Driver for SqliteDriver {
    fn check(&self, url: &str) -> Result<String, String> {
        match directory_of(url) {
            "" => Err("`sqlite:` needs a directory, as in `sqlite:./read-models`".to_owned()),
            // It would become a directory with the password in its name.
            other if other.contains("://") => {
                Err("`sqlite:` is followed by a directory; got another URL".to_owned())
            }
            _ => Ok(url.to_owned()),
        }
    }

    fn open_read_models<'a>(&'a self, url: &'a str) -> EngineFuture<'a, ReadModels> {
        // They may also be deleted, and are then rebuilt from the events.
        Box::pin(async move { Ok(Sqlite::open(directory_of(url)).await?.into()) })
    }
}

impl Driver for MemoryDriver {
    fn check(&self, url: &str) -> Result<String, String> {
        check_store(url)
    }

    /// Opens read models in a temporary directory, which ends with the program.
    fn open_read_models<'a>(&'a self, _: &'a str) -> EngineFuture<'a, ReadModels> {
        Box::pin(async { Ok(Sqlite::temporary().await?.into()) })
    }
}
