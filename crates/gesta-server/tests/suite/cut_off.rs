//! Calls that their client ends before the last message.

use prost::Message;
use tokio::io::AsyncWriteExt as _;

use crate::{
    client::{v2, *},
    scene::{Scene, scenarios},
    wire::{self, CANCEL, DATA, END_HEADERS, HEADERS, NO_ERROR, RST_STREAM},
};

scenarios!(
    an_append_that_is_cancelled_midway_records_nothing,
    a_session_that_is_cancelled_midway_records_nothing,
);

/// A cancelled call ends on the server at some later time, so a wrong one may be missed once.
const ROUNDS: u32 = 20;

/// A message with its prefix, as the data of a stream.
fn data(stream: u32, message: &impl Message) -> Vec<u8> {
    let bytes = message.encode_to_vec();
    let length = u32::try_from(bytes.len()).unwrap().to_be_bytes();
    wire::frame(DATA, 0, stream, &[&[0], length.as_slice(), &bytes].concat())
}

/// Sends messages of calls without an end, and cancels each.
async fn cancel(scene: &Scene, path: &str, calls: Vec<Vec<u8>>) {
    let mut connection = wire::connect(scene.address, &wire::greeting()).await.unwrap();
    for (number, messages) in (0..).zip(calls) {
        let stream = number * 2 + 1;
        let open = wire::frame(HEADERS, END_HEADERS, stream, &wire::call(path));
        connection.write_all(&[open, messages].concat()).await.unwrap();
        // One half of the calls is at work when it is cancelled, the other gets all at once.
        if number % 2 == 0 {
            wire::ponged(&mut connection).await.unwrap();
        }
        let code = if number % 4 < 2 { CANCEL } else { NO_ERROR };
        let reset = wire::frame(RST_STREAM, 0, stream, &code.to_be_bytes());
        connection.write_all(&reset).await.unwrap();
    }
    wire::ponged(&mut connection).await.unwrap();
}

async fn an_append_that_is_cancelled_midway_records_nothing(scene: Scene) {
    let calls = (0..ROUNDS).map(|round| {
        let options = append_req::Options {
            stream_identifier: identifier(&format!("order-{round}")),
            expected_stream_revision: Some(ANY),
        };
        let contents = [
            append_req::Content::Options(options),
            append_req::Content::ProposedMessage(proposed(u128::from(round), "happened")),
        ];
        let messages = contents.map(|content| AppendReq { content: Some(content) });
        messages.iter().flat_map(|message| data(round * 2 + 1, message)).collect()
    });
    let path = "/event_store.client.streams.Streams/Append";
    cancel(&scene, path, calls.collect()).await;
    check_nothing_recorded(&scene).await;
}

async fn a_session_that_is_cancelled_midway_records_nothing(scene: Scene) {
    let calls = (0..ROUNDS).map(|round| {
        let record = v2::AppendRecord {
            record_id: Some(uuid::Uuid::from_u128(u128::from(round)).to_string()),
            schema: Some(v2::SchemaInfo {
                name: "happened".to_owned(),
                format: v2::SchemaFormat::Json.into(),
                ..v2::SchemaInfo::default()
            }),
            data: "{}".into(),
            ..v2::AppendRecord::default()
        };
        let request = v2::AppendRequest {
            stream: format!("order-{round}"),
            records: vec![record],
            expected_revision: None,
        };
        data(round * 2 + 1, &request)
    });
    let path = "/kurrentdb.protocol.v2.streams.StreamsService/AppendSession";
    cancel(&scene, path, calls.collect()).await;
    check_nothing_recorded(&scene).await;
}

/// Appends to each stream, which must be new.
async fn check_nothing_recorded(scene: &Scene) {
    let mut client = scene.client().await;
    for round in 0..ROUNDS {
        let event = vec![proposed(u128::from(round) + 1_000, "happened")];
        let appended = append(&mut client, &format!("order-{round}"), NO_STREAM, event).await;
        let appended = appended.unwrap();
        assert!(matches!(appended, append_resp::Result::Success(_)), "{round}: {appended:?}");
    }
    let mut all = Read::all().places(&mut client).await;
    all.sort();
    let mut expected: Vec<_> = (0..ROUNDS).map(|round| format!("0@order-{round}")).collect();
    expected.sort();
    assert_eq!(all, expected);
}
