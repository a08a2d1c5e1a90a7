//! The pipeline: one service for all commands, composed of steps.
//!
//! Owns: the order of the steps, from the outside in: the application's layers, measuring,
//! tracing, validation, authorization, timeout, turns and retries, idempotency, decision. Not here:
//! the start of the pipeline ([`Execute`](crate::Execute)).

mod authorization;
mod decision;
mod idempotency;
mod measure;
mod receipts;
mod request;
mod retry;
mod step;
mod timeout;
mod trace;
mod turns;
mod validation;

use std::{sync::Arc, time::Duration};

use gesta_store::EventStore;
use tower::{BoxError, service_fn, util::BoxCloneSyncService};

use crate::{
    Clock, Receipt, Rng, TenantId, event::CheckEvent, event_names::EventNames,
    metrics::PipelineCounters, snapshot::Snapshots,
};

pub use authorization::Authorize;
use decision::DecisionStep;
pub(crate) use receipts::RememberedRejections;
pub use request::{CommandContext, CommandIdFrom, CommandRequest};
pub use retry::RetryPolicy;
use step::{InnerPipeline as _, around};

/// The pipeline as a tower service, as layers of an application see it.
///
/// ```
/// use gesta::{CommandRequest, Gesta, Pipeline};
/// use tower::{ServiceExt, layer::layer_fn};
///
/// let anonymous = layer_fn(|pipeline: Pipeline| {
///     pipeline.map_request(|mut request: CommandRequest| {
///         request.context.actor = None;
///         request
///     })
/// });
/// # gesta::store::conformance::block_on(async {
/// assert!(Gesta::at("memory:").layer(anonymous).open().await.is_ok());
/// # });
/// ```
pub type Pipeline = BoxCloneSyncService<CommandRequest, Receipt, BoxError>;

/// Configuration of the pipeline.
#[derive(Debug)]
pub(crate) struct PipelineConfig {
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) rng: Arc<dyn Rng>,
    pub(crate) authorize: Arc<dyn Authorize>,
    pub(crate) timeout: Duration,
    pub(crate) retry: RetryPolicy,
    pub(crate) snapshots: Snapshots,
    pub(crate) event_names: Arc<EventNames>,
    pub(crate) remembered: RememberedRejections,
    pub(crate) counters: Arc<PipelineCounters>,
    pub(crate) tenant: Option<TenantId>,
    /// Refuses events of decisions before they are appended.
    pub(crate) check_event: Option<Arc<dyn CheckEvent>>,
}

impl PipelineConfig {
    pub(crate) fn assemble(&self, store: &Arc<dyn EventStore>) -> Pipeline {
        let remembered = Arc::new(self.remembered.clone());
        let (snapshots, known) = (self.snapshots.clone(), Arc::clone(&remembered));
        let event_names = Arc::clone(&self.event_names);
        // From the inside out: each `around` wraps what was built before.
        let rest = DecisionStep {
            store: Arc::clone(store),
            snapshots,
            event_names,
            remembered: known,
            counters: Arc::clone(&self.counters),
            clock: Arc::clone(&self.clock),
            check_event: self.check_event.clone(),
        };
        // Inside of the turns, so that a repeat waits for the first execution instead of racing it.
        let rest = around(idempotency::Idempotency::new(Arc::clone(store), remembered), rest);
        let rest = around(
            retry::RetryStep {
                policy: self.retry,
                turns: Arc::default(),
                counters: Arc::clone(&self.counters),
                clock: Arc::clone(&self.clock),
                rng: Arc::clone(&self.rng),
            },
            rest,
        );
        // Covers the wait for a turn and all attempts.
        let (limit, clock, place) = (self.timeout, Arc::clone(&self.clock), store.place());
        let rest = around(timeout::Timeout { limit, clock, place }, rest);
        let rest = around(authorization::Authorization(Arc::clone(&self.authorize)), rest);
        let rest = around(validation::Validation, rest);
        let rest = around(trace::Trace, rest);
        let measure = measure::Measure {
            counters: Arc::clone(&self.counters),
            clock: Arc::clone(&self.clock),
        };
        let pipeline = Arc::new(around(measure, rest));
        let tenant = self.tenant.clone();
        BoxCloneSyncService::new(service_fn(move |mut request: CommandRequest| {
            let pipeline = Arc::clone(&pipeline);
            request.context.tenant.clone_from(&tenant);
            async move { pipeline.execute(request).await.map_err(BoxError::from) }
        }))
    }
}
