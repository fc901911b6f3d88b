use std::net::{Ipv4Addr, SocketAddr};
use std::time::SystemTime;

use hyper_util::rt::TokioIo;
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;
use tonic::transport::{Channel, Endpoint, Server, Uri};
use tonic::{Code, Extensions};
use weft_api::istio_ca::istio_certificate_service_client::IstioCertificateServiceClient;
use weft_certs::identity::{WorkloadIdentity, split_roots};
use weft_certs::key::KeyPair;
use weft_certs::tls::{self, PeerCertificate};

use super::*;
use crate::mesh::ObjectName;
use crate::tls_listener::{self, Peer};

const HOUR: Duration = Duration::from_secs(3600);

struct Tokens;

impl JoinTokens for Tokens {
    fn service_account(&self, token: &str) -> Option<ObjectName> {
        match token {
            "web-token" => Some(ObjectName::new("shop", "web")),
            "control-token" => Some(ObjectName::new("weft-system", "weft-control")),
            "odd-token" => Some(ObjectName::new("shop", "we b")),
            _ => None,
        }
    }
}

fn by_token() -> Box<dyn Attestor> {
    Box::new(ByJoinToken { tokens: Arc::new(Tokens), trust_domain: "cluster.local".parse().unwrap() })
}

/// A certificate service behind its real door.
struct World {
    authority: Arc<Authority>,
    issued: Counter,
    address: SocketAddr,
    _dir: TempDir,
}

impl World {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let authority = Arc::new(Authority::load_or_create(dir.path(), &"cluster.local".parse().unwrap()).unwrap());
        let current = watch::channel(authority.clone()).1;
        let issued = Counter::default();
        let service = CertificateService::new(current.clone(), by_token(), HOUR, issued.clone());
        let identity = own::certify(&current.borrow(), HOUR).unwrap();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let incoming = tls_listener::incoming(listener, tls::control_server(&identity));
        tokio::spawn(Server::builder().add_service(service.into_server()).serve_with_incoming(incoming));
        Self { authority, issued, address, _dir: dir }
    }

    fn client(&self, identity: Option<&WorkloadIdentity>) -> IstioCertificateServiceClient<Channel> {
        let server = SpiffeId::control_plane(self.authority.trust_domain()).unwrap();
        let connector = TlsConnector::from(tls::control_client(identity, &self.authority.bundle(), &server));
        let (address, name) = (self.address, tls::server_name(&server));
        let connect = tower::service_fn(move |_: Uri| {
            let (connector, name) = (connector.clone(), name.clone());
            async move {
                let stream = TcpStream::connect(address).await?;
                connector.connect(name, stream).await.map(TokioIo::new)
            }
        });
        let channel = Endpoint::from_static("http://control-plane").connect_with_connector_lazy(connect);
        IstioCertificateServiceClient::new(channel)
    }

    async fn ask(
        &self,
        identity: Option<&WorkloadIdentity>,
        authorization: Option<&str>,
        body: IstioCertificateRequest,
    ) -> Result<Vec<String>, Status> {
        let mut request = Request::new(body);
        if let Some(authorization) = authorization {
            request.metadata_mut().insert("authorization", authorization.parse().unwrap());
        }
        let answer = self.client(identity).create_certificate(request).await?;
        Ok(answer.into_inner().cert_chain)
    }

    async fn refused(&self, authorization: Option<&str>, body: IstioCertificateRequest, code: Code, hint: &str) {
        let status = self.ask(None, authorization, body).await.unwrap_err();
        assert_eq!(status.code(), code, "{status}");
        assert!(status.message().contains(hint), "{status}");
    }
}

fn request(csr: String) -> IstioCertificateRequest {
    IstioCertificateRequest { csr, validity_duration: 0, metadata: None }
}

fn good() -> IstioCertificateRequest {
    request(KeyPair::generate().unwrap().csr_pem().unwrap())
}

fn web() -> SpiffeId {
    "spiffe://cluster.local/ns/shop/sa/web".parse().unwrap()
}

async fn join(world: &World) -> WorkloadIdentity {
    let key = KeyPair::generate().unwrap();
    let answer = world.ask(None, Some("Bearer web-token"), request(key.csr_pem().unwrap())).await.unwrap();
    let (chain, bundle) = split_roots(&answer).unwrap();
    WorkloadIdentity::from_parts(web(), &key, &chain, bundle).unwrap()
}

#[tokio::test]
async fn a_token_gives_the_certificate_of_its_service_account() {
    let world = World::new().await;
    let identity = join(&world).await;
    assert_eq!(identity.bundle(), world.authority.bundle());
    assert_eq!(world.issued.get(), 1);
    let left = identity.not_after().duration_since(SystemTime::now()).unwrap();
    assert!(left <= HOUR && left > HOUR - Duration::from_secs(30), "{left:?}");
}

#[tokio::test]
async fn the_answer_is_leaf_issuer_and_roots() {
    let world = World::new().await;
    let answer = world.ask(None, Some("bearer web-token"), good()).await.unwrap();
    assert_eq!(answer.len(), 3);
    assert_eq!(answer[2..], world.authority.bundle().pem_roots());
    assert!(answer.iter().all(|pem| pem.matches("BEGIN CERTIFICATE").count() == 1));
}

