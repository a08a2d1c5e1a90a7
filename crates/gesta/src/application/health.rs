//! The health of an application: causes of failing or degraded service.
//!
//! Owns: [`Health`], its [causes](HealthCause), and the [`Severity`] of each cause. Invariant:
//! every stopped component, dead letter and missing snapshot is a cause, so that nothing fails
//! silently. Not here: repairs, which are operations of [`Gesta`]; HTTP.
//!
//! An application is *unready* if it cannot serve requests as promised: the store accepts no
//! appends; a read model is halted, damaged, fails to open or is being filled for the first time; a
//! process manager is stopped. It is *degraded* if it serves requests, but an operator or time must
//! resolve something: inputs or events are set aside, a rebuild is halted while the previous read
//! model continues, an operation is being retried, the clock is behind the store, snapshots are
//! missing or left out, a part of the application's own is in trouble. A reactor only degrades:
//! requests do not wait for its effects. A component that another
//! node runs is a *notice*, with the name of the node.

use std::{
    borrow::Cow,
    collections::BTreeSet,
    future::Future,
    sync::Arc,
    time::{Duration, UNIX_EPOCH},
};

use gesta_store::{Append, ExpectedRevision, NodeName, ReadAll, StoreError, StreamName};

use super::{Gesta, PartStatus};
use crate::{
    ProcessState, ProjectionState, ReactorState, SetAside, Sleep,
    error_line::in_one_line,
    process::ProcessHandle,
    projection::{ProjectionHandle, ProjectionProgress},
    reactor::ReactorHandle,
};

/// Maximum time for all questions of one report together. What has not answered by then counts as
/// unresponsive.
const WAIT_MAX: Duration = Duration::from_secs(5);

/// State of a component without an answer.
const UNRESPONSIVE: &str = "unresponsive";

/// Maximum number of streams reported individually per process manager.
const SUBJECTS_MAX: usize = 20;

/// Maximum lead of recorded times over the clock that is not reported.
const CLOCK_BEHIND_MAX: Duration = Duration::from_secs(10);

/// The health of an application at one moment.
///
/// ```
/// use gesta::{Gesta, Severity};
///
/// # gesta::store::conformance::block_on(async {
/// let gesta = Gesta::at("memory:").open().await?;
/// let health = gesta.health().await;
/// assert_eq!(health.worst(), None, "nothing is wrong: {health:?}");
/// assert!(health.worst() < Some(Severity::Degraded));
/// # Ok::<(), gesta::OpenError>(())
/// # }).expect("a memory store opens");
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Health {
    /// The causes, worst first.
    pub causes: Vec<HealthCause>,
}

impl Health {
    /// Returns the severity of the worst cause, or `None` without causes.
    #[must_use]
    pub fn worst(&self) -> Option<Severity> {
        self.causes.iter().map(|cause| cause.severity).max()
    }
}

/// One cause of failing or degraded service.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct HealthCause {
    /// The part of the application.
    pub component: Component,
    /// Name of the projection or process manager, for a process followed by the stream that is set
    /// aside (`welcome instance:ann`). Empty for the store and the clock.
    pub name: String,
    /// The state as a stable word, such as `stopped`, `halted` or `set-aside`.
    pub state: &'static str,
    /// Effect on requests.
    pub severity: Severity,
    /// Explanation for people.
    pub detail: String,
    /// Offset in `detail` at which it begins to quote an error, in bytes.
    quote: Option<usize>,
}

impl HealthCause {
    /// Returns a stable code of component and state, such as `store-stopped`.
    #[must_use]
    pub fn code(&self) -> String {
        format!("{}-{}", self.component.as_str(), self.state)
    }

    /// Returns the detail with another text in place of the error that it quotes.
    ///
    /// Errors of projections, process managers, reactors and watched parts may contain personal
    /// data. What the framework says itself has none, and stays.
    ///
    /// ```
    /// use gesta::{Gesta, PartStatus};
    ///
    /// # gesta::store::conformance::block_on(async {
    /// let gesta = Gesta::at("memory:").open().await?;
    /// gesta.watch_part("mail", || PartStatus::default().in_trouble("no such box: ann"));
    /// let cause = gesta.health().await.causes.remove(0);
    /// assert_eq!(cause.detail_without_quote("[hidden]"), "[hidden]");
    /// # Ok::<(), gesta::OpenError>(())
    /// # }).expect("a memory store opens");
    /// ```
    #[must_use]
    pub fn detail_without_quote(&self, instead: &str) -> Cow<'_, str> {
        match self.quote.and_then(|at| self.detail.get(..at)) {
            Some(own_words) => Cow::Owned(format!("{own_words}{instead}")),
            None => Cow::Borrowed(&self.detail),
        }
    }
}

