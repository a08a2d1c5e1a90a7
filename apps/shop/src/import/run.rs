//! Giving documents to the shop, many at a time.
//!
//! Always holds: products come before documents, and the commands of one document one after the
//! other; what may or may not have happened is asked for again with the same command id.

use std::{
    collections::VecDeque,
    future::Future,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use gesta::{Decide, ExecuteError, Gesta, Position, Receipt, store::StoreError};
use tokio::task::{JoinError, JoinSet};

use crate::{
    catalogue::{AddProduct, Product, UpdateProduct},
    money::Money,
};

use super::{
    Documents, Refused,
    documents::{Document, SoldProduct, Step},
};

/// Documents that are given to the shop at the same time.
pub const IN_FLIGHT: usize = 64;

/// How often a command is given before the import is given up.
const ATTEMPTS_MAX: u32 = 8;

/// The pause after the first attempt; it doubles each time.
const FIRST_PAUSE: Duration = Duration::from_millis(50);

/// Why an import stopped before its end. What went in stays in; import again to go on.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The shop does not take commands now.
    #[error("{document} could not be imported: {reason}")]
    Stopped {
        /// Which document.
        document: String,
        /// Why.
        reason: String,
    },
    /// The store could not be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A worker panicked.
    #[error("a worker of the import ended early")]
    Worker(#[from] JoinError),
}

/// What an import did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Imported {
    /// Commands that changed something.
    pub new: u64,
    /// Commands whose changes were there already.
    pub known: u64,
    /// Documents and products that the shop refused, by line.
    pub refused: Vec<Refused>,
    /// Where the store ended afterwards.
    pub position: Position,
}

/// Gives everything to the shop. `done` is called after each product and each document.
///
/// # Errors
/// [`ImportError`] when the shop stops taking commands.
pub async fn run(
    gesta: &Gesta,
    documents: Documents,
    done: impl Fn() + Send + Sync + 'static,
) -> Result<Imported, ImportError> {
    let begins_after = gesta.store().head().await?.position;
    let shared = Shared { gesta: gesta.clone(), begins_after, done: Arc::new(done) };
    let (products, documents) = documents.into_parts();
    let mut imported = Imported::default();
    imported.add(each_of(&shared, products, import_product).await?);
    imported.add(each_of(&shared, documents, import_document).await?);
    imported.refused.sort_by_key(|refused| refused.line);
    imported.position = gesta.store().head().await?.position;
    Ok(imported)
}

/// What all workers have.
#[derive(Clone)]
struct Shared {
    gesta: Gesta,
    /// Whatever a receipt has beyond this position is new.
    begins_after: Position,
    done: Arc<dyn Fn() + Send + Sync>,
}

/// Works through a queue with as many workers as are allowed.
async fn each_of<T, F>(
    shared: &Shared,
    work: Vec<T>,
    each: fn(Shared, T) -> F,
) -> Result<Imported, ImportError>
where
    T: Send + 'static,
    F: Future<Output = Result<Imported, ImportError>> + Send + 'static,
{
    let queue = Arc::new(Mutex::new(VecDeque::from(work)));
    let mut workers = JoinSet::new();
    for _ in 0..IN_FLIGHT {
        let (queue, shared) = (Arc::clone(&queue), shared.clone());
        workers.spawn(async move {
            let mut total = Imported::default();
            while let Some(next) = next_of(&queue) {
                total.add(each(shared.clone(), next).await?);
            }
            Ok::<_, ImportError>(total)
        });
    }
    let mut total = Imported::default();
    while let Some(ended) = workers.join_next().await {
        total.add(ended??);
    }
    Ok(total)
}

fn next_of<T>(queue: &Mutex<VecDeque<T>>) -> Option<T> {
    queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
}

impl Imported {
    fn add(&mut self, other: Self) {
        self.new += other.new;
        self.known += other.known;
        self.refused.extend(other.refused);
    }

    fn count(&mut self, receipt: &Receipt, begins_after: Position) {
        if receipt.position > begins_after {
            self.new += 1;
        } else {
            self.known += 1;
        }
    }
}

/// A product that is there stays as it is, but for a name or a price that it lacks.
async fn import_product(shared: Shared, product: SoldProduct) -> Result<Imported, ImportError> {
    let (line, id) = (product.line, product.command_id());
    let command = product.into_command();
    let name = format!("product {}", command.product_id);
    let mut imported = Imported::default();
    let mut given = shared.give(&command, &id, &name).await?;
    if matches!(given, Given::Known)
        && let Some(completed) = shared.completed(&command).await?
    {
        given = shared.give(&completed, &format!("{id}/completed"), &name).await?;
    }
    match given {
        Given::Done(receipt) => imported.count(&receipt, shared.begins_after),
        Given::Known => imported.known += 1,
        Given::Refused(reason) => imported.refused.push(Refused { line, document: name, reason }),
    }
    (shared.done)();
    Ok(imported)
}

