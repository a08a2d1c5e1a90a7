//! The engine: the writer, its queue and its disk, turned by whoever drives it.
//!
//! Owns: the hand-offs between callers, the writer and the disk. Always holds: an answer is sent
//! after what it says is published; the same code runs under the threads of a real store and under
//! a simulation. Not here: threads ([`drive`](crate::drive)), decisions ([`writer`](crate::writer)).

use std::{
    sync::{Arc, PoisonError},
    time::Duration,
};

use gesta_store::{EventQuery, Position, RecordedEvent, StoreError};
use tracing::{error, info, warn};

use crate::{
    ahead::Helper,
    answers::Deliveries,
    clock::{Clock, Rng},
    disk::{Cache, Disk, Lane, Operation},
    filing::{Ended, Filing, Means, SharedFiling},
    index::{AppendSpan, BlockCache, Covered, Index},
    mailbox::{Mailbox, Received},
    options::{OpenError, OpenReport, Options, RecordedTime},
    planted::{self, Bug},
    published::{Published, RECORDED_AHEAD_MAX},
    read::{EarlierAppend, Ends, Reader},
    recovery::{self, LogEnd, Look, Recovered},
    store::LogStore,
    sync::Mutex,
    writer::{Action, Now, Spans, Task, Writer, is_unfinished},
};

/// When an engine wants to be turned again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// When something is queued or completed.
    Wait,
    /// Then too, or at this time of [`Clock::elapsed`] at the latest.
    At(Duration),
    /// Never: it was closed or stopped.
    Ended,
}

/// The side of a store that writes. Nothing happens unless it is turned.
#[derive(Debug)]
pub struct Engine {
    writer: Writer,
    mailbox: Arc<Mailbox>,
    deliveries: Arc<Deliveries>,
    reader: Reader,
    helper: Arc<Helper>,
    /// Where segments go that have ended.
    ended: Arc<Ended>,
    filing: SharedFiling,
    /// Whether a thread of its own does the filing.
    filed_elsewhere: bool,
    /// Whether the recorded time is ahead of the clock and somebody was told.
    told_ahead: bool,
}

impl Engine {
    /// Recovers what the disk holds; gives the engine and the store that it drives.
    ///
    /// # Errors
    /// [`OpenError`]; nothing was changed.
    pub fn open(
        disk: Arc<dyn Disk>,
        clock: Arc<dyn Clock>,
        mut rng: Box<dyn Rng>,
        options: Options,
    ) -> Result<(Self, LogStore), OpenError> {
        let filing_rng = rng.fork();
        let Opened { reader, mut end, unfiled, cache, report } =
            recover(disk, clock, &mut *rng, &options)?;
        if options.recorded_time == RecordedTime::BeginsAnew {
            end.last_recorded_at = None;
        }
        // Beside damage nothing is written, not even an index.
        let unfiled = if report.damage.is_empty() { unfiled } else { Vec::new() };
        let unfinished = unfinished_segments(&*reader.disk)?;
        let means = Means { store: end.store, rng: filing_rng, cache, unfiled, unfinished };
        let filing = Filing::new(Arc::clone(&reader.disk), Arc::clone(&reader.published), means);
        let ended = Arc::clone(filing.ended());
        let filing = Arc::new(Mutex::new(filing));
        let mailbox = Arc::new(Mailbox::default());
        let deliveries = Arc::new(Deliveries::default());
        let queues = (Arc::clone(&mailbox), Arc::clone(&deliveries));
        let writes = Some(Arc::clone(&filing));
        let store = LogStore::new(reader.clone(), queues, options.clone(), report, writes);
        let writer = Writer::new(options, rng, end);
        let engine = Self {
            writer,
            mailbox,
            deliveries,
            reader,
            helper: Arc::default(),
            ended,
            filing,
            filed_elsewhere: false,
            told_ahead: false,
        };
        let mut engine = engine;
        engine.watch_clock();
        Ok((engine, store))
    }

