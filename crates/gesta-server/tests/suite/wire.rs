//! Frames of HTTP/2, made and read by hand, so that they can be wrong.
//!
//! Not here: correct clients, which are tonic's and h2's.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context as _, Result, ensure};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

/// Time after which a server that has not answered fails a test. It has time limits of its own.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
pub(crate) const GO_AWAY: u8 = 7;
pub(crate) const CONTINUATION: u8 = 9;
/// Flags of `HEADERS` and `DATA`; an acknowledgement of `SETTINGS` and `PING` is the first one.
pub(crate) const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;
/// Error codes.
pub(crate) const NO_ERROR: u32 = 0;
pub(crate) const CANCEL: u32 = 8;
pub(crate) const ENHANCE_YOUR_CALM: u32 = 11;

/// Returns a frame.
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = vec![length[1], length[2], length[3], kind, flags];
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// Returns the bytes that begin a connection.
pub(crate) fn greeting() -> Vec<u8> {
    [PREFACE, &frame(SETTINGS, 0, 0, &[])].concat()
}

/// Returns fields as HPACK has them, without its table and its code.
pub(crate) fn fields(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            push_length(&mut block, text.len());
            block.extend(text.as_bytes());
        }
    }
    block
}

/// Appends a number with a prefix of seven bits.
fn push_length(block: &mut Vec<u8>, length: usize) {
    let Ok(first @ 0..127) = u8::try_from(length) else {
        block.push(127);
        let mut rest = length - 127;
        while rest >= 128 {
            block.push(u8::try_from(rest % 128).unwrap() | 128);
            rest /= 128;
        }
        block.push(u8::try_from(rest).unwrap());
        return;
    };
    block.push(first);
}

/// Returns the fields that begin a call.
pub(crate) fn call(path: &str) -> Vec<u8> {
    fields(&[
        (":method", "POST"),
        (":scheme", "http"),
        (":path", path),
        (":authority", "localhost"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
    ])
}

/// Connects and sends these bytes.
pub(crate) async fn connect(address: SocketAddr, bytes: &[u8]) -> Result<TcpStream> {
    let mut stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    stream.write_all(bytes).await?;
    Ok(stream)
}

/// A frame that the server has sent.
#[derive(Debug)]
pub(crate) struct Received {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) payload: Vec<u8>,
}

/// Reads a frame; `None` if the server has closed or reset the connection.
pub(crate) async fn receive(stream: &mut (impl tokio::io::AsyncRead + Unpin)) -> Option<Received> {
    let mut head = [0; 9];
    stream.read_exact(&mut head).await.ok()?;
    let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
    let mut payload = vec![0; usize::try_from(length).unwrap()];
    stream.read_exact(&mut payload).await.ok()?;
    Some(Received { kind: head[3], flags: head[4], payload })
}

/// Reads until the server closes the connection, and returns the code of its `GOAWAY`, if any.
pub(crate) async fn farewell(
    stream: &mut (impl tokio::io::AsyncRead + Unpin),
) -> Result<Option<u32>> {
    let all = async {
        let mut code = None;
        while let Some(frame) = receive(stream).await {
            if let (GO_AWAY, Some(bytes)) = (frame.kind, frame.payload.get(4..8)) {
                code = Some(u32::from_be_bytes(bytes.try_into().unwrap()));
            }
        }
        code
    };
    timeout(PATIENCE, all).await.context("the server keeps the connection")
}

/// Reads until the server closes the connection, whatever it sends.
pub(crate) async fn closed(stream: &mut (impl tokio::io::AsyncRead + Unpin)) -> Result<Vec<u8>> {
    let mut read = Vec::new();
    // A reset is an end, too.
    let ended = timeout(PATIENCE, stream.read_to_end(&mut read)).await;
    let _ = ended.context("the server keeps the connection")?;
    Ok(read)
}

/// Waits until the server has read all that was sent: it answers pings in their order.
pub(crate) async fn ponged(stream: &mut TcpStream) -> Result<()> {
    stream.write_all(&frame(PING, 0, 0, b"are you?")).await?;
    let answered = timeout(PATIENCE, async {
        while let Some(frame) = receive(stream).await {
            if frame.kind == PING && frame.flags == 1 && frame.payload == b"are you?" {
                return true;
            }
        }
        false
    });
    ensure!(answered.await.context("no pong")?, "the server has closed the connection");
    Ok(())
}
