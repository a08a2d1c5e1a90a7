//! Readers of large pages that take nothing, by a client whose HTTP/2 is right: it never opens its
//! window.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use gesta_services::e2e::{empty_directory, figures};
use h2::{
    RecvStream,
    client::{SendRequest, handshake},
};
use prost::Message as _;
use tokio::{
    net::TcpStream,
    task::JoinSet,
    time::{sleep, timeout},
};
use tonic::codegen::http::Request;

use crate::{
    bystander::Watch,
    client::{ANY, Read, append, proposed},
    form::{PATIENCE, short_or_full},
    gesta::Gesta,
};

/// Growth of the server: the memory of outgoing pages, and pages that the store reads ahead. The
/// first pages alone that the readers ask for are more.
const GROWTH_MIB_MAX: u64 = 400;
/// Connections, with this number of calls over gRPC and as many requests over HTTP.
const CONNECTIONS: (usize, usize) = (24, 200);
const CALLS: usize = 5;
/// Events of a MiB each.
const EVENTS: u128 = 16;
const EVENT_BYTES: usize = 1 << 20;
/// Time for which the readers hold what they have.
const HELD_FOR: Duration = Duration::from_secs(8);

/// The answers that one connection holds without taking anything of them.
#[derive(Default)]
struct Unread {
    begun: Vec<RecvStream>,
    refused: usize,
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_that_never_open_their_window_hold_a_bounded_memory() -> Result<()> {
    let connections = short_or_full(CONNECTIONS.0, CONNECTIONS.1);
    let gesta = Gesta::start(&empty_directory("server-never-opened")?, &[])?;
    let mut client = gesta.client().await;
    for number in 1..=EVENTS {
        let mut event = proposed(number, "happened");
        event.data = vec![b' '; EVENT_BYTES].into();
        append(&mut client, "large", ANY, vec![event]).await?;
    }
    let watch = Watch::begin(&gesta).await?;
    let mut readers = JoinSet::new();
    for _ in 0..connections {
        readers.spawn(unread(gesta.address));
    }
    let (mut begun, mut refused, mut held) = (0, 0, Vec::new());
    while let Some(reader) = readers.join_next().await {
        let reader = reader??;
        begun += reader.begun.len();
        refused += reader.refused;
        held.push(reader);
    }
    // The readers hold what they have while others get answers.
    sleep(HELD_FOR).await;
    drop(held);
    let seen = watch.end(gesta).await?.grown_at_most_mib(GROWTH_MIB_MAX)?;
    let asked_for = connections * 2 * CALLS;
    ensure!(begun > 0 && begun + refused == asked_for, "{begun} begun, {refused} refused");
    figures(format!(
        "{asked_for} reads of {EVENTS} MiB by clients that take nothing: {begun} begun, {refused} \
         refused; {seen}"
    ))
}

/// Asks for large pages over one connection, and waits until each answer has begun or is refused.
async fn unread(address: SocketAddr) -> Result<Unread> {
    let (client, connection) = handshake(TcpStream::connect(address).await?).await?;
    tokio::spawn(connection);
    let mut unread = Unread::default();
    let mut answers = Vec::new();
    for _ in 0..CALLS {
        for is_call in [true, false] {
            // A connection that the server has ended takes no further request.
            match ask(&client, is_call).await {
                Ok(answer) => answers.push(answer),
                Err(_) => unread.refused += 1,
            }
        }
    }
    for answer in answers {
        let answer = timeout(PATIENCE, answer).await.context("an answer does not begin")?;
        match answer {
            Ok(answer) if answer.status() == 200 && !answer.body().is_end_stream() => {
                unread.begun.push(answer.into_body());
            }
            Ok(_) | Err(_) => unread.refused += 1,
        }
    }
    Ok(unread)
}

async fn ask(client: &SendRequest<Bytes>, is_call: bool) -> Result<h2::client::ResponseFuture> {
    let mut client = client.clone().ready().await?;
    if !is_call {
        let request = Request::get("http://localhost/v1/streams/large").body(())?;
        return Ok(client.send_request(request, true)?.0);
    }
    let path = "http://localhost/event_store.client.streams.Streams/Read";
    let request = Request::post(path).header("content-type", "application/grpc");
    let request = request.header("te", "trailers").body(())?;
    let (answer, mut body) = client.send_request(request, false)?;
    let message = Read::stream("large").request().encode_to_vec();
    let length = u32::try_from(message.len())?.to_be_bytes();
    body.send_data([&[0], length.as_slice(), &message].concat().into(), true)?;
    Ok(answer)
}
