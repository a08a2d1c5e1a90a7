//! Lanes: tasks that each poll many connections.
//!
//! The runtime lets each task that is ready run once in a turn. A peer with thousands of
//! connections that are always ready would hold up everything else for thousands of polls a turn:
//! other peers, and the projections whose positions they wait for. The first
//! [`OWN_TASKS_OF_PEER`] connections of a peer have tasks of their own; all further ones, of all
//! peers, share lanes.
//!
//! Invariants:
//! - A lane polls [`POLLS_OF_TURN`] connections in a turn, and has its next turn behind others.
//! - A connection that panics ends alone.
//! - A lane ends when its [`Lanes`] is dropped and its last connection has ended.
//!
//! Not here: the work of one poll of a connection ([`turns`](super::turns)).

use std::{
    future::{Future, poll_fn},
    num::NonZero,
    panic::AssertUnwindSafe,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    thread,
};

use futures_util::{FutureExt as _, StreamExt as _, stream::FuturesUnordered};
use tokio::{
    sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    task::JoinSet,
};

/// Number of connections of a peer that have tasks of their own: more than a browser opens.
pub(crate) const OWN_TASKS_OF_PEER: usize = 64;

/// Number of connections that a lane polls in a turn.
const POLLS_OF_TURN: usize = 8;

/// A connection, until its end.
type Connection = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The lanes of a listener, started when the first connection needs one.
#[derive(Debug, Default)]
pub(crate) struct Lanes {
    lanes: Vec<UnboundedSender<Connection>>,
    next: usize,
}

impl Lanes {
    /// Adds a connection to the next lane, whose task is among these.
    pub(crate) fn add(
        &mut self,
        connection: impl Future<Output = ()> + Send + 'static,
        tasks: &mut JoinSet<()>,
    ) {
        if self.lanes.is_empty() {
            // As many as there are processors can use all of them.
            let count = thread::available_parallelism().map_or(1, NonZero::get);
            self.lanes = (0..count).map(|_| start_lane(tasks)).collect();
        }
        self.next = (self.next + 1) % self.lanes.len();
        if let Some(lane) = self.lanes.get(self.next) {
            // A lane outlives its sender, unless a shutdown has aborted it.
            let _ = lane.send(Box::pin(connection));
        }
    }
}

fn start_lane(tasks: &mut JoinSet<()>) -> UnboundedSender<Connection> {
    let (sender, connections) = unbounded_channel();
    tasks.spawn(lane(connections));
    sender
}

/// Polls connections until the sender is gone and the last one has ended.
async fn lane(mut added: UnboundedReceiver<Connection>) {
    let mut connections = FuturesUnordered::new();
    let turn = Arc::new(AtomicUsize::new(0));
    poll_fn(move |cx| {
        turn.store(POLLS_OF_TURN, Ordering::Relaxed);
        let is_closed = loop {
            match added.poll_recv(cx) {
                Poll::Ready(Some(connection)) => {
                    let connection = InTurns { connection, turn: Arc::clone(&turn) };
                    // The log has the panic; a task of its own would end like this, too.
                    connections.push(AssertUnwindSafe(connection).catch_unwind().map(drop));
                }
                Poll::Ready(None) => break true,
                Poll::Pending => break false,
            }
        };
        while let Poll::Ready(Some(())) = connections.poll_next_unpin(cx) {}
        if is_closed && connections.is_empty() { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

/// A connection of a lane, which waits for the next turn if this one has had its polls.
struct InTurns {
    connection: Connection,
    /// Polls that are left; relaxed, because one task polls a lane.
    turn: Arc<AtomicUsize>,
}

impl Future for InTurns {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        match self.turn.load(Ordering::Relaxed) {
            0 => {
                // A `FuturesUnordered` ends its poll after two that wake themselves.
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            left => {
                self.turn.store(left - 1, Ordering::Relaxed);
                self.connection.as_mut().poll(cx)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;

    /// Lets ready tasks have a turn. (`yield_now` waits for the events of the runtime, too.)
    async fn next_turn() {
        let mut is_next = false;
        poll_fn(|cx| {
            if std::mem::replace(&mut is_next, true) {
                return Poll::Ready(());
            }
            cx.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
    }

    #[tokio::test(flavor = "current_thread")]
    async fn connections_that_are_always_ready_leave_others_their_turns() {
        let (mut lanes, mut tasks) = (Lanes::default(), JoinSet::new());
        let polls = Arc::new(AtomicUsize::new(0));
        for _ in 0..500 {
            let polls = Arc::clone(&polls);
            let greedy = async move {
                loop {
                    polls.fetch_add(1, Ordering::Relaxed);
                    next_turn().await;
                }
            };
            lanes.add(greedy, &mut tasks);
        }
        const TURNS: usize = 1_000;
        // A task of its own: the runtime polls the test itself seldom.
        let other = tokio::spawn(async {
            for _ in 0..TURNS {
                next_turn().await;
            }
        });
        other.await.unwrap();
        let polls = polls.load(Ordering::Relaxed);
        assert!(polls >= TURNS, "the connections go on: {polls} polls");
        let max = lanes.lanes.len() * POLLS_OF_TURN * TURNS;
        assert!(polls <= max, "{polls} polls in {TURNS} turns of another task");
        tasks.shutdown().await;
    }

    #[tokio::test]
    async fn a_connection_that_panics_ends_alone() {
        let (mut lanes, mut tasks) = (Lanes::default(), JoinSet::new());
        let (ends, end) = oneshot::channel();
        for _ in 0..thread::available_parallelism().map_or(1, NonZero::get) {
            lanes.add(async { panic!("a fault in a connection") }, &mut tasks);
        }
        lanes.add(async move { ends.send(()).unwrap() }, &mut tasks);
        end.await.unwrap();
    }

    #[tokio::test]
    async fn lanes_end_with_their_last_connection() {
        let (mut lanes, mut tasks) = (Lanes::default(), JoinSet::new());
        let (end, ended) = oneshot::channel::<()>();
        lanes.add(async move { drop(ended.await) }, &mut tasks);
        drop(lanes);
        end.send(()).unwrap();
        while let Some(lane) = tasks.join_next().await {
            lane.unwrap();
        }
    }
}
