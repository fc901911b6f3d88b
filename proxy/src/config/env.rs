//! Reading single variables, and collecting what is wrong with them.

use std::fmt;
use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

/// One variable that is missing or wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    /// The variable's name.
    pub(crate) variable: &'static str,
    /// Its value, if it is set.
    pub(crate) value: Option<String>,
    /// What is wrong with it, and what is allowed.
    pub(crate) reason: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.value {
            Some(value) => write!(f, "{}={value:?}: {}", self.variable, self.reason),
            None => write!(f, "{}: {}", self.variable, self.reason),
        }
    }
}

/// All that is wrong with the environment.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("the environment is not a usable configuration (docs/reference/proxy.md lists the variables):{}", list(.faults))]
pub(crate) struct ConfigError {
    /// The faults, in the order in which the variables are read. Never empty.
    pub(crate) faults: Vec<Fault>,
}

fn list(faults: &[Fault]) -> String {
    faults.iter().map(|fault| format!("\n  {fault}")).collect()
}

/// The environment while it is read.
pub(super) struct Env<'a> {
    lookup: &'a dyn Fn(&str) -> Option<String>,
    faults: Vec<Fault>,
}

impl<'a> Env<'a> {
    pub(super) fn new(lookup: &'a dyn Fn(&str) -> Option<String>) -> Self {
        Self { lookup, faults: Vec::new() }
    }

    /// A variable that must be set.
    pub(super) fn required<T>(
        &mut self,
        name: &'static str,
        allowed: &str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        if self.raw(name).is_none() {
            self.fault(name, None, format!("is not set; expected {allowed}"));
        }
        self.optional(name, allowed, parse)
    }

    /// A variable with a default.
    pub(super) fn or<T>(
        &mut self,
        name: &'static str,
        default: &str,
        allowed: &str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        let value = self.raw(name).unwrap_or_else(|| default.to_owned());
        self.checked(name, value, allowed, parse)
    }

    /// A variable that may be missing.
    pub(super) fn optional<T>(
        &mut self,
        name: &'static str,
        allowed: &str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        let value = self.raw(name)?;
        self.checked(name, value, allowed, parse)
    }

    pub(super) fn port(&mut self, name: &'static str, default: u16) -> Option<u16> {
        self.or(name, &default.to_string(), "a port from 1 to 65535", |text| match text.parse() {
            Ok(port) if port != 0 => Ok(port),
            _ => Err("is not a port".to_owned()),
        })
    }

    /// A duration with its unit, such as `250ms`, `1s`, `2m`.
    pub(super) fn duration(
        &mut self,
        name: &'static str,
        default: Duration,
        least: Duration,
        most: Duration,
    ) -> Option<Duration> {
        let show = humantime::format_duration;
        let allowed = format!("a duration with its unit from {} to {}, such as 250ms or 5s", show(least), show(most));
        self.or(name, &show(default).to_string(), &allowed, |text| {
            let duration = humantime::parse_duration(text).map_err(|error| error.to_string())?;
            if duration < least || duration > most {
                return Err("is out of range".to_owned());
            }
            Ok(duration)
        })
    }

    pub(super) fn fault(&mut self, variable: &'static str, value: Option<String>, reason: String) {
        let fault = Fault { variable, value, reason };
        if !self.faults.contains(&fault) {
            self.faults.push(fault);
        }
    }

    /// The value, if no fault was found.
    pub(super) fn finish<T>(self, value: impl FnOnce() -> Option<T>) -> Result<T, ConfigError> {
        match value() {
            Some(value) if self.faults.is_empty() => Ok(value),
            _ => Err(ConfigError { faults: self.faults }),
        }
    }

    fn raw(&self, name: &str) -> Option<String> {
        (self.lookup)(name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty())
    }

    fn checked<T>(
        &mut self,
        name: &'static str,
        value: String,
        allowed: &str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        match parse(&value) {
            Ok(parsed) => Some(parsed),
            Err(reason) => {
                self.fault(name, Some(value), format!("{reason}; expected {allowed}"));
                None
            }
        }
    }
}

pub(super) fn text(text: &str) -> Result<String, String> {
    Ok(text.to_owned())
}

pub(super) fn path(text: &str) -> Result<PathBuf, String> {
    Ok(PathBuf::from(text))
}

pub(super) fn addresses(text: &str) -> Result<Vec<IpAddr>, String> {
    text.split(',').map(|part| part.trim().parse().map_err(|_| format!("{part:?} is not an IP address"))).collect()
}

/// An RFC 1123 label: a namespace's name.
pub(super) fn dns_label(text: &str) -> Result<String, String> {
    if weft_api::names::is_dns_label(text) { Ok(text.to_owned()) } else { Err("is not an RFC 1123 label".to_owned()) }
}

/// An RFC 1123 subdomain, labels with dots between them: a pod's or a service account's name.
pub(super) fn dns_subdomain(text: &str) -> Result<String, String> {
    if text.len() <= 253 && text.split('.').all(weft_api::names::is_dns_label) {
        Ok(text.to_owned())
    } else {
        Err("is not an RFC 1123 subdomain".to_owned())
    }
}

/// A socket mark, decimal or with `0x`.
pub(super) fn mark(text: &str) -> Result<u32, String> {
    let parsed = match text.strip_prefix("0x") {
        Some(hex) => u32::from_str_radix(hex, 16),
        None => text.parse(),
    };
    match parsed {
        Ok(0) => Err("0 marks nothing".to_owned()),
        Ok(mark) => Ok(mark),
        Err(error) => Err(error.to_string()),
    }
}

pub(super) fn workers(text: &str) -> Result<NonZeroUsize, String> {
    match text.parse::<NonZeroUsize>() {
        Ok(workers) if workers.get() <= 256 => Ok(workers),
        Ok(_) => Err("is more than any pod has cores".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}
