//! Identities of callers: passwords, tokens and certificates, over TLS.

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use gesta_server::{ServeError, Server};
use gesta_store::memory::MemoryStore;
use ring::hmac;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tonic::{Code, Status};

use crate::{
    client::{Client, Credentials, Read, event},
    secured::{Authority, Secured, TOKEN_SECRET, basic},
};

async fn read(client: &mut Client) -> Result<usize, Status> {
    Ok(Read::stream("order-1").run(client).await?.len())
}

fn token(claims: &serde_json::Value) -> Credentials {
    let part = |value: String| BASE64_URL_SAFE_NO_PAD.encode(value);
    let signed =
        format!("{}.{}", part(json!({ "alg": "HS256" }).to_string()), part(claims.to_string()));
    let key = hmac::Key::new(hmac::HMAC_SHA256, TOKEN_SECRET);
    let mac = BASE64_URL_SAFE_NO_PAD.encode(hmac::sign(&key, signed.as_bytes()));
    Credentials(Some(format!("Bearer {signed}.{mac}").parse().unwrap()))
}

#[tokio::test]
async fn wrong_credentials_are_refused_without_telling_which_users_exist() {
    let scene = Secured::start().await;
    let mut texts = Vec::new();
    for (login, password) in [("admin", "wrong-secret"), ("nobody", "wrong-secret")] {
        let mut client = scene.client(login, password).await;
        let refused = read(&mut client).await.unwrap_err();
        assert_eq!(refused.code(), Code::Unauthenticated, "{refused}");
        texts.push(refused.message().to_owned());
    }
    assert_eq!(texts[0], texts[1]);
    assert!(!texts[0].contains("wrong-secret"));
    let unreadable = Credentials(Some("Negotiate abc".parse().unwrap()));
    let mut client = scene.client_with(unreadable).await;
    assert_eq!(read(&mut client).await.unwrap_err().code(), Code::Unauthenticated);
}

#[tokio::test]
async fn failed_logins_are_slowed_down_and_recorded_and_a_known_client_goes_on() {
    let scene = Secured::start().await;
    let mut admin = scene.admin().await;
    read(&mut admin).await.unwrap();
    let mut guessing = scene.client("admin", "guess-guess").await;
    for _ in 0..6 {
        read(&mut guessing).await.unwrap_err();
    }
    let slowed = read(&mut guessing).await.unwrap_err();
    assert!(slowed.message().starts_with("too many failed logins"), "{slowed}");
    read(&mut admin).await.unwrap();

    let audit = Read::stream("$audit").run(&mut admin).await.unwrap();
    let failed: Vec<_> = audit
        .iter()
        .filter_map(|content| event(content).event.as_ref())
        .filter(|record| record.metadata["type"] == "$login-failed")
        .map(|record| String::from_utf8(record.data.to_vec()).unwrap())
        .collect();
    assert_eq!(failed.len(), 7, "a refusal without a look at the password is a failure, too");
    assert_eq!(failed[0], r#"{"from":"127.0.0.1","login":"admin"}"#);
}

#[tokio::test]
async fn a_token_names_its_user_and_groups_until_it_expires() {
    let scene = Secured::start().await;
    let far = json!({ "sub": "robot", "exp": 9e9, "groups": ["$admins"] });
    let mut robot = scene.client_with(token(&far)).await;
    Read::all().run(&mut robot).await.unwrap();
    let plain = json!({ "sub": "robot", "exp": 9e9 });
    let mut robot = scene.client_with(token(&plain)).await;
    read(&mut robot).await.unwrap();
    assert_eq!(Read::all().run(&mut robot).await.unwrap_err().code(), Code::PermissionDenied);
    let expired = json!({ "sub": "robot", "exp": 1e9 });
    let mut robot = scene.client_with(token(&expired)).await;
    assert_eq!(read(&mut robot).await.unwrap_err().code(), Code::Unauthenticated);
}

#[tokio::test]
async fn a_client_certificate_is_a_login_if_the_user_exists() {
    let scene = Secured::start().await;
    scene.create_user("ann", &["$admins"]).await;
    let mut ann = scene.client_by_certificate("ann").await;
    Read::all().run(&mut ann).await.unwrap();
    let mut nobody = scene.client_by_certificate("nobody").await;
    assert_eq!(read(&mut nobody).await.unwrap_err().code(), Code::Unauthenticated);
}

#[tokio::test]
async fn a_certificate_of_another_authority_ends_the_connection() {
    let scene = Secured::start().await;
    let (certificate, key) = Authority::new().issue("admin");
    let ended = match scene.connect(b"http/1.1", Some((&certificate, &key))).await {
        Err(_) => true,
        // The client of TLS 1.3 learns it when it reads.
        Ok(mut stream) => {
            let _ = stream.write_all(b"GET /ping HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
            stream.read(&mut [0; 64]).await.map_or(true, |bytes| bytes == 0)
        }
    };
    assert!(ended);
}

#[tokio::test]
async fn a_client_without_tls_gets_no_answer() {
    let scene = Secured::start().await;
    let mut stream = tokio::net::TcpStream::connect(scene.address).await.unwrap();
    stream.write_all(b"GET /ping HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    // The server sends an alert of TLS and closes.
    let _ = stream.read_to_end(&mut answer).await;
    assert!(!answer.starts_with(b"HTTP"), "{answer:?}");
}

#[tokio::test]
async fn http_asks_for_a_login_and_health_does_not() {
    let scene = Secured::start().await;
    let nobody = Credentials::default();
    assert_eq!(scene.get("/health/ready", &nobody).await.0, 204);
    assert_eq!(scene.get("/metrics", &nobody).await.0, 401);
    assert_eq!(scene.get("/metrics", &basic("ops", "wrong-secret")).await.0, 401);
    let ops = basic("ops", scene.passwords.ops());
    assert!(scene.get("/metrics", &ops).await.1.contains("gesta_server_"));
    let (_, info) = scene.get("/info", &nobody).await;
    assert!(info.contains(r#""type":"basic""#), "{info}");
}

#[tokio::test]
async fn an_insecure_server_does_not_run_on_a_public_listener() {
    let listener = tokio::net::TcpListener::bind("0.0.0.0:0").await.unwrap();
    let server = Server::insecure(std::sync::Arc::new(MemoryStore::new()));
    let refused = server.run(listener, std::future::pending()).await.unwrap_err();
    assert!(matches!(refused, ServeError::Public(_)), "{refused}");
}

#[tokio::test]
async fn the_calls_of_users_are_listed_by_a_secured_server_only() {
    use crate::client::{Empty, server_features::server_features_client::ServerFeaturesClient};
    let scene = Secured::start().await;
    let mut client = ServerFeaturesClient::new(scene.channel().await);
    let supported = client.get_supported_methods(Empty {}).await.unwrap().into_inner();
    let lists = |methods: &[crate::client::server_features::SupportedMethod]| {
        methods.iter().any(|method| method.service_name == "event_store.client.users.users")
    };
    assert!(lists(&supported.methods));
    let insecure = crate::scene::Scene::of_memory().await;
    let mut client = ServerFeaturesClient::new(insecure.channel().await);
    let supported = client.get_supported_methods(Empty {}).await.unwrap().into_inner();
    assert!(!lists(&supported.methods));
}
