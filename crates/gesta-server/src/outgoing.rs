//! Memory for events on their way to readers of feeds, and of pages over HTTP and gRPC.
//!
//! Owns: [`OutgoingRoom`], which all readers of a server share, [`ReaderRoom`], the share of one
//! feed or of the reads of one connection, [`PageRoom`], the memory of one answer, [`PageTurn`],
//! the right to read a page, and [`OutgoingPart`], the share of one page.
//!
//! Invariants: pages that wait for readers have at most [`OUTGOING_BYTES_MAX`], and small ones
//! [`SMALL_ROOM_BYTES`] more; those of one feed have at most [`READER_BYTES_MAX`]; a connection
//! that has as much reads no further page; at most [`TURNS_MAX`] first pages are read without a
//! part, and a later one has that of its predecessor's size; a part goes back when it is dropped; a
//! reader that holds memory and takes nothing is cut sooner while others wait for memory.
//!
//! Nobody waits with a turn, so an answer of one small page is not held up by readers that take
//! nothing of large ones: a first page that finds no memory is dropped, waits for a place and for
//! memory of its size, and is read again. Most answers of a small page end after it, so up to
//! [`ENDS_MAX`] of them look for their end without a wait. Not here: what is read, and the cut of
//! reads ([`serve`](crate::serve)).

