//! A bare log: an engine without index, checksums or recovery, as the baseline for their cost.
//!
//! Invariants: an append is acknowledged once one `fdatasync` of its group has covered it; the
//! files were filled with zeros and synced before the run. It knows each stream's head, so that
//! appends can expect exact revisions.
//!
//! A thread writes groups, so that the next group starts after a sync without a wake-up. A writer
//! that finds the log idle writes its own append, for the same reason. After a group the thread
//! waits briefly for the writers that it woke: a group of all writers costs the same sync as a
//! group of some.

use std::{
    collections::{HashMap, VecDeque},
    fs::{File, OpenOptions},
    io,
    os::unix::fs::FileExt as _,
    path::Path,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use rustix::thread::futex;

use gesta_bench::load::{
    append::AppendLoad,
    clock::Stopwatch,
    engine::{Demand, EVENT_TYPE, Engine, Offer, Writer},
    workload::ids,
};

const FILE_BYTES: u64 = 32 << 20;
/// Upper bounds of acknowledged events and appends per second, of one writer and of all.
const WRITER_EVENTS_A_SECOND: f64 = 1_000_000.0;
const WRITER_APPENDS_A_SECOND: f64 = 15_000.0;
const EVENTS_A_SECOND: f64 = 3_000_000.0;
/// Names, ids and lengths of an event, without its data.
const EVENT_OVERHEAD_BYTES: u64 = 80;
const PREPARED_BYTES_MAX: u64 = 4 << 30;
/// Limits of the wait for further appends of a group. Of 0, 20, 40 and 80 µs the last was fastest
/// with 8 writers and slowest with 64, whose groups fill up at once. The second limit ends their
/// wait.
const GATHER_MAX: Duration = Duration::from_micros(80);
const GATHER_APPENDS_MAX: usize = 16;

pub(crate) struct BareLog {
    shared: Arc<AppendRun>,
    thread: JoinHandle<io::Result<()>>,
}

struct AppendRun {
    state: Mutex<State>,
    /// Signalled when an append is queued and when the log becomes idle.
    arrived: Condvar,
    /// The last durable group: a futex for waiters of even groups and one for those of odd ones.
    durable: [AtomicU32; 2],
    /// Set after a failed write or sync; nothing is acknowledged afterwards.
    failed: AtomicBool,
}

struct State {
    /// The open group: its bytes and the number of its appends.
    queued: Vec<u8>,
    appends: usize,
    group: u32,
    /// Set while a thread writes or syncs.
    busy: bool,
    closing: bool,
    position: u64,
    heads: HashMap<Box<str>, u64>,
    log: Option<Log>,
}

/// Place of the next group.
struct Log {
    directory: Box<Path>,
    file: File,
    offset: u64,
    made: u64,
    prepared: VecDeque<File>,
}

impl Log {
    fn create(directory: &Path, prepared_bytes: u64) -> io::Result<Self> {
        let mut prepared = VecDeque::new();
        for number in 0..prepared_bytes.div_ceil(FILE_BYTES).max(1) {
            prepared.push_back(zeroed(directory, number)?);
        }
        let made = prepared.len() as u64;
        let file = prepared.pop_front().expect("one was made at least");
        Ok(Self { directory: directory.into(), file, offset: 0, made, prepared })
    }

    fn write_and_sync(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.offset + bytes.len() as u64 > FILE_BYTES {
            self.made += u64::from(self.prepared.is_empty());
            let next = self.prepared.pop_front().map(Ok);
            self.file = next.unwrap_or_else(|| zeroed(&self.directory, self.made - 1))?;
            self.offset = 0;
        }
        self.file.write_all_at(bytes, self.offset)?;
        self.file.sync_data()?;
        self.offset += bytes.len() as u64;
        Ok(())
    }
}

fn zeroed(directory: &Path, number: u64) -> io::Result<File> {
    static ZEROS: [u8; 1 << 20] = [0; 1 << 20];
    let path = directory.join(format!("{number:08}.log"));
    let file = OpenOptions::new().read(true).write(true).create_new(true).open(path)?;
    for offset in (0..FILE_BYTES).step_by(ZEROS.len()) {
        file.write_all_at(&ZEROS, offset)?;
    }
    file.sync_all()?;
    File::open(directory)?.sync_all()?;
    Ok(file)
}

impl BareLog {
    pub(crate) fn create(directory: &Path, prepared_bytes: u64) -> Result<Self> {
        let state = State {
            queued: Vec::new(),
            appends: 0,
            group: 0,
            busy: false,
            closing: false,
            position: 0,
            heads: HashMap::new(),
            log: Some(Log::create(directory, prepared_bytes)?),
        };
        let shared = Arc::new(AppendRun {
            state: Mutex::new(state),
            arrived: Condvar::new(),
            durable: [const { AtomicU32::new(u32::MAX) }; 2],
            failed: AtomicBool::new(false),
        });
        let writes = Arc::clone(&shared);
        let thread = thread::Builder::new().name("bare-log".to_owned());
        Ok(Self { shared, thread: thread.spawn(move || writes.write_groups())? })
    }
}

/// Upper bound of the bytes of a run, so that no file is prepared while it is timed.
pub(crate) fn bytes_of(load: &AppendLoad) -> u64 {
    let (writers, events) = (load.writers as f64, load.events_per_append as f64);
    let a_writer = (WRITER_APPENDS_A_SECOND * events).min(WRITER_EVENTS_A_SECOND);
    let events = EVENTS_A_SECOND.min(a_writer * writers) * load.seconds;
    let bytes = (events as u64 + load.fill) * (load.event_bytes + EVENT_OVERHEAD_BYTES);
    bytes.min(PREPARED_BYTES_MAX)
}

impl Engine for BareLog {
    fn writer(&self) -> Result<Box<dyn Writer + '_>> {
        Ok(Box::new(BareWriter { shared: &self.shared, frame: Vec::new() }))
    }

    fn close(self: Box<Self>) -> Result<()> {
        self.shared.lock().closing = true;
        self.shared.arrived.notify_one();
        self.thread.join().expect("the thread does not panic").context("the bare log's thread")
    }
}

