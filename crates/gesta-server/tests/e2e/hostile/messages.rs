//! Wrong messages on every call, by a client whose HTTP/2 is right.

use std::net::SocketAddr;

use anyhow::{Context as _, Result, bail, ensure};
use bytes::Bytes;
use gesta_services::e2e::{empty_directory, figures};
use h2::client::{SendRequest, handshake};
use tokio::{net::TcpStream, time::timeout};
use tonic::codegen::http::{HeaderMap, Request, Response};

use crate::{
    bystander::Watch,
    calls::calls,
    form::{PATIENCE, Random, short_or_full},
    gesta::Gesta,
};

/// Growth that the server may keep: buffers of messages that are announced and do not come.
const GROWTH_MIB_MAX: u64 = 128;
/// Messages of noise for each call.
const NOISES: (usize, usize) = (12, 400);
/// Parts of an answer after which a call is one that goes on, such as statistics without an end.
const PARTS_MAX: usize = 16;
/// Calls at once that announce a message of the largest size.
const ANNOUNCED: (usize, usize) = (300, 3_000);

/// A body that is no message of any call.
struct Wrong {
    what: &'static str,
    body: Vec<u8>,
}

/// A message of gRPC: its flag, the length that it claims, and its bytes.
fn message(flag: u8, claimed: usize, bytes: &[u8]) -> Vec<u8> {
    let length = u32::try_from(claimed).unwrap().to_be_bytes();
    [&[flag], length.as_slice(), bytes].concat()
}

/// Bodies that are wrong for every call.
fn wrong_bodies() -> Vec<Wrong> {
    let wrong = |what, body| Wrong { what, body };
    vec![
        wrong("a flag without a length", vec![0]),
        wrong("a part of a length", vec![0, 0, 0]),
        wrong("fewer bytes than claimed", message(0, 100, &[0; 10])),
        wrong("four gigabytes claimed", message(0, u32::MAX as usize, &[0; 10])),
        wrong("more than a message may have", message(0, 64 << 20, &[0; 10])),
        wrong("an unknown compression", message(1, 4, &[0; 4])),
        wrong("an unknown flag", message(7, 4, &[0; 4])),
        wrong("a field of no wire type", message(0, 2, &[0x0F, 0x00])),
        wrong("a length beyond the message", message(0, 3, &[0x0A, 0xFF, 0x01])),
        wrong("a number without an end", message(0, 12, &[0xFF; 12])),
        wrong("groups within groups", message(0, 100_000, &[0x0B; 100_000])),
    ]
}

/// A message within a message, three thousand times.
fn nested_message() -> Vec<u8> {
    let nested = (0..3_000).fold(Vec::new(), |inner: Vec<u8>, _| {
        // Field 1, length-delimited.
        let mut outer = vec![0x0A];
        let mut length = inner.len();
        while length >= 128 {
            outer.push(u8::try_from(length % 128).unwrap() | 128);
            length /= 128;
        }
        outer.push(u8::try_from(length).unwrap());
        outer.extend(inner);
        outer
    });
    message(0, nested.len(), &nested)
}

/// A connection with correct HTTP/2.
async fn connection(address: SocketAddr) -> Result<SendRequest<Bytes>> {
    let (client, connection) = handshake(TcpStream::connect(address).await?).await?;
    tokio::spawn(connection);
    Ok(client.ready().await?)
}

fn request(path: &str) -> Request<()> {
    let request = Request::post(format!("http://localhost{path}"));
    request.header("content-type", "application/grpc").header("te", "trailers").body(()).unwrap()
}

