//! A server that is down, silent, restarted, or refuses.

use std::{
    io::{Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use gesta_search::{Document, Search, SearchStore};
use gesta_services::OwnServer;
use gesta_store::{DatabaseError, Position, ReadModelId, ReadModelStore as _, Stage};

use crate::engines::{self, create, write};

async fn put(store: &SearchStore, id: &ReadModelId, position: u64) -> anyhow::Result<()> {
    let document = Document::new(position.to_string()).text("name", "lantern");
    write(store, id, |tx| Ok(tx.put(document, Position::new(position))?)).await
}

fn expect_unavailable(error: &anyhow::Error, server: &OwnServer) {
    let error = error.downcast_ref::<DatabaseError>().unwrap();
    assert!(matches!(error, DatabaseError::Unavailable { .. }), "{error}");
    assert!(error.to_string().contains(&server.url()), "{error}");
}

#[test]
fn what_was_committed_survives_a_crash_and_the_store_goes_on_without_a_restart() {
    let Some(mut server) = OwnServer::start_or_skip("opensearch") else { return };
    let url = server.url();
    let (store, id) = engines::run(async {
        let store = SearchStore::open(&url).await?;
        let id = create(&store).await?;
        put(&store, &id, 7).await?;
        assert!(store.engine_version().await?.starts_with("OpenSearch 2."));
        Ok((store, id))
    });
    server.crash().unwrap();
    engines::run(async {
        assert!(store.engine_version().await.is_err_and(|error| error.is_transient()));
        expect_unavailable(&put(&store, &id, 8).await.unwrap_err(), &server);
        let troubles = store.troubles().await;
        assert!(
            troubles.iter().any(|trouble| trouble.contains("cannot be reached")),
            "{troubles:?}"
        );
        let opened = SearchStore::open(&url).await.unwrap_err().to_string();
        assert!(opened.contains(&url) && opened.contains("cannot be reached"), "{opened}");
        Ok(())
    });
    server.start().unwrap();
    engines::run(async {
        put(&store, &id, 8).await?;
        assert_eq!(store.reader(&id).await?.search(&Search::new().text("lantern")).await?.total, 2);
        assert!(store.troubles().await.is_empty());
        Ok(())
    });
    // It accepts connections and answers nothing.
    server.pause().unwrap();
    engines::run(async {
        let silent = put(&store, &id, 9).await.unwrap_err();
        expect_unavailable(&silent, &server);
        assert!(silent.to_string().contains("did not answer within 10 s"), "{silent}");
        Ok(())
    });
    server.resume().unwrap();
    engines::run(async {
        put(&store, &id, 10).await?;
        // Written by the call that got no answer, or not; never twice.
        let total = store.reader(&id).await?.search(&Search::new()).await?.total;
        assert!((3..=4).contains(&total), "{total}");
        Ok(())
    });
}

#[test]
fn of_two_creations_at_the_same_time_the_later_one_remains() {
    let Some(server) = OwnServer::start_or_skip("opensearch") else { return };
    let url = server.url();
    engines::run(async {
        let store = SearchStore::open(&url).await?;
        // The caller of the first one was killed before the server had answered.
        let (overtaken, id) = (create(&store).await?, create(&store).await?);
        let listed = store.list_read_models(&id.projection).await?;
        assert_eq!(listed.iter().map(|model| &model.id).collect::<Vec<_>>(), [&id]);
        assert_eq!(listed[0].stage, Stage::Live);
        put(&store, &id, 7).await?;
        assert_eq!(store.reader(&id).await?.search(&Search::new()).await?.total, 1);
        let missing = store.reader(&overtaken).await.map(drop).unwrap_err();
        assert!(matches!(missing, DatabaseError::Missing { .. }), "{missing}");
        Ok(())
    });
}

/// The credentials of the user `ann` with the password `secret`.
const OF_ANN: &str = "Basic YW5uOnNlY3JldA==";

/// A check of users in front of a server, as a security plugin is: requests without the credentials
/// of a user get the status 401, as all do while `is_closed`.
///
/// Each connection takes one request, so that none is broken off while a request is on its way.
struct Guard {
    address: SocketAddr,
    is_closed: Arc<AtomicBool>,
}

impl Guard {
    fn before(server: &OwnServer) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let is_closed = Arc::<AtomicBool>::default();
        let guard = Self { address, is_closed: Arc::clone(&is_closed) };
        let server = server.url().strip_prefix("opensearch://").unwrap().to_owned();
        thread::spawn(move || {
            for client in listener.incoming() {
                let mut client = client.unwrap();
                let (head, body) = request_of(&mut client);
                let is_refused = is_closed.load(Ordering::Relaxed) || !head.contains(OF_ANN);
                if is_refused {
                    let refusal = "HTTP/1.1 401 Unauthorized\r\nwww-authenticate: Basic\r\n\
                                   content-length: 12\r\nconnection: close\r\n\r\nUnauthorized";
                    let _ = client.write_all(refusal.as_bytes());
                    continue;
                }
                let mut inner = TcpStream::connect(&server).unwrap();
                inner.write_all(last_of_its_connection(&head).as_bytes()).unwrap();
                inner.write_all(&body).unwrap();
                thread::spawn(move || {
                    let mut answer = String::new();
                    let _ = inner.read_to_string(&mut answer).unwrap();
                    client.write_all(last_of_its_connection(&answer).as_bytes())
                });
            }
        });
        guard
    }

    /// Takes no user any more.
    fn close(&self) {
        self.is_closed.store(true, Ordering::Relaxed);
    }

    fn open(&self) {
        self.is_closed.store(false, Ordering::Relaxed);
    }
}

/// Adds the header that says so to a request or an answer.
fn last_of_its_connection(message: &str) -> String {
    message.replacen("\r\n", "\r\nconnection: close\r\n", 1)
}

/// Reads a request: its head, to its empty line, and its body.
fn request_of(client: &mut TcpStream) -> (String, Vec<u8>) {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && client.read(&mut byte).is_ok_and(|count| count == 1) {
        head.extend(byte);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
    client.read_exact(&mut body).unwrap();
    (head, body)
}

#[test]
fn a_password_that_the_server_takes_no_more_is_named_and_taken_again_without_a_restart() {
    let Some(server) = OwnServer::start_or_skip("opensearch") else { return };
    let guard = Guard::before(&server);
    let url = |password: &str| format!("opensearch://ann:{password}@{}", guard.address);
    let expect_refused = |told: &str| {
        let place = format!("opensearch://ann@{}", guard.address);
        let reason = "refuses the user or password (status 401)";
        assert!(told.contains(&place) && told.contains(reason), "{told}");
        assert!(!told.contains("secret") && !told.contains("hunter"), "{told}");
    };
    let store = engines::run(async {
        let wrong = SearchStore::open(&url("hunter3")).await.unwrap_err();
        expect_refused(&wrong.to_string());
        let store = SearchStore::open(&url("secret")).await?;
        let id = create(&store).await?;
        put(&store, &id, 7).await?;
        guard.close();
        let refused = put(&store, &id, 8).await.unwrap_err();
        expect_refused(&refused.to_string());
        let refused = refused.downcast_ref::<DatabaseError>().unwrap();
        assert!(refused.is_transient(), "no event is set aside for it: {refused}");
        let searched = store.reader(&id).await;
        let searched = match searched {
            Ok(reader) => reader.search(&Search::new().text("lantern")).await.map(drop),
            Err(error) => Err(error),
        };
        expect_refused(&searched.unwrap_err().to_string());
        let troubles = store.troubles().await;
        troubles.iter().for_each(|trouble| expect_refused(trouble));
        assert!(!troubles.is_empty(), "health has it");
        guard.open();
        put(&store, &id, 8).await?;
        let found = store.reader(&id).await?.search(&Search::new().text("lantern")).await?;
        assert_eq!(found.total, 2, "nothing is lost");
        assert!(store.troubles().await.is_empty());
        Ok(store)
    });
    drop(store);
}

/// Answers every request in the same way, as a server with a security plugin does.
fn refusing(status: &'static str, body: &'static str) -> String {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for connection in listener.incoming() {
            let mut connection = connection.unwrap();
            let mut request = [0; 4096];
            let _ = connection.read(&mut request).unwrap();
            let length = body.len();
            let headers = format!("content-length: {length}\r\nconnection: close\r\n\r\n");
            let _ = write!(connection, "HTTP/1.1 {status}\r\n{headers}{body}");
        }
    });
    format!("ann:secret@{address}")
}