struct BareWriter<'a> {
    shared: &'a AppendRun,
    frame: Vec<u8>,
}

impl Writer for BareWriter<'_> {
    fn append(&mut self, offer: &Offer<'_>) -> Result<u64> {
        self.frame.clear();
        encode(&mut self.frame, offer);
        let mut state = self.shared.lock();
        let position = state.accept(offer)?;
        state.queued.extend_from_slice(&self.frame);
        state.appends += 1;
        if state.busy {
            let group = state.group;
            drop(state);
            self.shared.wait_for(group)?;
        } else {
            self.shared.write_own(state)?;
        }
        Ok(position)
    }
}

/// Lengths, names, ids and payloads of an append, in one buffer.
fn encode(frame: &mut Vec<u8>, offer: &Offer<'_>) {
    let mut part = |bytes: &[u8]| {
        frame.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
        frame.extend_from_slice(bytes);
    };
    let ids = ids(offer.first_id, offer.payloads.count);
    for (id, payload) in ids.zip(offer.payloads.iter()) {
        part(&id.to_le_bytes());
        part(EVENT_TYPE.as_bytes());
        part(offer.stream.as_bytes());
        part(offer.tag.as_bytes());
        part(payload);
    }
}

impl State {
    /// Assigns positions to an append, or refuses it. Returns the position of its last event.
    fn accept(&mut self, offer: &Offer<'_>) -> Result<u64> {
        let events = offer.payloads.count as u64;
        let known = self.heads.get(offer.stream).copied();
        match offer.demand {
            Demand::Nothing => {}
            Demand::StreamHas(count) => ensure!(known.unwrap_or(0) == count, "a conflict"),
            Demand::TagUnusedAfter(_) => bail!("a bare log does not know its tags"),
        }
        match self.heads.get_mut(offer.stream) {
            Some(head) => *head += events,
            None => drop(self.heads.insert(offer.stream.into(), events)),
        }
        self.position += events;
        Ok(self.position)
    }
}