use std::{
    future::Future,
    mem,
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
/// Time that a read waits for its turn, for its place, and for its memory.
const TURN_WAIT_MAX: Duration = Duration::from_secs(30);
/// Number of first pages that are read at once, and the same for those of one connection.
const TURNS_MAX: usize = 8;
const CONNECTION_TURNS_MAX: usize = 4;
/// Number of pages that are read with a place, or wait with one for memory.
const PLACES_MAX: usize = 24;
/// Number of pages after a small one that are read without a wait for a place.
const ENDS_MAX: usize = 8;
/// Maximum size of a small page, and of all small pages that have no other memory.
const SMALL_BYTES_MAX: usize = 256 << 10;
const SMALL_ROOM_BYTES: usize = 32 << 20;

/// The memory of a server for outgoing pages.
#[derive(Debug)]
pub(crate) struct OutgoingRoom {
    units: Arc<Semaphore>,
    /// Those for small pages alone.
    small_units: Arc<Semaphore>,
    turns: Arc<Semaphore>,
    places: Arc<Semaphore>,
    ends: Arc<Semaphore>,
    /// Number of readers that wait for units, turns or places.
    waiting: AtomicUsize,
}

/// The share of one connection.
#[derive(Clone, Debug)]
pub(crate) struct ReaderRoom {
    server: Arc<OutgoingRoom>,
    units: Arc<Semaphore>,
    turns: Arc<Semaphore>,
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
pub(crate) enum PageTurn {
    /// The page has memory at once, or is dropped.
    Turn { _of_connection: OwnedSemaphorePermit, _of_server: OwnedSemaphorePermit },
    /// The page has memory, and waits for more if that is too little.
    Place { _place: OwnedSemaphorePermit, held: OwnedSemaphorePermit },
}

/// The memory of the page that one answer has now, for the body that sends it.
#[derive(Clone, Debug, Default)]
pub(crate) struct AnswerMemory(Arc<Mutex<Option<OutgoingPart>>>);

/// The memory for the pages of one answer, one after the other.
#[derive(Clone, Debug)]
pub(crate) struct PageRoom {
    room: ReaderRoom,
    memory: AnswerMemory,
    next: Arc<Mutex<NextPage>>,
}

/// The way in which the next page of an answer is read.
#[derive(Debug, Default)]
enum NextPage {
    /// It is the first one, and is read in a turn.
    #[default]
    First,
    /// It is the first one, was read, has this number of bytes, and found no memory.
    Postponed(usize),
    /// It is the first one, and is read again with a place.
    Again(PageTurn),
    /// It is a later one, and waits for a place, and for memory of its predecessor's size, before
    /// it is read.
    Later(usize),
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
        let small_units = Arc::new(Semaphore::new(SMALL_ROOM_BYTES / UNIT_BYTES));
        let turns = Arc::new(Semaphore::new(TURNS_MAX));
        let places = Arc::new(Semaphore::new(PLACES_MAX));
        let ends = Arc::new(Semaphore::new(ENDS_MAX));
        Self { units, small_units, turns, places, ends, waiting: AtomicUsize::new(0) }
    }
}

impl OutgoingRoom {
    /// Returns the share of a new connection.
    pub(crate) fn of_reader(self: &Arc<Self>) -> ReaderRoom {
        let units = Arc::new(Semaphore::new(READER_BYTES_MAX / UNIT_BYTES));
        let turns = Arc::new(Semaphore::new(CONNECTION_TURNS_MAX));
        ReaderRoom { server: Arc::clone(self), units, turns }
    }

    /// Waits for units, in the order of the calls.
    async fn acquire(&self, units: u32) -> OwnedSemaphorePermit {
        let _waiting = Waiting::count(&self.waiting);
        acquire(&self.units, units).await
    }

    /// Returns units if there are enough at once.
    fn try_acquire(&self, units: u32) -> Option<OwnedSemaphorePermit> {
        let acquired = Arc::clone(&self.units).try_acquire_many_owned(units).ok();
        let is_small = units <= self::units(SMALL_BYTES_MAX);
        acquired.or_else(|| match is_small {
            true => Arc::clone(&self.small_units).try_acquire_many_owned(units).ok(),
            false => None,
        })
    }

    /// Waits for a place, and for memory of this size, which the page is expected to have.
    async fn place(&self, bytes: usize) -> Result<PageTurn, NoRoom> {
        let waiting = Waiting::count(&self.waiting);
        let _place = in_time(acquire(&self.places, 1)).await?;
        drop(waiting);
        let held = self.acquire_in_time(units(bytes)).await?;
        Ok(PageTurn::Place { _place, held })
    }

    /// Returns a place for the page after a small one, if there are one and memory at once.
    fn place_after_small(&self, bytes: usize) -> Option<PageTurn> {
        if bytes > SMALL_BYTES_MAX {
            return None;
        }
        let _place = Arc::clone(&self.ends).try_acquire_owned().ok()?;
        Some(PageTurn::Place { _place, held: self.try_acquire(units(bytes))? })
    }

    async fn acquire_in_time(&self, units: u32) -> Result<OwnedSemaphorePermit, NoRoom> {
        match self.try_acquire(units) {
            Some(units) => Ok(units),
            None => in_time(self.acquire(units)).await,
        }
    }
}

impl ReaderRoom {
    /// Waits for memory, in the order of the calls. More than [`READER_BYTES_MAX`] counts as that.
    pub(crate) async fn reserve(&self, bytes: usize) -> OutgoingPart {
        let units = units(bytes);
        let of_reader = acquire(&self.units, units).await;
        let of_server = self.server.acquire(units).await;
        OutgoingPart { bytes, of_reader: Some(of_reader), of_server }
    }

    /// Waits until this connection has memory left.
    async fn wait_for_share(&self) -> Result<(), NoRoom> {
        in_time(acquire(&self.units, 1)).await.map(drop)
    }

    /// Waits for the turn to read a first page.
    async fn turn(&self) -> Result<PageTurn, NoRoom> {
        let _of_connection = in_time(acquire(&self.turns, 1)).await?;
        let _waiting = Waiting::count(&self.server.waiting);
        let _of_server = in_time(acquire(&self.server.turns, 1)).await?;
        Ok(PageTurn::Turn { _of_connection, _of_server })
    }

    /// Returns the memory of a page that was read. `None` if there is too little at once, and the
    /// page may not wait.
    async fn keep(&self, turn: PageTurn, bytes: usize) -> Result<Option<OutgoingPart>, NoRoom> {
        let units = units(bytes);
        let of_server = match turn {
            PageTurn::Turn { .. } => match self.server.try_acquire(units) {
                Some(of_server) => of_server,
                None => return Ok(None),
            },
            PageTurn::Place { _place, mut held } => match held.split(units as usize) {
                Some(of_server) => of_server,
                // Pages that wait for each other's memory would wait for ever.
                None => {
                    drop(held);
                    self.server.acquire_in_time(units).await?
                }
            },
        };
        // The last page of a connection may take more than is left of its share: it waits for
        // nothing but what others hold.
        let left = self.units.available_permits();
        let of_reader = units.min(u32::try_from(left).unwrap_or(u32::MAX));
        let of_reader = Arc::clone(&self.units).try_acquire_many_owned(of_reader).ok();
        Ok(Some(OutgoingPart { bytes, of_reader, of_server }))
    }

    /// Returns memory if there is enough at once.
    pub(crate) fn try_reserve(&self, bytes: usize) -> Option<OutgoingPart> {
        let units = units(bytes);
        let of_reader = Arc::clone(&self.units).try_acquire_many_owned(units).ok()?;
        let of_server = self.server.try_acquire(units)?;
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
            && self.server.small_units.available_permits() == SMALL_ROOM_BYTES / UNIT_BYTES
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
        Self { room, memory: AnswerMemory::default(), next: Arc::default() }
    }

    pub(crate) const fn memory(&self) -> &AnswerMemory {
        &self.memory
    }

    /// Waits for the turn to read the next page. The one before is sent, and gives its memory back:
    /// readers that wait must not wait for each other.
    pub(crate) async fn turn(&self) -> Result<PageTurn, NoRoom> {
        self.memory.clear();
        self.room.wait_for_share().await?;
        match self.replace_next(NextPage::First) {
            NextPage::First | NextPage::Postponed(_) => self.room.turn().await,
            NextPage::Again(place) => Ok(place),
            NextPage::Later(bytes) => {
                self.replace_next(NextPage::Later(bytes));
                match self.room.server.place_after_small(bytes) {
                    Some(place) => Ok(place),
                    None => self.room.server.place(bytes).await,
                }
            }
        }
    }

    /// Gives a page that was read its memory. A first page that finds none at once is an error: the
    /// caller ends the attempt, and makes it again if
    /// [`is_to_be_read_again`](Self::is_to_be_read_again).
    pub(crate) async fn keep(&self, turn: PageTurn, bytes: usize) -> Result<(), NoRoom> {
        match self.room.keep(turn, bytes).await? {
            Some(part) => {
                self.memory.set(part);
                // An empty page sends nothing.
                self.replace_next(if bytes > 0 { NextPage::Later(bytes) } else { NextPage::First });
                Ok(())
            }
            None => {
                self.replace_next(NextPage::Postponed(bytes));
                Err(NoRoom)
            }
        }
    }

    /// Returns `true` if the attempt that has failed is to be made again, once there is a place for
    /// the first page, and memory.
    pub(crate) async fn is_to_be_read_again(&self) -> bool {
        let NextPage::Postponed(bytes) = self.replace_next(NextPage::First) else { return false };
        let Ok(place) = self.room.server.place(bytes).await else { return false };
        self.replace_next(NextPage::Again(place));
        true
    }

    fn replace_next(&self, next: NextPage) -> NextPage {
        // Nothing under the lock panics.
        mem::replace(&mut *self.next.lock().unwrap_or_else(PoisonError::into_inner), next)
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

    /// Gives back what the page does not need, now that its size is known.
    pub(crate) fn shrink(&self, bytes: usize) {
        self.change(|current| {
            let needed = current.as_mut().map(|part| part.split(bytes));
            *current = needed;
        });
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

async fn acquire(semaphore: &Arc<Semaphore>, permits: u32) -> OwnedSemaphorePermit {
    let acquired = Arc::clone(semaphore).acquire_many_owned(permits).await;
    acquired.expect("the semaphore is never closed")
}

async fn in_time<T>(waiting: impl Future<Output = T>) -> Result<T, NoRoom> {
    timeout(TURN_WAIT_MAX, waiting).await.map_err(|_| NoRoom)
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
    const LARGE: usize = SMALL_BYTES_MAX + 1;

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
        assert!(late.try_reserve(LARGE).is_none() && late.reserve(1).now_or_never().is_none());
        assert!(
            late.try_reserve(SMALL_BYTES_MAX).is_some(),
            "small pages have memory of their own"
        );
        drop(part);
        // A larger page than any share counts as a whole share.
        let part = late.try_reserve(usize::MAX).expect(ROOM);
        assert!(part.covers(usize::MAX));
        drop((part, parts));
        assert!(!late.try_reserve(7).expect(ROOM).covers(8));
        assert_eq!(server.units.available_permits(), OUTGOING_BYTES_MAX / UNIT_BYTES);
    }

    /// Readers that have the whole memory of large pages.
    async fn readers_with_everything(server: &Arc<OutgoingRoom>) -> Vec<PageRoom> {
        let mut readers = Vec::new();
        for _ in 0..OUTGOING_BYTES_MAX / READER_BYTES_MAX {
            let pages = PageRoom::new(server.of_reader());
            pages.keep(pages.turn().await.expect(ROOM), READER_BYTES_MAX).await.expect(ROOM);
            readers.push(pages);
        }
        readers
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_has_some_turns_and_reads_nothing_more_once_it_has_its_share() {
        let server = Arc::new(OutgoingRoom::default());
        let connection = server.of_reader();
        let answer = || PageRoom::new(connection.clone());
        let mut turns = Vec::new();
        for _ in 0..CONNECTION_TURNS_MAX {
            turns.push(answer().turn().await.expect(ROOM));
        }
        assert!(answer().turn().await.is_err());
        assert!(PageRoom::new(server.of_reader()).turn().await.is_ok());
        let first = answer();
        first.keep(turns.pop().expect(ROOM), READER_BYTES_MAX).await.expect(ROOM);
        drop(turns);
        assert!(answer().turn().await.is_err());
        // Memory goes back with each piece that was sent.
        let sent = first.memory().split(UNIT_BYTES);
        assert!(answer().turn().now_or_never().is_none());
        drop(sent);
        drop(answer().turn().await.expect(ROOM));
        first.memory().clear();
        assert!(connection.is_unused());
    }

    #[tokio::test(start_paused = true)]
    async fn a_small_answer_waits_for_nobody_who_takes_nothing() {
        let server = Arc::new(OutgoingRoom::default());
        let _held = readers_with_everything(&server).await;
        // More readers of large pages than there are turns and places.
        let mut waiting = Vec::new();
        for _ in 0..2 * (TURNS_MAX + PLACES_MAX) {
            let pages = PageRoom::new(server.of_reader());
            waiting.push(tokio::spawn(async move {
                while pages.keep(pages.turn().await?, LARGE).await.is_err() {
                    if !pages.is_to_be_read_again().await {
                        return Err(NoRoom);
                    }
                }
                Ok(())
            }));
        }
        tokio::task::yield_now().await;
        let begun = Instant::now();
        for _ in 0..SMALL_ROOM_BYTES / SMALL_BYTES_MAX {
            let pages = PageRoom::new(server.of_reader());
            pages.keep(pages.turn().await.expect(ROOM), SMALL_BYTES_MAX).await.expect(ROOM);
            // It ends.
            drop(pages.turn().await.expect(ROOM));
            assert!(begun.elapsed().is_zero());
        }
        for reader in waiting {
            assert!(reader.await.expect("the task ends").is_err());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_first_page_without_memory_is_read_again_and_a_later_one_waits() {
        let server = Arc::new(OutgoingRoom::default());
        let mut held = readers_with_everything(&server).await;
        let pages = PageRoom::new(server.of_reader());
        assert!(pages.keep(pages.turn().await.expect(ROOM), LARGE).await.is_err());
        let waiting = tokio::spawn(async move {
            assert!(pages.is_to_be_read_again().await);
            // It has memory before it is read, and waits for more if it has grown.
            let turn = pages.turn().await?;
            assert!(matches!(&turn, PageTurn::Place { held, .. } if held.num_permits() > 0));
            pages.keep(turn, READER_BYTES_MAX).await?;
            pages.memory().shrink(LARGE);
            assert!(pages.room.try_reserve(LARGE).is_some(), "a part went back");
            // The reader took the page.
            pages.turn().await?;
            Ok::<_, NoRoom>(())
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        held.pop().expect(ROOM).memory().clear();
        waiting.await.expect("the task ends").expect(ROOM);
        // An answer that fails for another reason is not made again.
        assert!(!PageRoom::new(server.of_reader()).is_to_be_read_again().await);
        drop(held);
        assert!(server.of_reader().is_unused());
        assert_eq!(server.places.available_permits(), PLACES_MAX);
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
