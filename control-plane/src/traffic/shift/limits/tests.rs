use super::*;

fn figures(issued: u64, errors: u64, bucket: usize) -> Figures {
    let mut figures = Figures { issued, errors, ..Figures::default() };
    figures.latencies[bucket] = issued;
    figures
}

#[test]
fn limits_are_printed_as_they_are_written() {
    for text in ["error-rate>1%", "error-rate>0.5%,p99>500ms", "p99.9>1s500ms,p50>20ms", "error-rate>0%"] {
        assert_eq!(text.parse::<Limits>().unwrap().to_string(), text);
    }
    assert!(" error-rate > 5 % , p90>1m ".parse::<Limits>().unwrap_err().contains("up to 10s"));
    assert_eq!(" error-rate > 5 % , p90>1s".parse::<Limits>().unwrap().to_string(), "error-rate>5%,p90>1s");
    assert_eq!(Limits::default().to_string(), "error-rate>1%");
}

#[test]
fn what_is_no_limit_says_why() {
    for (text, why) in [
        ("", "has no '>'"),
        ("error-rate=1%", "has no '>'"),
        ("error-rate>1", "has no percentage"),
        ("error-rate>100%", "is not from 0%"),
        ("error-rate>NaN%", "is not from 0%"),
        ("p100>1s", "names neither"),
        ("latency>1s", "names neither"),
        ("p99>500", "has no duration"),
        ("p99>10s", "up to 10s"),
        ("error-rate>1%,", "has no '>'"),
    ] {
        let error = text.parse::<Limits>().unwrap_err();
        assert!(error.contains(why), "{text}: {error}");
    }
    assert!(["p99>1s"; 9].join(",").parse::<Limits>().is_err());
}

#[test]
fn a_limit_is_exceeded_above_it_and_says_what_was_seen() {
    let limits: Limits = "error-rate>1%,p99>500ms".parse().unwrap();
    assert_eq!(limits.exceeded(&Figures::default()), None);
    assert_eq!(limits.exceeded(&figures(200, 2, 3)), None);
    assert_eq!(
        limits.exceeded(&figures(200, 3, 3)).as_deref(),
        Some("error-rate is 1.5 % (3 of 200 requests), more than 1 %")
    );
    assert_eq!(limits.exceeded(&figures(200, 0, 9)), None);
    assert_eq!(limits.exceeded(&figures(200, 0, 10)).as_deref(), Some("p99 is 995ms, more than 500ms"));
}
