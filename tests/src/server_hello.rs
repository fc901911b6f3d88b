//! What a TLS server chose, as everybody on the wire can read it (RFC 8446, 4.1.3).

use std::net::Ipv4Addr;

/// The content type of a TLS record with a handshake message, the type of a ServerHello.
const HANDSHAKE: u8 = 22;
const SERVER_HELLO: u8 = 2;
/// Extensions.
const SUPPORTED_VERSIONS: u16 = 43;
const KEY_SHARE: u16 = 51;

/// The choices of a ServerHello, by their numbers at IANA.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chosen {
    /// 0x0304 is TLS 1.3.
    pub version: u16,
    /// The cipher suite.
    pub suite: u16,
    /// The key exchange group; 0: none was sent.
    pub group: u16,
}

/// What `server` chose in the handshakes with `client`, in the order of the packets of a
/// [`Capture`](crate::capture::Capture).
pub fn chosen(packets: &[u8], server: Ipv4Addr, client: Ipv4Addr) -> Vec<Chosen> {
    // An IPv4 header ends with both addresses: nobody adds options to it here.
    let direction = [server.octets(), client.octets()].concat();
    let ends = packets.windows(direction.len()).enumerate().filter(|(_, window)| *window == direction);
    ends.filter_map(|(at, _)| server_hello(tcp_payload(packets.get(at + direction.len()..)?)?)).collect()
}

/// What follows the TCP header; its length is counted in words of four bytes.
fn tcp_payload(segment: &[u8]) -> Option<&[u8]> {
    let words = segment.get(12)? >> 4;
    segment.get(usize::from(words) * 4..)
}

/// The choices, if the record at the beginning of `bytes` is a ServerHello.
fn server_hello(bytes: &[u8]) -> Option<Chosen> {
    let mut record = Reader(bytes);
    if record.u8()? != HANDSHAKE {
        return None;
    }
    record.skip(2)?;
    let length = record.u16()?;
    let mut hello = Reader(record.take(length.into())?);
    if hello.u8()? != SERVER_HELLO {
        return None;
    }
    // The message's length, then the version that TLS 1.3 no longer uses, and the random bytes.
    hello.skip(3)?;
    let mut version = hello.u16()?;
    hello.skip(32)?;
    let session = hello.u8()?;
    hello.skip(session.into())?;
    let suite = hello.u16()?;
    hello.skip(1)?;
    let mut group = 0;
    let length = hello.u16()?;
    let mut extensions = Reader(hello.take(length.into())?);
    while let Some(kind) = extensions.u16() {
        let length = extensions.u16()?;
        let mut extension = Reader(extensions.take(length.into())?);
        match kind {
            SUPPORTED_VERSIONS => version = extension.u16()?,
            KEY_SHARE => group = extension.u16()?,
            _ => {}
        }
    }
    Some(Chosen { version, suite, group })
}

/// Reads from the front.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn skip(&mut self, length: usize) -> Option<()> {
        self.take(length).map(drop)
    }

    fn u8(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }

    fn u16(&mut self) -> Option<u16> {
        self.take(2)?.try_into().ok().map(u16::from_be_bytes)
    }
}

#[cfg(test)]
mod tests;
