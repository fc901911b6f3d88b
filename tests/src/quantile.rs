//! Quantiles of what was measured.

use std::time::Duration;

/// The value that the share `q` (0 to 1) of all values does not exceed, one of the values itself; zero where there are
/// none.
pub fn quantile(values: &[Duration], q: f64) -> Duration {
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    // The nearest rank; a share beyond 1 is the last one.
    let rank = (q * sorted.len() as f64).ceil().max(1.0) as usize;
    sorted.get(rank - 1).or(sorted.last()).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests;