/// An explanation, and where it begins to quote an error.
struct Detail {
    text: String,
    quote: Option<usize>,
}

impl Detail {
    /// An error of which the application may have made the text.
    fn error(text: &str) -> Self {
        Self::quoting("", text)
    }

    /// The framework's words, followed by such an error.
    fn quoting(own_words: &str, error: &str) -> Self {
        Self { text: format!("{own_words}{error}"), quote: Some(own_words.len()) }
    }
}

impl<T: Into<String>> From<T> for Detail {
    fn from(own_words: T) -> Self {
        Self { text: own_words.into(), quote: None }
    }
}

/// Effect of a cause on requests, ordered from mild to severe.
///
/// ```
/// assert!(gesta::Severity::Unready > gesta::Severity::Degraded);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Severity {
    /// Requests are served, and nothing has to be done: another node runs the component.
    Notice,
    /// Requests are served, but an operator or time must resolve something.
    Degraded,
    /// Requests cannot be served as promised.
    Unready,
}

/// A component of an application with its own health.
///
/// ```
/// assert_eq!(gesta::Component::ProcessManager.as_str(), "process-manager");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Component {
    /// The event store.
    Store,
    /// The clock, compared with recorded times.
    Clock,
    /// A projection with its read model.
    Projection,
    /// The storage of read models and snapshots as a whole.
    ReadModels,
    /// The cache of queries.
    QueryCache,
    /// The storage of snapshots.
    Snapshots,
    /// A process manager as a whole.
    ProcessManager,
    /// One instance of a process manager.
    Process,
    /// A reactor.
    Reactor,
    /// A part that the application has added with [`Gesta::watch_part`].
    Part,
}

impl Component {
    /// Returns a stable word for the component.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Store => "store",
            Self::Clock => "clock",
            Self::Projection => "projection",
            Self::ReadModels => "read-models",
            Self::QueryCache => "query-cache",
            Self::Snapshots => "snapshots",
            Self::ProcessManager => "process-manager",
            Self::Process => "process",
            Self::Reactor => "reactor",
            Self::Part => "part",
        }
    }

    fn cause(
        self,
        name: &str,
        (severity, state): (Severity, &'static str),
        detail: impl Into<Detail>,
    ) -> HealthCause {
        let (name, Detail { text: detail, quote }) = (name.to_owned(), detail.into());
        HealthCause { component: self, name, state, severity, detail, quote }
    }
}

impl Gesta {
    /// Returns all current causes. Probes the store with an append without events. Takes at most
    /// five seconds: what has not answered by then is unresponsive.
    pub async fn health(&self) -> Health {
        let mut patience = Patience(Some(self.clock().sleep(WAIT_MAX)));
        let mut causes = Vec::new();
        causes.extend(self.store_cause(&mut patience).await);
        causes.extend(patience.wait(self.clock_cause()).await.flatten());
        for handle in self.read_side().handles() {
            // Right after an open every projection is starting, which is no cause yet.
            let started = handle.started(self.clock().as_ref());
            let report = patience.wait(async {
                started.await;
                projection_causes(handle).await
            });
            causes.extend(report.await.unwrap_or_else(|| {
                let state = (Severity::Unready, UNRESPONSIVE);
                let detail = no_answer(&handle.read_models.place());
                vec![Component::Projection.cause(handle.name, state, detail)]
            }));
        }
        causes.extend(patience.wait(self.read_models_causes()).await.unwrap_or_default());
        causes.extend(self.query_cache_cause());
        causes.extend(self.snapshots_causes());
        for handle in self.processes().handles() {
            causes.extend(process_manager_causes(handle));
        }
        for handle in self.reactor_side().handles() {
            causes.extend(reactor_causes(handle));
        }
        causes.extend(self.part_causes());
        // A stable sort: causes of one severity stay in the order of components.
        causes.sort_by_key(|cause| std::cmp::Reverse(cause.severity));
        Health { causes }
    }

