//! Brokers with encrypted listeners and users.

use std::{fs, future::pending, sync::Arc};

use gesta_kafka::{KafkaFeed, KafkaUrl, Relay, RelayGuarantee, RelayOptions, RelayStatus};
use gesta_services::{OwnServer, free_port};
use gesta_store::{EventStore, ReadAll, memory::MemoryStore};
use rcgen::{CertificateParams, KeyPair};
use tempfile::TempDir;
use tokio::{task::block_in_place, time::timeout};

use crate::{
    bank::{all_events, deposit_in_turns},
    broker::{WAIT_MAX, create_topic, events_of, produce, unique},
    relay::{head, options, relay_all, topic},
    sequence::assert_each_once,
    source::{Running, append_payments, assert_payments, payments},
};

const PASSWORD: &str = "se/cret word";
const WRONG: &str = "hunter3";

/// A broker with a listener for each way, and the folder of its certificate.
struct SecuredBroker {
    server: OwnServer,
    folder: TempDir,
    /// Port of the listener without encryption.
    plain: u16,
    /// Port of the encrypted listener without users.
    encrypted: u16,
    /// Port of the encrypted listener with users.
    secured: u16,
}

impl SecuredBroker {
    fn start_or_skip() -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let key = KeyPair::generate().unwrap();
        let parameters = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        let certificate = parameters.self_signed(&key).unwrap().pem();
        let keystore = folder.path().join("server.pem");
        fs::write(&keystore, format!("{}{certificate}", key.serialize_pem())).unwrap();
        fs::write(folder.path().join("ca.pem"), &certificate).unwrap();
        fs::write(folder.path().join("password"), format!("{PASSWORD}\n")).unwrap();
        let [plain, encrypted, secured, controller] = [(); 4].map(|()| free_port().unwrap());
        let listeners = format!(
            "PLAINTEXT://127.0.0.1:{plain},ENCRYPTED://localhost:{encrypted},\
             SECURED://localhost:{secured}"
        );
        let module = "org.apache.kafka.common.security";
        let settings = [
            format!("listeners={listeners},CONTROLLER://127.0.0.1:{controller}"),
            format!("advertised.listeners={listeners}"),
            format!("controller.quorum.voters=1@127.0.0.1:{controller}"),
            "listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,\
             ENCRYPTED:SSL,SECURED:SASL_SSL"
                .to_owned(),
            "ssl.keystore.type=PEM".to_owned(),
            format!("ssl.keystore.location={}", keystore.display()),
            "sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512".to_owned(),
            format!(
                "listener.name.secured.plain.sasl.jaas.config={module}.plain.PlainLoginModule \
                 required user_ann=\"{PASSWORD}\";"
            ),
            format!(
                "listener.name.secured.scram-sha-256.sasl.jaas.config=\
                 {module}.scram.ScramLoginModule required;"
            ),
            format!(
                "listener.name.secured.scram-sha-512.sasl.jaas.config=\
                 {module}.scram.ScramLoginModule required;"
            ),
            format!("add-scram=SCRAM-SHA-256=[name=ann,password={PASSWORD}]"),
            format!("add-scram=SCRAM-SHA-512=[name=ann,password={PASSWORD}]"),
        ];
        let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
        let server = OwnServer::with_or_skip("kafka", &settings)?;
        Some(Self { server, folder, plain, encrypted, secured })
    }

    /// Returns the URL of the listener without encryption, for what tests themselves do.
    fn plain(&self, relay: &str) -> KafkaUrl {
        format!("kafka://127.0.0.1:{}/{relay}", self.plain).parse().unwrap()
    }

    fn encrypted(&self, relay: &str) -> KafkaUrl {
        let ca = self.file("ca.pem");
        format!("kafka+ssl://localhost:{}/{relay}?ca={ca}", self.encrypted).parse().unwrap()
    }

    /// Returns the URL of the listener with users: login, mechanism and further options.
    fn secured(&self, relay: &str, login: &str, further: &str) -> KafkaUrl {
        let (ca, port) = (self.file("ca.pem"), self.secured);
        let url = format!("kafka+ssl://{login}@localhost:{port}/{relay}?ca={ca}{further}");
        url.parse().unwrap()
    }

    fn file(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }
}

