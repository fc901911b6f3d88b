use super::is_loopback;

#[test]
fn loopback_by_name_and_address_with_or_without_a_port() {
    for host in ["localhost", "LOCALHOST:15000", "127.0.0.1", "127.0.0.1:15000", "127.1.2.3", "[::1]", "[::1]:15000"] {
        assert!(is_loopback(host), "{host}");
    }
}

#[test]
fn everything_else_is_refused() {
    for host in ["", "evil.example", "localhost.evil.example", "127.0.0.1.evil.example:15000", "10.0.0.1", "[::2]:1"] {
        assert!(!is_loopback(host), "{host}");
    }
}