    /// For a simulation, which has no thread for it: puts some of the index into files. Returns
    /// whether something was done.
    pub fn file_some(&mut self) -> bool {
        if self.filed_elsewhere {
            return false;
        }
        let mut filing = self.filing.lock().unwrap_or_else(PoisonError::into_inner);
        filing.file_one() || filing.merge_some()
    }

    /// For a thread of its own.
    pub(crate) fn take_filing(&mut self) -> (SharedFiling, Arc<Ended>) {
        self.filed_elsewhere = true;
        (Arc::clone(&self.filing), Arc::clone(&self.ended))
    }

    /// Works beside the engine once it has a thread.
    pub(crate) fn helper(&self) -> &Arc<Helper> {
        &self.helper
    }

    /// Takes what was queued and completed, and goes on as far as is possible without waiting.
    pub fn turn(&mut self) -> Turn {
        self.turn_while(|| true)
    }

    /// Like [`turn`](Self::turn), but stops between two steps once it is not wanted any more.
    pub(crate) fn turn_while(&mut self, wanted: impl Fn() -> bool) -> Turn {
        loop {
            // What completed is published before the next appends are judged against the index.
            let mut received = self.receive();
            if planted::is(Bug::AnswerBeforePublication) {
                received.sort_by_key(|action| !matches!(action, Action::Answers(_)));
            }
            let mut quiet = received.is_empty();
            received.into_iter().for_each(|action| self.act(action));
            let step = self.step();
            quiet &= step.is_empty();
            step.into_iter().for_each(|action| self.act(action));
            let helped = self.deliveries.help();
            quiet &= !helped;
            let done = quiet && self.mailbox.is_empty(self.writer.wanted());
            // What is left then lies in the mailbox, or has its time.
            if done || (!helped && !wanted()) {
                return self.rest();
            }
        }
    }

    fn step(&mut self) -> Vec<Action> {
        let now = self.now();
        let index = self.reader.published.index();
        self.writer.step(now, &index, &Earlier(&self.reader))
    }

    fn receive(&mut self) -> Vec<Action> {
        let Received { requests, completions, stop } = self.mailbox.receive();
        if stop {
            self.writer.stop();
        }
        if !completions.is_empty() {
            self.watch_clock();
        }
        let now = self.now();
        requests.into_iter().for_each(|request| self.writer.queue(request));
        let completed = |(task, result)| self.writer.completed(task, result, now);
        completions.into_iter().flat_map(completed).collect()
    }

    /// Tells once that the recorded time stands still, and once that it goes on.
    fn watch_clock(&mut self) {
        let ahead = self.writer.recorded_ahead(self.reader.clock.now());
        if (ahead > RECORDED_AHEAD_MAX) == self.told_ahead {
            return;
        }
        self.told_ahead = !self.told_ahead;
        if self.told_ahead {
            warn!(
                ?ahead,
                "the last event was recorded at a time that is yet to come, by a clock that was or is \
                 wrong; until then all events get that time, and max ages count from it. If the clock \
                 is right now, stop the store and run `gesta clock --restart`"
            );
        } else {
            info!("the clock has reached the last event's recorded time");
        }
    }

    fn act(&self, action: Action) {
        match action {
            Action::Submit(task, operation, lane) => self.submit(task, operation, lane),
            Action::Announce(to_come) => {
                if self.helper.wants(to_come.placed.len())
                    && let Some(ahead) = self.reader.published.ahead(&to_come)
                {
                    self.helper.give(ahead, to_come.placed);
                }
            }
            Action::Publish(publication) => {
                self.reader.published.publish(&publication, self.helper.take().as_ref());
            }
            Action::Answers(answers) => self.deliveries.push(answers),
            Action::Ended(segment) => self.ended.push(segment),
            Action::Release(bytes) => self.mailbox.release(bytes),
        }
    }

