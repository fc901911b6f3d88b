use std::sync::{Arc, Mutex};

use super::*;

fn entry() -> Entry<'static> {
    Entry {
        time: SystemTime::UNIX_EPOCH + Duration::from_millis(1_800_000_000_123),
        direction: Direction::Outbound,
        method: Some("GET"),
        path: Some("/a"),
        protocol: "HTTP/1.1",
        status: Some(200),
        reason: None,
        flags: Flags::default(),
        bytes: Some((3, 5)),
        duration: Duration::from_micros(1_234),
        peer: Some("spiffe://cluster.local/ns/shop/sa/api"),
        destination: "shop/api:80",
        upstream: Some(([10, 1, 0, 7], 15008).into()),
        trace_id: Some(TraceId::from_bytes([0xab; 16])),
    }
}

/// An output that can be read while it is written to.
#[derive(Clone, Default)]
struct Memory(Arc<Mutex<Vec<u8>>>);

impl Write for Memory {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn written(mode: Mode, entries: &[Entry<'_>]) -> String {
    let memory = Memory::default();
    let (log, writer) = AccessLog::start_to(memory.clone(), mode, LogFormat::Text, Counter::default()).unwrap();
    for entry in entries {
        log.record(entry);
    }
    drop(log);
    writer.finish(Duration::from_secs(10));
    let bytes = memory.0.lock().unwrap().clone();
    String::from_utf8(bytes).unwrap()
}

#[test]
fn a_line_of_text() {
    assert_eq!(
        line::line(LogFormat::Text, &entry()),
        "time=2027-01-15T08:00:00.123Z direction=outbound method=GET path=/a protocol=HTTP/1.1 status=200 \
         bytes_received=3 bytes_sent=5 duration_ms=1.234 peer=spiffe://cluster.local/ns/shop/sa/api \
         destination=shop/api:80 upstream=10.1.0.7:15008 trace_id=abababababababababababababababab\n"
    );
}

#[test]
fn a_line_of_json() {
    let text = line::line(LogFormat::Json, &Entry { reason: Some("connect_failed"), ..entry() });
    let value: serde_json::Value = serde_json::from_str(&text).unwrap();
    let expected = serde_json::json!({
        "time": "2027-01-15T08:00:00.123Z",
        "direction": "outbound",
        "method": "GET",
        "path": "/a",
        "protocol": "HTTP/1.1",
        "status": 200,
        "reason": "connect_failed",
        "bytes_received": 3,
        "bytes_sent": 5,
        "duration_ms": 1.234,
        "peer": "spiffe://cluster.local/ns/shop/sa/api",
        "destination": "shop/api:80",
        "upstream": "10.1.0.7:15008",
        "trace_id": "abababababababababababababababab",
    });
    assert_eq!(value, expected);
}

#[test]
fn what_is_not_known_is_left_out() {
    let bare = Entry {
        method: None,
        path: None,
        protocol: "tcp",
        status: None,
        bytes: None,
        peer: None,
        upstream: None,
        trace_id: None,
        ..entry()
    };
    assert_eq!(
        line::line(LogFormat::Text, &bare),
        "time=2027-01-15T08:00:00.123Z direction=outbound protocol=tcp duration_ms=1.234 destination=shop/api:80\n"
    );
}

#[test]
fn nothing_from_outside_can_forge_a_line_or_control_a_terminal() {
    let hostile = "/\r\ntime=now \"x\"\\ \u{1b}[2J\u{7f}\u{9b}\u{2028}\u{202e}é";
    let forged = Entry { path: Some(hostile), method: Some("a=b"), ..entry() };
    let text = line::line(LogFormat::Text, &forged);
    let quoted = r#" method="a=b" path="/\r\ntime=now \"x\"\\ \u001b[2J\u007f\u009b\u2028\u202eé" protocol"#;
    assert!(text.contains(quoted), "{text}");
    assert!(text.trim_end_matches('\n').chars().all(|c| !c.is_control()), "{text:?}");
    let json: serde_json::Value = serde_json::from_str(&line::line(LogFormat::Json, &forged)).unwrap();
    assert_eq!(json["path"], hostile);
}

#[test]
fn the_mode_says_which_lines_there_are() {
    let good = entry();
    let not_found = Entry { status: Some(404), ..entry() };
    let failed = Entry { status: Some(503), ..entry() };
    let cut = Entry { status: None, reason: Some("reset"), ..entry() };
    let lines = |mode| written(mode, &[good, not_found, failed, cut]).lines().count();
    assert_eq!(lines(Mode::Off), 0);
    assert_eq!(lines(Mode::Errors), 2);
    assert_eq!(lines(Mode::All), 4);
}

#[test]
fn lines_come_whole_and_in_order() {
    let destinations: Vec<String> = (0..1000).map(|number| format!("shop/{number}:80")).collect();
    let entries: Vec<Entry<'_>> = destinations.iter().map(|destination| Entry { destination, ..entry() }).collect();
    let text = written(Mode::All, &entries);
    let seen: Vec<&str> =
        text.lines().filter_map(|line| line.split("destination=").nth(1)?.split(' ').next()).collect();
    assert_eq!(seen, destinations);
}

/// An output that nobody reads.
struct Stuck(mpsc::Receiver<()>);

impl Write for Stuck {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // Ends when the test does.
        let _ = self.0.recv();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_reader_that_is_stuck_costs_lines_and_no_time() {
    let dropped = Counter::default();
    let (release, stuck) = mpsc::channel();
    let (log, writer) = AccessLog::start_to(Stuck(stuck), Mode::All, LogFormat::Text, dropped.clone()).unwrap();
    let count = 3 * QUEUE as u64;
    for _ in 0..count {
        log.record(&entry());
    }
    // What fits is the queue, and what the writer took before it stuck.
    assert!((QUEUE as u64 - 1..count).contains(&dropped.get()), "{}", dropped.get());
    drop(log);
    writer.finish(Duration::from_millis(10));
    drop(release);
}
