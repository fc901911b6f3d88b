//! `..._headers_to_add` and `..._headers_to_remove` -> edits of headers.

use http::header::{CONNECTION, CONTENT_LENGTH, HOST, TE, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderName, HeaderValue};
use weft_api::xds::pb::envoy::config::core::v3::HeaderValueOption;
use weft_api::xds::pb::envoy::config::core::v3::header_value_option::HeaderAppendAction;
use weft_rules::header_edits::HeaderEdits;

use crate::discovery::resources::fault::{Fault, Within as _, refuse};

/// Headers that say where a message ends, which connection it is for, or what it is addressed to.
const FIXED: [HeaderName; 6] = [CONNECTION, CONTENT_LENGTH, HOST, TE, TRANSFER_ENCODING, UPGRADE];
/// What begins so is between sidecars.
const OWN_PREFIXES: [&str; 2] = ["weft-", "x-weft-"];

/// The edits of `KIND_headers_to_add` and `KIND_headers_to_remove`.
pub(super) fn edits(kind: &str, add: &[HeaderValueOption], remove: &[String]) -> Result<HeaderEdits, Fault> {
    let mut edits = HeaderEdits::default();
    for (index, option) in add.iter().enumerate() {
        add_option(&mut edits, option).within_item(&format!("{kind}_headers_to_add"), index)?;
    }
    for (index, header) in remove.iter().enumerate() {
        edits.remove.push(name(header).within_item(&format!("{kind}_headers_to_remove"), index)?);
    }
    Ok(edits)
}

fn add_option(edits: &mut HeaderEdits, option: &HeaderValueOption) -> Result<(), Fault> {
    refuse!(option; append);
    let header = option.header.as_ref().ok_or_else(|| Fault::new("header", "is missing"))?;
    refuse!(header; raw_value);
    let pair = (name(&header.key).within("header.key")?, value(&header.value).within("header.value")?);
    let list = match HeaderAppendAction::try_from(option.append_action) {
        Ok(HeaderAppendAction::AppendIfExistsOrAdd) => &mut edits.add,
        Ok(HeaderAppendAction::OverwriteIfExistsOrAdd) => &mut edits.set,
        _ => {
            let reason = "is neither APPEND_IF_EXISTS_OR_ADD nor OVERWRITE_IF_EXISTS_OR_ADD";
            return Err(Fault::new("append_action", reason));
        }
    };
    // As Envoy: a header without a value is not sent unless asked for.
    if option.keep_empty_value || !header.value.is_empty() {
        list.push(pair);
    }
    Ok(())
}

fn name(text: &str) -> Result<HeaderName, Fault> {
    let name =
        HeaderName::from_bytes(text.as_bytes()).map_err(|_| Fault::here(format!("{text:?} is not a header's name")))?;
    if FIXED.contains(&name) || OWN_PREFIXES.iter().any(|prefix| name.as_str().starts_with(prefix)) {
        return Err(Fault::here(format!("{text:?} may not be edited: the connection or the mesh depends on it")));
    }
    Ok(name)
}

/// Text as it is; `%%` stands for `%`, and Envoy's commands such as `%REQ(:path)%` are not known.
fn value(text: &str) -> Result<HeaderValue, Fault> {
    if let Some(command) = command(text) {
        return Err(Fault::here(format!("the command {command} is not supported by this proxy; write % as %%")));
    }
    HeaderValue::from_str(&text.replace("%%", "%"))
        .map_err(|_| Fault::here(format!("{text:?} is not a header's value")))
}

/// The first of Envoy's format commands: `%NAME%` or `%NAME(...)%`, the name in capitals.
fn command(text: &str) -> Option<&str> {
    let unescaped = text.match_indices('%').filter(|(at, _)| {
        let before = text.get(..*at).unwrap_or_default();
        let escapes = before.len() - before.trim_end_matches('%').len();
        escapes % 2 == 0
    });
    unescaped.into_iter().find_map(|(at, _)| {
        let rest = text.get(at + 1..)?;
        let name = rest.find(|c: char| !(c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_'))?;
        let ends = rest.get(name..)?.starts_with(['%', '(', ':']) && name > 0;
        let length = rest.get(name..)?.find('%')? + name;
        ends.then(|| text.get(at..=at + 1 + length)).flatten()
    })
}
