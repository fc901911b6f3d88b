//! `RateLimit.actions` -> what of a request a limit counts by.

use std::sync::Arc;

use http::HeaderName;
use weft_api::xds;
use weft_api::xds::pb::envoy::config::route::v3::RateLimit;
use weft_api::xds::pb::envoy::config::route::v3::rate_limit::action::{
    ActionSpecifier, GenericKey, HeaderValueMatch, MetaData, RequestHeaders,
};
use weft_api::xds::pb::envoy::extensions::common::ratelimit::v3::rate_limit_descriptor::Entry;
use weft_api::xds::pb::envoy::r#type::metadata::v3::MetadataKey;
use weft_api::xds::pb::envoy::r#type::metadata::v3::metadata_key::path_segment::Segment;
use weft_rules::rate_limit::{Attribute, Descriptor, DescriptorEntry};
use weft_rules::route::{Match, PathMatch};

use crate::discovery::resources::fault::{Fault, Within as _, refuse};
use crate::discovery::resources::reference;
use crate::discovery::resources::routes::{add_header, path_of_text};

/// What the actions tell of a request, and for which requests they do.
pub(super) fn descriptor(rate_limit: &RateLimit) -> Result<Descriptor, Fault> {
    refuse!(rate_limit; disable_key, limit, hits_addend, apply_on_stream_done);
    if rate_limit.stage.as_ref().is_some_and(|stage| stage.value != 0) {
        return Err(Fault::new("stage", "is not 0"));
    }
    if rate_limit.actions.is_empty() {
        return Err(Fault::new("actions", "is empty"));
    }
    let mut matcher = Match::any();
    let mut entries = Vec::with_capacity(rate_limit.actions.len());
    for (index, action) in rate_limit.actions.iter().enumerate() {
        let specifier = action.action_specifier.as_ref();
        entries.push(entry(&mut matcher, specifier).within_item("actions", index)?);
    }
    Ok(Descriptor { matcher, entries })
}

/// What requests must have in common to share a bucket: where the descriptor of a local limit has an empty value, each
/// value has a bucket of its own.
pub(super) fn attributes(entries: &[Entry], descriptor: &Descriptor) -> Result<Vec<Attribute>, Fault> {
    if entries.len() != descriptor.entries.len() {
        return Err(Fault::here(format!("has {} entries for {} actions", entries.len(), descriptor.entries.len())));
    }
    let mut by = Vec::new();
    for (index, (entry, made)) in entries.iter().zip(&descriptor.entries).enumerate() {
        let check = || {
            if *entry.key != *made.key {
                return Err(Fault::new("key", format!("is {:?}, but the action makes {:?}", entry.key, made.key)));
            }
            match &made.value {
                // All requests that the limit is for have it.
                Attribute::Fixed(text) if entry.value.is_empty() || *entry.value == **text => Ok(None),
                Attribute::Fixed(text) => {
                    Err(Fault::new("value", format!("is {:?}, but the action makes {text:?}", entry.value)))
                }
                attribute if entry.value.is_empty() => Ok(Some(attribute.clone())),
                _ => Err(Fault::new("value", "is not empty; for one value alone there is header_value_match")),
            }
        };
        by.extend(check().within_item("entries", index)?);
    }
    Ok(by)
}

fn entry(matcher: &mut Match, action: Option<&ActionSpecifier>) -> Result<DescriptorEntry, Fault> {
    match action {
        Some(ActionSpecifier::RequestHeaders(header)) => request_header(header).within("request_headers"),
        Some(ActionSpecifier::GenericKey(key)) => generic_key(key).within("generic_key"),
        Some(ActionSpecifier::HeaderValueMatch(value)) => header_match(matcher, value).within("header_value_match"),
        Some(ActionSpecifier::Metadata(metadata)) => peer(metadata).within("metadata"),
        _ => Err(Fault::here("is not request_headers, generic_key, header_value_match or metadata")),
    }
}

fn request_header(header: &RequestHeaders) -> Result<DescriptorEntry, Fault> {
    refuse!(header; skip_if_absent);
    let value = match header.header_name.as_str() {
        ":path" => Attribute::Path,
        ":method" => Attribute::Method,
        name => {
            let name = HeaderName::from_bytes(name.as_bytes());
            let reason = || Fault::new("header_name", format!("{:?} is not a header's name", header.header_name));
            Attribute::Header(name.map_err(|_| reason())?)
        }
    };
    Ok(DescriptorEntry { key: reference("descriptor_key", &header.descriptor_key)?, value })
}

fn generic_key(key: &GenericKey) -> Result<DescriptorEntry, Fault> {
    refuse!(key; default_value);
    let value = reference("descriptor_value", &key.descriptor_value)?;
    Ok(DescriptorEntry { key: key_or(&key.descriptor_key, "generic_key"), value: Attribute::Fixed(value) })
}

/// Adds to the conditions that requests must meet.
fn header_match(matcher: &mut Match, value: &HeaderValueMatch) -> Result<DescriptorEntry, Fault> {
    refuse!(value; default_value);
    if value.expect_match.as_ref().is_some_and(|expected| !expected.value) {
        return Err(Fault::new("expect_match", "is false, which is not supported by this proxy"));
    }
    for (index, header) in value.headers.iter().enumerate() {
        let mut add = || {
            if header.name != ":path" {
                return add_header(matcher, header);
            }
            if !matches!(matcher.path, PathMatch::Any) {
                return Err(Fault::new("name", ":path is matched twice"));
            }
            matcher.path = path_of_text(header)?;
            Ok(())
        };
        add().within_item("headers", index)?;
    }
    let text = reference("descriptor_value", &value.descriptor_value)?;
    Ok(DescriptorEntry { key: key_or(&value.descriptor_key, "header_match"), value: Attribute::Fixed(text) })
}

/// The caller's identity: `weft.dev`/`peer`.
fn peer(metadata: &MetaData) -> Result<DescriptorEntry, Fault> {
    refuse!(metadata; default_value, source, skip_if_absent);
    if !metadata.metadata_key.as_ref().is_some_and(is_peer) {
        return Err(Fault::new("metadata_key", format!("is not {}/{}", xds::METADATA, xds::METADATA_PEER)));
    }
    Ok(DescriptorEntry { key: reference("descriptor_key", &metadata.descriptor_key)?, value: Attribute::Peer })
}

fn is_peer(key: &MetadataKey) -> bool {
    let path = match key.path.as_slice() {
        [segment] => segment.segment.as_ref(),
        _ => None,
    };
    key.key == xds::METADATA && matches!(path, Some(Segment::Key(key)) if key == xds::METADATA_PEER)
}

fn key_or(key: &str, default: &str) -> Arc<str> {
    if key.is_empty() { default.into() } else { key.into() }
}
