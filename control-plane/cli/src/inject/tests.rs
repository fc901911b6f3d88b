use clap::Parser as _;

use super::*;
use crate::args::{Args, Command};

const MANIFESTS: &str = "apiVersion: v1\nkind: Service\nmetadata: {name: web}   # kept\n---\n\
     apiVersion: v1\nkind: Pod\nmetadata: {name: web}\nspec: {containers: [{name: web, image: web:1}]}\n";

fn printed(flags: &str, text: &str) -> anyhow::Result<String> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("web.yaml");
    std::fs::write(&file, text)?;
    let file = file.display().to_string();
    let line = ["weft", "inject", file.as_str()].into_iter().chain(flags.split_whitespace());
    let Args { global, command } = Args::try_parse_from(line)?;
    let Command::Inject(args) = command else { anyhow::bail!("another command") };
    let mut out = Vec::new();
    run(&args, &global, &mut out)?;
    Ok(String::from_utf8(out)?)
}

#[test]
fn there_and_back() {
    let injected = printed("--image weft:9 --system-namespace mesh --set log-level=debug", MANIFESTS).unwrap();
    let (service, pod) = injected.split_once("---\n").unwrap();
    assert_eq!(service, "apiVersion: v1\nkind: Service\nmetadata: {name: web}   # kept\n");
    for part in ["image: weft:9", "weft-control.mesh.svc:15012", "value: debug"] {
        assert!(pod.contains(part), "{part} is missing in {pod}");
    }
    let plain = printed("--uninject", &injected).unwrap();
    assert!(plain.starts_with(service) && !plain.contains("weft"), "{plain}");
}

#[test]
fn wrong_flags_are_explained() {
    for (flags, reason) in [
        ("--set loglevel=debug", "is for no option"),
        ("--set log-level", "must be OPTION=VALUE"),
        ("--pull-policy Sometimes", "is not one of Always, IfNotPresent, Never"),
        ("--trust-domain not/one", "--trust-domain"),
        ("--kubernetes-version latest", "is not a version such as 1.36"),
    ] {
        let error = format!("{:#}", printed(flags, MANIFESTS).unwrap_err());
        assert!(error.contains(reason), "{flags}: {error}");
    }
}

#[test]
fn two_pods_have_two_probe_tokens() {
    let pod =
        "kind: Pod\nmetadata: {name: a}\nspec: {containers: [{name: a, livenessProbe: {tcpSocket: {port: 1}}}]}\n";
    let injected = printed("", &format!("{pod}---\n{pod}")).unwrap();
    let tokens: std::collections::BTreeSet<_> =
        injected.lines().filter_map(|line| line.trim().strip_prefix("value: ")).filter(|v| v.len() == 32).collect();
    assert_eq!(tokens.len(), 2, "{injected}");
}
