//! The space that a store takes.

use std::sync::Arc;

use gesta_store::{StoreError, StoreFuture};

use super::Reader;

impl Reader {
    /// Returns the lengths of all files together, in bytes, with preallocated space.
    pub(crate) fn stored_bytes(&self) -> StoreFuture<'static, Option<u64>> {
        let disk = Arc::clone(&self.disk);
        // The file system is asked for each file, which may wait.
        let answer = self.io_threads.run(move || disk.stored_bytes());
        Box::pin(async move {
            let read = answer.await?;
            let bytes = read.map_err(|source| StoreError::Unavailable {
                reason: "cannot list the files of the store".to_owned(),
                source: Some(Arc::new(source)),
            });
            bytes.map(Some)
        })
    }
}
