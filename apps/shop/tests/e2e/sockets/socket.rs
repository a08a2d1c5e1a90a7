//! A client's end of a WebSocket of the shop, for GraphQL or for the event feed.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context as _, Result, bail, ensure};
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
    time::timeout,
};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        Message,
        protocol::{Role, WebSocketConfig},
    },
};

/// Subscriptions of a client that takes nothing, which are more than the buffers of its connection
/// hold, and for the feed as many as a socket may have.
const STALLED_QUERIES: usize = 50;
const STALLED_FEEDS: usize = 20;
/// Receive buffer of a connection, in bytes.
const RECEIVE_BYTES: u32 = 16 << 10;
const READ_BUFFER_BYTES: usize = 4 << 10;
const PATIENCE: Duration = Duration::from_secs(120);

#[derive(Clone, Copy, Debug)]
pub(super) enum Protocol {
    GraphQl,
    Feed,
}

impl Protocol {
    pub(super) const BOTH: [Self; 2] = [Self::GraphQl, Self::Feed];

    const fn path(self) -> &'static str {
        match self {
            Self::GraphQl => "/graphql/ws",
            Self::Feed => "/v1/events/ws",
        }
    }

    const fn subprotocol(self) -> &'static str {
        match self {
            Self::GraphQl => "graphql-transport-ws",
            Self::Feed => "gesta-events",
        }
    }
}

pub(super) struct Socket {
    stream: WebSocketStream<TcpStream>,
    protocol: Protocol,
}

impl Socket {
    pub(super) async fn open(address: SocketAddr, protocol: Protocol) -> Result<Self> {
        let socket = TcpSocket::new_v4()?;
        socket.set_recv_buffer_size(RECEIVE_BYTES)?;
        let mut connection = socket.connect(address).await?;
        let (path, subprotocol) = (protocol.path(), protocol.subprotocol());
        let head = format!(
            "GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: upgrade\r\n\
             upgrade: websocket\r\nsec-websocket-version: 13\r\n\
             sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
             sec-websocket-protocol: {subprotocol}\r\n\r\n"
        );
        connection.write_all(head.as_bytes()).await?;
        let mut answer = String::new();
        while !answer.ends_with("\r\n\r\n") {
            answer.push(char::from(connection.read_u8().await?));
        }
        ensure!(answer.starts_with("HTTP/1.1 101"), "{answer}");
        let config = WebSocketConfig::default().read_buffer_size(READ_BUFFER_BYTES);
        let stream = WebSocketStream::from_raw_socket(connection, Role::Client, Some(config)).await;
        let mut socket = Self { stream, protocol };
        if matches!(protocol, Protocol::GraphQl) {
            socket.say(&json!({ "type": "connection_init" })).await?;
            let acknowledged = socket.hear().await?;
            let kind = acknowledged.get("type").and_then(Value::as_str);
            ensure!(kind == Some("connection_ack"), "{acknowledged}");
        }
        Ok(socket)
    }

    /// Subscribes to a stream after a position.
    pub(super) async fn follow(&mut self, stream: &str, after: u64) -> Result<()> {
        match self.protocol {
            Protocol::GraphQl => {
                let events = format!("events(after: {after}, stream: [\"{stream}\"])");
                self.query(0, &format!("subscription {{ {events} {{ position }} }}")).await
            }
            Protocol::Feed => {
                let subscribe = json!({ "id": "0", "streams": [stream], "after": after });
                self.say(&json!({ "subscribe": subscribe })).await
            }
        }
    }

    /// Subscribes to all events, often.
    pub(super) async fn ask_for_everything(&mut self) -> Result<()> {
        match self.protocol {
            Protocol::GraphQl => {
                for number in 0..STALLED_QUERIES {
                    let query = "subscription { events { position type data metadata } }";
                    self.query(number, query).await?;
                }
            }
            Protocol::Feed => {
                for number in 0..STALLED_FEEDS {
                    let subscribe = json!({ "id": number.to_string(), "after": 0 });
                    self.say(&json!({ "subscribe": subscribe })).await?;
                }
            }
        }
        Ok(())
    }

    /// Returns the position of the next event.
    pub(super) async fn next_position(&mut self) -> Result<u64> {
        let place = match self.protocol {
            Protocol::GraphQl => "/payload/data/events/position",
            Protocol::Feed => "/event/position",
        };
        loop {
            let message = self.hear().await?;
            if let Some(position) = message.pointer(place).and_then(Value::as_u64) {
                return Ok(position);
            }
            let is_progress = ["subscribed", "caughtUp", "checkpoint"]
                .iter()
                .any(|progress| message.get(progress).is_some());
            ensure!(is_progress, "no event: {message}");
        }
    }

    async fn query(&mut self, id: usize, query: &str) -> Result<()> {
        let (id, payload) = (id.to_string(), json!({ "query": query }));
        self.say(&json!({ "type": "subscribe", "id": id, "payload": payload })).await
    }

    async fn say(&mut self, message: &Value) -> Result<()> {
        Ok(self.stream.send(Message::text(message.to_string())).await?)
    }

    async fn hear(&mut self) -> Result<Value> {
        loop {
            let message = timeout(PATIENCE, self.stream.next()).await;
            let message = message.context("nothing is said")?;
            match message.context("the socket was closed")?? {
                Message::Text(text) => return Ok(serde_json::from_str(text.as_str())?),
                Message::Close(frame) => bail!("the socket was closed: {frame:?}"),
                _ => {}
            }
        }
    }
}
