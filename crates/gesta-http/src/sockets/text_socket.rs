//! An open WebSocket whose messages are texts.
//!
//! Invariants:
//! - A client without a sign of life for [`SILENCES_MAX`] intervals of pings is ended, and so is
//!   one that takes no message for that time.
//! - A message has at most [`Limits::body_bytes_max`](crate::Limits) bytes.
//! - At most one message of the server waits for the client.
//!
//! Not here: the meaning of messages.

use std::{borrow::Cow, fmt, time::Duration};

use futures_util::{SinkExt as _, StreamExt as _};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::{
    io::AsyncReadExt as _,
    select,
    time::{Instant, Interval, MissedTickBehavior, interval_at, timeout},
};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        self, Message,
        protocol::{CloseFrame, Role, WebSocketConfig, frame::coding::CloseCode},
    },
};

use crate::GestaState;

/// Number of intervals of pings after which a client without a sign of life is gone.
const SILENCES_MAX: u32 = 3;
const READ_BUFFER_BYTES: usize = 4 << 10;
/// Maximum time for a close frame and its answer.
const CLOSE_MAX: Duration = Duration::from_secs(1);
/// Code for a client that takes nothing; 4000 to 4999 are free for use (RFC 6455, section 7.4.2).
const TOO_SLOW: u16 = 4008;

/// An open WebSocket whose messages are texts.
///
/// Pings are sent and answered while [`receive`](Self::receive) or [`send`](Self::send) waits. A
/// session should end when [`GestaState::closed`] returns. Dropping the socket cuts the connection;
/// [`end`](Self::end) tells the client why.
pub struct TextSocket {
    stream: WebSocketStream<TokioIo<Upgraded>>,
    pings: Interval,
    /// Time of the last sign of life.
    heard: Instant,
    silence_max: Duration,
    /// The client has sent what cannot be read on.
    is_unreadable: bool,
}

/// The reason for which a socket ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SocketEnd {
    /// Code and text for the client, or `None` if it has closed the socket or is gone.
    told: Option<(u16, Cow<'static, str>)>,
}

impl SocketEnd {
    /// The code of a server that shuts down, or of a page that is left.
    pub const GOING_AWAY: u16 = 1001;
    /// The code of a socket whose client has no credentials that hold any more.
    pub const UNAUTHENTICATED: u16 = 4401;

    /// Creates an end that the client is told with a code of RFC 6455, or one from 4000 to 4999,
    /// and a text. A text of more than 123 bytes is cut.
    #[must_use]
    pub fn told(code: u16, reason: impl Into<Cow<'static, str>>) -> Self {
        Self { told: Some((code, reason.into())) }
    }

    const fn left() -> Self {
        Self { told: None }
    }

    fn of_error(error: &tungstenite::Error) -> Self {
        match error {
            tungstenite::Error::Capacity(_) => Self::told(1009, "the message is too large"),
            tungstenite::Error::Utf8(_) => Self::told(1007, "a text must be UTF-8"),
            tungstenite::Error::Protocol(_) => Self::told(1002, "this is no frame of RFC 6455"),
            // Errors of the connection.
            _ => Self::left(),
        }
    }

    fn frame(self) -> Option<CloseFrame> {
        /// Maximum size of a close frame's text (RFC 6455, section 5.5).
        const REASON_BYTES_MAX: usize = 123;
        let (code, reason) = self.told?;
        let reason = reason.get(..reason.floor_char_boundary(REASON_BYTES_MAX)).unwrap_or_default();
        Some(CloseFrame { code: CloseCode::from(code), reason: reason.into() })
    }
}

impl TextSocket {
    pub(crate) async fn new(upgraded: Upgraded, state: GestaState) -> Self {
        let limits = state.request_limits();
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BUFFER_BYTES)
            // Each message is written at once.
            .write_buffer_size(0)
            .max_message_size(Some(limits.body_bytes_max))
            .max_frame_size(Some(limits.body_bytes_max));
        let stream = TokioIo::new(upgraded);
        let stream = WebSocketStream::from_raw_socket(stream, Role::Server, Some(config)).await;
        let heard = Instant::now();
        // An interval cannot be zero.
        let keep_alive = limits.keep_alive.max(Duration::from_millis(1));
        let mut pings = interval_at(heard + keep_alive, keep_alive);
        pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let silence_max = keep_alive.saturating_mul(SILENCES_MAX);
        Self { stream, pings, heard, silence_max, is_unreadable: false }
    }

    /// Waits for the next text of the client. Cancel safe.
    ///
    /// # Errors
    /// [`SocketEnd`] if the client has closed the socket, is gone or silent, or has sent what is no
    /// text; pass it to [`end`](Self::end).
    pub async fn receive(&mut self) -> Result<String, SocketEnd> {
        loop {
            select! {
                message = self.stream.next() => {
                    self.heard = Instant::now();
                    match message {
                        Some(Ok(Message::Text(text))) => return Ok(text.as_str().to_owned()),
                        Some(Ok(Message::Binary(_))) => {
                            return Err(SocketEnd::told(1003, "messages must be texts"));
                        }
                        Some(Ok(Message::Close(_))) | None => return Err(SocketEnd::left()),
                        // Pings are answered by the next write.
                        Some(Ok(_)) => {}
                        Some(Err(error)) => {
                            self.is_unreadable = true;
                            return Err(SocketEnd::of_error(&error));
                        }
                    }
                }
                _ = self.pings.tick() => {
                    if self.heard.elapsed() >= self.silence_max {
                        return Err(SocketEnd::told(TOO_SLOW, "no ping was answered"));
                    }
                    // If this is cancelled, the ping is written with the next message.
                    self.write(Message::Ping(Vec::new().into())).await?;
                }
            }
        }
    }

    /// Sends a text, and waits until it is written. Nothing is received in this time.
    ///
    /// # Errors
    /// [`SocketEnd`] if the client takes nothing or is gone.
    pub async fn send(&mut self, text: String) -> Result<(), SocketEnd> {
        self.write(Message::text(text)).await
    }

    async fn write(&mut self, message: Message) -> Result<(), SocketEnd> {
        match timeout(self.silence_max, self.stream.send(message)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(SocketEnd::left()),
            Err(_) => Err(SocketEnd::told(TOO_SLOW, "no message was taken for too long")),
        }
    }

    /// Ends the socket: tells the client the reason and waits for its answer, for a second in all.
    pub async fn end(mut self, end: SocketEnd) {
        // The client may take nothing more, and answer nothing.
        let _ = timeout(CLOSE_MAX, self.finish(end)).await;
    }

    async fn finish(&mut self, end: SocketEnd) {
        let sent = match end.frame() {
            Some(frame) => self.stream.close(Some(frame)).await,
            // The answer to the client's close frame waits for a write.
            None => self.stream.flush().await,
        };
        if sent.is_err() {
            return;
        }
        while let Some(Ok(_)) = self.stream.next().await {}
        if self.is_unreadable {
            // Closing with unread input sends a reset, which can discard the frame at the client.
            let mut rest = [0; READ_BUFFER_BYTES];
            while let Ok(1..) = self.stream.get_mut().read(&mut rest).await {}
        }
    }
}

impl fmt::Debug for TextSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TextSocket").field("silence_max", &self.silence_max).finish_non_exhaustive()
    }
}
