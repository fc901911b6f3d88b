use std::net::TcpListener;

use super::*;

/// Answers one connection after the other with these, then stops listening.
fn proxy(answers: &'static [&'static str]) -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for answer in answers {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 1024];
            assert_ne!(stream.read(&mut request).unwrap(), 0);
            stream.write_all(answer.as_bytes()).unwrap();
        }
    });
    port
}

fn wait(metrics_port: u16, timeout: Duration) -> Result<()> {
    WaitArgs { timeout, metrics_port }.run()
}

#[test]
fn returns_once_the_proxy_is_ready() {
    let not_yet = "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 2\r\n\r\nno";
    let ready = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
    let port = proxy(Box::leak(Box::new([not_yet, not_yet, ready])));
    wait(port, Duration::from_secs(30)).unwrap();
}

#[test]
fn gives_up_with_the_last_detail() {
    let port = proxy(&["HTTP/1.1 503 Service Unavailable\r\n\r\n{\"identity\":\"no certificate yet\"}"]);
    let error = wait(port, Duration::ZERO).unwrap_err();
    assert!(format!("{error:#}").contains("it answers 503: {\"identity\":\"no certificate yet\"}"), "{error:#}");
}

#[test]
fn says_when_nothing_listens() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let error = wait(port, Duration::ZERO).unwrap_err();
    assert!(format!("{error:#}").contains("does weft-proxy run?"), "{error:#}");
}
