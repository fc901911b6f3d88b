//! The system's resolver: `/etc/resolv.conf` and `/etc/hosts`.
//!
//! It is not libc's, which loads libraries for it: without that the program is linked statically, which saves each pod 1.3 MiB.
//!
//! The resolver asks over UDP, which the redirect rules leave alone, so its sockets carry no mark; they redirect TCP
//! only. The fallback to TCP for a truncated answer goes through the proxy itself as an unknown destination, unless the
//! rules exempt the proxy's user.

use std::net::{IpAddr, SocketAddr};

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{LookupIpStrategy, ResolverConfig, ResolverOpts};
use hickory_resolver::net::runtime::TokioRuntimeProvider;

/// The resolver of the system, as its files are now.
///
/// # Errors
/// When `/etc/resolv.conf` cannot be used.
pub(crate) fn system() -> Result<TokioResolver, String> {
    let mut builder = TokioResolver::builder_tokio().map_err(|error| format!("/etc/resolv.conf: {error}"))?;
    configure(builder.options_mut());
    builder.build().map_err(|error| error.to_string())
}

/// Both address families, and no cache: each name is asked for once in its TTL anyway.
pub(crate) fn configure(options: &mut ResolverOpts) {
    options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
    options.cache_size = 0;
    options.try_tcp_on_error = true;
}

/// The addresses of something that the proxy itself dials, by the search list of `/etc/resolv.conf`. The files are read anew
/// each time: it happens only when a connection is made. Without name servers there is still `/etc/hosts`.
///
/// # Errors
/// What the resolver answers where there is no address.
pub(crate) async fn lookup(host: &str, port: u16) -> Result<Vec<SocketAddr>, String> {
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(address, port)]);
    }
    let (resolver, reason) = match system() {
        Ok(resolver) => (resolver, None),
        Err(reason) => (hosts_alone()?, Some(reason)),
    };
    let found = resolver.lookup_ip(host).await.map_err(|error| reason.unwrap_or_else(|| error.to_string()))?;
    Ok(found.iter().map(|address| SocketAddr::new(address, port)).collect())
}

fn hosts_alone() -> Result<TokioResolver, String> {
    let nobody = ResolverConfig::from_name_servers(vec![]);
    let mut builder = TokioResolver::builder_with_config(nobody, TokioRuntimeProvider::default());
    configure(builder.options_mut());
    builder.build().map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests;