    /// Adds a part of the application's own to [`health`](Self::health) and
    /// [`metrics`](Self::metrics), such as a relay. Each report asks for its status; trouble
    /// degrades the application. A part replaces an earlier one with the same name.
    ///
    /// The question must not block.
    ///
    /// ```
    /// use gesta::{Component, Gesta, PartStatus};
    ///
    /// # gesta::store::conformance::block_on(async {
    /// let gesta = Gesta::at("memory:").open().await?;
    /// gesta.watch_part("printer", || PartStatus::default().in_trouble("out of paper"));
    /// let causes = gesta.health().await.causes;
    /// assert_eq!(causes[0].component, Component::Part);
    /// assert_eq!((&*causes[0].name, &*causes[0].detail), ("printer", "out of paper"));
    /// assert_eq!(causes[0].code(), "part-in-trouble");
    /// gesta.watch_part("printer", PartStatus::default);
    /// assert_eq!(gesta.health().await.worst(), None);
    /// # Ok::<(), gesta::OpenError>(())
    /// # }).expect("a memory store opens");
    /// ```
    pub fn watch_part(
        &self,
        name: impl Into<String>,
        status: impl Fn() -> PartStatus + Send + Sync + 'static,
    ) {
        self.watched().insert(name.into(), Arc::new(status));
    }

    /// Collects the impairments of read model stores. Deduplicated, since projections may share a
    /// store.
    async fn read_models_causes(&self) -> Vec<HealthCause> {
        let mut troubles = BTreeSet::new();
        for handle in self.read_side().handles() {
            troubles.extend(handle.read_models.troubles().await);
        }
        let impaired = (Severity::Degraded, "impaired");
        let cause = |trouble| Component::ReadModels.cause("", impaired, trouble);
        troubles.into_iter().map(cause).collect()
    }

    /// Reports a cache that does not answer: queries take longer without it.
    fn query_cache_cause(&self) -> Option<HealthCause> {
        let trouble = self.answers()?.trouble()?;
        Some(Component::QueryCache.cause("", (Severity::Degraded, "unavailable"), trouble))
    }

    /// Reports snapshots that are left out: loads take longer without them.
    fn snapshots_causes(&self) -> Vec<HealthCause> {
        let state = (Severity::Degraded, "unavailable");
        let troubles = self.snapshots().troubles().into_iter();
        troubles.map(|trouble| Component::Snapshots.cause("", state, trouble)).collect()
    }

    fn part_causes(&self) -> Vec<HealthCause> {
        let state = (Severity::Degraded, "in-trouble");
        let cause = |(name, status): (String, PartStatus)| {
            Some(Component::Part.cause(&name, state, Detail::error(&status.trouble?)))
        };
        self.watched().ask().into_iter().filter_map(cause).collect()
    }

    async fn store_cause(&self, patience: &mut Patience) -> Option<HealthCause> {
        let stream = StreamName::new("health-check").expect("the name is valid");
        // An append without events: takes the path of all appends and records nothing.
        let probe = Append::default().expecting(stream, ExpectedRevision::Any);
        let Some(outcome) = patience.wait(self.store().append(probe)).await else {
            let state = (Severity::Unready, UNRESPONSIVE);
            return Some(Component::Store.cause("", state, no_answer(&self.store().place())));
        };
        outcome.err().map(|error| store_cause(&error))
    }

    /// Reports recorded times that are ahead of the clock, as after a clock ran fast. Until the
    /// clock catches up, new events are recorded at that time and expire later by the same amount.
    async fn clock_cause(&self) -> Option<HealthCause> {
        let newest = ReadAll::backwards().limit(1);
        let newest = self.store().read_all(newest).collect_events().await.ok()?;
        let recorded = UNIX_EPOCH + Duration::from_micros(newest.first()?.recorded_at.micros());
        let ahead = recorded.duration_since(self.clock().now()).ok()?;
        (ahead > CLOCK_BEHIND_MAX).then(|| {
            let detail = format!(
                "the recorded time of the newest event is {} seconds ahead of the clock; until the \
                 clock catches up, new events get that time and expire that much later",
                ahead.as_secs(),
            );
            Component::Clock.cause("", (Severity::Degraded, "behind-store"), detail)
        })
    }
}

/// The time that is left for the questions of a report.
struct Patience(Option<Sleep>);

impl Patience {
    /// Returns `None` if there is no answer in time. Answers that need no wait are always taken.
    async fn wait<T>(&mut self, question: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            // Prefer an answer that arrives together with the deadline.
            biased;
            answer = question => Some(answer),
            () = self.over() => None,
        }
    }

    async fn over(&mut self) {
        if let Some(sleep) = &mut self.0 {
            sleep.await;
            self.0 = None;
        }
    }
}

fn no_answer(place: &str) -> String {
    format!("{place}: no answer within {} seconds", WAIT_MAX.as_secs())
}

