//! Look-ups of linked resources within one request.
//!
//! A field that links to a resource waits until the other fields that can be resolved have asked
//! for theirs; then one call finds all of them.
//!
//! Owns: [`Loader`], one for each request.
//!
//! Invariants:
//! - Equal look-ups of one answer are one.
//! - A look-up reflects the position that the field at the root of its path must reflect.
//! - No task is spawned: a request that is dropped looks up nothing more.
//!
//! Not here: calls ([`links`](crate::links)).

use std::{
    collections::HashMap,
    mem,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use async_graphql::{ServerError, dynamic::ObjectAccessor};
use futures_util::{
    FutureExt as _,
    future::{BoxFuture, Shared},
};
use tokio::task::yield_now;

use crate::{
    caller::Caller,
    links::{Found, LinkField},
    types::TypeBook,
};

/// The result of a batch, by ids.
type BatchFound = Shared<BoxFuture<'static, Arc<HashMap<String, Found>>>>;
/// The result of one call.
type CallFound = Shared<BoxFuture<'static, Found>>;

/// The look-ups of a request.
pub(crate) struct Loader {
    caller: Arc<Caller>,
    /// The document has links.
    has_links: bool,
    /// Answers that are equal to the one before are left out.
    compares: AtomicBool,
    answer: Mutex<AnswerLookups>,
}

/// The look-ups of one answer.
#[derive(Default)]
struct AnswerLookups {
    /// Positions that look-ups must reflect, by the names of fields at the root.
    floors: HashMap<String, u64>,
    /// The same for all fields, for a subscription.
    floor_of_all: Option<u64>,
    /// Batches that take further ids.
    open: HashMap<BatchKey, OpenBatch>,
    /// Batches of ids that were asked for.
    batches: HashMap<(BatchKey, String), BatchFound>,
    /// Other look-ups, by their targets.
    calls: HashMap<(String, Option<u64>), CallFound>,
    errors: Vec<ServerError>,
}

/// Look-ups that one call may answer.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct BatchKey {
    operation: String,
    at_least: Option<u64>,
}

struct OpenBatch {
    ids: Arc<Mutex<BatchIds>>,
    answer: BatchFound,
}

/// The ids of a batch, until its call.
#[derive(Default)]
struct BatchIds {
    ids: Vec<String>,
    is_closed: bool,
}

/// A look-up of what an object links to.
pub(crate) struct Lookup<'a> {
    pub(crate) link: &'a Arc<LinkField>,
    pub(crate) id: String,
    pub(crate) arguments: &'a ObjectAccessor<'a>,
    /// Name of the field at the root of the path.
    pub(crate) root: &'a str,
}

impl Loader {
    /// Creates the loader of a request.
    pub(crate) fn new(caller: Arc<Caller>, has_links: bool) -> Self {
        let (compares, answer) = (AtomicBool::new(false), Mutex::default());
        Self { caller, has_links, compares, answer }
    }

    /// Returns whether the document has links.
    pub(crate) fn has_links(&self) -> bool {
        self.has_links
    }

    /// Leaves out answers that are equal to the one before.
    pub(crate) fn compare_answers(&self) {
        self.compares.store(true, Ordering::Relaxed);
    }

    pub(crate) fn compares(&self) -> bool {
        self.compares.load(Ordering::Relaxed)
    }

    /// Forgets what was found, before the next answer of a subscription. Its look-ups reflect this
    /// position.
    pub(crate) fn begin_answer(&self, floor: Option<u64>) {
        self.caller.forget_positions();
        *self.lookups() = AnswerLookups { floor_of_all: floor, ..AnswerLookups::default() };
    }

    /// Sets the position that look-ups below a field at the root reflect.
    pub(crate) fn set_floor(&self, root: &str, floor: Option<u64>) {
        if let Some(floor) = floor {
            self.lookups().floors.insert(root.to_owned(), floor);
        }
    }

