use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::service::TowerToHyperService;
use parking_lot::Mutex;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tonic::{Request, Response, Status};
use weft_api::istio_ca::IstioCertificateResponse;
use weft_api::istio_ca::istio_certificate_service_server::{IstioCertificateService, IstioCertificateServiceServer};
use weft_certs::authority::Authority;
use weft_certs::tls;

use super::*;

const WEB: &str = "spiffe://cluster.local/ns/shop/sa/web";

/// How a request was authenticated.
#[derive(Clone, Debug, PartialEq)]
enum By {
    Certificate,
    Token(String),
}

/// A control plane that signs for `web` whoever asks, with real TLS in front.
#[derive(Clone)]
struct ControlPlane(Arc<Shared>);

struct Shared {
    authority: Authority,
    lifetime: Duration,
    seen: Mutex<Vec<By>>,
    refuse_certificates: bool,
    dir: TempDir,
}

impl ControlPlane {
    fn new(lifetime: Duration, refuse_certificates: bool) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let authority = Authority::load_or_create(&dir.path().join("ca"), &"cluster.local".parse().unwrap()).unwrap();
        std::fs::write(dir.path().join("bundle"), authority.bundle().to_pem()).unwrap();
        std::fs::write(dir.path().join("token"), "secret\n").unwrap();
        Self(Arc::new(Shared { authority, lifetime, seen: Mutex::default(), refuse_certificates, dir }))
    }

    async fn serving(lifetime: Duration, refuse_certificates: bool) -> (Self, Settings) {
        let control_plane = Self::new(lifetime, refuse_certificates);
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let settings = control_plane.settings(listener.local_addr().unwrap());
        control_plane.serve(listener);
        (control_plane, settings)
    }

    fn settings(&self, address: SocketAddr) -> Settings {
        Settings {
            target: Target { address: address.into(), spiffe_id: self.id(), mark: None },
            id: WEB.parse().unwrap(),
            trust_bundle: self.0.dir.path().join("bundle"),
            token_file: self.0.dir.path().join("token"),
        }
    }

    fn id(&self) -> SpiffeId {
        SpiffeId::control_plane(self.0.authority.trust_domain()).unwrap()
    }

    fn seen(&self) -> Vec<By> {
        self.0.seen.lock().clone()
    }

    fn serve(&self, listener: TcpListener) {
        let acceptor = TlsAcceptor::from(tls::control_server(&self.own_identity()));
        let control_plane = self.clone();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (acceptor, control_plane) = (acceptor.clone(), control_plane.clone());
                tokio::spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    let shown = tls::peer_id(stream.get_ref().1.peer_certificates()).is_ok();
                    let service = IstioCertificateServiceServer::new(Connection { control_plane, shown });
                    let service = TowerToHyperService::new(service);
                    let connection = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                    let _ = connection.serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
    }

    fn own_identity(&self) -> WorkloadIdentity {
        let key = KeyPair::generate().unwrap();
        let csr = key.csr_pem().unwrap();
        let issued = self.0.authority.sign(&csr, &self.id(), Duration::from_secs(600)).unwrap();
        WorkloadIdentity::from_parts(self.id(), &key, &issued.chain_pem, self.0.authority.bundle()).unwrap()
    }
}

struct Connection {
    control_plane: ControlPlane,
    shown: bool,
}

#[tonic::async_trait]
impl IstioCertificateService for Connection {
    async fn create_certificate(
        &self,
        request: Request<IstioCertificateRequest>,
    ) -> Result<Response<IstioCertificateResponse>, Status> {
        let shared = &self.control_plane.0;
        let token = request.metadata().get("authorization").map(|value| value.to_str().unwrap().to_owned());
        shared.seen.lock().push(token.map_or(By::Certificate, By::Token));
        if self.shown && shared.refuse_certificates {
            return Err(Status::unauthenticated("not by certificate today"));
        }
        let csr = request.into_inner().csr;
        let issued = shared.authority.sign(&csr, &WEB.parse().unwrap(), shared.lifetime).unwrap();
        let mut cert_chain = issued.chain_pem;
        cert_chain.extend(shared.authority.bundle().pem_roots());
        Ok(Response::new(IstioCertificateResponse { cert_chain }))
    }
}

async fn renewed(identity: &WorkloadIdentity) {
    let mut swaps = identity.subscribe();
    tokio::time::timeout(Duration::from_secs(20), swaps.changed()).await.expect("renewed in time").unwrap();
}

