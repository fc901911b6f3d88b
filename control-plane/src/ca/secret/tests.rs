use axum::http::{Method, Request, Response, StatusCode};
use kube::client::Body;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio_rustls::{TlsAcceptor, TlsConnector};
use weft_certs::bundle::TrustBundle;
use weft_certs::identity::WorkloadIdentity;
use weft_certs::key::KeyPair;
use weft_certs::spiffe::SpiffeId;
use weft_certs::tls;

use super::*;

/// An API server that has one Secret.
#[derive(Clone, Default)]
struct Server(Arc<Mutex<Option<Value>>>);

impl Server {
    fn cluster(&self) -> Cluster {
        let held = Arc::clone(&self.0);
        let service = tower::service_fn(move |request: Request<Body>| {
            let held = Arc::clone(&held);
            async move {
                let (asked, body) = request.into_parts();
                let body = serde_json::from_slice(&body.collect_bytes().await?).unwrap_or_default();
                let (code, answer) = answer(&mut held.lock(), &asked.method, body);
                let mut response = Response::new(Body::from(answer.to_string().into_bytes()));
                *response.status_mut() = StatusCode::from_u16(code).unwrap();
                Ok::<_, kube::Error>(response)
            }
        });
        let client = kube::Client::new(service, "weft-system");
        Cluster { client, namespace: "weft-system".into(), pod: "weft-control-a".into() }
    }

    fn secret(&self) -> Secret {
        serde_json::from_value(self.0.lock().clone().unwrap()).unwrap()
    }
}

fn answer(held: &mut Option<Value>, method: &Method, mut body: Value) -> (u16, Value) {
    let refused = |code: u16, reason: &str| (code, json!({"kind": "Status", "reason": reason, "code": code}));
    let version =
        |secret: &Value| secret["metadata"]["resourceVersion"].as_str().map_or(0, |text| text.parse().unwrap());
    let known: Option<u64> = held.as_ref().map(version);
    match (method.as_str(), known) {
        ("GET", Some(_)) => return (200, held.clone().unwrap()),
        ("POST", None) => {}
        ("PUT", Some(known)) if version(&body) == known => {}
        (_, None) => return refused(404, "NotFound"),
        _ => return refused(409, "Conflict"),
    }
    body["metadata"]["resourceVersion"] = json!((known.unwrap_or_default() + 1).to_string());
    *held = Some(body.clone());
    (200, body)
}

fn web() -> SpiffeId {
    "spiffe://cluster.local/ns/shop/sa/web".parse().unwrap()
}

/// A key with the chain that an authority signs for it: leaf, issuer.
fn signed(authority: &Authority) -> (KeyPair, Vec<String>) {
    let key = KeyPair::generate().unwrap();
    let issued = authority.sign(&key.csr_pem().unwrap(), &web(), Duration::from_secs(3600)).unwrap();
    (key, issued.chain_pem)
}

fn identity(authority: &Authority, roots: TrustBundle) -> WorkloadIdentity {
    let (key, chain) = signed(authority);
    WorkloadIdentity::from_parts(web(), &key, &chain, roots).unwrap()
}

/// Both believe each other.
async fn meet(client: &WorkloadIdentity, server: &WorkloadIdentity) {
    let (near, far) = tokio::io::duplex(64 * 1024);
    let connector = TlsConnector::from(tls::mesh_client(client, server.id()));
    let acceptor = TlsAcceptor::from(tls::mesh_server(server));
    let name = tls::server_name(server.id());
    let (near, far) = tokio::join!(connector.connect(name, near), acceptor.accept(far));
    assert!(near.is_ok() && far.is_ok(), "{:?}, {:?}", near.err(), far.err());
}

#[tokio::test]
async fn a_new_issuer_is_in_force_in_every_replica_and_old_certificates_stay_good() {
    let server = Server::default();
    let cluster = server.cluster();
    let mut first = SecretAuthority::open(&cluster, &domain()).await.unwrap();
    let mut second = SecretAuthority::open(&cluster, &domain()).await.unwrap();
    let current = |keeper: &SecretAuthority| Arc::clone(&keeper.subscribe().borrow());
    let before = current(&first);
    let old = identity(&before, before.bundle());

    assert!(first.renew().await.unwrap());
    assert!(!second.renew().await.unwrap(), "the first replica did it already");
    first.take_in(&server.secret());
    second.take_in(&server.secret());
    let after = current(&first);
    let issuer = |authority: &Authority| signed(authority).1.swap_remove(1);
    assert_ne!(issuer(&after), issuer(&before));
    assert_eq!(issuer(&after), issuer(&current(&second)));
    assert_eq!(after.bundle(), before.bundle(), "the root is the same");

    // Proxies hold the roots that they got before.
    let new = identity(&after, before.bundle());
    meet(&old, &new).await;
    meet(&new, &old).await;
}

fn domain() -> TrustDomain {
    "cluster.local".parse().unwrap()
}

#[test]
fn a_secret_holds_the_ca_and_keeps_what_else_is_in_it() {
    let made = AuthorityPem::create(&domain()).unwrap();
    let mut secret = Secret::default();
    secret.data.get_or_insert_default().insert("notes".to_owned(), ByteString(b"x".to_vec()));
    fill(&mut secret, &made);
    assert_eq!(pem(&secret), Ok(made.clone()));
    assert!(secret.data.as_ref().unwrap().contains_key("notes"));
    let authority = Authority::from_pem(&made, &domain()).unwrap();
    assert!(authority.issuer_spent(SystemTime::now()) < 0.01);
    let far = SystemTime::now() + Duration::from_secs(8 * 365 * 24 * 3600);
    assert!(authority.issuer_spent(far) > SPENT);
}

#[test]
fn a_new_issuer_is_of_the_same_root() {
    let made = AuthorityPem::create(&domain()).unwrap();
    let again = AuthorityPem::with_issuer(made.root_crt.clone(), made.root_key.clone().unwrap(), &domain()).unwrap();
    assert_ne!(made.issuer_crt, again.issuer_crt);
    let bundle = |pem: &AuthorityPem| Authority::from_pem(pem, &domain()).unwrap().bundle();
    assert_eq!(bundle(&made), bundle(&again));
}

#[test]
fn what_is_missing_or_does_not_fit_is_named() {
    let made = AuthorityPem::create(&domain()).unwrap();
    let mut secret = Secret::default();
    fill(&mut secret, &made);
    for key in [ROOT_CRT, ISSUER_CRT, ISSUER_KEY] {
        let mut lacking = secret.clone();
        lacking.data.as_mut().unwrap().remove(key);
        assert_eq!(pem(&lacking), Err(key));
    }
    secret.data.as_mut().unwrap().remove(ROOT_KEY);
    assert_eq!(pem(&secret).map(|pem| pem.root_key), Ok(None));
    let other = AuthorityPem::create(&domain()).unwrap();
    let mixed = AuthorityPem { issuer_key: other.issuer_key, ..made.clone() };
    let error = Authority::from_pem(&mixed, &domain()).unwrap_err().to_string();
    assert!(error.starts_with("issuer.key: it is not the key"), "{error}");
    let mixed = AuthorityPem { root_crt: other.root_crt, ..made };
    let error = Authority::from_pem(&mixed, &domain()).unwrap_err().to_string();
    assert!(error.starts_with("issuer.crt: no certificate of root.crt"), "{error}");
}
