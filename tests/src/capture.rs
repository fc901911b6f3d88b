//! What is on the wire: every packet that passes the bridge between pods.

use std::io::Read as _;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::sync::watch;
use weft_cli::world::{Pod, World};

/// `ETH_P_ALL`, in network byte order.
const ALL_PROTOCOLS: u16 = 0x0003_u16.to_be();
/// Bytes that the kernel keeps for us until they are read.
const QUEUE: usize = 64 << 20;
/// Bytes that are kept at most; a test that sends more has not been watched to its end.
const MOST: usize = 256 << 20;
/// The discard port: what is sent there is for us to see, not for anybody to read.
const DISCARD: u16 = 9;

/// A running capture.
#[derive(Debug)]
pub struct Capture {
    seen: watch::Receiver<Arc<Vec<u8>>>,
    world: World,
}

impl Capture {
    /// Starts to watch the wire.
    ///
    /// # Errors
    /// Where the kernel gives no packet socket.
    pub fn start(world: &World) -> Result<Self> {
        let socket = world.switch().run(|| {
            let protocol = Protocol::from(i32::from(ALL_PROTOCOLS));
            let socket = Socket::new(Domain::PACKET, Type::RAW, Some(protocol))?;
            socket.set_recv_buffer_size(QUEUE)?;
            std::io::Result::Ok(socket)
        })?;
        let socket = socket.context("cannot watch the wire (a packet socket needs CAP_NET_RAW)")?;
        let (publish, seen) = watch::channel(Arc::default());
        thread::Builder::new().name("capture".to_owned()).spawn(move || record(socket, &publish))?;
        Ok(Self { seen, world: world.clone() })
    }

    /// All that has passed so far, packet after packet. A mark is sent through the pod's cable and awaited, so
    /// that nothing sent before this call is missing.
    ///
    /// # Errors
    /// Where the mark does not come by within 10 seconds, or there was more than can be kept.
    pub async fn bytes(&mut self, cable_of: &Pod) -> Result<Arc<Vec<u8>>> {
        let mark = format!("mark {:032x}", rand::random::<u128>()).into_bytes();
        let target = SocketAddr::new(cable_of.address(DISCARD).ip(), DISCARD);
        self.world.switch().run(|| UdpSocket::bind("0.0.0.0:0")?.send_to(&mark, target))??;
        let mut searched: usize = 0;
        let marked = self.seen.wait_for(|bytes| {
            let fresh = bytes.get(searched.saturating_sub(mark.len())..).unwrap_or_default();
            searched = bytes.len();
            contains(fresh, &mark) || bytes.len() >= MOST
        });
        let bytes = tokio::time::timeout(Duration::from_secs(10), marked).await.context("the capture stalls")??.clone();
        ensure!(bytes.len() < MOST, "more than {MOST} bytes passed: too much to be watched");
        Ok(bytes)
    }
}

/// Whether `bytes` hold `part`.
pub fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

fn record(mut socket: Socket, publish: &watch::Sender<Arc<Vec<u8>>>) {
    let mut packet = vec![0; 128 * 1024];
    while let Ok(length) = socket.read(&mut packet) {
        publish.send_modify(|seen| {
            if let Some(bytes) = packet.get(..length) {
                Arc::make_mut(seen).extend_from_slice(bytes);
            }
        });
        if publish.is_closed() || publish.borrow().len() >= MOST {
            return;
        }
    }
}
