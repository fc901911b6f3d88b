//! Whether the peers are alike where it matters: what is on the wire between the pods is looked at, not believed.

use std::net::{IpAddr, Ipv4Addr};

use anyhow::{Result, bail, ensure};
use http::StatusCode;
use weft_cli::world::{Pod, World};
use weft_tests::capture::{Capture, contains};
use weft_tests::client;
use weft_tests::server_hello::{self, Chosen};

use crate::backend::{BODY, HTTP1};
use crate::peers::{Pair, Traffic};

/// TLS 1.3, `TLS_AES_128_GCM_SHA256`, X25519.
const ALIKE: Chosen = Chosen { version: 0x0304, suite: 0x1301, group: 0x001d };

/// A capture from before the pair's first handshake.
#[derive(Debug)]
pub(crate) struct Wire(Capture);

impl Wire {
    pub(crate) fn watch(world: &World) -> Result<Self> {
        Ok(Self(Capture::start(world)?))
    }

    /// Ends the capture. By now the pair has carried something.
    ///
    /// # Errors
    /// Where an answer (of `tcp`: what was sent) crossed in the clear, a handshake chose otherwise than all others, or the server's proxy takes plaintext.
    pub(crate) async fn check(mut self, world: &World, pair: &Pair, traffic: Traffic) -> Result<()> {
        let bytes = self.0.bytes(&pair.api).await?;
        ensure!(!contains(&bytes, BODY.as_bytes()), "what applications say crossed the wire in the clear");
        let choices = server_hello::chosen(&bytes, v4(&pair.api)?, v4(&pair.web)?);
        ensure!(!choices.is_empty(), "no TLS handshake was seen between the pods");
        if let Some(other) = choices.iter().find(|chosen| **chosen != ALIKE) {
            bail!("a handshake chose {other:x?}, not {ALIKE:x?}");
        }
        drop(self);
        if traffic.target == HTTP1 {
            let probe = world.pod("probe").start().await?;
            let answer = client::get(&probe, pair.api.address(HTTP1), "/").await;
            ensure!(!matches!(answer, Ok((StatusCode::OK, _))), "the server's proxy takes plaintext");
        }
        Ok(())
    }
}

fn v4(pod: &Pod) -> Result<Ipv4Addr> {
    match pod.address(0).ip() {
        IpAddr::V4(address) => Ok(address),
        IpAddr::V6(address) => bail!("{} has {address} alone", pod.name()),
    }
}
