//! Where a connection of bytes goes.

use weft_api::xds::REFUSED_CLUSTER;

use super::{Outcome, backends};
use crate::discovery::Traffic;

/// Where a connection goes, a TLS one by its server name.
pub(super) fn decide(traffic: &Traffic, server_name: Option<&str>) -> Outcome {
    let Some(clusters) = traffic.for_server_name(server_name) else {
        return Outcome::Refuse {
            detail: "no TLSRoute is for this server name, and the port takes HTTP alone".to_owned(),
        };
    };
    let named = server_name.and_then(|name| traffic.tls.iter().find(|(wanted, _)| wanted.matches(name)));
    let because = match (named, server_name) {
        (Some((wanted, _)), Some(name)) => format!("the server name {name:?} is {wanted}"),
        (None, Some(name)) => format!("no TLSRoute is for the server name {name:?}"),
        _ => "it is carried as bytes".to_owned(),
    };
    if clusters.iter().all(|(cluster, _)| *cluster.name == *REFUSED_CLUSTER) {
        return Outcome::Refuse { detail: format!("{because}, and such connections may not go anywhere") };
    }
    Outcome::Connect { because, backends: backends::of_connections(clusters) }
}
