//! What a route makes of a request's host and path.

#[cfg(test)]
mod tests;

use std::borrow::Cow;

use http::uri::PathAndQuery;
use http::{HeaderValue, Uri};
use regex::Regex;

use crate::route::{PathMatch, PatternError, compile};

/// Changes to a request before it is forwarded. The default changes nothing.
#[derive(Debug, Clone, Default)]
pub struct Rewrite {
    /// Takes the place of `host` or `:authority`.
    pub host: Option<HeaderValue>,
    /// What becomes of the path; the query stays.
    pub path: Option<PathRewrite>,
}

/// A new path. The query is never touched.
#[derive(Debug, Clone)]
pub enum PathRewrite {
    /// Takes the place of what the rule's path matched, see [`replace_prefix`]. Begins with `/` or is empty.
    Prefix(String),
    /// The whole path, as Gateway API's `ReplaceFullPath` tells. Begins with `/`.
    Full(String),
    /// Takes the place of each match of a regular expression.
    Regex(RegexRewrite),
}

/// A replacement by a regular expression (`envoy.type.matcher.v3.RegexMatchAndSubstitute`).
#[derive(Debug, Clone)]
pub struct RegexRewrite {
    pattern: Regex,
    /// In the syntax of the `regex` crate: `${1}` is the first group.
    substitution: String,
}

/// Why a path cannot be rewritten.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum RewriteError {
    /// What should become a path is none.
    #[error("{path:?} is not a path: {reason}")]
    NotAPath {
        /// The text.
        path: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// What a request's path becomes cannot be sent.
    #[error("what the path {path:?} is rewritten to is too long, or has characters that no path has")]
    Unsendable {
        /// The path before.
        path: String,
    },
    /// The expression.
    #[error(transparent)]
    Pattern(#[from] PatternError),
    /// The text that takes the place of a match.
    #[error("the substitution {substitution:?} cannot be used: {reason}")]
    Substitution {
        /// The text.
        substitution: String,
        /// What is wrong with it.
        reason: &'static str,
    },
}

/// How Envoy's configuration says that a whole path is replaced.
const WHOLE_PATH: [&str; 2] = ["^/.*$", "^/.*"];

impl PathRewrite {
    /// A prefix in place of the one that the rule matches.
    ///
    /// # Errors
    /// When it is not empty and no path.
    pub fn prefix(prefix: &str) -> Result<Self, RewriteError> {
        if !prefix.is_empty() {
            checked(prefix)?;
        }
        Ok(Self::Prefix(prefix.to_owned()))
    }

    /// A path in place of any other.
    ///
    /// # Errors
    /// When it is no path.
    pub fn full(path: &str) -> Result<Self, RewriteError> {
        checked(path).map(|_| Self::Full(path.to_owned()))
    }

    /// A substitution for each match of a regular expression, both in RE2's syntax: `\1` is the first group, `\\` a
    /// backslash. An expression that matches whole paths, with a substitution without groups, becomes [`Self::Full`].
    ///
    /// # Errors
    /// When the expression or the substitution is malformed, or the substitution names a group that there is not.
    pub fn regex(pattern: &str, substitution: &str) -> Result<Self, RewriteError> {
        let compiled = compile(pattern)?;
        let refuse = |reason| RewriteError::Substitution { substitution: substitution.to_owned(), reason };
        let (mut translated, mut literal) = (String::new(), Some(String::new()));
        let mut characters = substitution.chars();
        while let Some(character) = characters.next() {
            let plain = match (character, if character == '\\' { characters.next() } else { None }) {
                ('\\', Some('\\')) => '\\',
                ('\\', Some(digit)) if digit.is_ascii_digit() => {
                    let group = digit as usize - '0' as usize;
                    if group >= compiled.captures_len() {
                        return Err(refuse("the expression has no such group"));
                    }
                    translated.extend(['$', '{', digit, '}']);
                    literal = None;
                    continue;
                }
                ('\\', _) => return Err(refuse("a backslash must be followed by a digit or a backslash")),
                (plain, _) => plain,
            };
            if plain == '$' {
                translated.push('$');
            }
            translated.push(plain);
            if let Some(literal) = &mut literal {
                literal.push(plain);
            }
        }
        match literal {
            Some(path) if WHOLE_PATH.contains(&pattern) => Self::full(&path),
            _ => Ok(Self::Regex(RegexRewrite { pattern: compiled, substitution: translated })),
        }
    }
}

impl RegexRewrite {
    /// The path with each match replaced.
    fn apply<'a>(&self, path: &'a str) -> Cow<'a, str> {
        self.pattern.replace_all(path, &self.substitution)
    }
}

