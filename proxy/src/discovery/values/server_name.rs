//! Which server names of TLS connections a backend is for.

use std::fmt;
use std::sync::Arc;

/// A server name, or all names below one. In lower case, as DNS does not tell the cases apart.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum ServerNameMatch {
    /// Exactly this name.
    Exact(Arc<str>),
    /// Every name that ends with this text, which begins with a dot; one label or more stands before it.
    Below(Arc<str>),
}

impl ServerNameMatch {
    /// Reads a name such as `api.example` or `*.example`.
    ///
    /// # Errors
    /// Where it is empty, or has a `*` anywhere else.
    pub(crate) fn parse(name: &str) -> Result<Self, String> {
        let lower = name.to_ascii_lowercase();
        let (name, is_suffix) = match lower.strip_prefix('*') {
            Some(rest) => (rest, true),
            None => (lower.as_str(), false),
        };
        let labels = if is_suffix { name.strip_prefix('.').unwrap_or_default() } else { name };
        if labels.is_empty() || labels.contains('*') || labels.split('.').any(str::is_empty) {
            return Err(format!("{lower:?} is not a server name, nor `*.` and the end of one"));
        }
        Ok(if is_suffix { Self::Below(name.into()) } else { Self::Exact(name.into()) })
    }

    /// Whether a server name is meant. A dot at its end changes nothing.
    pub(crate) fn matches(&self, name: &str) -> bool {
        let name = name.strip_suffix('.').unwrap_or(name);
        match self {
            Self::Exact(expected) => name.eq_ignore_ascii_case(expected),
            Self::Below(suffix) => name
                .len()
                .checked_sub(suffix.len())
                .filter(|at| *at > 0)
                .is_some_and(|at| name.get(at..).is_some_and(|end| end.eq_ignore_ascii_case(suffix))),
        }
    }

    /// The order in which matches are tried: exact names first, then the longest ends of names (RFC 6125 leaves it
    /// open; the Gateway API and Envoy prefer the most specific).
    pub(crate) fn specificity(&self) -> (bool, usize) {
        match self {
            Self::Exact(name) => (true, name.len()),
            Self::Below(suffix) => (false, suffix.len()),
        }
    }
}

/// As in the manifest: `api.example` or `*.example`.
impl fmt::Display for ServerNameMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(name) => f.write_str(name),
            Self::Below(suffix) => write!(f, "*{suffix}"),
        }
    }
}

#[cfg(test)]
mod tests;
