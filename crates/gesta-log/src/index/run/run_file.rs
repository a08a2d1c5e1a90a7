//! The file of an open run, with the data needed to read and verify its blocks.

use std::sync::Arc;

use super::{block, cache::BlockCache, error::RunError, layout::Footer};
use crate::format::{Malformed, Seed};

/// A run's file, its footer, and the cache of its blocks.
#[derive(Debug)]
pub(crate) struct RunFile {
    /// Name of the file in the store's directory.
    pub(super) name: String,
    pub(super) footer: Footer,
    /// Seed of the checksums of its blocks.
    pub(super) seed: Seed,
    pub(super) cache: Arc<BlockCache>,
    /// The run's key in the cache.
    pub(super) cache_id: u64,
}

impl RunFile {
    pub(super) fn new(name: String, footer: Footer, cache: Arc<BlockCache>) -> Self {
        let (seed, cache_id) = (footer.seed(), cache.next_run_id());
        Self { name, footer, seed, cache, cache_id }
    }

    pub(super) fn malformed(&self, number: u32, what: Malformed) -> RunError {
        RunError::malformed(&self.name, block::offset(number), what)
    }
}
