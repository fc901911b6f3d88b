//! The control plane's doors.

use std::net::SocketAddr;

use tokio::net::TcpListener;

use super::{Addresses, StartError};
use crate::config::Config;

/// The three doors, open.
pub(super) struct Listeners {
    pub(super) xds: TcpListener,
    pub(super) metrics: TcpListener,
    pub(super) api: TcpListener,
}

impl Listeners {
    pub(super) async fn open(config: &Config) -> Result<Self, StartError> {
        Ok(Self {
            xds: listen("WEFT_XDS_ADDR", config.xds_address).await?,
            metrics: listen("WEFT_METRICS_ADDR", config.metrics_address).await?,
            api: listen("WEFT_API_ADDR", config.api.address).await?,
        })
    }

    pub(super) fn addresses(&self, config: &Config) -> Addresses {
        let local = |listener: &TcpListener, configured| listener.local_addr().unwrap_or(configured);
        Addresses {
            xds: local(&self.xds, config.xds_address),
            metrics: local(&self.metrics, config.metrics_address),
            api: local(&self.api, config.api.address),
        }
    }
}

async fn listen(name: &'static str, address: SocketAddr) -> Result<TcpListener, StartError> {
    TcpListener::bind(address).await.map_err(|source| StartError::Listen { name, address, source })
}