#[tokio::test]
async fn the_first_certificate_comes_by_token_and_the_next_by_certificate() {
    let (control_plane, settings) = ControlPlane::serving(Duration::from_secs(6), false).await;
    let identity = obtain(&settings).await;
    assert_eq!(identity.id().as_str(), WEB);
    assert_eq!(identity.bundle(), control_plane.0.authority.bundle());
    let first = identity.not_after();
    // From now on the token is of no use, and none is needed.
    std::fs::remove_file(&settings.token_file).unwrap();
    tokio::spawn(keep_fresh(identity.clone(), settings));
    renewed(&identity).await;
    assert!(identity.not_after() > first && SystemTime::now() < first, "renewed before the end");
    assert_eq!(control_plane.seen(), [By::Token("Bearer secret".into()), By::Certificate]);
}

#[tokio::test]
async fn renewal_falls_back_to_the_current_token() {
    let (control_plane, settings) = ControlPlane::serving(Duration::from_secs(6), true).await;
    let identity = obtain(&settings).await;
    std::fs::write(&settings.token_file, "rotated").unwrap();
    tokio::spawn(keep_fresh(identity.clone(), settings));
    renewed(&identity).await;
    assert_eq!(
        control_plane.seen(),
        [By::Token("Bearer secret".into()), By::Certificate, By::Token("Bearer rotated".into())]
    );
}

#[tokio::test]
async fn it_waits_for_a_control_plane_that_comes_later() {
    let control_plane = ControlPlane::new(Duration::from_secs(600), false);
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let settings = control_plane.settings(address);
    let obtaining = tokio::spawn(async move { obtain(&settings).await });
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(!obtaining.is_finished());
    control_plane.serve(TcpListener::bind(address).await.unwrap());
    let identity = tokio::time::timeout(Duration::from_secs(20), obtaining).await.unwrap().unwrap();
    assert_eq!(identity.id().as_str(), WEB);
}

#[tokio::test]
async fn causes_are_named() {
    let (control_plane, good) = ControlPlane::serving(Duration::from_secs(600), false).await;
    let cause = async |settings: &Settings| request_by_token(settings).await.map(drop).unwrap_err().to_string();

    let mut settings = good.clone();
    settings.token_file = "/nowhere/token".into();
    assert!(cause(&settings).await.contains("/nowhere/token"));
    std::fs::write(&good.token_file, " \n").unwrap();
    assert!(cause(&good).await.contains("is empty"));
    std::fs::write(&good.token_file, "secret").unwrap();

    let mut settings = good.clone();
    settings.trust_bundle = good.token_file.clone();
    assert!(cause(&settings).await.contains("no certificate"));

    let other = ControlPlane::new(Duration::from_secs(600), false);
    settings.trust_bundle = other.0.dir.path().join("bundle");
    let said = cause(&settings).await;
    assert!(said.contains("not signed by any of our 1 roots"), "{said}");

    let mut settings = good.clone();
    settings.target.spiffe_id = WEB.parse().unwrap();
    let said = cause(&settings).await;
    assert!(said.contains(WEB) && said.contains("weft-control"), "{said}");

    settings.target.address = SocketAddr::from((Ipv4Addr::LOCALHOST, 1)).into();
    let said = cause(&settings).await;
    assert!(said.contains("127.0.0.1:1") && said.contains("refused"), "{said}");

    let mut settings = good;
    settings.id = control_plane.id();
    let issued = request_by_token(&settings).await.unwrap();
    let said = issued.into_identity(&settings.id).unwrap_err().to_string();
    assert!(said.contains("was expected"), "{said}");
}

#[test]
fn complaints_grow_louder() {
    for (spent, loudness) in [
        (0.5, Loudness::Info),
        (0.75, Loudness::Warning),
        (0.89, Loudness::Warning),
        (0.9, Loudness::Error),
        (1.0, Loudness::Expired),
        (f64::INFINITY, Loudness::Expired),
    ] {
        assert_eq!(Loudness::of(spent), loudness, "{spent}");
    }
}

#[test]
fn pauses_double_within_their_bounds() {
    let pauses = |limit: Duration, random: f64| {
        let mut backoff = Backoff::new();
        (0..8).map(|_| backoff.next(limit, random).as_millis()).collect::<Vec<_>>()
    };
    assert_eq!(pauses(Backoff::LONGEST, 0.0), [100, 200, 400, 800, 1600, 3200, 5000, 5000]);
    assert_eq!(pauses(Backoff::LONGEST, 1.0), [50, 100, 200, 400, 800, 1600, 2500, 2500]);
    assert_eq!(pauses(Duration::from_millis(300), 0.0), [100, 200, 300, 300, 300, 300, 300, 300]);
    assert_eq!(pauses(Duration::ZERO, 0.0), [100; 8]);
    assert_eq!(pauses(Duration::from_secs(3600), 0.0)[7], 5000);
}
