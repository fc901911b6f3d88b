//! Weft, as its users run it: a control plane, discovery, certificates that it signs, strict mutual TLS, metrics, load reports,
//! and a hundredth of the requests as spans to a collector.

use anyhow::Result;
use weft_cli::world::{PodBuilder, World};
use weft_tests::collector::Collector;

use super::{PORT, Pair, Protocol, Traffic};

pub(super) async fn start(world: &World, traffic: Traffic) -> Result<Pair> {
    let control = world.control_plane().strict().env("WEFT_LOG", "warn").start().await?;
    let collector = Collector::start(world).await?;
    let api = sidecar(world, "api", &collector).start().await?;
    let declared = match traffic.protocol {
        Protocol::Http1 => "http",
        Protocol::Http2 => "kubernetes.io/h2c",
        Protocol::Tcp => "tcp",
    };
    let service = world.service("api").port(PORT, traffic.target, declared).backends([&api]).create()?;
    let web = sidecar(world, "web", &collector).start().await?;
    let proxies = vec![web.sidecar()?.process().clone(), api.sidecar()?.process().clone()];
    let helpers = vec![control.process()?];
    Ok(Pair { at: service.address(PORT), web, api, proxies, helpers, _mesh: Some((control, collector)) })
}

fn sidecar(world: &World, pod: &str, collector: &Collector) -> PodBuilder {
    let environment = [
        ("WEFT_WORKERS", "1"),
        ("WEFT_LOG", "warn"),
        // As images/Dockerfile has it.
        ("GLIBC_TUNABLES", "glibc.cpu.x86_rep_movsb_threshold=100000000"),
        // The default is the dearer X25519MLKEM768, which HAProxy 2.6 lacks; Envoy has it, and is told X25519, too.
        ("WEFT_TLS_GROUPS", "X25519"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.endpoint()),
        ("OTEL_TRACES_SAMPLER", "parentbased_traceidratio"),
        ("OTEL_TRACES_SAMPLER_ARG", "0.01"),
    ];
    environment.into_iter().fold(world.pod(pod), |pod, (name, value)| pod.sidecar_env(name, value))
}
