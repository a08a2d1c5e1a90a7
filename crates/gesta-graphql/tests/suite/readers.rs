//! Readers of the library, whom books link to.

use gesta::{
    Answer, Apply, ApplyError, Projection, Query, QueryError,
    prelude::*,
    store::{MemoryReader, Rows},
};
use gesta_http::{ApiRoute, Link, ListPage, Repeated, RequestFields, Schema};

use crate::library::BookDetails;

#[derive(Event, Serialize, Deserialize, Clone)]
#[event(name = "reader-named")]
pub(crate) struct ReaderNamed {
    name: String,
}

#[derive(EventSet, Clone)]
pub(crate) enum ReaderEvent {
    Named(ReaderNamed),
}

#[derive(Default)]
struct Reader;

impl Aggregate for Reader {
    const CATEGORY: &'static str = "reader";
    type Id = String;
    type Event = ReaderEvent;

    fn evolve(&mut self, _: &ReaderEvent) {}
}

#[derive(Command, Serialize, Deserialize)]
#[command(name = "name-reader", on = Reader, either)]
struct NameReader {
    #[command(id)]
    reader: String,
    name: String,
}

impl Decide for NameReader {
    type Rejection = std::convert::Infallible;

    fn decide(&self, _: &Reader) -> Decision<Self> {
        Ok(ReaderNamed { name: self.name.clone() }.into())
    }
}

/// A reader of the library.
#[derive(Schema, Serialize, Deserialize, Clone)]
pub(crate) struct ReaderDetails {
    /// Id of the reader.
    reader: String,
    /// The whole name.
    name: String,
}

pub(crate) struct Readers;

impl Projection for Readers {
    const NAME: &'static str = "readers";
    type Event = ReaderEvent;
}

impl<Tx: Rows> Apply<Tx> for Readers {
    async fn apply(&self, tx: &mut Tx, events: &[Recorded<ReaderEvent>]) -> Result<(), ApplyError> {
        for event in events {
            let reader = event.stream.as_str().trim_start_matches("reader-").to_owned();
            let ReaderEvent::Named(ReaderNamed { name }) = &event.event;
            let details = ReaderDetails { reader: reader.clone(), name: name.clone() };
            tx.put("readers", &reader, &details).await?;
        }
        Ok(())
    }
}

#[derive(Query)]
#[query(reads = Readers, answer = Option<ReaderDetails>)]
struct FindReader {
    reader: String,
}

impl Answer<MemoryReader> for FindReader {
    async fn answer(&self, rows: &mut MemoryReader) -> Result<Self::Answer, QueryError> {
        Ok(rows.get("readers", &self.reader).await?)
    }
}

/// Readers after an id, and the last id if there are more.
struct ReaderPage(Vec<ReaderDetails>, Option<String>);

impl ListPage for ReaderPage {
    type Item = ReaderDetails;

    fn into_items(self) -> (Vec<ReaderDetails>, Option<String>) {
        (self.0, self.1)
    }
}

#[derive(Query)]
#[query(reads = Readers, answer = ReaderPage)]
struct ListReaders {
    readers: Vec<String>,
    after: String,
    limit: u16,
}

impl Answer<MemoryReader> for ListReaders {
    async fn answer(&self, rows: &mut MemoryReader) -> Result<Self::Answer, QueryError> {
        let mut ids: Vec<_> = self.readers.iter().filter(|id| **id > self.after).collect();
        ids.sort_unstable();
        ids.dedup();
        let mut found: Vec<ReaderDetails> = Vec::new();
        for id in ids {
            found.extend(rows.get::<ReaderDetails>("readers", id).await?);
        }
        let limit = usize::from(self.limit);
        let last = (found.len() > limit).then(|| found[limit - 1].reader.clone());
        found.truncate(limit);
        Ok(ReaderPage(found, last))
    }
}

/// The name to record.
#[derive(RequestFields)]
#[request(command = NameReader, path(reader: String))]
struct Naming {
    /// The whole name.
    name: String,
}

/// Search for readers.
#[derive(RequestFields)]
struct ReaderSearch {
    /// Only readers with these ids.
    reader: Option<Repeated<String>>,
}

pub(crate) fn routes() -> [ApiRoute; 3] {
    [
        ApiRoute::put("/readers/{reader}", "Names a reader").update(Naming::into_command),
        ApiRoute::get("/readers/{reader}", "Returns a reader")
            .find("reader", |reader: String| FindReader { reader }),
        ApiRoute::get("/readers", "Lists readers with these ids")
            .list("readers", |search: ReaderSearch, (), page| ListReaders {
                readers: search.reader.map(Repeated::into_vec).unwrap_or_default(),
                after: page.after.unwrap_or_default(),
                limit: page.limit.number(),
            })
            .finds_many("findReader", "reader"),
    ]
}

pub(crate) fn links() -> [Link; 2] {
    [
        Link::of::<BookDetails>("reader").to("findReader").parameter("reader", "lentTo"),
        Link::of::<ReaderDetails>("books").to("listBooks").parameter("lentTo", "reader"),
    ]
}
