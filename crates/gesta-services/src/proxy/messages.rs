//! Messages of PostgreSQL's protocol, version 3, as far as a proxy has to know them.
//!
//! A message has a kind, a length and a body. Two exceptions: the client's first messages have no
//! kind, and the answer to a request for encryption is one byte. After encryption was agreed on,
//! messages are not seen; bytes are passed on as they come.

use std::{
    io::{self, Read},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

/// Kind of messages that have none: first messages, answers of one byte, encrypted bytes.
const NO_KIND: u8 = 0;
/// Limit of a message, so that a wrong length is an error instead of an allocation.
const MESSAGE_BYTES_MAX: usize = 256 << 20;
const LENGTH_BYTES: usize = 4;
const CHUNK_BYTES: usize = 16 << 10;
/// Codes of the client's first messages.
const SSL_REQUEST: u32 = 80_877_103;
const GSS_REQUEST: u32 = 80_877_104;
const AGREED: [u8; 2] = *b"SG";

/// The sender of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sender {
    Client,
    Server,
}

/// A message on its way through the proxy.
#[derive(Clone, Debug)]
pub struct Message {
    sender: Sender,
    kind: u8,
    bytes: Vec<u8>,
    body_starts: usize,
}

impl Message {
    /// Returns whether the client has sent the message.
    #[must_use]
    pub fn from_client(&self) -> bool {
        self.sender == Sender::Client
    }

    /// Returns whether the server has sent the message.
    #[must_use]
    pub fn from_server(&self) -> bool {
        self.sender == Sender::Server
    }

    /// Returns whether the message is of this kind, such as `b'Q'` for a simple query. The kinds
    /// are listed in PostgreSQL's manual, "Message Formats".
    #[must_use]
    pub fn is(&self, kind: u8) -> bool {
        self.kind == kind
    }

    /// Returns the bytes after kind and length.
    #[must_use]
    pub fn body(&self) -> &[u8] {
        self.bytes.get(self.body_starts..).unwrap_or_default()
    }

    /// Returns whether the body contains this text.
    #[must_use]
    pub fn contains(&self, text: &str) -> bool {
        !text.is_empty() && self.body().windows(text.len()).any(|part| part == text.as_bytes())
    }

