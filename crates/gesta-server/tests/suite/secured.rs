//! A secured server over a store in memory, with certificates of its own, and clients of it.

use std::{net::SocketAddr, sync::Arc};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use gesta_server::{FirstPasswords, Security, Server, Tls, TokenRule};
use gesta_store::{EventStore, memory::MemoryStore};
use hyper_util::rt::TokioIo;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring::default_provider,
    pki_types::{PrivateKeyDer, ServerName},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::oneshot,
    task::JoinHandle,
};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tonic::{
    Request,
    service::interceptor::InterceptedService,
    transport::{Channel, Endpoint},
};
use tower::service_fn;

use crate::client::{
    Client, Credentials,
    streams_client::StreamsClient,
    users::{CreateReq, create_req, users_client::UsersClient},
};

/// The secret of the tokens that the server accepts.
pub(crate) const TOKEN_SECRET: &[u8] = b"the secret of the tokens of tests";

/// A client of the service of users.
pub(crate) type Users = UsersClient<InterceptedService<Channel, Credentials>>;

/// A secured server on a free port of loopback. Dropping it ends the server.
pub(crate) struct Secured {
    pub(crate) address: SocketAddr,
    pub(crate) passwords: FirstPasswords,
    pub(crate) authority: Authority,
    _stop: oneshot::Sender<()>,
    running: JoinHandle<()>,
}

/// An authority that signs certificates.
pub(crate) struct Authority {
    pub(crate) pem: String,
    der: rustls::pki_types::CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut parameters = CertificateParams::new(Vec::new()).unwrap();
        parameters.distinguished_name = named("authority");
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let key = KeyPair::generate().unwrap();
        let certificate = parameters.self_signed(&key).unwrap();
        let (pem, der) = (certificate.pem(), certificate.der().clone());
        Self { pem, der, issuer: Issuer::new(parameters, key) }
    }

    /// Returns a certificate with this common name, and its key.
    pub(crate) fn issue(&self, name: &str) -> (rcgen::Certificate, KeyPair) {
        let mut parameters = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        parameters.distinguished_name = named(name);
        let key = KeyPair::generate().unwrap();
        (parameters.signed_by(&key, &self.issuer).unwrap(), key)
    }
}

fn named(name: &str) -> DistinguishedName {
    let mut names = DistinguishedName::new();
    names.push(DnType::CommonName, name);
    names
}

impl Secured {
    pub(crate) async fn start() -> Self {
        Self::over(Arc::new(MemoryStore::new())).await
    }

    pub(crate) async fn over(store: Arc<dyn EventStore>) -> Self {
        Self::made(store, |server| server).await
    }

    /// A server over a store, with what the scenario adds.
    pub(crate) async fn made(
        store: Arc<dyn EventStore>,
        add: impl FnOnce(Server) -> Server,
    ) -> Self {
        let authority = Authority::new();
        let (certificate, key) = authority.issue("localhost");
        let tls = Tls::with_client_certificates(
            certificate.pem().as_bytes(),
            key.serialize_pem().as_bytes(),
            authority.pem.as_bytes(),
        );
        let security = Security::new(tls.unwrap()).tokens(TokenRule::new(TOKEN_SECRET).unwrap());
        let listener = security.bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = add(Server::secure(Arc::clone(&store), security));
        let passwords = FirstPasswords::random();
        server.create_first_users(&passwords).await.unwrap();
        let (stop, stopped) = oneshot::channel();
        let running = tokio::spawn(async move {
            let until = async { drop(stopped.await) };
            server.run(listener, until).await.unwrap();
        });
        Self { address, passwords, authority, _stop: stop, running }
    }

    /// Waits until the server has ended by itself.
    pub(crate) async fn ended(self) {
        self.running.await.unwrap();
    }

    pub(crate) async fn connect(
        &self,
        protocol: &[u8],
        identity: Option<(&rcgen::Certificate, &KeyPair)>,
    ) -> std::io::Result<TlsStream<TcpStream>> {
        connect(self.address, &self.authority, protocol, identity).await
    }

    pub(crate) async fn channel(&self) -> Channel {
        let stream = self.connect(b"h2", None).await.unwrap();
        channel_over(stream).await
    }

