//! The ports that people see. All of them can be changed; these are the defaults.

/// The proxy: where the application's outbound connections are redirected to.
pub const OUTBOUND: u16 = 15001;
/// The proxy: where whatever arrives for the application is redirected to.
pub const INBOUND: u16 = 15006;
/// The proxy: the mesh's own door, HTTP/2 over mutual TLS.
pub const MESH: u16 = 15008;
/// The proxy: state dump, log level and shutdown, on loopback only.
pub const PROXY_ADMIN: u16 = 15000;
/// The proxy: metrics and health.
pub const PROXY_METRICS: u16 = 15020;
/// The control plane: xDS and certificates, over TLS.
pub const CONTROL_XDS: u16 = 15012;
/// The control plane: metrics and health.
pub const CONTROL_METRICS: u16 = 15014;
/// The control plane: admission webhooks.
pub const CONTROL_WEBHOOKS: u16 = 15017;
/// The control plane: the traffic API and the dashboard.
pub const CONTROL_API: u16 = 15080;