    /// Returns whether this is the server's answer to `COMMIT`.
    #[must_use]
    pub fn is_commit_answer(&self) -> bool {
        self.from_server() && self.is(b'C') && self.body() == b"COMMIT\0"
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// State that the two directions of a connection share.
#[derive(Debug, Default)]
pub(super) struct Negotiation {
    /// The client has asked for encryption, and the server has not answered.
    is_asked: AtomicBool,
    is_encrypted: AtomicBool,
}

/// Reads the messages of one direction.
pub(super) struct Messages<R> {
    from: R,
    sender: Sender,
    negotiation: Arc<Negotiation>,
    /// The client has not sent its startup message yet.
    is_starting: bool,
}

impl<R: Read> Messages<R> {
    pub(super) fn new(from: R, sender: Sender, negotiation: Arc<Negotiation>) -> Self {
        Self { from, sender, negotiation, is_starting: sender == Sender::Client }
    }

    /// Reads the next message. Returns `None` at the end of the connection.
    ///
    /// # Errors
    ///
    /// If the connection breaks, ends within a message, or sends no message of the protocol.
    pub(super) fn next(&mut self) -> io::Result<Option<Message>> {
        if self.negotiation.is_encrypted.load(Ordering::Acquire) {
            return self.chunk();
        }
        let mut first = [0];
        if self.from.read(&mut first)? == 0 {
            return Ok(None);
        }
        if self.sender == Sender::Server && self.negotiation.is_asked.swap(false, Ordering::AcqRel)
        {
            return Ok(Some(self.negotiated(first)));
        }
        // The byte after the request may be the first encrypted one.
        if self.negotiation.is_encrypted.load(Ordering::Acquire) {
            return Ok(Some(self.message(NO_KIND, first.to_vec(), 0)));
        }
        match self.is_starting {
            true => self.starting(first[0]).map(Some),
            false => self.ordinary(first[0]).map(Some),
        }
    }

    /// A first message of the client: its length begins with this byte.
    fn starting(&mut self, first: u8) -> io::Result<Message> {
        let mut bytes = vec![first];
        self.read(&mut bytes, LENGTH_BYTES - 1)?;
        let length = length_of(&bytes)?;
        self.read(&mut bytes, length - LENGTH_BYTES)?;
        let code = bytes.get(LENGTH_BYTES..2 * LENGTH_BYTES).map(be_u32);
        match code {
            Some(SSL_REQUEST | GSS_REQUEST) => {
                self.negotiation.is_asked.store(true, Ordering::Release);
            }
            _ => self.is_starting = false,
        }
        Ok(self.message(NO_KIND, bytes, LENGTH_BYTES))
    }

    fn ordinary(&mut self, kind: u8) -> io::Result<Message> {
        let mut bytes = vec![kind];
        self.read(&mut bytes, LENGTH_BYTES)?;
        let length = length_of(bytes.get(1..).unwrap_or_default())?;
        self.read(&mut bytes, length - LENGTH_BYTES)?;
        Ok(self.message(kind, bytes, 1 + LENGTH_BYTES))
    }

    /// The server's answer of one byte.
    fn negotiated(&self, answer: [u8; 1]) -> Message {
        if AGREED.contains(&answer[0]) {
            self.negotiation.is_encrypted.store(true, Ordering::Release);
        }
        self.message(NO_KIND, answer.to_vec(), 0)
    }

    fn chunk(&mut self) -> io::Result<Option<Message>> {
        let mut bytes = vec![0; CHUNK_BYTES];
        let count = self.from.read(&mut bytes)?;
        bytes.truncate(count);
        Ok((count > 0).then(|| self.message(NO_KIND, bytes, 0)))
    }

    fn read(&mut self, bytes: &mut Vec<u8>, count: usize) -> io::Result<()> {
        let wanted = bytes.len() + count;
        let mut part = (&mut self.from).take(count.try_into().unwrap_or(u64::MAX));
        part.read_to_end(bytes)?;
        match bytes.len() == wanted {
            true => Ok(()),
            false => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }

    fn message(&self, kind: u8, bytes: Vec<u8>, body_starts: usize) -> Message {
        Message { sender: self.sender, kind, bytes, body_starts }
    }
}

/// The length field, which counts itself.
fn length_of(bytes: &[u8]) -> io::Result<usize> {
    let length = bytes.get(..LENGTH_BYTES).map(be_u32);
    let length = length.and_then(|length| usize::try_from(length).ok());
    let allowed = LENGTH_BYTES..=MESSAGE_BYTES_MAX;
    length.filter(|length| allowed.contains(length)).ok_or_else(|| {
        io::Error::new(io::ErrorKind::InvalidData, "this is no message of PostgreSQL's protocol")
    })
}

fn be_u32(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0, |number, byte| (number << 8) | u32::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes_of(kind: &[u8], body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(LENGTH_BYTES + body.len()).unwrap();
        [kind, &length.to_be_bytes(), body].concat()
    }

    fn startup() -> Vec<u8> {
        bytes_of(b"", &[&196_608_u32.to_be_bytes()[..], b"user\0postgres\0\0"].concat())
    }

    fn read_all(mut messages: Messages<&[u8]>) -> Vec<(u8, Vec<u8>)> {
        let next = || messages.next().unwrap().map(|message| (message.kind, message.bytes));
        std::iter::from_fn(next).collect()
    }

    #[test]
    fn a_clients_messages_are_read_one_by_one() {
        let query = bytes_of(b"Q", b"select 1\0");
        let bytes = [startup(), query.clone(), bytes_of(b"X", b"")].concat();
        let read = read_all(Messages::new(&bytes, Sender::Client, Arc::default()));
        assert_eq!(read, [(NO_KIND, startup()), (b'Q', query), (b'X', bytes_of(b"X", b""))]);
    }

    #[test]
    fn a_servers_answer_to_a_request_for_encryption_is_one_byte() {
        for (answer, encrypted) in [(b'N', false), (b'S', true)] {
            let negotiation = Arc::<Negotiation>::default();
            let request = bytes_of(b"", &SSL_REQUEST.to_be_bytes());
            let mut client = Messages::new(&request[..], Sender::Client, Arc::clone(&negotiation));
            client.next().unwrap().unwrap();
            let ready = bytes_of(b"Z", b"I");
            let bytes = [vec![answer], ready.clone()].concat();
            let read = read_all(Messages::new(&bytes, Sender::Server, Arc::clone(&negotiation)));
            let kind = if encrypted { NO_KIND } else { b'Z' };
            assert_eq!(read, [(NO_KIND, vec![answer]), (kind, ready)]);
        }
    }

    #[test]
    fn a_startup_message_follows_a_refused_request_for_encryption() {
        let request = bytes_of(b"", &SSL_REQUEST.to_be_bytes());
        let bytes = [request.clone(), startup(), bytes_of(b"Q", b"")].concat();
        let mut messages = Messages::new(&bytes[..], Sender::Client, Arc::default());
        assert_eq!(messages.next().unwrap().unwrap().bytes(), request);
        messages.negotiation.is_asked.store(false, Ordering::Release);
        let kinds = read_all(messages).into_iter().map(|(kind, _)| kind);
        assert_eq!(kinds.collect::<Vec<_>>(), [NO_KIND, b'Q']);
    }

    #[test]
    fn a_wrong_length_is_an_error() {
        for bytes in [&b"Q\0\0\0\x03"[..], b"Q\xff\xff\xff\xff", b"Q\0\0\0\x08abc", b"Q\0"] {
            assert!(Messages::new(bytes, Sender::Server, Arc::default()).next().is_err());
        }
    }

    #[test]
    fn a_commits_answer_is_recognized() {
        let is_commit = |kind: &[u8], body: &[u8], sender| {
            let bytes = bytes_of(kind, body);
            let mut messages = Messages::new(&bytes[..], sender, Arc::default());
            messages.is_starting = false;
            messages.next().unwrap().unwrap().is_commit_answer()
        };
        assert!(is_commit(b"C", b"COMMIT\0", Sender::Server));
        assert!(!is_commit(b"C", b"ROLLBACK\0", Sender::Server));
        assert!(!is_commit(b"C", b"COMMIT\0", Sender::Client));
    }
}
