//! What must hold for a shift to go on: `error-rate>1%,p99>500ms`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use weft_api::load::LATENCY_BOUNDS;

use crate::load::Figures;

/// What ends a shift. Parses from and prints as `error-rate>1%,p99>500ms`.
#[derive(Clone, Debug, PartialEq)]
pub struct Limits(Vec<Limit>);

/// The most limits of a shift.
const MAX_LIMITS: usize = 8;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Limit {
    /// The share of errors, from 0 to 1, that is too high when it is exceeded.
    ErrorRate(f64),
    /// The latency that this share of the requests must not exceed.
    Latency { share: f64, most: Duration },
}

impl Default for Limits {
    /// `error-rate>1%`
    fn default() -> Self {
        Self(vec![Limit::ErrorRate(0.01)])
    }
}

impl Limits {
    /// The first limit that is exceeded, in words with the figures; `None`: all hold.
    pub fn exceeded(&self, figures: &Figures) -> Option<String> {
        self.0.iter().find_map(|limit| limit.exceeded(figures))
    }
}

impl Limit {
    fn exceeded(&self, figures: &Figures) -> Option<String> {
        match *self {
            Self::ErrorRate(most) => {
                let rate = figures.error_rate().filter(|rate| *rate > most)?;
                let (errors, issued) = (figures.errors, figures.issued);
                let (rate, most) = (percent(rate), percent(most));
                Some(format!("error-rate is {rate} ({errors} of {issued} requests), more than {most}"))
            }
            Self::Latency { share, most } => {
                let latency = figures.quantile(share).filter(|latency| *latency > most)?;
                let milliseconds = Duration::from_millis(u64::try_from(latency.as_millis()).unwrap_or(u64::MAX));
                let shown = if milliseconds.is_zero() { latency } else { milliseconds };
                let (shown, most) = (humantime::format_duration(shown), humantime::format_duration(most));
                Some(format!("p{} is {shown}, more than {most}", number(share * 100.0)))
            }
        }
    }
}

impl FromStr for Limits {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let limits: Vec<_> = text.split(',').map(|limit| limit.trim().parse()).collect::<Result<_, _>>()?;
        if limits.len() > MAX_LIMITS {
            return Err(format!("has {} limits, at most {MAX_LIMITS} are possible", limits.len()));
        }
        Ok(Self(limits))
    }
}

impl FromStr for Limit {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let shown: String = text.chars().take(40).collect();
        let wrong = |why: &str| format!("{shown:?} {why}; expected such as error-rate>1% or p99>500ms");
        let (figure, most) = text.split_once('>').ok_or_else(|| wrong("has no '>'"))?;
        let (figure, most) = (figure.trim(), most.trim());
        if figure == "error-rate" {
            let share = most.strip_suffix('%').and_then(|number| number.trim_end().parse().ok());
            let percent: f64 = share.ok_or_else(|| wrong("has no percentage after '>'"))?;
            if !(0.0..100.0).contains(&percent) {
                return Err(wrong("is not from 0% to less than 100%"));
            }
            return Ok(Self::ErrorRate(percent / 100.0));
        }
        let percentile: Option<f64> = figure.strip_prefix('p').and_then(|number| number.parse().ok());
        let percentile = percentile.filter(|percentile| 0.0 < *percentile && *percentile < 100.0);
        let share =
            percentile.ok_or_else(|| wrong("names neither error-rate nor a percentile from p1 to p99.9"))? / 100.0;
        let most = humantime::parse_duration(most).map_err(|_| wrong("has no duration after '>'"))?;
        let longest = LATENCY_BOUNDS.last().copied().unwrap_or_default();
        if most.as_secs_f64() >= longest {
            return Err(wrong(&format!("can't be seen: latencies are told apart up to {longest}s")));
        }
        Ok(Self::Latency { share, most })
    }
}

impl fmt::Display for Limits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, limit) in self.0.iter().enumerate() {
            f.write_str(if index == 0 { "" } else { "," })?;
            match limit {
                Limit::ErrorRate(most) => write!(f, "error-rate>{}%", number(most * 100.0))?,
                Limit::Latency { share, most } => {
                    let most = humantime::format_duration(*most).to_string().replace(' ', "");
                    write!(f, "p{}>{most}", number(share * 100.0))?;
                }
            }
        }
        Ok(())
    }
}

/// A share as people read it: `0.5 %`, `12.3 %`.
fn percent(share: f64) -> String {
    format!("{} %", number(share * 100.0))
}

/// At most two decimals, and none that say nothing.
fn number(value: f64) -> String {
    let text = format!("{value:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests;
