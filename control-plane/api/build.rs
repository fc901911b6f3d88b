//! Compiles the protobuf contract with protox, so that nobody needs `protoc`.

use prost::Message as _;
use tonic_prost_build::manual::{Builder, Method, Service};

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
    streams();
    Ok(())
}

/// Envoy's services of long streams, with a codec of our own; their messages are those of `envoy-types`.
fn streams() {
    let method = |name: &str, route: &str, request: &str, response: &str| {
        let package = "::envoy_types::pb::envoy::service";
        let method = Method::builder().name(name).route_name(route).codec_path("crate::streams::LeanCodec");
        let method = method.input_type(format!("{package}::{request}")).output_type(format!("{package}::{response}"));
        method.client_streaming().server_streaming().build()
    };
    let discovery = Service::builder()
        .package("envoy.service.discovery.v3")
        .name("AggregatedDiscoveryService")
        .method(method(
            "stream_aggregated_resources",
            "StreamAggregatedResources",
            "discovery::v3::DiscoveryRequest",
            "discovery::v3::DiscoveryResponse",
        ))
        .method(method(
            "delta_aggregated_resources",
            "DeltaAggregatedResources",
            "discovery::v3::DeltaDiscoveryRequest",
            "discovery::v3::DeltaDiscoveryResponse",
        ));
    let load_reporting =
        Service::builder().package("envoy.service.load_stats.v3").name("LoadReportingService").method(method(
            "stream_load_stats",
            "StreamLoadStats",
            "load_stats::v3::LoadStatsRequest",
            "load_stats::v3::LoadStatsResponse",
        ));
    Builder::new().compile(&[discovery.build(), load_reporting.build()]);
}
