//! Memory for events on their way to readers of feeds, and of pages over HTTP and gRPC.
//!
//! Owns: [`OutgoingRoom`], which all readers of a server share, [`ReaderRoom`], the share of one
//! feed or of the reads of one connection, [`PageTurn`], the right to read a page, and
//! [`OutgoingPart`], the share of one page. Invariants: pages that wait for readers have at most
//! [`OUTGOING_BYTES_MAX`], those of one feed at most [`READER_BYTES_MAX`]; a connection that has as
//! much reads no further page; at most [`TURNS_MAX`] pages are read without a part; a part goes
//! back when it is dropped; a reader that holds memory and takes nothing is cut sooner while others
//! wait for memory. Not here: what is read, and the cut of reads
//! ([`serve`](crate::serve)).

use std::{
    future::Future,
    pin::pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, timeout},
};

/// Maximum size of all pages that wait for their readers.
const OUTGOING_BYTES_MAX: usize = 256 << 20;
/// The same for the readers of one connection: the largest event twice, because a store reads one
/// page ahead.
pub(crate) const READER_BYTES_MAX: usize = 32 << 20;
/// Size of what a permit stands for.
const UNIT_BYTES: usize = 1 << 10;
/// Time after which a reader that takes nothing is cut.
const STALL_MAX: Duration = Duration::from_secs(60);
/// The same for a reader whose memory others wait for.
pub(crate) const STALL_WANTED_MAX: Duration = Duration::from_secs(5);
/// Time that a read waits for its turn and its memory.
const TURN_WAIT_MAX: Duration = Duration::from_secs(30);
/// Number of pages that are read at once and have no part yet.
const TURNS_MAX: usize = 32;

/// The memory of a server for outgoing pages.
#[derive(Debug)]
pub(crate) struct OutgoingRoom {
    units: Arc<Semaphore>,
    turns: Arc<Semaphore>,
    /// Number of readers that wait for units or turns.
    waiting: AtomicUsize,
}

/// The share of one connection.
#[derive(Clone, Debug)]
pub(crate) struct ReaderRoom {
    server: Arc<OutgoingRoom>,
    units: Arc<Semaphore>,
}

/// A part of the memory, which is given back when it is dropped.
#[derive(Debug)]
pub(crate) struct OutgoingPart {
    bytes: usize,
    of_reader: Option<OwnedSemaphorePermit>,
    of_server: OwnedSemaphorePermit,
}

/// The right to read one page, whose size is not known before.
#[derive(Debug)]
pub(crate) struct PageTurn {
    room: ReaderRoom,
    _turn: OwnedSemaphorePermit,
}

/// The memory of the page that one answer has now, for the body that sends it.
#[derive(Clone, Debug, Default)]
pub(crate) struct AnswerMemory(Arc<Mutex<Option<OutgoingPart>>>);

/// The memory for the pages of one answer, one after the other.
#[derive(Clone, Debug)]
pub(crate) struct PageRoom {
    room: ReaderRoom,
    memory: AnswerMemory,
}

/// Other readers do not take what they have asked for.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error(
    "answers that their readers have not taken have {} MiB of the server's memory, or {} MiB of \
     those of this connection; take them, or try again later",
    OUTGOING_BYTES_MAX >> 20,
    READER_BYTES_MAX >> 20
)]
pub(crate) struct NoRoom;

impl Default for OutgoingRoom {
    fn default() -> Self {
        let units = Arc::new(Semaphore::new(OUTGOING_BYTES_MAX / UNIT_BYTES));
        let turns = Arc::new(Semaphore::new(TURNS_MAX));
        Self { units, turns, waiting: AtomicUsize::new(0) }
    }
}

impl OutgoingRoom {
    /// Returns the share of a new connection.
    pub(crate) fn of_reader(self: &Arc<Self>) -> ReaderRoom {
        let units = Arc::new(Semaphore::new(READER_BYTES_MAX / UNIT_BYTES));
        ReaderRoom { server: Arc::clone(self), units }
    }

    async fn acquire(&self, units: u32) -> OwnedSemaphorePermit {
        let _waiting = Waiting::count(&self.waiting);
        let of_server = Arc::clone(&self.units).acquire_many_owned(units).await;
        of_server.expect("the semaphore is never closed")
    }
}

impl ReaderRoom {
    /// Waits for memory, in the order of the calls. More than [`READER_BYTES_MAX`] counts as that.
    pub(crate) async fn reserve(&self, bytes: usize) -> OutgoingPart {
        let units = units(bytes);
        let of_reader = Arc::clone(&self.units).acquire_many_owned(units).await;
        let of_server = self.server.acquire(units).await;
        OutgoingPart {
            bytes,
            of_reader: Some(of_reader.expect("the semaphore is never closed")),
            of_server,
        }
    }

