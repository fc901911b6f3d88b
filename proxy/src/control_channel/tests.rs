use super::*;

fn at(text: &str) -> HostPort {
    HostPort::from(text.parse::<SocketAddr>().unwrap())
}

#[test]
fn an_endpoint_is_the_address() {
    assert_eq!(endpoint(&at("10.0.0.1:15012")).uri(), "http://10.0.0.1:15012/");
    assert_eq!(endpoint(&at("[fd00::1]:15012")).uri(), "http://[fd00::1]:15012/");
    let named = HostPort { host: "weft-control.weft-system.svc".into(), port: 15012 };
    assert_eq!(endpoint(&named).uri(), "http://weft-control.weft-system.svc:15012/");
}

#[tokio::test]
async fn a_name_is_looked_up() {
    let found = lookup(&HostPort { host: "localhost".into(), port: 7 }).await.unwrap();
    assert!(found.iter().all(|address| address.ip().is_loopback() && address.port() == 7) && !found.is_empty());
    assert_eq!(lookup(&at("[fd00::1]:9")).await.unwrap(), ["[fd00::1]:9".parse().unwrap()]);
    let error = lookup(&HostPort { host: "no-such-host.invalid".into(), port: 7 }).await.unwrap_err().to_string();
    assert!(error.contains("can't resolve the control plane's name no-such-host.invalid"), "{error}");
}

#[test]
fn the_cause_is_the_innermost_that_is_known() {
    assert_eq!(cause(&tonic::Status::unauthenticated("unknown join token")), "unknown join token");
    let mut status = tonic::Status::unavailable("transport error");
    status.set_source(Arc::new(io::Error::other("the cable is out")));
    assert_eq!(cause(&status), "the cable is out");
}