#[tokio::test]
async fn a_certificate_renews_itself_and_nothing_else() {
    let world = World::new().await;
    let identity = join(&world).await;
    let key = KeyPair::generate().unwrap();
    let answer = world.ask(Some(&identity), None, request(key.csr_pem().unwrap())).await.unwrap();
    let (chain, bundle) = split_roots(&answer).unwrap();
    identity.replace(&key, &chain, bundle).unwrap();
    // Whatever else it shows: the certificate decides.
    let key = KeyPair::generate().unwrap();
    let answer =
        world.ask(Some(&identity), Some("Bearer control-token"), request(key.csr_pem().unwrap())).await.unwrap();
    let (chain, bundle) = split_roots(&answer).unwrap();
    identity.replace(&key, &chain, bundle).unwrap();
    assert_eq!(world.issued.get(), 3);
}

#[tokio::test]
async fn bad_credentials_are_refused_with_the_next_step() {
    let world = World::new().await;
    let unauthenticated = Code::Unauthenticated;
    world.refused(None, good(), unauthenticated, "or a token as").await;
    world.refused(Some("Bearer guess"), good(), unauthenticated, "unknown join token").await;
    world.refused(Some("Bearer"), good(), unauthenticated, "Bearer TOKEN").await;
    world.refused(Some("Basic d2ViOg=="), good(), unauthenticated, "Bearer TOKEN").await;
    world.refused(Some("Bearer odd-token"), good(), unauthenticated, "service account").await;
    world.refused(Some("Bearer control-token"), good(), Code::PermissionDenied, "control plane's own").await;
    assert_eq!(world.issued.get(), 0);
}

#[tokio::test]
async fn bad_requests_are_refused_with_the_field() {
    let world = World::new().await;
    let token = Some("Bearer web-token");
    world.refused(token, request(String::new()), Code::InvalidArgument, "csr: ").await;
    world.refused(token, request("x".repeat(MAX_CSR_BYTES + 1)), Code::InvalidArgument, "at most").await;
    world.refused(token, request("x".repeat(1 << 20)), Code::OutOfRange, "too large").await;
    let negative = IstioCertificateRequest { validity_duration: -1, ..good() };
    world.refused(token, negative, Code::InvalidArgument, "validity_duration").await;
    assert_eq!(world.issued.get(), 0);
}

#[tokio::test]
async fn lifetimes_stay_within_what_is_given() {
    let world = World::new().await;
    let service =
        CertificateService::new(watch::channel(world.authority.clone()).1, by_token(), HOUR, Counter::default());
    for (asked, given) in [(0, 3600), (600, 600), (7200, 3600), (i64::MAX, 3600), (1, 5), (5, 5)] {
        assert_eq!(service.lifetime(asked).unwrap(), Duration::from_secs(given), "{asked}");
    }
    assert_eq!(service.lifetime(i64::MIN).unwrap_err().code(), Code::InvalidArgument);
}

#[tokio::test]
async fn a_certificate_that_has_expired_since_the_handshake_proves_nothing() {
    let attest = async |not_after: SystemTime| {
        let certificate = Some(PeerCertificate { id: web(), not_after });
        let mut extensions = Extensions::new();
        extensions.insert(Peer { address: (Ipv4Addr::LOCALHOST, 1).into(), certificate });
        ByCertificate.attest(&tonic::metadata::MetadataMap::new(), &extensions).await
    };
    assert_eq!(attest(SystemTime::now() + HOUR).await.unwrap(), Some(web()));
    let status = attest(SystemTime::now() - Duration::from_secs(1)).await.unwrap_err();
    assert_eq!(status.code(), Code::Unauthenticated);
    assert!(status.message().contains("expired"), "{status}");
}

#[tokio::test]
async fn the_control_plane_renews_itself() {
    let folder = tempfile::tempdir().unwrap();
    let load = |dir: &str| {
        Arc::new(Authority::load_or_create(&folder.path().join(dir), &"cluster.local".parse().unwrap()).unwrap())
    };
    let (replace, current) = watch::channel(load("first"));
    let lifetime = Duration::from_secs(5);
    let identity = own::certify(&current.borrow(), lifetime).unwrap();
    assert_eq!(identity.id().as_str(), "spiffe://cluster.local/ns/weft-system/sa/weft-control");
    let mut swaps = identity.subscribe();
    let first = identity.not_after();
    tokio::spawn(own::keep_fresh(identity.clone(), current, lifetime));
    tokio::time::timeout(lifetime, swaps.changed()).await.expect("renewed before its end").unwrap();
    assert!(identity.not_after() > first);

    // Another authority: at once, and with its roots.
    let other = load("second");
    let first = identity.not_after();
    replace.send_replace(other.clone());
    tokio::time::timeout(lifetime / 4, async {
        while identity.bundle() != other.bundle() {
            swaps.changed().await.unwrap();
        }
    })
    .await
    .expect("taken in at once");
    assert!(identity.not_after() >= first);
}