/// Sends a body as the only one of a call, and returns the status of the call: 0 if it goes on.
async fn outcome(client: &SendRequest<Bytes>, path: &str, body: &[u8]) -> Result<(u32, String)> {
    let mut client = client.clone().ready().await?;
    let (response, mut stream) = client.send_request(request(path), false)?;
    let sent = stream.send_data(Bytes::copy_from_slice(body), true);
    let answered = timeout(PATIENCE, async {
        let (head, mut body) = response.await?.into_parts();
        let mut parts = 0;
        while let Some(part) = body.data().await {
            let length = part?.len();
            body.flow_control().release_capacity(length)?;
            parts += 1;
            if parts == PARTS_MAX {
                return anyhow::Ok(None);
            }
        }
        let trailers = body.trailers().await?;
        anyhow::Ok(Some((Response::from_parts(head, ()), trailers)))
    });
    let Some((head, trailers)) = answered.await.context("the call does not end")?? else {
        return Ok((0, String::new()));
    };
    drop(sent);
    ensure!(head.status() == 200, "{}", head.status());
    let status = |headers: &HeaderMap| {
        let code = headers.get("grpc-status")?.to_str().ok()?.parse().ok()?;
        let message = headers.get("grpc-message").and_then(|text| text.to_str().ok());
        Some((code, message.unwrap_or_default().to_owned()))
    };
    let found = trailers.as_ref().and_then(status).or_else(|| status(head.headers()));
    found.context("a call ends with a status")
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_messages_on_every_call_get_an_error_that_says_why() -> Result<()> {
    let gesta = Gesta::start(&empty_directory("server-wrong-messages")?, &[])?;
    let watch = Watch::begin(&gesta).await?;
    let client = connection(gesta.address).await?;
    let mut refused = 0;
    for path in calls() {
        for Wrong { what, body } in wrong_bodies() {
            let context = || format!("{path}: {what}");
            let (code, reason) = outcome(&client, path, &body).await.with_context(context)?;
            ensure!(code != 0, "{path} accepts {what}");
            ensure!(!reason.is_empty(), "{path}: {what}: code {code} without a reason");
            refused += 1;
        }
        // Some calls accept these: a stream without messages, a message of unknown fields.
        for (what, body) in [
            ("no message", Vec::new()),
            ("an empty message", message(0, 0, &[])),
            ("messages within messages", nested_message()),
        ] {
            let ended = outcome(&client, path, &body).await;
            ended.with_context(|| format!("{path}: {what}"))?;
        }
    }
    let seen = watch.end(gesta).await?.grown_at_most_mib(GROWTH_MIB_MAX)?;
    figures(format!("{refused} wrong messages refused with a reason; {seen}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn noise_in_place_of_messages_ends_its_call_only() -> Result<()> {
    let gesta = Gesta::start(&empty_directory("server-noise")?, &[])?;
    let watch = Watch::begin(&gesta).await?;
    let client = connection(gesta.address).await?;
    let mut random = Random::of_run();
    let mut ended = 0;
    for path in calls() {
        for _ in 0..short_or_full(NOISES.0, NOISES.1) {
            let body = plausible(&mut random);
            let body = message(0, body.len(), &body);
            let answered = outcome(&client, path, &body).await;
            answered.with_context(|| format!("{path}: {body:02X?}"))?;
            ended += 1;
        }
    }
    let seen = watch.end(gesta).await?.grown_at_most_mib(GROWTH_MIB_MAX)?;
    figures(format!("{ended} calls with noise ended; {seen}"))
}

/// Returns bytes with the form of a message: fields, some of them messages.
fn plausible(random: &mut Random) -> Vec<u8> {
    let mut bytes = Vec::new();
    for _ in 0..random.below(5) {
        let field = u8::try_from(random.below(15) + 1).unwrap() << 3;
        match random.below(4) {
            0 => {
                bytes.push(field);
                bytes.push(random.bytes(1)[0] & 0x7F);
            }
            1 => {
                let count = random.below(40);
                let inner = random.bytes(count);
                bytes.extend([field | 2, u8::try_from(count).unwrap()]);
                bytes.extend(inner);
            }
            _ => {
                let inner = if random.once_in(3) { Vec::new() } else { plausible(random) };
                if let Ok(length @ 0..128) = u8::try_from(inner.len()) {
                    bytes.extend([field | 2, length]);
                    bytes.extend(inner);
                }
            }
        }
    }
    bytes
}

#[tokio::test(flavor = "multi_thread")]
async fn announced_messages_that_do_not_come_take_no_memory() -> Result<()> {
    let calls = short_or_full(ANNOUNCED.0, ANNOUNCED.1);
    let gesta = Gesta::start(&empty_directory("server-announced")?, &[])?;
    let watch = Watch::begin(&gesta).await?;
    let client = connection(gesta.address).await?;
    let path = "/event_store.client.streams.Streams/Append";
    let mut open = Vec::new();
    for _ in 0..calls {
        let mut client = client.clone().ready().await?;
        let (response, mut stream) = client.send_request(request(path), false)?;
        stream.send_data(Bytes::from(message(0, 16 << 20, &[0; 1_000])), false)?;
        open.push((response, stream));
    }
    // An answer to a later call: the server has seen those before it.
    let (code, _) = outcome(&client, path, &[0]).await?;
    ensure!(code != 0, "a wrong message is refused");
    let held = open.len();
    if held < calls {
        bail!("{held} calls are open");
    }
    let seen = watch.end(gesta).await?.grown_at_most_mib(GROWTH_MIB_MAX)?;
    figures(format!("{calls} calls that announce 16 MiB each; {seen}"))
}
