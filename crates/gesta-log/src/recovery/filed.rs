//! What the index's files say of the log.
//!
//! Always holds: runs are taken in the order of the manifest, as far as each goes on where the one
//! before it ends; what cannot be read any more is left to the segments.

use std::sync::Arc;

use gesta_store::{Incarnation, Position};
use tracing::warn;
use uuid::Uuid;

use crate::{
    disk::Disk,
    index::{BlockCache, Covered, FileContext, Index, Listed, Manifest, Run, RunError},
};

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Filed {
    pub(super) store: Option<[u8; 16]>,
    /// The segments that the runs cover, in order.
    pub(super) covered: Vec<Covered>,
    pub(super) index: Index,
}

impl Filed {
    pub(super) fn open(disk: &Arc<dyn Disk>, cache: &Arc<BlockCache>) -> Self {
        let manifest = match Manifest::read(&**disk) {
            Ok(Some(manifest)) => manifest,
            Ok(None) => return Self::default(),
            Err(error) => {
                warn!(%error, "the index's manifest is not readable; the index is built again");
                return Self::default();
            }
        };
        let context = Arc::new(FileContext::new(Arc::clone(disk), manifest.store));
        let mut filed = Self { store: Some(manifest.store), ..Self::default() };
        for listed in &manifest.runs {
            let opened = Run::open(&**disk, listed.name, Arc::clone(cache));
            let taken = opened.and_then(|run| filed.take(&context, listed, Arc::new(run)));
            match taken {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) => {
                    warn!(%error, "a file of the index is not readable; it is built again");
                    break;
                }
            }
        }
        if filed.covered.is_empty() { Self::default() } else { filed }
    }

    /// Takes a run, if it is the one that is meant and goes on where the one before it ends.
    fn take(
        &mut self,
        context: &Arc<FileContext>,
        listed: &Listed,
        run: Arc<Run>,
    ) -> Result<bool, RunError> {
        let next = self.covered.last().map_or(Position::START.next().number(), |last| last.end);
        if run.first() != next || run.listed() != *listed || Some(run.store()) != self.store {
            return Ok(false);
        }
        let covered = run.covered().to_vec();
        self.index.add_run(context, run)?;
        self.covered.extend(covered);
        Ok(true)
    }

    /// How many events the runs cover.
    pub(super) fn events(&self) -> u64 {
        self.covered.iter().map(|covered| covered.end - covered.first).sum()
    }

    /// Each incarnation with the position of its first event.
    pub(super) fn lives(&self) -> Vec<(Incarnation, Position)> {
        let mut lives: Vec<(Incarnation, Position)> = Vec::new();
        for covered in &self.covered {
            let life = Incarnation::new(Uuid::from_bytes(covered.incarnation));
            if lives.last().is_none_or(|(last, _)| *last != life) {
                lives.push((life, Position::new(covered.first)));
            }
        }
        lives
    }
}
