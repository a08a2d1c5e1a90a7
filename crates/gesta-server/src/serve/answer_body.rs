//! The bodies of answers whose pages have a part of the server's memory.
//!
//! Owns: [`AnswerBody`], which cuts a body into pieces that carry their part, and [`AnswerWatch`],
//! the answers of one connection. Invariants: the part of a piece goes back when the piece is
//! written or thrown away, and the rest when its page ends; an answer of which nothing is taken
//! for [`STALL_MAX`], or for a shorter time while others wait for memory, is given up: its page is
//! freed, and its client gets an error once it takes more. Pieces that HTTP/2 holds for such
//! answers are freed with their connection, which ends if there are many, or others want the
//! memory. Not here: how much memory there is ([`outgoing`](crate::outgoing)).

use std::{
    collections::VecDeque,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::{Error, body::Body, response::Response};
use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use tokio::{
    sync::Notify,
    time::{Instant, sleep},
};

use crate::outgoing::{AnswerMemory, OutgoingPart, ReaderRoom, STALL_WANTED_MAX};

/// Time in which the reader of an answer must take a piece.
const STALL_MAX: Duration = Duration::from_secs(30);
/// Interval in which the answers of a connection are looked at.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// Size of a piece.
const PIECE_BYTES: usize = 64 << 10;
/// Number of answers that were given up and whose pieces HTTP/2 still holds; one more ends their
/// connection.
const GIVEN_UP_MAX: usize = 16;

/// The body of an answer.
#[derive(Debug)]
pub(super) enum AnswerBody {
    /// An answer without pages.
    Plain(Body),
    Pages(Arc<PagedAnswer>),
}

/// A body with pages, and how far its reader is.
#[derive(Debug)]
pub(super) struct PagedAnswer {
    memory: AnswerMemory,
    state: Mutex<AnswerState>,
    taken: Arc<Mutex<Taken>>,
}

#[derive(Debug)]
struct AnswerState {
    /// `None` after it was given up.
    body: Option<Body>,
    /// The rest of a frame that was cut.
    pieces: VecDeque<Bytes>,
    piece_bytes: usize,
}

/// The pieces that are on their way to the reader.
#[derive(Debug)]
struct Taken {
    waiting: usize,
    last: Instant,
}

/// The bytes of a piece, with their part of the memory.
struct Piece {
    bytes: Box<[u8]>,
    taken: Arc<Mutex<Taken>>,
    _part: Option<OutgoingPart>,
}

/// The answers of one connection that have pages.
#[derive(Debug, Default)]
pub(super) struct AnswerWatch {
    answers: Mutex<Vec<Weak<PagedAnswer>>>,
    /// Weak references keep no pieces alive, so those of given up answers are counted here.
    given_up: Mutex<Vec<Arc<Mutex<Taken>>>>,
    begun: Notify,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing under the locks leaves them half changed.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl AnswerWatch {
    /// Returns the answer with a body that is watched, if it has pages.
    pub(super) fn watch(&self, response: Response) -> axum::http::Response<AnswerBody> {
        let Some(memory) = response.extensions().get::<AnswerMemory>().cloned() else {
            return response.map(AnswerBody::Plain);
        };
        response.map(|body| {
            let state = AnswerState { body: Some(body), pieces: VecDeque::new(), piece_bytes: 0 };
            let taken = Arc::new(Mutex::new(Taken { waiting: 0, last: Instant::now() }));
            let answer = Arc::new(PagedAnswer { memory, state: Mutex::new(state), taken });
            lock(&self.answers).push(Arc::downgrade(&answer));
            self.begun.notify_one();
            AnswerBody::Pages(answer)
        })
    }

    /// Gives up answers that are not taken. Completes if the connection is to end for them.
    pub(super) async fn stalled(&self, room: &ReaderRoom) {
        loop {
            if lock(&self.answers).is_empty() && lock(&self.given_up).is_empty() {
                self.begun.notified().await;
            }
            sleep(LOOK_INTERVAL).await;
            if self.look(room.is_wanted()) {
                return;
            }
        }
    }

    /// Looks at all answers once, and returns `true` if the connection is to end.
    fn look(&self, is_wanted: bool) -> bool {
        let stall_max = if is_wanted { STALL_WANTED_MAX } else { STALL_MAX };
        let mut given_up = lock(&self.given_up);
        given_up.retain(|taken| lock(taken).waiting > 0);
        lock(&self.answers).retain(|answer| {
            let Some(answer) = answer.upgrade() else { return false };
            if !lock(&answer.taken).is_stalled(stall_max) {
                return true;
            }
            answer.give_up();
            given_up.push(Arc::clone(&answer.taken));
            false
        });
        given_up.len() > GIVEN_UP_MAX || is_wanted && !given_up.is_empty()
    }
}

impl Taken {
    fn is_stalled(&self, stall_max: Duration) -> bool {
        self.waiting > 0 && self.last.elapsed() >= stall_max
    }
}

impl PagedAnswer {
    fn give_up(&self) {
        let body = {
            let mut state = lock(&self.state);
            state.pieces.clear();
            state.piece_bytes = 0;
            state.body.take()
        };
        // A body may do much when it is dropped, so no lock is held.
        drop(body);
        self.memory.clear();
    }

    fn poll_frame(&self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let mut state = lock(&self.state);
        loop {
            if let Some(bytes) = state.pieces.pop_front() {
                state.piece_bytes -= bytes.len();
                return Poll::Ready(Some(Ok(Frame::data(bytes))));
            }
            let Some(body) = &mut state.body else {
                return Poll::Ready(Some(Err(Error::new(std::io::Error::new(
                    std::io::ErrorKind::TimedOut,
                    "nothing of the answer was taken for too long",
                )))));
            };
            let Some(frame) = ready!(Pin::new(body).poll_frame(context)) else {
                return Poll::Ready(None);
            };
            match frame?.into_data() {
                Ok(bytes) if bytes.is_empty() => {
                    return Poll::Ready(Some(Ok(Frame::data(bytes))));
                }
                Ok(bytes) => {
                    state.piece_bytes = bytes.len();
                    state.pieces = bytes.chunks(PIECE_BYTES).map(|one| self.piece(one)).collect();
                }
                Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
            }
        }
    }

    /// Returns a copy of bytes, so that the frame is freed, with its part of the memory.
    fn piece(&self, bytes: &[u8]) -> Bytes {
        let taken = Arc::clone(&self.taken);
        {
            let mut taken = lock(&taken);
            if taken.waiting == 0 {
                taken.last = Instant::now();
            }
            taken.waiting += 1;
        }
        Bytes::from_owner(Piece {
            _part: self.memory.split(bytes.len()),
            bytes: bytes.into(),
            taken,
        })
    }
}

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        let mut taken = lock(&self.taken);
        taken.waiting -= 1;
        taken.last = Instant::now();
    }
}

