//! Memory for what clients have sent in part.
//!
//! Owns: [`IncomingRoom`], which all calls of a server share, and the part of it that one of them
//! has. Invariant: the parts together have at most [`INCOMING_BYTES_MAX`], and go back when they
//! are dropped. Not here: the limits of one message and of one append.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use tonic::Status;

/// Maximum size of all messages that have come in part, and of all appends that were not answered.
const INCOMING_BYTES_MAX: usize = 512 << 20;

/// The memory of a server for incoming messages.
#[derive(Debug, Default)]
pub(crate) struct IncomingRoom {
    used: AtomicUsize,
}

/// A part of the memory, which is given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Reserved {
    room: Arc<IncomingRoom>,
    bytes: usize,
}

impl IncomingRoom {
    pub(crate) fn reserve_none(self: &Arc<Self>) -> Reserved {
        Reserved { room: Arc::clone(self), bytes: 0 }
    }
}

impl Reserved {
    /// Changes the size of this part. Refuses a larger one if others have too much, and then keeps
    /// the one that it has.
    pub(crate) fn resize(&mut self, bytes: usize) -> Result<(), Status> {
        if let Some(more) = bytes.checked_sub(self.bytes) {
            let before = self.room.used.fetch_add(more, Ordering::Relaxed);
            if more > 0 && before.saturating_add(more) > INCOMING_BYTES_MAX {
                self.room.used.fetch_sub(more, Ordering::Relaxed);
                return Err(Status::resource_exhausted(format!(
                    "calls that are not complete may have {INCOMING_BYTES_MAX} bytes in all; try \
                     again when others have ended"
                )));
            }
        } else {
            self.room.used.fetch_sub(self.bytes - bytes, Ordering::Relaxed);
        }
        self.bytes = bytes;
        Ok(())
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        self.room.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_share_the_room_and_give_it_back() {
        let room = Arc::new(IncomingRoom::default());
        let (mut first, mut second) = (room.reserve_none(), room.reserve_none());
        first.resize(INCOMING_BYTES_MAX - 10).unwrap();
        second.resize(10).unwrap();
        assert_eq!(second.resize(11).unwrap_err().code(), tonic::Code::ResourceExhausted);
        second.resize(10).unwrap();
        first.resize(100).unwrap();
        second.resize(INCOMING_BYTES_MAX - 100).unwrap();
        drop(second);
        first.resize(INCOMING_BYTES_MAX).unwrap();
        drop(first);
        assert_eq!(room.used.load(Ordering::Relaxed), 0);
    }
}