    /// Adds an error beside the answer's data.
    pub(crate) fn add_error(&self, error: ServerError) {
        self.lookups().errors.push(error);
    }

    pub(crate) fn take_errors(&self) -> Vec<ServerError> {
        mem::take(&mut self.lookups().errors)
    }

    /// Finds what an object links to.
    pub(crate) async fn find(&self, lookup: Lookup<'_>, book: &TypeBook) -> Found {
        if lookup.link.batched(lookup.arguments).is_some() {
            let (id, batch) = (lookup.id.clone(), self.batch(lookup));
            return batch.await.get(&id).cloned().unwrap_or(Ok(None));
        }
        self.call(&lookup, book).await
    }

    /// Returns the batch of an id: the one it is in, or one that takes it.
    fn batch(&self, lookup: Lookup<'_>) -> BatchFound {
        let Lookup { link, id, root, .. } = lookup;
        let mut lookups = self.lookups();
        let operation = link.target.operation.id.clone();
        let key = BatchKey { operation, at_least: lookups.floor(root) };
        if let Some(known) = lookups.batches.get(&(key.clone(), id.clone())) {
            return known.clone();
        }
        let ids_max = link.many.as_ref().map_or(1, |many| many.ids_max);
        let open = lookups.open.get(&key).filter(|open| open.add(&id, ids_max));
        let answer = match open {
            Some(open) => open.answer.clone(),
            None => {
                let batch = self.open_batch(link, &id, key.at_least);
                let answer = batch.answer.clone();
                lookups.open.insert(key.clone(), batch);
                answer
            }
        };
        lookups.batches.insert((key, id), answer.clone());
        answer
    }

    fn open_batch(&self, link: &Arc<LinkField>, id: &str, at_least: Option<u64>) -> OpenBatch {
        let ids = BatchIds { ids: vec![id.to_owned()], is_closed: false };
        let ids = Arc::new(Mutex::new(ids));
        let (caller, link, gathering) =
            (Arc::clone(&self.caller), Arc::clone(link), Arc::clone(&ids));
        let answer = async move {
            let ids = gathered(&gathering).await;
            Arc::new(link.find_several(&caller, ids, at_least).await)
        };
        OpenBatch { ids, answer: answer.boxed().shared() }
    }

    /// Returns the answer of a look-up by a call of its own.
    fn call(&self, lookup: &Lookup<'_>, book: &TypeBook) -> CallFound {
        let mut lookups = self.lookups();
        let at_least = lookups.floor(lookup.root);
        let given = |argument: &crate::fields::Argument| argument.given(lookup.arguments, book);
        let call = lookup.link.call(&lookup.id, at_least, given);
        let (caller, link) = (Arc::clone(&self.caller), Arc::clone(lookup.link));
        let known = lookups.calls.entry((call.target.clone(), at_least));
        let found = || async move { link.find(&caller, call).await }.boxed().shared();
        known.or_insert_with(found).clone()
    }

    fn lookups(&self) -> MutexGuard<'_, AnswerLookups> {
        locked(&self.answer)
    }
}

impl AnswerLookups {
    fn floor(&self, root: &str) -> Option<u64> {
        self.floors.get(root).copied().or(self.floor_of_all)
    }
}

impl OpenBatch {
    /// Adds an id, unless the batch takes no more.
    fn add(&self, id: &str, ids_max: usize) -> bool {
        let mut batch = locked(&self.ids);
        let takes = !batch.is_closed && batch.ids.len() < ids_max;
        if takes {
            batch.ids.push(id.to_owned());
        }
        takes
    }
}

/// Waits as long as further fields ask for ids, and returns them.
async fn gathered(batch: &Mutex<BatchIds>) -> Vec<String> {
    let mut known = 0;
    loop {
        // Fields of long lists are resolved in several turns of their task.
        yield_now().await;
        let mut batch = locked(batch);
        if batch.ids.len() == known {
            batch.is_closed = true;
            return mem::take(&mut batch.ids);
        }
        known = batch.ids.len();
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
