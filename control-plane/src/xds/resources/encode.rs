//! Encoding in order. Protobuf maps, as the generated types have them, are encoded in another order each time, so that
//! the same content would not have the same version. Messages with maps of several entries are put together here, field
//! by field.

use std::collections::BTreeMap;

use prost::Message as _;
use prost::encoding::{WireType, encode_key, encode_varint};
use weft_api::xds::METADATA;
use weft_api::xds::pb::google::protobuf::{Struct, Value, value::Kind};

/// Appends a length-delimited field to an encoded message.
pub(super) fn append(message: &mut Vec<u8>, field: u32, content: &[u8]) {
    encode_key(field, WireType::LengthDelimited, message);
    encode_varint(content.len() as u64, message);
    message.extend_from_slice(content);
}

/// `Metadata` with Weft's entries, all of them texts.
pub(super) fn metadata(entries: &BTreeMap<&'static str, String>) -> Vec<u8> {
    let mut fields = Vec::new();
    for (key, text) in entries {
        let value = Value { kind: Some(Kind::StringValue(text.clone())) };
        fields.extend(Struct { fields: [((*key).to_owned(), value)].into() }.encode_to_vec());
    }
    let mut entry = Vec::new();
    append(&mut entry, 1, METADATA.as_bytes());
    append(&mut entry, 2, &fields);
    let mut metadata = Vec::new();
    append(&mut metadata, 1, &entry);
    metadata
}

/// Appends an entry of a map from texts to messages.
pub(super) fn append_entry(message: &mut Vec<u8>, field: u32, key: &str, value: &[u8]) {
    let mut entry = Vec::new();
    append(&mut entry, 1, key.as_bytes());
    append(&mut entry, 2, value);
    append(message, field, &entry);
}
