//! Answers that are not pages: descriptions and lists of streams, categories.
//!
//! Invariant: an answer that damage may have made incomplete is an error.

use gesta_store::{
    Category, ListCategories, ListStreams, Position, StoreError, StoreFuture, StreamDescription,
    StreamName, StreamState,
};

use super::Reader;
use crate::disk::waiting;

impl Reader {
    /// Answers from memory at once, and otherwise on an I/O thread.
    pub(crate) fn answer<T: Send + 'static>(
        &self,
        ask: impl Fn(&Self) -> Result<T, StoreError> + Send + 'static,
    ) -> StoreFuture<'static, T> {
        if let Some(answer) = waiting::without_waiting(|| ask(self)) {
            return Box::pin(std::future::ready(answer));
        }
        let reader = self.clone();
        let answer = self.io_threads.run(move || ask(&reader));
        Box::pin(async move { answer.await? })
    }

    /// Describes a stream.
    pub(crate) fn describe(&self, stream: &StreamName) -> Result<StreamDescription, StoreError> {
        self.retry_if_files_replaced(|| self.describe_now(stream))
    }

    fn describe_now(&self, stream: &StreamName) -> Result<StreamDescription, StoreError> {
        let index = self.published.index();
        let head_of = |name: &StreamName| index.stream_head(name, Position::START);
        let metadata_revision = match stream.metadata_stream() {
            Ok(metadata_stream) => {
                // Damage may have destroyed the metadata that marks the stream as deleted.
                self.stream_is_known(&metadata_stream)?;
                head_of(&metadata_stream)?
            }
            Err(_) => None,
        };
        let (head, meta) = (head_of(stream)?, index.stream_meta(stream));
        self.stream_is_known(stream)?;
        let described = StreamDescription::new(meta.state(head)).head(head);
        Ok(described.metadata(meta.metadata(), metadata_revision))
    }

    /// Lists the names of live streams.
    pub(crate) fn list(&self, list: &ListStreams) -> Result<Vec<StreamName>, StoreError> {
        self.retry_if_files_replaced(|| self.list_now(list))
    }

    fn list_now(&self, list: &ListStreams) -> Result<Vec<StreamName>, StoreError> {
        // A list cannot report a missing name, so it fails as a whole after damage.
        self.nothing_lost(Position::START)?;
        let index = self.published.index();
        let system = list.prefix.starts_with('$');
        let mut live = Vec::new();
        let mut after = list.after.clone();
        while live.len() < list.limit {
            let wanted = list.limit - live.len();
            let names = index.stream_names(&list.prefix, after.as_ref(), wanted)?;
            let Some(last) = names.last() else { break };
            after = Some(last.clone());
            for name in names {
                let head = index.stream_head(&name, Position::START)?;
                let shown = index.stream_meta(&name).state(head) == StreamState::Live;
                if shown && (system || !name.is_system()) {
                    live.push(name);
                }
            }
        }
        Ok(live)
    }

    /// Lists categories.
    pub(crate) fn categories(&self, list: &ListCategories) -> Result<Vec<Category>, StoreError> {
        self.retry_if_files_replaced(|| {
            self.nothing_lost(Position::START)?;
            self.published.index().categories(list.after.as_ref(), list.limit)
        })
    }
}
