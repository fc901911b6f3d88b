//! Regular expressions that must match the whole text.

use regex::{Regex, RegexBuilder};

/// The most memory that a compiled expression may take.
const SIZE_LIMIT: usize = 1 << 20;
/// The most memory that matching may keep as a cache, for each expression and thread.
const CACHE_LIMIT: usize = 256 << 10;

/// A regular expression (RE2's syntax, linear time) that matches a text as a whole.
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
        let compile = |text: &str| {
            RegexBuilder::new(text)
                .size_limit(SIZE_LIMIT)
                .dfa_size_limit(CACHE_LIMIT)
                .build()
                .map_err(|source| PatternError { pattern: pattern.to_owned(), source })
        };
        // By itself first, so that no expression becomes valid by its brackets closing ours.
        compile(pattern)?;
        Ok(Self { whole: compile(&format!(r"\A(?:{pattern})\z"))? })
    }

    /// Whether the whole text matches.
    pub fn matches(&self, text: &str) -> bool {
        self.whole.is_match(text)
    }
}