impl Rewrite {
    /// Whether nothing is changed.
    pub fn is_empty(&self) -> bool {
        self.host.is_none() && self.path.is_none()
    }

    /// The new path with the old query; `None` where nothing changes. `matched` is the condition of the request's rule.
    /// What is no path (`*`, and the authority of CONNECT) never changes.
    ///
    /// # Errors
    /// When the result is too long, or is no path because a regular expression made it so. Such a request must not be
    /// forwarded: its old path is not where it was meant to go.
    pub fn path_and_query(&self, matched: &PathMatch, uri: &Uri) -> Result<Option<PathAndQuery>, RewriteError> {
        let path = uri.path();
        let Some(rewrite) = self.path.as_ref().filter(|_| path.starts_with('/')) else { return Ok(None) };
        let new = match rewrite {
            PathRewrite::Full(full) => Cow::Borrowed(full.as_str()),
            PathRewrite::Prefix(replacement) => Cow::Owned(replace_prefix(matched, replacement, path)),
            PathRewrite::Regex(regex) => regex.apply(path),
        };
        if new == path {
            return Ok(None);
        }
        if matches!(rewrite, PathRewrite::Regex(_)) {
            checked(&new)?;
        }
        let new = match uri.query() {
            None => new.into_owned(),
            Some(query) => [&new, "?", query].concat(),
        };
        PathAndQuery::try_from(new).map(Some).map_err(|_| RewriteError::Unsendable { path: path.to_owned() })
    }
}

/// The path with `replacement` in place of what `matched` matched of it.
///
/// By [segments](PathMatch::Segments), and for the root, as Gateway API's `ReplacePrefixMatch`: one `/` stands between the
/// replacement and the rest however the two prefixes end, what ended with `/` still does, and nothing at all is `/`.
///
/// | path | matched | replacement | result |
/// | --- | --- | --- | --- |
/// | `/foo/bar` | `/foo` or `/foo/` | `/xyz` or `/xyz/` | `/xyz/bar` |
/// | `/foo` | `/foo` | `/xyz` | `/xyz` |
/// | `/foo/` | `/foo` | `/xyz` | `/xyz/` |
/// | `/foo/bar` | `/foo` | `/` or empty | `/bar` |
/// | `/foo` or `/foo/` | `/foo` | `/` or empty | `/` |
/// | `/bar` | `/` | `/xyz` | `/xyz/bar` |
/// | `/` | `/` | `/xyz` | `/xyz` |
///
/// Any other textual prefix is replaced as text. An exact path and a regular expression match all of the path, so that
/// all of it is replaced, as Envoy's `prefix_rewrite` does.
pub fn replace_prefix(matched: &PathMatch, replacement: &str, path: &str) -> String {
    let (rest, by_segments) = match matched {
        PathMatch::Exact(_) | PathMatch::Regex(_) => (Some(""), true),
        PathMatch::Any => (Some(path), true),
        PathMatch::Prefix(prefix) if prefix.is_empty() || prefix == "/" => (Some(path), true),
        PathMatch::Prefix(prefix) => (path.strip_prefix(prefix.as_str()), false),
        PathMatch::Segments(prefix) => (path.strip_prefix(prefix.strip_suffix('/').unwrap_or(prefix)), true),
    };
    // Not a request of the rule: its path stays.
    let Some(rest) = rest else { return path.to_owned() };
    // The root's own slash is not one at an end.
    let rest = if path == "/" { "" } else { rest };
    let joined = by_segments && !rest.is_empty();
    let replacement = replacement.strip_suffix('/').filter(|_| joined).unwrap_or(replacement);
    let root = if replacement.is_empty() && !rest.starts_with('/') { "/" } else { "" };
    [root, replacement, rest].concat()
}

/// What a path must be to be sent in a request line or in `:path`.
fn checked(path: &str) -> Result<PathAndQuery, RewriteError> {
    let refuse = |reason| RewriteError::NotAPath { path: path.to_owned(), reason };
    if !path.starts_with('/') {
        return Err(refuse("it does not begin with /"));
    }
    if path.contains(['?', '#']) {
        return Err(refuse("it has a query or a fragment"));
    }
    PathAndQuery::try_from(path).map_err(|_| refuse("it is too long, or has characters that no path has"))
}
