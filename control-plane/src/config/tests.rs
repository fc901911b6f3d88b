use clap::Parser;

use super::*;

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    flags: Flags,
}

fn config(args: &[&str]) -> Result<Config, ConfigErrors> {
    let required = ["weft-control", "--registry=files:/manifests", "--state-dir=/state"];
    Config::from_flags(&Cli::parse_from(required.iter().chain(args)).flags)
}

#[test]
fn the_defaults_are_those_of_the_reference() {
    let config = config(&[]).unwrap();
    assert_eq!(config.registry, RegistrySource::Files("/manifests".into()));
    assert_eq!(config.xds_address, "0.0.0.0:15012".parse().unwrap());
    assert_eq!(config.metrics_address, "0.0.0.0:15014".parse().unwrap());
    assert_eq!(config.api.address, "127.0.0.1:15080".parse().unwrap());
    assert_eq!(config.api.token_file, None);
    assert_eq!(config.cert_lifetime, Duration::from_secs(24 * 3600));
    assert_eq!(config.default_mtls, Mtls::Permissive);
    assert_eq!(config.log.format, LogFormat::Text);
}

#[test]
fn all_errors_come_at_once_with_name_and_value() {
    let error = config(&[
        "--xds-addr=nowhere",
        "--cert-lifetime=1s",
        "--default-mtls=maybe",
        "--log-format=xml",
        "--log=a=b=c",
    ])
    .unwrap_err()
    .to_string();
    for part in [
        "5 error(s)",
        "WEFT_XDS_ADDR: \"nowhere\"",
        "WEFT_CERT_LIFETIME: \"1s\"",
        "WEFT_DEFAULT_MTLS: \"maybe\"",
        "WEFT_LOG_FORMAT: \"xml\"",
        "WEFT_LOG: \"a=b=c\"",
    ] {
        assert!(error.contains(part), "{part} is missing in: {error}");
    }
}

#[test]
fn what_is_missing_is_named() {
    let flags = Cli::parse_from(["weft-control"]).flags;
    let error = Config::from_flags(&flags).unwrap_err().to_string();
    assert!(error.contains("WEFT_REGISTRY: is not set") && error.contains("WEFT_STATE_DIR: is not set"), "{error}");
}

#[test]
fn an_open_api_needs_a_token() {
    let error = config(&["--api-addr=0.0.0.0:15080"]).unwrap_err().to_string();
    assert!(error.contains("set WEFT_API_TOKEN_FILE"), "{error}");
    assert!(config(&["--api-addr=0.0.0.0:15080", "--api-token-file=/token"]).is_ok());
    assert!(config(&["--api-addr=[::1]:15080"]).is_ok());
}

#[test]
fn other_registries_are_refused() {
    let flags = Cli::parse_from(["weft-control", "--registry=consul:1", "--state-dir=/state"]).flags;
    let error = Config::from_flags(&flags).unwrap_err().to_string();
    assert!(error.contains("\"consul:1\" is not a registry; expected kubernetes, or files:DIR"), "{error}");
}

#[test]
fn a_cluster_needs_no_folder_and_its_names_are_checked() {
    let of = |args: &[&str]| {
        Config::from_flags(&Cli::parse_from(["weft-control", "--registry=kubernetes"].iter().chain(args)).flags)
    };
    let config = of(&["--pod-name=weft-control-5f6-x2"]).unwrap();
    assert_eq!((config.registry, config.state_dir), (RegistrySource::Kubernetes, None));
    let cluster = ClusterConfig { namespace: "weft-system".into(), pod: "weft-control-5f6-x2".into() };
    assert_eq!(config.cluster, cluster);
    assert!(!of(&[]).unwrap().cluster.pod.is_empty());
    let error = of(&["--namespace=Weft", "--pod-name=a_b"]).unwrap_err().to_string();
    assert!(error.contains("WEFT_NAMESPACE: \"Weft\"") && error.contains("WEFT_POD_NAME: \"a_b\""), "{error}");
}