fn store_cause(error: &StoreError) -> HealthCause {
    let state = match error {
        StoreError::Stopped { .. } => "stopped",
        StoreError::Corrupt(_) => "damaged",
        StoreError::Overloaded(_) => "overloaded",
        StoreError::Unreachable { .. } => "unreachable",
        StoreError::Unavailable { .. } => "unavailable",
        StoreError::Denied { .. } => "denied",
        StoreError::ReadOnly { .. } => "read-only",
        StoreError::Archived { .. } => "archived",
        _ => "refusing",
    };
    Component::Store.cause("", (Severity::Unready, state), in_one_line(error))
}

fn set_aside_events(count: usize) -> String {
    match count {
        1 => "1 event is set aside".to_owned(),
        several => format!("{several} events are set aside"),
    }
}

/// Returns the state of a projection that another node runs. Without a read model, queries have
/// nothing to read.
const fn waiting(has_read_model: bool) -> (Severity, &'static str) {
    (if has_read_model { Severity::Notice } else { Severity::Unready }, "waiting")
}

/// Describes where a component runs that waits on this node.
fn runs_elsewhere(node: Option<&NodeName>) -> String {
    node.map_or_else(
        || "it does not run on this node, and no node is known to run it".to_owned(),
        |node| format!("runs on {node}"),
    )
}