#[test]
fn a_server_that_refuses_is_named_without_the_password() {
    for (status, body, reason) in [
        ("401 Unauthorized", "Unauthorized", "refuses the user or password (status 401); check"),
        ("200 OK", "<html>", "is neither OpenSearch nor Elasticsearch"),
        ("200 OK", r#"{"version":{"number":"6.8.23"}}"#, "expected version 7 or later"),
        ("503 Service Unavailable", "", "answered 503"),
        ("403 Forbidden", "", "refuses the user or password (status 403); check"),
        (
            "403 Forbidden",
            r#"{"error":{"type":"security_exception","reason":"no permissions for [x]"}}"#,
            "refuses the call (status 403): no permissions for [x]; give the user of its URL this",
        ),
    ] {
        let address = refusing(status, body);
        let url = format!("opensearch://{address}");
        let error =
            engines::run(async { Ok(SearchStore::open(&url).await.unwrap_err().to_string()) });
        assert!(error.contains(reason) && error.contains("opensearch://ann@127.0.0.1"), "{error}");
        assert!(!error.contains("secret"), "{error}");
    }
}

/// As operators set it for a migration, and the server itself once its disk is nearly full.
#[test]
fn an_index_that_takes_no_writes_is_named_with_what_to_do_and_written_again_without_a_restart() {
    let Some(server) = OwnServer::start_or_skip("opensearch") else { return };
    let block = |setting: &str, value: &str| {
        let address = server.url().strip_prefix("opensearch://").unwrap().to_owned();
        let mut connection = TcpStream::connect(&address).unwrap();
        let body = format!(r#"{{"{setting}":{value}}}"#);
        let length = body.len();
        let head = format!("content-type: application/json\r\ncontent-length: {length}");
        let host = format!("host: {address}\r\nconnection: close");
        let request = format!("PUT /_all/_settings HTTP/1.1\r\n{host}\r\n{head}\r\n\r\n{body}");
        connection.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        connection.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    };
    engines::run(async {
        let store = SearchStore::open(&server.url()).await?;
        let id = create(&store).await?;
        put(&store, &id, 7).await?;
        for (position, setting) in [
            (8, "index.blocks.write"),
            (9, "index.blocks.read_only_allow_delete"),
            (10, "index.blocks.read_only"),
        ] {
            block(setting, "true");
            let error = put(&store, &id, position).await.unwrap_err();
            expect_unavailable(&error, &server);
            let text = error.to_string();
            assert!(text.contains("blocked by") && text.contains("free disk space"), "{text}");
            assert!(!text.contains("give a user"), "{setting}: {text}");
            block(setting, "null");
            put(&store, &id, position).await?;
        }
        let found = store.reader(&id).await?.search(&Search::new().text("lantern")).await?;
        assert_eq!(found.total, 4);
        Ok(())
    });
}