    fn submit(&self, task: Task, operation: Operation, lane: Lane) {
        let mailbox = Arc::clone(&self.mailbox);
        let done = Box::new(move |result| mailbox.complete(task, result));
        self.reader.disk.submit(operation, lane, done);
    }

    fn rest(&self) -> Turn {
        if self.writer.ended() {
            return Turn::Ended;
        }
        self.writer.deadline().map_or(Turn::Wait, Turn::At)
    }

    fn now(&self) -> Now {
        Now { calendar: self.reader.clock.now(), elapsed: self.reader.clock.elapsed() }
    }

    /// Whether appends are being gathered or written.
    pub(crate) fn is_under_way(&self) -> bool {
        self.writer.is_under_way()
    }

    /// How long to stay awake for what may come at once.
    pub(crate) fn awake(&self) -> Duration {
        self.writer.awake()
    }

    pub(crate) fn clock(&self) -> Arc<dyn Clock> {
        Arc::clone(&self.reader.clock)
    }

    pub(crate) fn mailbox(&self) -> &Arc<Mailbox> {
        &self.mailbox
    }
}

/// What whoever reads a store or goes on writing it begins with.
pub(crate) struct Opened {
    pub(crate) reader: Reader,
    pub(crate) end: LogEnd,
    unfiled: Vec<Covered>,
    cache: Arc<BlockCache>,
    pub(crate) report: OpenReport,
}

/// Recovers what a disk holds.
pub(crate) fn recover(
    disk: Arc<dyn Disk>,
    clock: Arc<dyn Clock>,
    rng: &mut dyn Rng,
    options: &Options,
) -> Result<Opened, OpenError> {
    let cache = Arc::new(BlockCache::new(options.index_cache_bytes_max));
    let look = Look {
        access: options.access,
        older_segments: Cache::Use,
        index_files: Some(Arc::clone(&cache)),
        checked_bytes_max: options.checked_bytes_max,
    };
    let Recovered { index, end, lives, unfiled, report } =
        recovery::recover(&disk, rng, &look, &mut |_| {})?;
    tell(&report);
    let published = Published::new(index, report.damage.clone(), lives, options.tail_bytes_max);
    let reader = Reader { disk, clock, published: Arc::new(published), follower: None };
    Ok(Opened { reader, end, unfiled, cache, report })
}

/// Segments that processes before this one were making when they ended.
fn unfinished_segments(disk: &dyn Disk) -> Result<Vec<String>, OpenError> {
    let failed = |source| OpenError::Io { doing: "list the directory".to_owned(), source };
    let mut files = disk.list().map_err(failed)?;
    files.retain(|file| is_unfinished(file));
    Ok(files)
}

/// Tells what an opening found, for whoever looks at the log of the process only.
fn tell(report: &OpenReport) {
    for damage in &report.damage {
        error!(%damage, "the store is damaged; writes are refused");
    }
    if let Some(torn) = &report.torn {
        warn!(%torn, "a write was cut short; it was never acknowledged and is not adopted");
    }
    if let Some(unmarked) = &report.unmarked {
        info!(%unmarked, "the last events before a crash");
    }
}

impl Drop for Engine {
    /// Whoever still waits learns that the outcome is unknown, and nobody waits in vain.
    fn drop(&mut self) {
        drop(self.mailbox.end());
        while self.deliveries.help() {}
        self.reader.published.close();
    }
}

/// Events of earlier appends, for telling repeats.
struct Earlier<'a>(&'a Reader);

impl Spans for Earlier<'_> {
    fn append(&self, span: AppendSpan) -> Result<EarlierAppend, StoreError> {
        self.0.span(span)
    }

    fn index(&self) -> Index {
        self.0.published.index()
    }

    fn first_match(
        &self,
        query: &EventQuery,
        after: Position,
        ends: Ends<'_>,
    ) -> Result<Option<RecordedEvent>, StoreError> {
        let reader = self.0;
        reader.steady(|| reader.first_match(&reader.published.index(), query, after, &mut *ends))
    }
}