/// Reports what keeps a projection in this state from being well.
fn report_of_state(
    state: &ProjectionState,
    progress: &ProjectionProgress,
    report: &mut impl FnMut((Severity, &'static str), Detail),
) {
    use Severity::{Degraded, Unready};
    // A read model of an older version serves queries, but no longer applies events. A pause is an
    // operator's wish and stops both.
    let is_stuck = progress.halted && progress.resumes_as.is_none();
    let of_rebuild = if is_stuck { Unready } else { Degraded };
    match state {
        ProjectionState::Halted { position, error } => {
            let at = format!("at position {position}: ");
            report((Unready, "halted"), Detail::quoting(&at, error));
        }
        ProjectionState::Rebuilding(rebuild) => {
            if let Some(error) = &rebuild.halted {
                let after = format!("the rebuild halted after position {}: ", rebuild.position);
                report((of_rebuild, "rebuild-halted"), Detail::quoting(&after, error));
            }
        }
        ProjectionState::AwaitingConfirmation(pending) => {
            let detail = format!(
                "a rebuild awaits confirmation before it goes live; dead letters: {}",
                pending.dead_letters
            );
            report((of_rebuild, "awaiting-confirmation"), detail.into());
        }
        ProjectionState::Starting if progress.trouble.is_none() => {
            report((Unready, "starting"), "the read model is being opened".into());
        }
        ProjectionState::Waiting => {
            let severity = waiting(progress.answering.is_some());
            report(severity, runs_elsewhere(progress.runs_on.as_ref()).into());
        }
        ProjectionState::Paused => {
            report((Degraded, "paused"), "it is paused; resume it to continue".into());
        }
        ProjectionState::Corrupt { .. } | ProjectionState::Starting | ProjectionState::Running => {}
    }
}

async fn projection_causes(handle: &ProjectionHandle) -> Vec<HealthCause> {
    use Severity::{Degraded, Unready};
    // Opens a connection: a file that was removed or replaced shows only then.
    let unreadable = handle.unreadable().await.as_ref().map(|error| in_one_line(error));
    let progress = handle.progress.borrow().clone();
    let mut causes = Vec::new();
    let mut report = |state, detail: Detail| {
        causes.push(Component::Projection.cause(handle.name, state, detail));
    };
    // A pause is reported together with what waits behind it.
    for state in [Some(&progress.state), progress.resumes_as.as_ref()].into_iter().flatten() {
        report_of_state(state, &progress, &mut report);
    }
    // Reported in addition to the state: queries would miss rows.
    if let Some(head) = progress.fills_to {
        let detail = format!(
            "the read model is being filled for the first time, up to {} of {head} so far: rows \
             are missing",
            progress.position
        );
        report((Unready, "filling"), detail.into());
    }
    // Damage is either met by the projection itself or found by a query.
    let damage = progress.damage.or_else(|| handle.damage_found());
    if let Some(trouble) = progress.trouble.filter(|trouble| Some(trouble) != damage.as_ref()) {
        let is_answering = progress.answering.is_some() && unreadable.is_none();
        let state = if is_answering { (Degraded, "retrying") } else { (Unready, "not-open") };
        report(state, Detail::error(&trouble));
    } else if let Some(error) = unreadable.filter(|_| damage.is_none()) {
        report((Unready, "not-open"), Detail::error(&error));
    }
    if let Some(damage) = damage {
        report((Unready, "corrupt"), Detail::error(&damage));
    }
    if progress.dead_letters > 0 {
        report((Degraded, "dead-letters"), set_aside_events(progress.dead_letters).into());
    }
    causes
}

fn process_manager_causes(handle: &ProcessHandle) -> Vec<HealthCause> {
    use Severity::{Degraded, Unready};
    let progress = handle.progress.borrow().clone();
    let mut causes = Vec::new();
    let mut report = |state, detail: Detail| {
        causes.push(Component::ProcessManager.cause(handle.name, state, detail));
    };
    match (progress.state, progress.trouble.as_deref()) {
        (ProcessState::Halted, trouble) => {
            let many = "the limit of set-aside inputs is reached; retry or skip some";
            report((Unready, "halted"), trouble.map_or(many.into(), Detail::error));
        }
        (ProcessState::Paused, trouble) => {
            let paused = "the process manager is paused; resume it to continue";
            report((Degraded, "paused"), trouble.map_or(paused.into(), Detail::error));
        }
        (ProcessState::Starting | ProcessState::Running, Some(trouble)) => {
            let stuck = (Unready, "stuck");
            let state = if progress.is_stuck { stuck } else { (Degraded, "retrying") };
            report(state, Detail::error(trouble));
        }
        (ProcessState::Waiting, Some(trouble)) => {
            report((Degraded, "retrying"), Detail::error(trouble));
        }
        (ProcessState::Waiting, None) => {
            let detail = runs_elsewhere(progress.runs_on.as_ref());
            report((Severity::Notice, "waiting"), detail.into());
        }
        (ProcessState::Starting | ProcessState::Running, None) => {}
    }
    let set_aside = handle.view(&progress.asides);
    causes.extend(set_aside.iter().take(SUBJECTS_MAX).map(|aside| set_aside_cause(handle, aside)));
    if let Some(more) = set_aside.len().checked_sub(SUBJECTS_MAX).filter(|more| *more > 0) {
        let detail = format!("set-aside streams not listed here: {more}");
        causes.push(Component::Process.cause(handle.name, (Degraded, "set-aside"), detail));
    }
    causes
}

fn reactor_causes(handle: &ReactorHandle) -> Vec<HealthCause> {
    let progress = handle.progress.borrow().clone();
    let mut causes = Vec::new();
    let mut report = |state, detail: Detail| {
        let severity = if state == "waiting" { Severity::Notice } else { Severity::Degraded };
        causes.push(Component::Reactor.cause(handle.name, (severity, state), detail));
    };
    match (progress.state, progress.trouble.as_deref()) {
        (ReactorState::Halted, trouble) => {
            let many = "the maximum of dead letters is reached";
            report("halted", trouble.map_or(many.into(), Detail::error));
        }
        (ReactorState::Paused, trouble) => {
            let paused = "the reactor is paused; resume it to continue";
            report("paused", trouble.map_or(paused.into(), Detail::error));
        }
        (ReactorState::Starting | ReactorState::Running, Some(trouble)) => {
            let state = if progress.is_stuck { "stuck" } else { "retrying" };
            report(state, Detail::error(trouble));
        }
        (ReactorState::Waiting, Some(trouble)) => report("retrying", Detail::error(trouble)),
        (ReactorState::Waiting, None) => {
            report("waiting", runs_elsewhere(progress.runs_on.as_ref()).into());
        }
        (ReactorState::Starting | ReactorState::Running, None) => {}
    }
    if let Some(first) = progress.letters.first() {
        let (count, stream) = (progress.letters.len(), &first.stream);
        let own_words = format!("dead letters: {count}; first error: stream {stream}: ");
        report("dead-letters", Detail::quoting(&own_words, &first.error));
    }
    causes
}

fn set_aside_cause(handle: &ProcessHandle, aside: &SetAside) -> HealthCause {
    let inputs = format!("set-aside inputs: {}", aside.inputs.len());
    let detail = match aside.inputs.iter().find_map(|input| input.error.as_deref()) {
        Some(error) => Detail::quoting(&format!("{inputs}; first error: "), error),
        None => inputs.into(),
    };
    let name = format!("{} {}", handle.name, aside.subject);
    Component::Process.cause(&name, (Severity::Degraded, "set-aside"), detail)
}
