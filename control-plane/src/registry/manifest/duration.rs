//! Durations as the Gateway API writes them (GEP-2257): `500ms`, `10s`, `1m30s`.

use std::time::Duration;

/// Reads a duration.
pub(super) fn parse(text: &str) -> Result<Duration, String> {
    let parsed = text.parse::<gateway_api::Duration>();
    let parsed = parsed.map_err(|_| format!("{text:?} is no duration such as 500ms, 10s or 1m30s"))?;
    Ok(Duration::new(parsed.as_secs(), parsed.subsec_nanos()))
}

/// Reads a duration that has bounds, both included.
pub(super) fn within(text: &str, least: Duration, most: Duration) -> Result<Duration, String> {
    let duration = parse(text)?;
    if (least..=most).contains(&duration) {
        return Ok(duration);
    }
    Err(format!("{text:?} is out of range: {least:?} to {most:?}"))
}
