//! What a port speaks, as far as its manifest tells.

/// What a port is declared to speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Protocol {
    /// HTTP/1 or HTTP/2, gRPC and WebSocket among it.
    Http,
    /// Anything else: bytes are passed on as they are.
    Opaque,
    /// Nothing is declared: the first bytes decide.
    Undeclared,
}

impl Protocol {
    /// What a port speaks: its `appProtocol`, else the part of its name before the first `-`, else its well-known number.
    pub fn of_port(app_protocol: Option<&str>, name: &str, number: u16) -> Self {
        let by_name = || from_text(name.split('-').next().unwrap_or_default());
        app_protocol.and_then(from_text).or_else(by_name).unwrap_or_else(|| from_number(number))
    }

    /// Several declarations of one port: the protocol that they agree on, as far as they declare any.
    pub(super) fn agreed(declarations: impl IntoIterator<Item = Self>) -> Self {
        let mut declared = declarations.into_iter().filter(|&protocol| protocol != Self::Undeclared);
        let Some(first) = declared.next() else { return Self::Undeclared };
        if declared.all(|other| other == first) { first } else { Self::Undeclared }
    }
}

/// The protocols that Kubernetes (`kubernetes.io/...`) and Istio name. Other texts declare nothing.
fn from_text(text: &str) -> Option<Protocol> {
    let text = text.to_ascii_lowercase();
    match text.strip_prefix("kubernetes.io/").unwrap_or(&text) {
        "http" | "http1" | "http1.1" | "http/1.1" | "http2" | "http/2" | "h2c" | "grpc" | "ws" => Some(Protocol::Http),
        "grpc-web" => Some(Protocol::Http),
        "tcp" | "tls" | "https" | "wss" | "h2" | "mysql" | "mongo" | "mongodb" | "redis" | "postgres"
        | "postgresql" | "kafka" | "amqp" | "amqps" | "mqtt" | "smtp" | "smtps" | "ssh" | "ftp" | "ldap" | "ldaps"
        | "cassandra" | "memcached" | "nats" | "zookeeper" => Some(Protocol::Opaque),
        _ => None,
    }
}

/// Ports of protocols where the server speaks first, or that are never HTTP: waiting for the client's first bytes would
/// only delay them.
fn from_number(number: u16) -> Protocol {
    match number {
        21 | 22 | 25 | 110 | 143 | 465 | 587 | 993 | 995 // FTP, SSH, mail
        | 3306 | 4444 | 5432 | 6379 | 9300 | 11211 | 27017 // MySQL, Galera, PostgreSQL, Redis, Elasticsearch, Memcached, MongoDB
            => Protocol::Opaque,
        _ => Protocol::Undeclared,
    }
}

#[cfg(test)]
mod tests;
