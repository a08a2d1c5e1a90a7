//! Execution of an import, with many documents at a time.
//!
//! Invariants: products come before documents; the commands of a document run in order; a command
//! whose result is unknown is retried with the same command id.

use std::{
    collections::VecDeque,
    future::Future,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use gesta::{CommandIdScope, Decide, ExecuteError, Gesta, Position, Receipt, store::StoreError};
use tokio::task::{JoinError, JoinSet};

use crate::{
    catalogue::{AddProduct, Product, UpdateProduct},
    money::Money,
};

use super::{
    Documents, RejectedDocument,
    documents::{Document, ProductDraft, Step},
};

/// Number of documents that are imported concurrently.
pub const IN_FLIGHT: usize = 64;

/// Maximum attempts of a command while the shop is overloaded or unavailable.
const ATTEMPTS_MAX: u32 = 8;

/// Pause after the first attempt; doubled after each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(50);

/// Errors that stop an import. What was imported stays; import again to continue.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The shop does not accept commands.
    #[error("cannot import {document}: {reason}; import again to continue")]
    Stopped {
        /// Document or product that was being imported.
        document: String,
        /// Text of the error.
        reason: String,
    },
    /// The store could not be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A worker panicked or was cancelled.
    #[error("an import worker panicked or was cancelled")]
    Worker(#[from] JoinError),
}

/// Result of an import.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImportSummary {
    /// Number of commands that were executed.
    pub new: u64,
    /// Number of commands whose effect was already present.
    pub known: u64,
    /// Rejected documents and products, by line.
    pub rejected: Vec<RejectedDocument>,
    /// Head of the store after the import.
    pub position: Position,
}

/// Imports products, then documents, and calls `done` after each.
///
/// # Errors
/// [`ImportError`] when the shop stops accepting commands.
pub async fn run(
    gesta: &Gesta,
    documents: Documents,
    done: impl Fn() + Send + Sync + 'static,
) -> Result<ImportSummary, ImportError> {
    // Read before the first command: receipts beyond it belong to this run.
    let head_before = gesta.store().head().await?.position;
    let importer = Importer { gesta: gesta.clone(), head_before, done: Arc::new(done) };
    // All products before the first document, as in a shop that fills its catalogue first.
    let (products, documents) = documents.into_parts();
    let mut imported = ImportSummary::default();
    imported.add(process_all(&importer, products, import_product).await?);
    imported.add(process_all(&importer, documents, import_document).await?);
    // Workers finish in any order; the report follows the file.
    imported.rejected.sort_by_key(|rejected| rejected.line);
    imported.position = gesta.store().head().await?.position;
    Ok(imported)
}

/// Context of all workers.
#[derive(Clone)]
struct Importer {
    gesta: Gesta,
    /// Head before the import; a receipt beyond it belongs to a new command.
    head_before: Position,
    done: Arc<dyn Fn() + Send + Sync>,
}

/// Processes a queue with [`IN_FLIGHT`] workers.
async fn process_all<T, F>(
    importer: &Importer,
    work: Vec<T>,
    each: fn(Importer, T) -> F,
) -> Result<ImportSummary, ImportError>
where
    T: Send + 'static,
    F: Future<Output = Result<ImportSummary, ImportError>> + Send + 'static,
{
    let queue = Arc::new(Mutex::new(VecDeque::from(work)));
    let mut workers = JoinSet::new();
    for _ in 0..IN_FLIGHT {
        let (queue, importer) = (Arc::clone(&queue), importer.clone());
        // Each worker takes the next entry when it is free, so one slow document delays no other.
        workers.spawn(async move {
            let mut total = ImportSummary::default();
            while let Some(next) = next_of(&queue) {
                total.add(each(importer.clone(), next).await?);
            }
            Ok::<_, ImportError>(total)
        });
    }
    let mut total = ImportSummary::default();
    // The first error drops the set, which aborts the other workers. A command in progress then has
    // an unknown outcome; the next import repeats it with the same id.
    while let Some(ended) = workers.join_next().await {
        total.add(ended??);
    }
    Ok(total)
}

fn next_of<T>(queue: &Mutex<VecDeque<T>>) -> Option<T> {
    // A worker that panicked while it held the lock left a valid queue behind.
    queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
}

impl ImportSummary {
    fn add(&mut self, other: Self) {
        self.new += other.new;
        self.known += other.known;
        self.rejected.extend(other.rejected);
    }

    fn count(&mut self, receipt: &Receipt, head_before: Position) {
        // A repeated command returns its first receipt, with a position from before this run.
        if receipt.position > head_before {
            self.new += 1;
        } else {
            self.known += 1;
        }
    }
}

/// Adds a product. A known product is only given a name or price that it lacks.
async fn import_product(
    importer: Importer,
    product: ProductDraft,
) -> Result<ImportSummary, ImportError> {
    let (line, id) = (product.line, product.command_id());
    let command = product.into_command();
    let name = format!("product {}", command.product_id);
    let mut imported = ImportSummary::default();
    let mut result = importer.execute(&command, &id, &name).await?;
    if matches!(result, StepResult::AlreadyExists)
        && let Some(completed) = importer.missing_details(&command).await?
    {
        // An id of its own: the first id is that of the product's addition.
        result = importer.execute(&completed, &format!("{id}/completed"), &name).await?;
    }
    match result {
        StepResult::Done(receipt) => imported.count(&receipt, importer.head_before),
        StepResult::AlreadyExists => imported.known += 1,
        StepResult::Rejected(reason) => {
            imported.rejected.push(RejectedDocument { line, document: name, reason })
        }
    }
    (importer.done)();
    Ok(imported)
}

