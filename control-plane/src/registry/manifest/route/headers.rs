//! Names, values and changes of headers.

use std::sync::Arc;

use super::{RuleReport, raw};
use crate::mesh::HeaderEdits;
use crate::registry::fault::FieldPath;

/// Headers that are about the connection or the message's length: whoever changes them breaks the message.
const FRAMING: [&str; 7] = ["connection", "content-length", "host", "keep-alive", "te", "transfer-encoding", "upgrade"];
/// What begins so is between sidecars.
const OWN_PREFIXES: [&str; 2] = ["weft-", "x-weft-"];

/// A header's name in lower case, a token by RFC 9110, 5.6.2.
pub(in crate::registry::manifest) fn name(text: &str) -> Result<Arc<str>, String> {
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if text.is_empty() || !text.bytes().all(is_token) {
        return Err(format!("{text:?} is not the name of a header"));
    }
    Ok(text.to_ascii_lowercase().into())
}

/// Changes to headers. Each name may be there once, as the Gateway API has it.
pub(super) fn edits(raw: raw::HeaderModifier, field: &FieldPath, rule: &mut RuleReport<'_>) -> HeaderEdits {
    let mut seen = Vec::new();
    let mut edits = HeaderEdits::default();
    for (key, to, headers) in [("set", &mut edits.set, raw.set), ("add", &mut edits.add, raw.add)] {
        for (place, header) in headers.unwrap_or_default().into_iter().enumerate() {
            let field = field.key(key).index(place);
            let Some(name) = edited(&header.name, &field.key("name"), &mut seen, rule) else { continue };
            if header.value.bytes().any(|byte| byte.is_ascii_control() && byte != b'\t') {
                rule.refuse(field.key("value"), format!("{:?} is no header's value", header.value));
            }
            to.push((name, header.value.into()));
        }
    }
    for (place, name) in raw.remove.unwrap_or_default().into_iter().enumerate() {
        edits.remove.extend(edited(&name, &field.key("remove").index(place), &mut seen, rule));
    }
    edits
}

fn edited(text: &str, field: &FieldPath, seen: &mut Vec<Arc<str>>, rule: &mut RuleReport<'_>) -> Option<Arc<str>> {
    let name = rule.check(field.clone(), name(text))?;
    if FRAMING.contains(&name.as_ref()) || OWN_PREFIXES.iter().any(|prefix| name.starts_with(prefix)) {
        rule.refuse(field.clone(), format!("{text:?} is for the proxy alone; a host is changed by URLRewrite"));
        return None;
    }
    if seen.contains(&name) {
        rule.refuse(field.clone(), format!("{text:?} is changed already in the same filter"));
        return None;
    }
    seen.push(Arc::clone(&name));
    Some(name)
}
