//! How answers reach standard output.

use std::io::Write;

use anyhow::{Context as _, Result};
use serde::Serialize;

/// One JSON document, indented.
pub(crate) fn json(out: &mut impl Write, value: &impl Serialize) -> Result<()> {
    let text = serde_json::to_string_pretty(value).context("the answer has no JSON form")?;
    Ok(writeln!(out, "{text}")?)
}

/// One JSON document on one line.
pub(crate) fn json_line(out: &mut impl Write, value: &impl Serialize) -> Result<()> {
    let text = serde_json::to_string(value).context("the answer has no JSON form")?;
    writeln!(out, "{text}")?;
    Ok(out.flush()?)
}
