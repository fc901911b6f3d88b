//! Compiles the protobuf contract with protox, so that nobody needs `protoc`.

use prost::Message as _;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let files = ["weft/traffic/v1/traffic.proto", "weft/status/v1/status.proto", "istio/v1/auth/ca.proto"];
    println!("cargo:rerun-if-changed=proto");
    let descriptors = protox::compile(files, ["proto"])?;
    let out = std::path::PathBuf::from(std::env::var("OUT_DIR")?);
    std::fs::write(out.join("weft.descriptors"), descriptors.encode_to_vec())?;
    // The JSON form of the traffic and status messages has the same names; 64-bit numbers stay numbers.
    tonic_prost_build::configure()
        .type_attribute(".weft", "#[derive(serde::Serialize, serde::Deserialize)]")
        .message_attribute(".weft", "#[serde(default)]")
        .extern_path(".google.protobuf.Any", "::envoy_types::pb::google::protobuf::Any")
        // What is in it has no JSON form here.
        .field_attribute(".weft.status.v1.ConfigurationResource.resource", "#[serde(skip)]")
        .field_attribute(".weft.traffic.v1.Shift.state", "#[serde(with = \"crate::shift_state\")]")
        .compile_fds(descriptors)?;
    Ok(())
}
