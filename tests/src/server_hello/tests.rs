use super::*;

const SERVER: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 16);
const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 17);
const EXPECTED: Chosen = Chosen { version: 0x0304, suite: 0x1301, group: 0x001d };

/// A ServerHello for TLS 1.3 with AES-128-GCM and X25519.
fn hello() -> Vec<u8> {
    let extensions = [
        &[0, 43, 0, 2, 3, 4][..],
        // A key share: its group, and 32 bytes of a key.
        &[0, 51, 0, 36, 0, 29, 0, 32],
        &[7; 32],
    ]
    .concat();
    let body = [&[3, 3][..], &[1; 32], &[4, 9, 9, 9, 9], &[0x13, 1, 0], &[0, extensions.len() as u8], &extensions];
    let body = body.concat();
    let message = [&[SERVER_HELLO, 0, 0, body.len() as u8][..], &body].concat();
    [&[HANDSHAKE, 3, 3, 0, message.len() as u8][..], &message].concat()
}

/// Ethernet, IPv4, TCP with time stamps.
fn packet(from: Ipv4Addr, to: Ipv4Addr, payload: &[u8]) -> Vec<u8> {
    let mut tcp = [0; 32];
    tcp[12] = 8 << 4;
    [&[0xee; 14][..], &[0x45; 12], &from.octets(), &to.octets(), &tcp, payload].concat()
}

#[test]
fn the_choices_are_read() {
    assert_eq!(server_hello(&hello()), Some(EXPECTED));
}

#[test]
fn other_records_and_broken_ones_are_none() {
    let whole = hello();
    assert!((0..whole.len()).all(|length| server_hello(&whole[..length]).is_none()));
    let mut data = whole.clone();
    data[0] = 23;
    assert_eq!(server_hello(&data), None);
    let mut client = whole;
    client[5] = 1;
    assert_eq!(server_hello(&client), None);
}

#[test]
fn only_that_server_towards_that_client_counts() {
    let wire = [
        packet(SERVER, CLIENT, b""),
        packet(CLIENT, SERVER, &hello()),
        packet(SERVER, CLIENT, &hello()),
        packet(Ipv4Addr::new(10, 1, 0, 2), CLIENT, &hello()),
        packet(SERVER, CLIENT, b"\x17\x03\x03\x00\x01?"),
    ]
    .concat();
    assert_eq!(chosen(&wire, SERVER, CLIENT), [EXPECTED]);
}