impl AppendRun {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn word(&self, group: u32) -> &AtomicU32 {
        let [even, odd] = &self.durable;
        if group.is_multiple_of(2) { even } else { odd }
    }

    /// Sleeps until a group is durable.
    fn wait_for(&self, group: u32) -> Result<()> {
        let word = self.word(group);
        loop {
            let seen = word.load(Ordering::Acquire);
            // Later groups of the same futex may be durable too. Numbers wrap around.
            if seen.wrapping_sub(group).cast_signed() >= 0 {
                let failed = self.failed.load(Ordering::Relaxed);
                ensure!(!failed, "the bare log can no longer write");
                return Ok(());
            }
            match futex::wait(word, futex::Flags::PRIVATE, seen, None) {
                Ok(()) | Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Writes the open group, with the append that the caller has just queued.
    fn write_own(&self, mut state: MutexGuard<'_, State>) -> Result<()> {
        let mut own = Vec::new();
        let group = state.begin_group(&mut own);
        let mut log = state.log.take().context("another thread writes the log")?;
        drop(state);
        let written = log.write_and_sync(&own);
        let mut state = self.lock();
        state.log = Some(log);
        state.busy = false;
        let more = state.appends > 0;
        // The buffer is reused for the next group.
        if state.queued.is_empty() {
            own.clear();
            state.queued = own;
        }
        drop(state);
        self.tell_durable(group, &written)?;
        if more {
            self.arrived.notify_one();
        }
        Ok(written?)
    }

    /// Wakes all waiters of a group with one call.
    fn tell_durable(&self, group: u32, written: &io::Result<()>) -> io::Result<()> {
        self.failed.fetch_or(written.is_err(), Ordering::Relaxed);
        let word = self.word(group);
        word.store(group, Ordering::Release);
        futex::wake(word, futex::Flags::PRIVATE, i32::MAX as u32)?;
        Ok(())
    }

    /// The thread: writes groups until the log is closed.
    fn write_groups(&self) -> io::Result<()> {
        let mut group_bytes = Vec::new();
        let mut state = self.lock();
        loop {
            if state.busy || state.appends == 0 {
                if state.closing && !state.busy {
                    return Ok(());
                }
                state = self.arrived.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            while state.appends > 0 {
                let came = state.appends;
                let group = state.begin_group(&mut group_bytes);
                let mut log = state.log.take().expect("no other thread writes");
                drop(state);
                let written = log.write_and_sync(&group_bytes);
                self.tell_durable(group, &written)?;
                written?;
                group_bytes.clear();
                state = self.lock();
                state.log = Some(log);
                let expected = GATHER_APPENDS_MAX.min(came + state.appends);
                state = self.gather(state, expected);
            }
            state.busy = false;
        }
    }

    /// Waits briefly for as many appends as the previous groups had.
    fn gather<'a>(
        &'a self,
        mut state: MutexGuard<'a, State>,
        expected: usize,
    ) -> MutexGuard<'a, State> {
        let waited = Stopwatch::start();
        while state.appends < expected && waited.elapsed() < GATHER_MAX {
            drop(state);
            thread::yield_now();
            state = self.lock();
        }
        state
    }
}

impl State {
    /// Takes the open group, and opens the next one.
    fn begin_group(&mut self, into: &mut Vec<u8>) -> u32 {
        self.busy = true;
        self.appends = 0;
        std::mem::swap(&mut self.queued, into);
        let group = self.group;
        self.group = self.group.wrapping_add(1);
        group
    }
}
