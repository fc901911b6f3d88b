//! One line of the access log, as `key=value` pairs or as a JSON object.

use std::fmt::Write as _;

use super::Entry;
use crate::config::LogFormat;

/// The line, with its line end.
pub(super) fn line(format: LogFormat, entry: &Entry<'_>) -> String {
    let mut line = Line::begin(format);
    line.bare_or_quoted("time", humantime::format_rfc3339_millis(entry.time));
    line.bare_or_quoted("direction", entry.direction.as_str());
    line.optional_text("method", entry.method);
    line.optional_text("path", entry.path);
    line.text("protocol", entry.protocol);
    if let Some(status) = entry.status {
        line.number("status", status);
    }
    line.optional_text("reason", entry.reason);
    if !entry.flags.is_empty() {
        line.bare_or_quoted("flags", entry.flags);
    }
    if let Some((received, sent)) = entry.bytes {
        line.number("bytes_received", received);
        line.number("bytes_sent", sent);
    }
    line.number("duration_ms", format_args!("{:.3}", entry.duration.as_secs_f64() * 1e3));
    line.optional_text("peer", entry.peer);
    line.text("destination", entry.destination);
    if let Some(upstream) = entry.upstream {
        line.bare_or_quoted("upstream", upstream);
    }
    if let Some(trace_id) = entry.trace_id {
        line.bare_or_quoted("trace_id", trace_id);
    }
    line.end()
}

struct Line {
    format: LogFormat,
    text: String,
}

impl Line {
    fn begin(format: LogFormat) -> Self {
        Self { format, text: String::with_capacity(384) }
    }

    fn optional_text(&mut self, key: &str, value: Option<&str>) {
        if let Some(value) = value {
            self.text(key, value);
        }
    }

    /// A text that may come from outside; quoted in JSON always, else where it must be.
    fn text(&mut self, key: &str, value: &str) {
        self.key(key);
        let is_plain =
            !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_graphic() && !b"\"\\=".contains(&byte));
        if self.format == LogFormat::Text && is_plain {
            self.text.push_str(value);
        } else {
            push_quoted(&mut self.text, value);
        }
    }

    /// A value of our own that has nothing to escape; quoted in JSON.
    fn bare_or_quoted(&mut self, key: &str, value: impl std::fmt::Display) {
        self.key(key);
        let quote = if self.format == LogFormat::Json { "\"" } else { "" };
        // Writing to memory does not fail.
        let _ = write!(self.text, "{quote}{value}{quote}");
    }

    fn number(&mut self, key: &str, value: impl std::fmt::Display) {
        self.key(key);
        // As above.
        let _ = write!(self.text, "{value}");
    }

    fn key(&mut self, key: &str) {
        let is_first = self.text.is_empty();
        match self.format {
            LogFormat::Text => {
                self.text.push_str(if is_first { "" } else { " " });
                self.text.push_str(key);
                self.text.push('=');
            }
            LogFormat::Json => {
                self.text.push_str(if is_first { "{\"" } else { ",\"" });
                self.text.push_str(key);
                self.text.push_str("\":");
            }
        }
    }

    fn end(mut self) -> String {
        self.text.push_str(if self.format == LogFormat::Json { "}\n" } else { "\n" });
        self.text
    }
}

/// A JSON string (RFC 8259, 7) that also escapes what JSON need not: all control characters and the line separators.
fn push_quoted(line: &mut String, value: &str) {
    line.push('"');
    for character in value.chars() {
        match character {
            '"' => line.push_str("\\\""),
            '\\' => line.push_str("\\\\"),
            '\n' => line.push_str("\\n"),
            '\r' => line.push_str("\\r"),
            '\t' => line.push_str("\\t"),
            // Those beyond 16 bits are no control characters.
            c if c.is_control() || is_invisible(c) => {
                // Writing to memory does not fail.
                let _ = write!(line, "\\u{:04x}", u32::from(c));
            }
            c => line.push(c),
        }
    }
    line.push('"');
}

/// Line and paragraph separators, and what changes the direction of writing.
fn is_invisible(character: char) -> bool {
    matches!(character, '\u{2028}' | '\u{2029}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}