    /// Waits until this connection has memory left, and for the turn to read a page.
    pub(crate) async fn turn(&self) -> Result<PageTurn, NoRoom> {
        let turn = async {
            let left = Arc::clone(&self.units).acquire_owned().await;
            drop(left.expect("the semaphore is never closed"));
            let _waiting = Waiting::count(&self.server.waiting);
            let turn = Arc::clone(&self.server.turns).acquire_owned().await;
            turn.expect("the semaphore is never closed")
        };
        let turn = timeout(TURN_WAIT_MAX, turn).await.map_err(|_| NoRoom)?;
        Ok(PageTurn { room: self.clone(), _turn: turn })
    }

    /// Returns memory if there is enough at once.
    pub(crate) fn try_reserve(&self, bytes: usize) -> Option<OutgoingPart> {
        let units = units(bytes);
        let of_reader = Arc::clone(&self.units).try_acquire_many_owned(units).ok()?;
        let of_server = Arc::clone(&self.server.units).try_acquire_many_owned(units).ok()?;
        Some(OutgoingPart { bytes, of_reader: Some(of_reader), of_server })
    }

    /// Waits until the reader has taken something. Returns `None` if it is to be cut: it has taken
    /// nothing for [`STALL_MAX`], or for [`STALL_WANTED_MAX`] while others wait for its memory.
    pub(crate) async fn taken<T>(&self, taking: impl Future<Output = T>) -> Option<T> {
        let mut taking = pin!(taking);
        let begun = Instant::now();
        loop {
            match timeout(STALL_WANTED_MAX, &mut taking).await {
                Ok(taken) => return Some(taken),
                Err(_) if self.is_wanted() || begun.elapsed() >= STALL_MAX => return None,
                Err(_) => {}
            }
        }
    }

    #[cfg(test)]
    pub(crate) fn is_unused(&self) -> bool {
        self.units.available_permits() == READER_BYTES_MAX / UNIT_BYTES
            && self.server.units.available_permits() == OUTGOING_BYTES_MAX / UNIT_BYTES
    }

    /// Returns `true` if this connection holds memory that others wait for.
    pub(crate) fn is_wanted(&self) -> bool {
        let holds = self.units.available_permits() < READER_BYTES_MAX / UNIT_BYTES;
        holds && self.server.waiting.load(Ordering::Relaxed) > 0
    }
}

impl OutgoingPart {
    /// Returns `true` if a page of this size may use the part.
    pub(crate) const fn covers(&self, bytes: usize) -> bool {
        bytes <= self.bytes || self.bytes >= READER_BYTES_MAX
    }

    /// Takes a part of this size out of this one, or what is left of it.
    pub(crate) fn split(&mut self, bytes: usize) -> Self {
        let wanted = bytes.div_ceil(UNIT_BYTES);
        let of_reader = self.of_reader.as_mut().and_then(|units| split(units, wanted));
        let of_server = split(&mut self.of_server, wanted)
            .expect("a permit has as many units as it was found to have");
        self.bytes = self.bytes.saturating_sub(bytes);
        Self { bytes, of_reader, of_server }
    }
}

fn split(units: &mut OwnedSemaphorePermit, wanted: usize) -> Option<OwnedSemaphorePermit> {
    units.split(wanted.min(units.num_permits()))
}

impl PageRoom {
    pub(crate) fn new(room: ReaderRoom) -> Self {
        Self { room, memory: AnswerMemory::default() }
    }

    pub(crate) const fn memory(&self) -> &AnswerMemory {
        &self.memory
    }

    /// Waits for the turn to read the next page. The one before is sent, and gives its memory back:
    /// readers that wait must not wait for each other.
    pub(crate) async fn turn(&self) -> Result<PageTurn, NoRoom> {
        self.memory.clear();
        self.room.turn().await
    }

    /// Gives a page that was read its memory, with that of the page that the store reads ahead.
    pub(crate) async fn keep(&self, turn: PageTurn, bytes: usize) -> Result<(), NoRoom> {
        self.memory.set(turn.keep(bytes.saturating_mul(2)).await?);
        Ok(())
    }
}

impl AnswerMemory {
    /// Replaces the memory of the page before.
    pub(crate) fn set(&self, part: OutgoingPart) {
        self.change(|current| *current = Some(part));
    }

    pub(crate) fn clear(&self) {
        self.change(|current| *current = None);
    }

    /// Takes the memory of bytes that are sent out of that of the page.
    pub(crate) fn split(&self, bytes: usize) -> Option<OutgoingPart> {
        self.change(|current| current.as_mut().map(|part| part.split(bytes)))
    }