    /// A client of streams with this header.
    pub(crate) async fn client_with(&self, credentials: Credentials) -> Client {
        StreamsClient::with_interceptor(self.channel().await, credentials)
    }

    /// A client of streams with a login and a password.
    pub(crate) async fn client(&self, login: &str, password: &str) -> Client {
        self.client_with(basic(login, password)).await
    }

    pub(crate) async fn admin(&self) -> Client {
        self.client("admin", self.passwords.admin()).await
    }

    pub(crate) async fn users(&self, login: &str, password: &str) -> Users {
        UsersClient::with_interceptor(self.channel().await, basic(login, password))
    }

    pub(crate) async fn admins_users(&self) -> Users {
        self.users("admin", self.passwords.admin()).await
    }

    /// Creates a user whose password is `changeit`.
    pub(crate) async fn create_user(&self, login: &str, groups: &[&str]) {
        let options = create_req::Options {
            login_name: login.to_owned(),
            password: "changeit".to_owned(),
            full_name: format!("{login} of the tests"),
            groups: groups.iter().map(|group| (*group).to_owned()).collect(),
        };
        let request = CreateReq { options: Some(options) };
        self.admins_users().await.create(Request::new(request)).await.unwrap();
    }

    /// A client with a certificate that the server's authority has signed.
    pub(crate) async fn client_by_certificate(&self, name: &str) -> Client {
        let (certificate, key) = self.authority.issue(name);
        let stream = self.connect(b"h2", Some((&certificate, &key))).await.unwrap();
        StreamsClient::with_interceptor(channel_over(stream).await, Credentials::default())
    }

    /// Sends a request by HTTP/1.1 and returns status and body.
    pub(crate) async fn get(&self, path: &str, credentials: &Credentials) -> (u16, String) {
        self.ask("GET", path, credentials).await
    }

    /// The same with another method.
    pub(crate) async fn ask(
        &self,
        method: &str,
        path: &str,
        credentials: &Credentials,
    ) -> (u16, String) {
        let mut stream = self.connect(b"http/1.1", None).await.unwrap();
        let authorization = credentials.0.as_ref().map_or_else(String::new, |value| {
            format!("authorization: {}\r\n", value.to_str().unwrap())
        });
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: events.example\r\n{authorization}connection: close\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut response = String::new();
        stream.read_to_string(&mut response).await.unwrap();
        let status = response.split(' ').nth(1).unwrap().parse().unwrap();
        (status, response.split_once("\r\n\r\n").unwrap().1.to_owned())
    }
}

/// Shakes hands with a server, trusting this authority alone.
pub(crate) async fn shake_hands(
    address: SocketAddr,
    authority: &Authority,
) -> std::io::Result<TlsStream<TcpStream>> {
    connect(address, authority, b"h2", None).await
}

async fn connect(
    address: SocketAddr,
    authority: &Authority,
    protocol: &[u8],
    identity: Option<(&rcgen::Certificate, &KeyPair)>,
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(authority.der.clone()).unwrap();
    let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let mut config = match identity {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => {
            let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
            builder.with_client_auth_cert(vec![certificate.der().clone()], key).unwrap()
        }
    };
    config.alpn_protocols = vec![protocol.to_vec()];
    let stream = TcpStream::connect(address).await?;
    let name = ServerName::try_from("localhost").unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, stream).await
}

/// The header of a login and a password.
pub(crate) fn basic(login: &str, password: &str) -> Credentials {
    let pair = BASE64_STANDARD.encode(format!("{login}:{password}"));
    Credentials(Some(format!("Basic {pair}").parse().unwrap()))
}

/// The channel over one connection, which it does not make again.
async fn channel_over(stream: TlsStream<TcpStream>) -> Channel {
    let mut stream = Some(stream);
    let connector = service_fn(move |_| {
        let stream = stream.take().ok_or_else(|| std::io::Error::other("connected already"));
        async move { stream.map(TokioIo::new) }
    });
    let endpoint = Endpoint::from_static("http://localhost");
    endpoint.connect_with_connector(connector).await.unwrap()
}
