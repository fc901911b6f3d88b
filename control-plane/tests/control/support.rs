//! A control plane on loopback ports, and clients that speak to it as proxies and people do.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use clap::Parser;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tonic::transport::{Channel, Endpoint};
use weft_api::istio_ca::IstioCertificateRequest;
use weft_api::istio_ca::istio_certificate_service_client::IstioCertificateServiceClient;
use weft_api::status::status_client::StatusClient;
use weft_api::traffic::traffic_client::TrafficClient;
use weft_certs::bundle::TrustBundle;
use weft_certs::identity::{WorkloadIdentity, split_roots};
use weft_certs::key::KeyPair;
use weft_certs::spiffe::SpiffeId;
use weft_certs::tls;
use weft_control::app::App;
use weft_control::config::{Config, Flags};

pub mod discovery;
pub mod load;

/// `web` calls `api`, of which `v1` and `v2` run; `api` calls `users`. The token of `web` is [`WEB_TOKEN`].
pub const DEMO: &str = include_str!("../../src/registry/testing/demo.yaml");
pub const WEB_TOKEN: &str = "web-secret";
/// Nothing takes as long, unless it never happens.
pub const LONG: Duration = Duration::from_secs(20);

#[derive(Parser)]
#[command(args_override_self = true)]
struct Cli {
    #[command(flatten)]
    flags: Flags,
}

/// The folders of a control plane.
pub struct Folders(tempfile::TempDir);

impl Folders {
    pub fn new() -> Self {
        let folders = Self(tempfile::tempdir().unwrap());
        std::fs::create_dir(folders.registry()).unwrap();
        folders.manifest("demo.yaml", DEMO);
        folders
    }

    pub fn registry(&self) -> std::path::PathBuf {
        self.0.path().join("registry")
    }

    pub fn state(&self) -> std::path::PathBuf {
        self.0.path().join("state")
    }

    pub fn path(&self, name: &str) -> std::path::PathBuf {
        self.0.path().join(name)
    }

    /// Writes a manifest as one should: by rename.
    pub fn manifest(&self, name: &str, text: &str) {
        let temporary = self.0.path().join("new");
        std::fs::write(&temporary, text).unwrap();
        std::fs::rename(temporary, self.registry().join(name)).unwrap();
    }

    /// The flags of a control plane on these folders and on free loopback ports.
    pub fn flags(&self) -> Vec<String> {
        let text = |path: &Path| path.display().to_string();
        vec![
            format!("--registry=files:{}", text(&self.registry())),
            format!("--state-dir={}", text(&self.state())),
            "--xds-addr=127.0.0.1:0".to_owned(),
            "--metrics-addr=127.0.0.1:0".to_owned(),
            "--api-addr=127.0.0.1:0".to_owned(),
        ]
    }

    pub fn bundle(&self) -> TrustBundle {
        TrustBundle::from_pem(&std::fs::read(self.state().join("trust-bundle.pem")).unwrap()).unwrap()
    }
}

/// A control plane in this process.
pub struct Control {
    pub app: App,
    pub folders: Folders,
}

impl Control {
    pub async fn start() -> Self {
        Self::start_with(Folders::new(), &[]).await
    }

    pub async fn start_with(folders: Folders, flags: &[String]) -> Self {
        tls::install_provider();
        let arguments = ["weft-control".to_owned()].into_iter().chain(folders.flags()).chain(flags.iter().cloned());
        // The last of a flag wins.
        let config = Config::from_flags(&Cli::parse_from(arguments).flags).unwrap();
        Self { app: App::start(&config).await.unwrap(), folders }
    }

    /// The same again, on the same folders.
    pub async fn restart(self) -> Self {
        self.app.stop().await;
        Self::start_with(self.folders, &[]).await
    }

    pub async fn traffic(&self) -> TrafficClient<Channel> {
        TrafficClient::new(plain(self.app.addresses().api).await)
    }

    pub async fn status(&self) -> StatusClient<Channel> {
        StatusClient::new(plain(self.app.addresses().api).await)
    }

