use super::*;

fn told(name: &str, remaining: u32, milliseconds: u64, per: Duration) -> Told<'_> {
    let decision = Decision {
        allowed: remaining > 0,
        limit: 200,
        remaining,
        reset: Duration::from_millis(milliseconds),
        retry_after: Duration::ZERO,
    };
    Told { name, quota: Quota { requests: 100, per, burst: 200 }, decision }
}

fn lines(limits: &[Told<'_>]) -> Vec<String> {
    let mut headers = HeaderMap::new();
    tell(limits, &mut headers);
    headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect()
}

#[test]
fn tells_what_is_left_and_the_policy() {
    let told = lines(&[told("per-user", 50, 1001, Duration::from_secs(60))]);
    assert_eq!(
        told,
        [
            r#"ratelimit: "per-user";r=50;t=2"#,
            r#"ratelimit-policy: "per-user";q=100;w=60"#,
            "x-ratelimit-limit: 200",
            "x-ratelimit-remaining: 50",
            "x-ratelimit-reset: 2",
        ]
    );
}

#[test]
fn of_several_the_tightest_is_told_in_the_old_way() {
    let odd = told("o\"d\\d \u{e9}\n", 7, 0, Duration::from_millis(1500));
    let told = lines(&[told("a", 50, 1000, Duration::from_secs(1)), odd]);
    assert_eq!(told[0], r#"ratelimit: "a";r=50;t=1, "o\"d\\d ";r=7;t=0"#);
    assert_eq!(told[1], r#"ratelimit-policy: "a";q=100;w=1, "o\"d\\d ";q=100"#);
    assert_eq!(told[3..], ["x-ratelimit-remaining: 7", "x-ratelimit-reset: 0"]);
}

#[test]
fn tells_nothing_of_nothing_and_rounds_up() {
    assert_eq!(lines(&[]), Vec::<String>::new());
    assert_eq!([0, 1, 1000, 1001].map(|milliseconds| seconds(Duration::from_millis(milliseconds))), [0, 1, 1, 2]);
}
