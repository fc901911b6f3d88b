use super::Protocol::{self, Http, Opaque, Undeclared};

#[test]
fn the_declaration_comes_before_the_name_and_the_name_before_the_number() {
    for (app_protocol, name, number, expected) in [
        (Some("kubernetes.io/h2c"), "tcp", 3306, Http),
        (Some("kubernetes.io/ws"), "", 80, Http),
        (Some("gRPC"), "", 80, Http),
        (Some("https"), "http", 80, Opaque),
        (Some("mysql"), "http", 80, Opaque),
        (Some("example.com/own"), "http", 80, Http),
        (None, "http", 3306, Http),
        (None, "http-admin", 80, Http),
        (None, "http2", 80, Http),
        (None, "grpc-web", 80, Http),
        (None, "tcp-x", 80, Opaque),
        (None, "mysql", 80, Opaque),
        (None, "https", 443, Opaque),
        (None, "httpd", 80, Undeclared),
        (None, "web", 80, Undeclared),
        (None, "", 25, Opaque),
        (None, "db", 3306, Opaque),
        (None, "", 443, Undeclared),
    ] {
        assert_eq!(Protocol::of_port(app_protocol, name, number), expected, "{app_protocol:?} {name} {number}");
    }
}

#[test]
fn declarations_agree_or_are_none() {
    for (declarations, expected) in [
        (&[][..], Undeclared),
        (&[Undeclared, Undeclared], Undeclared),
        (&[Undeclared, Http], Http),
        (&[Http, Http], Http),
        (&[Opaque, Undeclared], Opaque),
        (&[Http, Opaque], Undeclared),
        (&[Http, Opaque, Http], Undeclared),
    ] {
        assert_eq!(Protocol::agreed(declarations.iter().copied()), expected, "{declarations:?}");
    }
}
