use proptest::prelude::*;

use super::*;

fn grpc(timeout: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert("content-type", HeaderValue::from_static("application/grpc"));
    headers.insert(GRPC_TIMEOUT, HeaderValue::from_str(timeout).unwrap());
    headers
}

#[test]
fn reads_each_unit() {
    for (text, expected) in [
        ("1H", Duration::from_secs(3600)),
        ("2M", Duration::from_secs(120)),
        ("3S", Duration::from_secs(3)),
        ("4m", Duration::from_millis(4)),
        ("5u", Duration::from_micros(5)),
        ("6n", Duration::from_nanos(6)),
        ("0n", Duration::ZERO),
        ("00000010S", Duration::from_secs(10)),
        ("99999999H", Duration::from_secs(99_999_999 * 3600)),
    ] {
        assert_eq!(grpc_timeout(&grpc(text)), Some(expected), "{text}");
    }
}

#[test]
fn reads_nothing_from_what_is_malformed() {
    for text in ["", "S", "1", "1s", "1h", "-1S", "+1S", "1.5S", " 1S", "1 S", "100000000n", "1SS"] {
        assert_eq!(grpc_timeout(&grpc(text)), None, "{text:?}");
    }
    assert_eq!(grpc_timeout(&HeaderMap::new()), None);
}

#[test]
fn the_shorter_time_counts() {
    let second = Duration::from_secs(1);
    let timeouts = Timeouts { request: Some(second), honour_grpc: true, ..Timeouts::default() };
    assert_eq!(timeouts.effective(&grpc("500m")), Some(second / 2));
    assert_eq!(timeouts.effective(&grpc("5S")), Some(second));
    assert_eq!(timeouts.effective(&HeaderMap::new()), Some(second));
    assert_eq!(Timeouts { request: None, ..timeouts }.effective(&grpc("5S")), Some(5 * second));
    assert_eq!(Timeouts { honour_grpc: false, ..timeouts }.effective(&grpc("500m")), Some(second));
    let mut other = grpc("500m");
    other.insert("content-type", HeaderValue::from_static("text/plain"));
    assert_eq!(timeouts.effective(&other), Some(second));
    assert_eq!(Timeouts::default().effective(&grpc("5S")), None);
}

#[test]
fn writes_the_finest_unit_that_fits() {
    for (time, expected) in [
        (Duration::ZERO, "0n"),
        (Duration::from_nanos(1), "1n"),
        (Duration::from_nanos(99_999_999), "99999999n"),
        (Duration::from_millis(100), "100000u"),
        (Duration::from_secs(100), "100000m"),
        (Duration::from_secs(100_000), "100000S"),
        (Duration::from_secs(86_400 * 365 * 5), "2628000M"),
        (Duration::MAX, "99999999H"),
    ] {
        assert_eq!(format_grpc_timeout(time), expected);
    }
}

proptest! {
    #[test]
    fn is_read_as_it_was_written_but_for_the_rounding_down(seconds in 0_u64..1 << 38, nanoseconds in 0_u32..1_000_000_000) {
        for time in [Duration::new(seconds, nanoseconds), Duration::new(seconds % 100, nanoseconds)] {
            let mut headers = HeaderMap::new();
            headers.insert(GRPC_TIMEOUT, format_grpc_timeout(time));
            let read = grpc_timeout(&headers).unwrap();
            prop_assert!(read <= time && (time.is_zero() || !read.is_zero()));
            prop_assert!((time - read).as_secs_f64() <= time.as_secs_f64() * 1e-4);
        }
    }
}