/// After a refusal the rest of the document makes no sense.
async fn import_document(shared: Shared, document: Document) -> Result<Imported, ImportError> {
    let name = format!("document {}", document.invoice);
    let mut imported = Imported::default();
    for (id, step) in document.steps() {
        let reason = match shared.take_step(&step, &id, &name).await? {
            Given::Done(receipt) => {
                imported.count(&receipt, shared.begins_after);
                continue;
            }
            Given::Known => {
                "was imported before with other rows, or is known from elsewhere".to_owned()
            }
            Given::Refused(reason) => reason,
        };
        imported.refused.push(Refused { line: document.line, document: name, reason });
        break;
    }
    (shared.done)();
    Ok(imported)
}

/// How a command was answered.
enum Given {
    Done(Receipt),
    /// What it creates is there, by another command.
    Known,
    Refused(String),
}

impl Shared {
    /// The update that gives a known product the name or the price that it lacks and this file has.
    async fn completed(&self, file: &AddProduct) -> Result<Option<UpdateProduct>, ImportError> {
        let loaded = self.gesta.load::<Product>(&file.product_id).await;
        let loaded = loaded.map_err(|error| stopped("product", error.to_string()))?;
        let Some(known) = loaded.map(|loaded| loaded.state) else { return Ok(None) };
        let nameless = known.name() == file.product_id.to_string();
        let name = if nameless { file.name.as_str() } else { known.name() };
        let price = if known.price() == Money::ZERO { file.price } else { known.price() };
        if (name, price) == (known.name(), known.price()) {
            return Ok(None);
        }
        let (product_id, occurred_at) = (file.product_id.clone(), file.occurred_at);
        Ok(Some(UpdateProduct { product_id, name: name.to_owned(), price, occurred_at }))
    }

    async fn take_step(&self, step: &Step, id: &str, name: &str) -> Result<Given, ImportError> {
        match step {
            Step::Place(place) => self.give(place, id, name).await,
            Step::Pay(pay) => self.give(pay, id, name).await,
            Step::Ship(ship) => self.give(ship, id, name).await,
            Step::Issue(issue) => self.give(issue, id, name).await,
            Step::Adjust(adjust) => self.give(adjust, id, name).await,
        }
    }

    /// Gives a command, again and again while the shop is busy.
    async fn give<C>(&self, command: &C, id: &str, name: &str) -> Result<Given, ImportError>
    where
        C: Decide + Clone,
    {
        let mut pause = FIRST_PAUSE;
        for _ in 1..ATTEMPTS_MAX {
            match self.give_once(command, id).await {
                Answer::Given(given) => return Ok(given),
                Answer::Stopped(reason) => return Err(stopped(name, reason)),
                Answer::Busy(_) => self.gesta.clock().sleep(pause).await,
            }
            pause *= 2;
        }
        match self.give_once(command, id).await {
            Answer::Given(given) => Ok(given),
            Answer::Stopped(reason) | Answer::Busy(reason) => Err(stopped(name, reason)),
        }
    }

    async fn give_once<C: Decide + Clone>(&self, command: &C, id: &str) -> Answer {
        let execute = self.gesta.execute(command.clone());
        let error = match execute.command_id(id).actor("import").await {
            Ok(receipt) => return Answer::Given(Given::Done(receipt)),
            Err(error) => error,
        };
        let reason = error.to_string();
        match error {
            ExecuteError::AlreadyExists { .. } | ExecuteError::CommandIdReused { .. } => {
                Answer::Given(Given::Known)
            }
            ExecuteError::Rejected(_)
            | ExecuteError::Invalid(_)
            | ExecuteError::NotFound { .. }
            | ExecuteError::RevisionMismatch { .. } => Answer::Given(Given::Refused(reason)),
            ExecuteError::Conflict(_)
            | ExecuteError::Overloaded { .. }
            | ExecuteError::Unavailable { .. } => Answer::Busy(reason),
            ExecuteError::Unauthorized(_)
            | ExecuteError::Undecodable(_)
            | ExecuteError::Truncated(_)
            | ExecuteError::Unencodable(_)
            | ExecuteError::Store(_)
            | ExecuteError::Closed => Answer::Stopped(reason),
        }
    }
}

/// How one attempt ended.
enum Answer {
    Given(Given),
    /// Worth another attempt.
    Busy(String),
    /// No attempt will do.
    Stopped(String),
}

fn stopped(document: &str, reason: String) -> ImportError {
    ImportError::Stopped { document: document.to_owned(), reason }
}