impl HttpBody for AnswerBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        match self.get_mut() {
            Self::Plain(body) => Pin::new(body).poll_frame(context),
            Self::Pages(answer) => answer.poll_frame(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Plain(body) => body.is_end_stream(),
            Self::Pages(answer) => {
                let state = lock(&answer.state);
                state.pieces.is_empty() && state.body.as_ref().is_some_and(Body::is_end_stream)
            }
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Plain(body) => body.size_hint(),
            Self::Pages(answer) => {
                let state = lock(&answer.state);
                let Some(body) = &state.body else { return SizeHint::default() };
                let (hint, pieces) = (body.size_hint(), state.piece_bytes as u64);
                let mut sum = SizeHint::new();
                sum.set_lower(hint.lower() + pieces);
                if let Some(upper) = hint.upper() {
                    sum.set_upper(upper + pieces);
                }
                sum
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::http::Response;
    use futures_util::FutureExt as _;
    use http_body_util::BodyExt as _;
    use tokio::time::advance;

    use super::*;
    use crate::outgoing::{OutgoingRoom, PageRoom};

    const PAGE_BYTES: usize = 3 * PIECE_BYTES;

    /// An answer with a page that has its memory.
    async fn answer(watch: &AnswerWatch, room: &ReaderRoom) -> AnswerBody {
        let pages = PageRoom::new(room.clone());
        pages.keep(pages.turn().await.unwrap(), PAGE_BYTES).await.unwrap();
        let mut response = Response::new(Body::from(vec![7; PAGE_BYTES]));
        response.extensions_mut().insert(pages.memory().clone());
        watch.watch(response).into_body()
    }

    async fn piece(body: &mut AnswerBody) -> Bytes {
        body.frame().await.unwrap().unwrap().into_data().unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_is_sent_in_pieces_and_gives_its_memory_back() {
        let (server, watch) = (Arc::new(OutgoingRoom::default()), AnswerWatch::default());
        let room = server.of_reader();
        let mut body = answer(&watch, &room).await;
        assert_eq!(body.size_hint().exact(), Some(PAGE_BYTES as u64));
        for number in 1..=3 {
            // A slow reader that takes a piece in time is no stalled one.
            let bytes = piece(&mut body).await;
            assert_eq!(bytes, vec![7; PIECE_BYTES]);
            assert_eq!(body.size_hint().exact(), Some((PAGE_BYTES - number * PIECE_BYTES) as u64));
            advance(STALL_MAX - LOOK_INTERVAL).await;
            assert!(!watch.look(false));
        }
        assert!(body.is_end_stream() && body.frame().await.is_none());
        assert!(room.is_unused());
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_is_not_taken_is_given_up() {
        let (server, watch) = (Arc::new(OutgoingRoom::default()), AnswerWatch::default());
        let room = server.of_reader();
        let mut body = answer(&watch, &room).await;
        let held = piece(&mut body).await;
        advance(STALL_WANTED_MAX).await;
        assert!(!watch.look(false));
        advance(STALL_MAX).await;
        assert!(!watch.look(false), "its connection has other calls");
        assert!(body.frame().await.unwrap().is_err());
        assert!(!room.is_unused());
        drop(held);
        assert!(room.is_unused());
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_ends_for_answers_that_hold_memory_which_others_want() {
        let (server, watch) = (Arc::new(OutgoingRoom::default()), AnswerWatch::default());
        let room = server.of_reader();
        let mut body = answer(&watch, &room).await;
        let _held = piece(&mut body).await;
        assert!(!watch.look(true));
        advance(STALL_WANTED_MAX).await;
        assert!(watch.look(true));
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_ends_for_many_answers_that_are_not_taken() {
        let (server, watch) = (Arc::new(OutgoingRoom::default()), AnswerWatch::default());
        let room = server.of_reader();
        let mut bodies = Vec::new();
        for _ in 0..=GIVEN_UP_MAX {
            let mut body = answer(&watch, &room).await;
            let held = piece(&mut body).await;
            bodies.push((body, held));
        }
        assert!(watch.stalled(&room).now_or_never().is_none());
        // The clock moves by itself while everything waits.
        watch.stalled(&room).await;
    }
}