/// Runs a relay until it is in trouble, and returns that.
async fn trouble_of(url: &KafkaUrl) -> String {
    let store: Arc<dyn EventStore> = Arc::new(MemoryStore::new());
    let relay = Relay::new(store, url, RelayOptions::of_url(url).unwrap());
    let mut progress = relay.progress();
    let running = tokio::spawn(relay.run_until(pending()));
    let noticed = |status: &RelayStatus| status.trouble.is_some();
    assert!(timeout(WAIT_MAX, progress.until(noticed)).await.unwrap());
    running.abort();
    progress.status().trouble.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn relays_feeds_and_sources_use_encrypted_listeners_with_every_kind_of_login() {
    let Some(broker) = block_in_place(SecuredBroker::start_or_skip) else { return };
    let file = format!("&password-file={}", broker.file("password"));
    let given = "ann:se%2Fcret%20word";
    let ways: [&dyn Fn(&str) -> KafkaUrl; 4] = [
        &|relay| broker.encrypted(relay),
        &|relay| broker.secured(relay, given, ""),
        &|relay| broker.secured(relay, given, "&sasl=plain"),
        &|relay| broker.secured(relay, "ann", &format!("{file}&sasl=scram-sha-256")),
    ];
    for url_of in ways {
        let relay = unique("relay");
        let url = url_of(&relay);
        let store = Arc::new(MemoryStore::new());
        deposit_in_turns(&store, 3, 30).await;
        relay_all(&store, &url, options(&url, RelayGuarantee::ExactlyOnce)).await;
        let stored = all_events(&*store).await;
        let plain = broker.plain(&relay);
        assert_each_once(&stored, &events_of(&plain, &topic(&plain), stored.len()));
        let read = KafkaFeed::at(&url).unwrap().read_all(ReadAll::forwards()).collect_events();
        assert_eq!(timeout(WAIT_MAX, read).await.unwrap().unwrap(), stored);
        assert_eq!(head(&store).await, stored.last().unwrap().position);

        let topic = unique("payments");
        create_topic(&plain, &topic, 1).await;
        produce(&plain, &topic, &payments(10, 1));
        let received = Arc::new(MemoryStore::new());
        let options = gesta_kafka::SourceOptions::new(unique("bank"), [topic.as_str()]).unwrap();
        let mut source = Running::start(&url, options, append_payments(&received));
        source.until(|status| status.finished_records >= 10).await;
        source.stop().await;
        assert_payments(&received, 10).await;
    }
    drop(broker.server);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_login_and_an_unknown_authority_are_named_without_the_password() {
    let Some(broker) = block_in_place(SecuredBroker::start_or_skip) else { return };
    let wrong = trouble_of(&broker.secured("shop", "ann:wrong", "")).await;
    assert!(wrong.contains("uthentication") && !wrong.contains("wrong"), "{wrong}");
    let shown = format!("at kafka+ssl://localhost:{}: ", broker.secured);
    assert!(wrong.contains(&shown), "{wrong}");

    let unknown = format!("kafka+ssl://localhost:{}/shop", broker.encrypted).parse().unwrap();
    let unknown = trouble_of(&unknown).await;
    assert!(unknown.contains("certificate"), "{unknown}");

    let missing = broker.file("missing");
    let missing = broker.secured("shop", "ann", &format!("&password-file={missing}"));
    let missing = trouble_of(&missing).await;
    assert!(missing.contains("the password in ") && missing.contains("missing"), "{missing}");
}

/// Says where a refused login was, and no password.
fn assert_refused(told: &str, broker: &SecuredBroker) {
    let place = format!("at kafka+ssl://localhost:{}: ", broker.secured);
    assert!(told.contains(&place) && told.contains("uthentication"), "{told}");
    assert!(!told.contains(WRONG) && !told.contains(PASSWORD), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_that_is_corrected_in_its_file_is_taken_without_a_restart() {
    let Some(broker) = block_in_place(SecuredBroker::start_or_skip) else { return };
    let file = broker.folder.path().join("changed");
    for mechanism in ["plain", "scram-sha-256", "scram-sha-512"] {
        fs::write(&file, WRONG).unwrap();
        let further = format!("&password-file={}&sasl={mechanism}", file.display());
        let url = broker.secured(&unique("relay"), "ann", &further);
        let plain = broker.plain(url.relay().unwrap());
        let store = Arc::new(MemoryStore::new());
        deposit_in_turns(&store, 3, 30).await;
        let stored = all_events(&*store).await;
        let relay = Relay::new(store.clone(), &url, options(&url, RelayGuarantee::AtLeastOnce));
        let mut published = relay.progress();
        let relaying = tokio::spawn(relay.run_until(pending()));
        let payments_topic = unique("payments");
        create_topic(&plain, &payments_topic, 1).await;
        produce(&plain, &payments_topic, &payments(10, 1));
        let received = Arc::new(MemoryStore::new());
        let of_source =
            gesta_kafka::SourceOptions::new(unique("bank"), [payments_topic.as_str()]).unwrap();
        let mut source = Running::start(&url, of_source, append_payments(&received));
        let feed = KafkaFeed::at(&url).unwrap();

        let in_trouble = published.until(|status| status.trouble.is_some());
        assert!(timeout(WAIT_MAX, in_trouble).await.unwrap());
        assert_refused(&published.status().trouble.unwrap(), &broker);
        source.until(|status| status.trouble.is_some()).await;
        assert_refused(&source.progress.status().trouble.unwrap(), &broker);
        let refused = timeout(WAIT_MAX, feed.head()).await.unwrap().unwrap_err();
        assert_refused(&refused.to_string(), &broker);

        fs::write(&file, PASSWORD).unwrap();
        let reached = timeout(WAIT_MAX, published.reached(head(&store).await)).await;
        assert!(reached.unwrap(), "{mechanism}: {:?}", published.status());
        assert_eq!(published.status().trouble, None);
        assert_each_once(&stored, &events_of(&plain, &topic(&plain), stored.len()));
        let read = feed.read_all(ReadAll::forwards()).collect_events();
        assert_eq!(timeout(WAIT_MAX, read).await.unwrap().unwrap(), stored);
        source.until(|status| status.finished_records >= 10).await;
        source.stop().await;
        assert_payments(&received, 10).await;
        relaying.abort();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plain_connection_to_an_encrypted_listener_is_an_error_that_names_the_broker() {
    let Some(broker) = block_in_place(SecuredBroker::start_or_skip) else { return };
    let url = format!("kafka://localhost:{}/shop", broker.encrypted).parse().unwrap();
    let trouble = trouble_of(&url).await;
    assert!(trouble.contains(&format!("at kafka://localhost:{}: ", broker.encrypted)), "{trouble}");
}