    /// The identity of a service account, had by its join token.
    pub async fn join(&self, service_account: &str, token: &str) -> WorkloadIdentity {
        let key = KeyPair::generate().unwrap();
        let mut request = tonic::Request::new(IstioCertificateRequest {
            csr: key.csr_pem().unwrap(),
            ..IstioCertificateRequest::default()
        });
        request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
        let channel = self.xds(None).await;
        let answer = IstioCertificateServiceClient::new(channel).create_certificate(request).await.unwrap();
        let (chain, bundle) = split_roots(&answer.into_inner().cert_chain).unwrap();
        let id = SpiffeId::new(&"cluster.local".parse().unwrap(), "shop", service_account).unwrap();
        WorkloadIdentity::from_parts(id, &key, &chain, bundle).unwrap()
    }

    pub async fn xds(&self, identity: Option<&WorkloadIdentity>) -> Channel {
        secure(self.app.addresses().xds, identity, &self.folders.bundle()).await
    }
}

/// A gRPC channel without TLS.
pub async fn plain(address: SocketAddr) -> Channel {
    Endpoint::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap()
}

/// A gRPC channel to the control plane, over TLS.
pub async fn secure(address: SocketAddr, identity: Option<&WorkloadIdentity>, bundle: &TrustBundle) -> Channel {
    let expected = SpiffeId::control_plane(&"cluster.local".parse().unwrap()).unwrap();
    let connector = TlsConnector::from(tls::control_client(identity, bundle, &expected));
    let name = tls::server_name(&expected);
    let connect = tower::service_fn(move |_| {
        let (connector, name) = (connector.clone(), name.clone());
        async move {
            let stream = TcpStream::connect(address).await?;
            Ok::<_, std::io::Error>(TokioIo::new(connector.connect(name, stream).await?))
        }
    });
    Endpoint::from_static("http://weft-control").connect_with_connector(connect).await.unwrap()
}

/// What an HTTP/1.1 server answered.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Answer {
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error} in {self:?}"))
    }
}

/// One request over a connection of its own. `headers` are whole lines.
pub async fn http(address: SocketAddr, request_line: &str, headers: &[&str], body: &str) -> Answer {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(head(address, request_line, headers, Some(body.len())).as_bytes()).await.unwrap();
    // A server that refuses by the head alone may close before it has read the body.
    let _ = stream.write_all(body.as_bytes()).await;
    let mut answer = Vec::new();
    let read = tokio::time::timeout(LONG, stream.read_to_end(&mut answer)).await.expect("an answer");
    assert!(read.is_ok() || !answer.is_empty(), "{read:?}");
    let answer = String::from_utf8(answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no head in {answer:?}"));
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Answer { status, head: head.to_ascii_lowercase(), body: body.to_owned() }
}

/// The lines of an answer that does not end.
pub async fn lines(address: SocketAddr, request_line: &str) -> Lines<BufReader<TcpStream>> {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(head(address, request_line, &[], None).as_bytes()).await.unwrap();
    BufReader::new(stream).lines()
}

/// The next line that is a JSON object; chunk sizes lie between.
pub async fn json_line(lines: &mut Lines<BufReader<TcpStream>>) -> serde_json::Value {
    loop {
        let line = tokio::time::timeout(LONG, lines.next_line()).await.expect("a line").unwrap().expect("more lines");
        if line.starts_with('{') {
            return serde_json::from_str(&line).unwrap();
        }
    }
}

fn head(address: SocketAddr, request_line: &str, headers: &[&str], length: Option<usize>) -> String {
    let mut head = format!("{request_line} HTTP/1.1\r\nconnection: close\r\n");
    if !headers.iter().any(|line| line.to_ascii_lowercase().starts_with("host:")) {
        head += &format!("host: {address}\r\n");
    }
    headers.iter().for_each(|line| head += &format!("{line}\r\n"));
    if let Some(length) = length {
        head += &format!("content-length: {length}\r\n");
    }
    head + "\r\n"
}
