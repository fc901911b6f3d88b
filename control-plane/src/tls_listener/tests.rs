use std::net::Ipv4Addr;

use tempfile::TempDir;
use tokio::io::AsyncReadExt as _;
use tokio_rustls::TlsConnector;
use tokio_stream::StreamExt as _;
use weft_certs::authority::Authority;
use weft_certs::bundle::TrustBundle;
use weft_certs::identity::WorkloadIdentity;
use weft_certs::key::KeyPair;

use super::*;
use crate::ca::own;

struct Door {
    authority: Authority,
    address: SocketAddr,
    incoming: ReceiverStream<io::Result<TlsConnection>>,
    _dir: TempDir,
}

const HOUR: Duration = Duration::from_secs(3600);

fn authority() -> (TempDir, Authority) {
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::load_or_create(dir.path(), &"cluster.local".parse().unwrap()).unwrap();
    (dir, authority)
}

fn workload(authority: &Authority) -> WorkloadIdentity {
    let id: SpiffeId = "spiffe://cluster.local/ns/shop/sa/web".parse().unwrap();
    let key = KeyPair::generate().unwrap();
    let issued = authority.sign(&key.csr_pem().unwrap(), &id, HOUR).unwrap();
    WorkloadIdentity::from_parts(id, &key, &issued.chain_pem, authority.bundle()).unwrap()
}

impl Door {
    async fn open() -> Self {
        let (dir, authority) = authority();
        let identity = own::certify(&authority, HOUR).unwrap();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let incoming = incoming(listener, tls::control_server(&identity));
        Self { authority, address, incoming, _dir: dir }
    }

    async fn knock(
        &self,
        identity: Option<&WorkloadIdentity>,
        bundle: &TrustBundle,
    ) -> io::Result<impl AsyncRead + use<>> {
        let server = SpiffeId::control_plane(self.authority.trust_domain()).unwrap();
        let connector = TlsConnector::from(tls::control_client(identity, bundle, &server));
        connector.connect(tls::server_name(&server), TcpStream::connect(self.address).await?).await
    }

    async fn next_peer(&mut self) -> Peer {
        self.incoming.next().await.unwrap().unwrap().connect_info()
    }
}

#[tokio::test]
async fn connections_carry_their_peer() {
    let mut door = Door::open().await;
    let web = workload(&door.authority);
    let _with = door.knock(Some(&web), &door.authority.bundle()).await.unwrap();
    let peer = door.next_peer().await;
    assert_eq!(peer.id(), Some(web.id()));
    assert_eq!(peer.certificate.unwrap().not_after, web.not_after());
    let _without = door.knock(None, &door.authority.bundle()).await.unwrap();
    assert_eq!(door.next_peer().await.id(), None);
}

#[tokio::test]
async fn slow_and_broken_clients_delay_nobody() {
    let mut door = Door::open().await;
    let mut silent = TcpStream::connect(door.address).await.unwrap();
    let started = tokio::time::Instant::now();
    let mut rude = TcpStream::connect(door.address).await.unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut rude, b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let _good = door.knock(None, &door.authority.bundle()).await.unwrap();
    door.next_peer().await;
    assert!(started.elapsed() < HANDSHAKE_TIMEOUT / 2);
    // The silent one is shown out in time.
    let end = tokio::time::timeout(HANDSHAKE_TIMEOUT * 2, silent.read_u8()).await.expect("still connected");
    assert_eq!(end.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
}

#[tokio::test]
async fn a_certificate_of_another_mesh_is_refused_although_none_is_required() {
    let mut door = Door::open().await;
    let (_dir, other) = authority();
    let stranger = workload(&other);
    // It believes our roots, or it would not come this far.
    let key = KeyPair::generate().unwrap();
    let issued = other.sign(&key.csr_pem().unwrap(), stranger.id(), HOUR).unwrap();
    let both = format!("{}{}", other.bundle().to_pem(), door.authority.bundle().to_pem());
    stranger.replace(&key, &issued.chain_pem, TrustBundle::from_pem(both.as_bytes()).unwrap()).unwrap();
    let mut refused = door.knock(Some(&stranger), &door.authority.bundle()).await.unwrap();
    refused.read_u8().await.unwrap_err();
    let _good = door.knock(None, &door.authority.bundle()).await.unwrap();
    assert_eq!(door.next_peer().await.id(), None, "the stranger never came in");
}

#[tokio::test]
async fn dropping_the_stream_closes_the_door() {
    let door = Door::open().await;
    let address = door.address;
    drop(door.incoming);
    let closed = async {
        while TcpStream::connect(address).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), closed).await.expect("the door is still open");
}
