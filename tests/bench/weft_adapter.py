"""Weft on both sides, as its users run it, for a second, independent harness: docs/performance.md says which.

A control plane reads the mesh from manifests; both sidecars learn from it by discovery who is there, get their certificates
from it, and send a hundredth of the requests as spans to a collector, which takes everything and keeps nothing. Metrics and
load reports are on, and the called pod takes mutual TLS alone. Between the sidecars: TLS 1.3, X25519, AES-128-GCM, ECDSA P-256;
no session is resumed.

The control plane's and the collector's own CPU count as the backend's, not as the pair's.

`WEFT_BIN` names a folder with `weft-control` and `weft-proxy`; without it they are taken from where `make build` puts the one
and `make dist` the other, as it is shipped.
"""
import json
import os
import time
from pathlib import Path

from benchlib.net import CLIENT_IP, SERVER, SERVER_IP
from peers import Peer, find

BUILT = Path(__file__).resolve().parents[2] / "target"
XDS, OTLP = 15012, 4317
NAMESPACE = "bench"
PODS = {"out": ("client", CLIENT_IP), "in": ("server", SERVER_IP)}
# What the Service says of its port.
PROTOCOL = {"h1": "http", "h2": "kubernetes.io/h2c", "tcp": "tcp"}

COLLECTOR = """
daemon off; master_process off; pid {dir}/collector.pid; error_log {dir}/collector.log crit;
events {{ worker_connections 64; }}
http {{
  access_log off;
  client_body_temp_path {dir}; proxy_temp_path {dir}; fastcgi_temp_path {dir};
  uwsgi_temp_path {dir}; scgi_temp_path {dir};
  server {{
    listen {ip}:{port} http2;
    location / {{ default_type application/grpc; add_header grpc-status 0; return 200; }}
  }}
}}
"""


class Adapter(Peer):
    def missing(self):
        folder = os.environ.get("WEFT_BIN")
        self.control = find("WEFT_CONTROL_BIN", Path(folder or BUILT / "release") / "weft-control")
        self.proxy = find("WEFT_PROXY_BIN", Path(folder or BUILT / "dist") / "weft-proxy")
        if not self.control or not self.proxy:
            return "no weft: run `make build dist`, or set WEFT_BIN to a folder with its programs"

    def start(self, mode, port):
        # Each cell has a mesh of its own.
        self.home = Path(os.path.join(self.dir, f"weft-{time.monotonic_ns()}"))
        for folder in ("manifests", "state"):
            (self.home / folder).mkdir(parents=True)
        for manifest in self.manifests(mode, port):
            name = f"{manifest['kind']}-{manifest['metadata']['name']}.json".lower()
            (self.home / "manifests" / name).write_text(json.dumps(manifest))
        conf = self.home / "collector.conf"
        conf.write_text(COLLECTOR.format(dir=self.home, ip=SERVER_IP, port=OTLP))
        self.backend("collector", ["nginx", "-c", conf])
        self.backend("control", [self.control, "run"], {
            "WEFT_REGISTRY": f"files:{self.home}/manifests", "WEFT_STATE_DIR": f"{self.home}/state",
            "WEFT_XDS_ADDR": f"{SERVER_IP}:{XDS}", "WEFT_LOG": "warn"})
        self.wait_for(self.home / "state" / "trust-bundle.pem")
        for side in ("out", "in"):
            self.sidecar(side)

    def backend(self, name, argv, env=None):
        """Something that is neither sidecar; it ends with the pair."""
        log = f"{self.name}-{name}.log"
        self.procs.append(self.topo.spawn(SERVER, "backend", argv, env, log=log))

    def wait_for(self, path, seconds=10):
        end = time.monotonic() + seconds
        while not path.exists() and self.alive() and time.monotonic() < end:
            time.sleep(0.02)

    def sidecar(self, side):
        pod, ip = PODS[side]
        token = self.home / f"{pod}.token"
        token.write_text(token_of(pod))
        token.chmod(0o644)
        self.spawn(side, [self.proxy, "run"], {
            "WEFT_CONTROL_PLANE": f"{SERVER_IP}:{XDS}",
            "WEFT_TRUST_BUNDLE": f"{self.home}/state/trust-bundle.pem",
            "WEFT_TOKEN_FILE": str(token),
            "WEFT_POD_NAME": pod, "WEFT_POD_NAMESPACE": NAMESPACE, "WEFT_SERVICE_ACCOUNT": pod, "WEFT_POD_IPS": ip,
            "WEFT_WORKERS": str(self.threads), "WEFT_LOG": "warn",
            # As images/Dockerfile has it.
            "GLIBC_TUNABLES": "glibc.cpu.x86_rep_movsb_threshold=100000000",
            # The default is the dearer X25519MLKEM768, which HAProxy 2.6 lacks.
            "WEFT_TLS_GROUPS": "X25519",
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{SERVER_IP}:{OTLP}",
            "OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.01"})

    def manifests(self, mode, port):
        """The Service's address is the server's own: that is where the harness's clients go."""
        for pod, ip in PODS.values():
            yield {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": named(pod)}
            yield {"apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/service-account-token",
                   "metadata": {**named(f"{pod}-token"),
                                "annotations": {"kubernetes.io/service-account.name": pod}},
                   "stringData": {"token": token_of(pod)}}
            yield {"apiVersion": "v1", "kind": "Pod",
                   "metadata": {**named(pod), "labels": {"app": pod, "weft.dev/inject": "enabled"},
                                "annotations": {"weft.dev/mtls": "strict"}},
                   "spec": {"serviceAccountName": pod, "containers": [{"name": "app"}]},
                   "status": {"phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}]}}
        ports = [{"name": "app", "port": port}]
        yield {"apiVersion": "v1", "kind": "Service", "metadata": named("server"),
               "spec": {"clusterIP": SERVER_IP, "clusterIPs": [SERVER_IP],
                        "ports": [{**ports[0], "appProtocol": PROTOCOL[mode]}]}}
        yield {"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
               "metadata": {**named("server"), "labels": {"kubernetes.io/service-name": "server"}}, "ports": ports,
               "endpoints": [{"addresses": [SERVER_IP], "conditions": {"ready": True},
                              "targetRef": {"kind": "Pod", **named("server")}}]}


def named(name):
    return {"name": name, "namespace": NAMESPACE}


def token_of(pod):
    return f"{pod}-joins-the-mesh-of-this-run"