/// Executes the commands of a document, and stops at the first rejection.
async fn import_document(
    importer: Importer,
    document: Document,
) -> Result<ImportSummary, ImportError> {
    let name = format!("document {}", document.invoice);
    let mut imported = ImportSummary::default();
    for (id, step) in document.steps() {
        let reason = match importer.execute_step(&step, &id, &name).await? {
            StepResult::Done(receipt) => {
                imported.count(&receipt, importer.head_before);
                continue;
            }
            StepResult::AlreadyExists => {
                "already exists with other content: imported before from other rows, or created \
                 by another client"
                    .to_owned()
            }
            StepResult::Rejected(reason) => reason,
        };
        // Later commands depend on the rejected one.
        imported.rejected.push(RejectedDocument { line: document.line, document: name, reason });
        break;
    }
    (importer.done)();
    Ok(imported)
}

/// Result of a command.
enum StepResult {
    Done(Receipt),
    /// The stream exists, created by another command.
    AlreadyExists,
    Rejected(String),
}

impl Importer {
    /// Returns the update that gives a known product a name or price that it lacks.
    async fn missing_details(
        &self,
        file: &AddProduct,
    ) -> Result<Option<UpdateProduct>, ImportError> {
        let loaded = self.gesta.load::<Product>(&file.product_id).await;
        let loaded = loaded.map_err(|error| stopped("product", error.to_string()))?;
        let Some(known) = loaded.map(|loaded| loaded.state) else { return Ok(None) };
        // An import without descriptions named the product by its code.
        let nameless = known.name() == file.product_id.to_string();
        let name = if nameless { file.name.as_str() } else { known.name() };
        let price = if known.price() == Money::ZERO { file.price } else { known.price() };
        if (name, price) == (known.name(), known.price()) {
            return Ok(None);
        }
        let (product_id, occurred_at) = (file.product_id.clone(), file.occurred_at);
        Ok(Some(UpdateProduct { product_id, name: name.to_owned(), price, occurred_at }))
    }

    async fn execute_step(
        &self,
        step: &Step,
        id: &str,
        name: &str,
    ) -> Result<StepResult, ImportError> {
        match step {
            Step::Place(place) => self.execute(place, id, name).await,
            Step::Pay(pay) => self.execute(pay, id, name).await,
            Step::Ship(ship) => self.execute(ship, id, name).await,
            Step::Issue(issue) => self.execute(issue, id, name).await,
            Step::Adjust(adjust) => self.execute(adjust, id, name).await,
        }
    }

    /// Executes a command, and retries with growing pauses while the shop is overloaded or
    /// unavailable.
    async fn execute<C>(&self, command: &C, id: &str, name: &str) -> Result<StepResult, ImportError>
    where
        C: Decide + Clone,
    {
        // Safe to repeat, even after an unknown outcome: the command id makes it one command.
        let mut pause = FIRST_PAUSE;
        for _ in 1..ATTEMPTS_MAX {
            match self.execute_once(command, id).await {
                Attempt::Finished(result) => return Ok(result),
                Attempt::Stopped(reason) => return Err(stopped(name, reason)),
                Attempt::Retryable(_) => self.gesta.clock().sleep(pause).await,
            }
            pause *= 2;
        }
        // The last attempt: a retryable error stops the import.
        match self.execute_once(command, id).await {
            Attempt::Finished(result) => Ok(result),
            Attempt::Stopped(reason) | Attempt::Retryable(reason) => Err(stopped(name, reason)),
        }
    }

    async fn execute_once<C: Decide + Clone>(&self, command: &C, id: &str) -> Attempt {
        // The ids are unique: they name the import, the document and the step.
        let execute = self.gesta.execute(command.clone()).command_id(id);
        let error = match execute.actor("import").scope(CommandIdScope::Store).await {
            Ok(receipt) => return Attempt::Finished(StepResult::Done(receipt)),
            Err(error) => error,
        };
        let reason = error.to_string();
        match error {
            // A stream made by a command with another id or content: not this import's work.
            ExecuteError::AlreadyExists { .. } | ExecuteError::CommandIdReused { .. } => {
                Attempt::Finished(StepResult::AlreadyExists)
            }
            // Only this document is wrong; the next one may be fine.
            ExecuteError::Rejected(_)
            | ExecuteError::Invalid(_)
            | ExecuteError::NotFound { .. }
            | ExecuteError::RevisionMismatch { .. } => {
                Attempt::Finished(StepResult::Rejected(reason))
            }
            // Temporary: a conflict with another worker, a full queue, or a store that is out of
            // space.
            ExecuteError::Conflict(_)
            | ExecuteError::Overloaded { .. }
            | ExecuteError::Unavailable { .. } => Attempt::Retryable(reason),
            // Every other command would fail as well.
            ExecuteError::Unauthorized(_)
            | ExecuteError::Undecodable(_)
            | ExecuteError::Truncated(_)
            | ExecuteError::Unencodable(_)
            | ExecuteError::Store(_)
            | ExecuteError::Closed
            // `ExecuteError` is non-exhaustive.
            | _ => Attempt::Stopped(reason),
        }
    }
}

/// Result of one attempt.
enum Attempt {
    Finished(StepResult),
    /// Retryable.
    Retryable(String),
    /// Not retryable.
    Stopped(String),
}

fn stopped(document: &str, reason: String) -> ImportError {
    ImportError::Stopped { document: document.to_owned(), reason }
}
