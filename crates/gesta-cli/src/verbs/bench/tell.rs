//! `gesta bench tell`: appends until it is killed, and says what it was answered.

use anyhow::Result;
use clap::Args;
use gesta_log::Options;

use crate::{
    exit::Outcome,
    store_url::StoreUrl,
    told::{
        plan::Shape,
        tell::{say_on_output, tell},
    },
};

/// Append until killed, telling every offer and every answer on standard output.
///
/// Whoever keeps these lines can kill the program at any moment and have `gesta bench recount` say
/// whether the store kept what it acknowledged. The events stay in the store: use one of its own.
#[derive(Args, Debug)]
pub(crate) struct Tell {
    #[command(flatten)]
    shape: Shape,
    /// End after so many appends of each thread.
    #[arg(long, value_name = "N")]
    appends_each: Option<u64>,
    /// Bytes of the first segment; small ones make a store go through its files' lives quickly.
    #[arg(long, value_name = "N")]
    segment_bytes: Option<u64>,
}

impl Tell {
    pub(crate) fn run(self, store: &StoreUrl) -> Result<Outcome> {
        let options = match self.segment_bytes {
            None => Options::default(),
            Some(bytes) => Options {
                segment_bytes_first: bytes,
                segment_bytes_max: bytes.saturating_mul(2),
                ..Options::default()
            },
        };
        let store = store.open_to_append_with(options)?;
        tell(&store, &self.shape, self.appends_each, &say_on_output()?)?;
        Ok(Outcome::Done)
    }
}