    fn change<T>(&self, change: impl FnOnce(&mut Option<OutgoingPart>) -> T) -> T {
        // Nothing under the lock panics.
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl PageTurn {
    /// Waits for the memory of a page that was read, and ends the turn.
    pub(crate) async fn keep(self, bytes: usize) -> Result<OutgoingPart, NoRoom> {
        let units = units(bytes);
        let of_server = timeout(TURN_WAIT_MAX, self.room.server.acquire(units)).await;
        let of_server = of_server.map_err(|_| NoRoom)?;
        // The last page of a connection may take more than is left of its share: it waits for
        // nothing but what others hold.
        let left = self.room.units.available_permits();
        let of_reader = units.min(u32::try_from(left).unwrap_or(u32::MAX));
        let of_reader = Arc::clone(&self.room.units).try_acquire_many_owned(of_reader).ok();
        Ok(OutgoingPart { bytes, of_reader, of_server })
    }
}

fn units(bytes: usize) -> u32 {
    let units = bytes.min(READER_BYTES_MAX).div_ceil(UNIT_BYTES).max(1);
    u32::try_from(units).unwrap_or(u32::MAX)
}

/// A reader that waits, counted until it is dropped.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn count(waiting: &'a AtomicUsize) -> Self {
        waiting.fetch_add(1, Ordering::Relaxed);
        Self(waiting)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use futures_util::FutureExt as _;

    use super::*;

    const ROOM: &str = "there is room";

    #[tokio::test]
    async fn a_connection_has_its_share_and_the_server_the_sum() {
        let server = Arc::new(OutgoingRoom::default());
        let reader = server.of_reader();
        let part = reader.try_reserve(READER_BYTES_MAX).expect(ROOM);
        assert!(reader.try_reserve(1).is_none());
        let readers = OUTGOING_BYTES_MAX / READER_BYTES_MAX;
        let others: Vec<_> = (1..readers).map(|_| server.of_reader()).collect();
        let parts: Vec<_> = others.iter().map(|one| one.try_reserve(READER_BYTES_MAX)).collect();
        assert!(parts.iter().all(Option::is_some));
        let late = server.of_reader();
        assert!(late.try_reserve(1).is_none() && late.reserve(1).now_or_never().is_none());
        drop(part);
        // A larger page than any share counts as a whole share.
        let part = late.try_reserve(usize::MAX).expect(ROOM);
        assert!(part.covers(usize::MAX));
        drop((part, parts));
        assert!(!late.try_reserve(7).expect(ROOM).covers(8));
        assert_eq!(server.units.available_permits(), OUTGOING_BYTES_MAX / UNIT_BYTES);
    }

    #[tokio::test(start_paused = true)]
    async fn a_page_waits_for_its_turn_and_its_memory_and_is_refused_at_last() {
        let server = Arc::new(OutgoingRoom::default());
        let connection = server.of_reader();
        let mut turns = Vec::new();
        for _ in 0..TURNS_MAX {
            turns.push(connection.turn().await.expect(ROOM));
        }
        assert!(connection.turn().await.is_err());
        let mut part = turns.pop().expect(ROOM).keep(READER_BYTES_MAX).await.expect(ROOM);
        // A connection that has its share reads no further page; another one does.
        assert!(connection.turn().await.is_err());
        let other = server.of_reader();
        drop(turns);
        drop(other.turn().await.expect(ROOM).keep(1).await.expect(ROOM));
        // Memory goes back with each piece that was sent.
        let sent = part.split(UNIT_BYTES);
        assert!(connection.turn().now_or_never().is_none());
        drop(sent);
        drop(connection.turn().await.expect(ROOM));
        assert_eq!(
            part.split(usize::MAX).of_server.num_permits(),
            READER_BYTES_MAX / UNIT_BYTES - 1
        );
        drop(part);
        // A full server refuses the memory, and takes the turn back.
        let mut parts = Vec::new();
        for _ in 0..OUTGOING_BYTES_MAX / READER_BYTES_MAX {
            let reader = server.of_reader();
            parts.push(reader.turn().await.expect(ROOM).keep(READER_BYTES_MAX).await.expect(ROOM));
        }
        let late = server.of_reader().turn().await.expect(ROOM);
        assert!(late.keep(1).await.is_err());
        assert_eq!(server.turns.available_permits(), TURNS_MAX);
        drop(parts);
        assert_eq!(server.units.available_permits(), OUTGOING_BYTES_MAX / UNIT_BYTES);
    }

    #[tokio::test(start_paused = true)]
    async fn a_reader_that_takes_nothing_is_cut_sooner_if_others_want_its_memory() {
        let server = Arc::new(OutgoingRoom::default());
        let begun = Instant::now();
        let cut_after = async |reader: &ReaderRoom| {
            let begun = Instant::now();
            assert!(reader.taken(pending::<()>()).await.is_none());
            begun.elapsed()
        };
        let idle = server.of_reader();
        assert_eq!(cut_after(&idle).await, STALL_MAX);
        let readers: Vec<_> =
            (0..OUTGOING_BYTES_MAX / READER_BYTES_MAX).map(|_| server.of_reader()).collect();
        let parts: Vec<_> = readers.iter().map(|one| one.try_reserve(READER_BYTES_MAX)).collect();
        let late = server.of_reader();
        let waiting = tokio::spawn(async move { late.reserve(1).await });
        tokio::task::yield_now().await;
        assert_eq!(cut_after(readers.first().expect(ROOM)).await, STALL_WANTED_MAX);
        // A reader that holds nothing gives nothing back by its end.
        assert_eq!(cut_after(&idle).await, STALL_MAX);
        drop(parts);
        assert!(waiting.await.expect("the task ends").covers(1));
        assert!(begun.elapsed() > STALL_MAX);
    }
}
