//! The body of a request while it comes.
//!
//! Owns: [`RequestBody`]. Invariants: a body that its client cuts off ends with an error, never as
//! if it were complete; the part of a message that has come has its memory reserved.
//!
//! hyper ends a body whose stream is reset with `NO_ERROR` as if it were complete. An append that
//! its client resets after two of three events would be recorded with two.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use axum::http::{Request, Version};
use bytes::{Buf as _, Bytes};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tonic::Status;

use super::refusals::is_grpc;
use crate::incoming::{IncomingRoom, Reserved};

/// Length of what precedes a message of gRPC: a flag and the length of the message.
const PREFIX_BYTES: usize = 5;

/// A body that is whole or an error.
pub(super) struct RequestBody {
    body: Incoming,
    version: Version,
    /// `None` for a body that is no call of gRPC: all of it is held.
    messages: Option<MessageFraming>,
    come: usize,
    reserved: Reserved,
}

/// The place in a body: before, in or after a message.
#[derive(Debug, Default)]
struct MessageFraming {
    prefix: [u8; PREFIX_BYTES],
    /// Bytes of the prefix that have come.
    prefix_filled: usize,
    /// Bytes of the message that are missing.
    missing: usize,
    /// Bytes of the message that have come.
    held: usize,
}

impl RequestBody {
    pub(super) fn of(request: Request<Incoming>, room: &Arc<IncomingRoom>) -> Request<Self> {
        let messages = is_grpc(request.headers()).then(MessageFraming::default);
        let (version, reserved) = (request.version(), room.reserve_none());
        request.map(|body| Self { body, version, messages, come: 0, reserved })
    }

    /// Returns `true` after the end of a body that is not its client's end.
    fn is_cut_off(&self) -> bool {
        // hyper finds the end of HTTP/1.1 bodies itself, and does not tell it later.
        self.version == Version::HTTP_2 && !self.body.is_end_stream()
    }
}

fn cut_off() -> Status {
    Status::unavailable("the call was ended before its last message")
}

impl MessageFraming {
    /// Takes bytes, and returns how many of an incomplete message have come.
    fn take(&mut self, mut bytes: &[u8]) -> usize {
        while !bytes.is_empty() {
            if self.missing > 0 {
                let taken = self.missing.min(bytes.len());
                bytes.advance(taken);
                self.missing -= taken;
                self.held += taken;
                if self.missing == 0 {
                    self.held = 0;
                }
                continue;
            }
            let room = self.prefix.get_mut(self.prefix_filled..).unwrap_or_default();
            let taken = room.len().min(bytes.len());
            bytes.copy_to_slice(room.get_mut(..taken).unwrap_or_default());
            self.prefix_filled += taken;
            if self.prefix_filled == PREFIX_BYTES {
                let [_, length @ ..] = self.prefix;
                self.missing = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
                self.prefix_filled = 0;
            }
        }
        self.held
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = &mut *self;
        let frame = match ready!(Pin::new(&mut this.body).poll_frame(context)) {
            None if this.is_cut_off() => return Poll::Ready(Some(Err(cut_off()))),
            None => return Poll::Ready(None),
            Some(Ok(frame)) => frame,
            Some(Err(error)) => {
                tracing::debug!(%error, "request cut off");
                return Poll::Ready(Some(Err(cut_off())));
            }
        };
        if let Some(data) = frame.data_ref() {
            this.come = this.come.saturating_add(data.len());
            let held = this.messages.as_mut().map_or(this.come, |messages| messages.take(data));
            if let Err(refused) = this.reserved.resize(held) {
                return Poll::Ready(Some(Err(refused)));
            }
        }
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(bytes: &[u8]) -> Vec<u8> {
        let length = u32::try_from(bytes.len()).unwrap().to_be_bytes();
        [&[0], length.as_slice(), bytes].concat()
    }

    #[test]
    fn only_a_message_in_part_is_held() {
        let body = [message(&[7; 300]), message(&[]), message(&[7; 20])].concat();
        for size in 1..body.len() {
            let mut messages = MessageFraming::default();
            let mut come = 0;
            for part in body.chunks(size) {
                come += part.len();
                // The messages end after 305, 310 and 335 bytes.
                let held = match come {
                    5..305 => come - 5,
                    315..335 => come - 315,
                    _ => 0,
                };
                assert_eq!(messages.take(part), held, "{come} bytes in parts of {size}");
            }
        }
    }

    #[test]
    fn a_length_that_no_message_has_is_only_counted() {
        let mut messages = MessageFraming::default();
        assert_eq!(messages.take(&[0, 255, 255, 255, 255, 1, 2, 3]), 3);
    }
}
