//! Regular expressions that must match the whole text.

use std::fmt;

use regex::{Regex, RegexBuilder};

/// The most memory that a compiled expression may take.
const SIZE_LIMIT: usize = 1 << 20;
/// The most memory that matching may keep as a cache, for each expression and thread.
const CACHE_LIMIT: usize = 256 << 10;
/// What makes an expression match from the first byte.
const BEFORE: &str = r"\A(?:";
/// What makes an expression match to the last byte.
const AFTER: &str = r")\z";

/// A regular expression (RE2's syntax, linear time) that matches a text as a whole. Displayed as it was written.
#[derive(Debug, Clone)]
pub struct Pattern {
    whole: Regex,
}

/// Why a text is not a usable regular expression.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("the regular expression {pattern:?} cannot be used: {source}")]
pub struct PatternError {
    pattern: String,
    source: regex::Error,
}

impl Pattern {
    /// Compiles an expression.
    ///
    /// # Errors
    /// When it is malformed, uses what cannot be matched in linear time (look-around, back references), or compiles
    /// to more than 1 MiB.
    pub fn new(pattern: &str) -> Result<Self, PatternError> {
        // By itself first, so that no expression becomes valid by its brackets closing ours.
        compile(pattern)?;
        let whole = compile(&format!("{BEFORE}{pattern}{AFTER}"));
        Ok(Self { whole: whole.map_err(|error| PatternError { pattern: pattern.to_owned(), ..error })? })
    }

    /// Whether the whole text matches.
    pub fn matches(&self, text: &str) -> bool {
        self.whole.is_match(text)
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = self.whole.as_str().strip_prefix(BEFORE).and_then(|rest| rest.strip_suffix(AFTER));
        f.write_str(inner.unwrap_or(self.whole.as_str()))
    }
}

/// Compiles an expression that may match anywhere in a text, within the limits of memory.
pub(crate) fn compile(pattern: &str) -> Result<Regex, PatternError> {
    let built = RegexBuilder::new(pattern).size_limit(SIZE_LIMIT).dfa_size_limit(CACHE_LIMIT).build();
    built.map_err(|source| PatternError { pattern: pattern.to_owned(), source })
}
