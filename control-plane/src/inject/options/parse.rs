//! The values of options. Each error goes on where the value ends: `"x" is not ...`.

use std::net::IpAddr;
use std::time::Duration;

use tracing_subscriber::EnvFilter;

/// The longest that a pod may be asked to linger.
const LONGEST: Duration = Duration::from_secs(3600);
/// The most ports or networks of one list: each is a rule or an argument.
const MOST: usize = 128;

pub(super) fn one_of(text: &str, allowed: &[&str]) -> Result<String, String> {
    if allowed.contains(&text) { Ok(text.to_owned()) } else { Err(format!("is not one of {}", allowed.join(", "))) }
}

pub(super) fn boolean(text: &str) -> Result<bool, String> {
    one_of(text, &["true", "false"]).map(|text| text == "true")
}

/// Whether the sidecar is to be native.
pub(super) fn sidecar(text: &str, native_sidecars: bool) -> Result<bool, String> {
    let native = one_of(text, &["native", "classic"])? == "native";
    if native && !native_sidecars {
        return Err("is not possible here: native sidecars need Kubernetes 1.29; allowed is classic".to_owned());
    }
    Ok(native)
}

/// An image's name: what the nodes make of it is theirs to say.
pub(super) fn image(text: &str) -> Result<String, String> {
    match text.is_empty() || text.len() > 512 || text.contains(|c: char| c.is_whitespace() || c.is_control()) {
        true => Err("is not an image's name, such as weft:0.1.0".to_owned()),
        false => Ok(text.to_owned()),
    }
}

pub(super) fn log_level(text: &str) -> Result<String, String> {
    match EnvFilter::try_new(text) {
        Ok(_) if !text.is_empty() => Ok(text.to_owned()),
        _ => Err("is not a log filter; allowed are off, error, warn, info, debug, trace, \
                  and such as info,weft_proxy=debug"
            .to_owned()),
    }
}

/// A share, as it was written.
pub(super) fn share(text: &str) -> Result<String, String> {
    match text.parse::<f64>() {
        Ok(share) if (0.0..=1.0).contains(&share) => Ok(text.to_owned()),
        _ => Err("is not a share from 0 to 1, such as 0.1".to_owned()),
    }
}

/// Ports with commas between them; none where the text is empty.
pub(super) fn ports(text: &str) -> Result<Vec<u16>, String> {
    list(text, "ports from 1 to 65535, such as 25,3306", |part| part.parse().ok().filter(|port| *port != 0))
}

/// Networks or single addresses with commas between them, as they were written.
pub(super) fn networks(text: &str) -> Result<Vec<String>, String> {
    list(text, "networks such as 10.0.0.0/8 or fd00::/8", |part| is_network(part).then(|| part.to_owned()))
}

fn list<T>(text: &str, of: &str, parse: impl Fn(&str) -> Option<T>) -> Result<Vec<T>, String> {
    if text.is_empty() {
        return Ok(Vec::new());
    }
    let parts: Option<Vec<T>> = text.split(',').map(|part| parse(part.trim())).collect();
    match parts {
        Some(parts) if parts.len() > MOST => Err(format!("has {} entries; {MOST} are allowed", parts.len())),
        Some(parts) => Ok(parts),
        None => Err(format!("is not a list of {of}")),
    }
}

fn is_network(text: &str) -> bool {
    let (address, length) = text.split_once('/').map_or((text, None), |(address, length)| (address, Some(length)));
    let Ok(address) = address.parse::<IpAddr>() else { return false };
    let most = if address.is_ipv4() { 32 } else { 128 };
    length.is_none_or(|length| length.parse::<u8>().is_ok_and(|length| length <= most))
}

pub(super) fn duration(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(duration) if duration <= LONGEST => Ok(duration),
        _ => Err("is not a duration with its unit up to 1h, such as 25s or 2m".to_owned()),
    }
}

pub(super) fn whole_seconds(text: &str) -> Result<Duration, String> {
    match duration(text) {
        Ok(duration) if duration.subsec_nanos() == 0 => Ok(duration),
        _ => Err("is not a duration in whole seconds up to 1h, such as 5s; 0s: none".to_owned()),
    }
}

/// A quantity, or `none`.
pub(super) fn limit(text: &str) -> Result<Option<String>, String> {
    match text {
        "none" => Ok(None),
        _ => quantity(text).map(Some).map_err(|problem| format!("{problem}; none: no limit")),
    }
}

/// A quantity as Kubernetes writes it: `100m`, `0.5`, `64Mi`, `1e3`.
pub(super) fn quantity(text: &str) -> Result<String, String> {
    let number = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, suffix) = text.split_at(number);
    let is_number = number.bytes().any(|byte| byte.is_ascii_digit()) && number.matches('.').count() <= 1;
    let exponent = |rest: &str| {
        let digits = rest.strip_prefix(['+', '-']).unwrap_or(rest);
        !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
    };
    let is_suffix = match suffix {
        "" | "n" | "u" | "m" | "k" | "M" | "G" | "T" | "P" | "E" => true,
        "Ki" | "Mi" | "Gi" | "Ti" | "Pi" | "Ei" => true,
        _ => suffix.strip_prefix(['e', 'E']).is_some_and(exponent),
    };
    match is_number && is_suffix && text.len() <= 32 {
        true => Ok(text.to_owned()),
        false => Err("is not a quantity such as 100m, 0.5 or 64Mi".to_owned()),
    }
}
