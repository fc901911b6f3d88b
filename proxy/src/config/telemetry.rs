//! Logs, access log, and OpenTelemetry's own variables.

use super::env::{self, Env};

/// What the proxy tells about itself and its traffic.
#[derive(Clone, Debug)]
pub(crate) struct Telemetry {
    /// `WEFT_LOG`: a filter as tracing-subscriber's `EnvFilter` reads it.
    pub(crate) log_filter: String,
    /// `WEFT_LOG_FORMAT`.
    pub(crate) log_format: LogFormat,
    /// `WEFT_ACCESS_LOG`.
    pub(crate) access_log: AccessLog,
    /// Where spans go, if `OTEL_EXPORTER_OTLP_ENDPOINT` is set.
    pub(crate) traces: Option<Traces>,
}

/// How a log line looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Which requests and connections leave a line in the access log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AccessLog {
    /// None.
    Off,
    /// Those that failed.
    Errors,
    /// All.
    All,
}

/// The export of spans, by OpenTelemetry's own variables.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Traces {
    /// `OTEL_EXPORTER_OTLP_ENDPOINT`, an `http` URL; OTLP over gRPC.
    pub(crate) endpoint: http::Uri,
    /// `OTEL_TRACES_SAMPLER` and `OTEL_TRACES_SAMPLER_ARG`.
    pub(crate) sampler: Sampler,
    /// `OTEL_SERVICE_NAME`, else `service.name` of `OTEL_RESOURCE_ATTRIBUTES`, else the workload's name.
    pub(crate) service_name: String,
    /// The other `OTEL_RESOURCE_ATTRIBUTES`, percent-decoding done.
    pub(crate) resource_attributes: Vec<(String, String)>,
}

/// Which requests are traced.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Sampler {
    /// Whether the decision of the caller's trace, where there is one, wins.
    pub(crate) parent_based: bool,
    /// The share of the others, from 0 to 1.
    pub(crate) ratio: f64,
}

/// Reads this section.
pub(super) fn read(env: &mut Env<'_>, workload: &str) -> Option<Telemetry> {
    let log_filter = env.or("WEFT_LOG", "info", "a filter such as info,weft_proxy=debug", |text| {
        tracing_subscriber::EnvFilter::try_new(text).map(|_| text.to_owned()).map_err(|error| error.to_string())
    });
    let log_format = env.or("WEFT_LOG_FORMAT", "text", "text or json", |text| match text {
        "text" => Ok(LogFormat::Text),
        "json" => Ok(LogFormat::Json),
        _ => Err("is neither".to_owned()),
    });
    let access_log = env.or("WEFT_ACCESS_LOG", "off", "off, errors or all", |text| match text {
        "off" => Ok(AccessLog::Off),
        "errors" => Ok(AccessLog::Errors),
        "all" => Ok(AccessLog::All),
        _ => Err("is none of these".to_owned()),
    });
    let traces = read_traces(env, workload);
    Some(Telemetry { log_filter: log_filter?, log_format: log_format?, access_log: access_log?, traces })
}

fn read_traces(env: &mut Env<'_>, workload: &str) -> Option<Traces> {
    let endpoint = env.optional("OTEL_EXPORTER_OTLP_ENDPOINT", "a URL such as http://collector:4317", collector);
    let sampler = read_sampler(env);
    let name = env.optional("OTEL_SERVICE_NAME", "the service's name", env::text);
    let attributes = env.optional("OTEL_RESOURCE_ATTRIBUTES", "key=value pairs with commas between them", pairs);
    let (mut names, resource_attributes): (Vec<_>, Vec<_>) =
        attributes.unwrap_or_default().into_iter().partition(|(key, _)| key == "service.name");
    let named = names.pop().map(|(_, value)| value);
    let service_name = name.or(named).unwrap_or_else(|| workload.to_owned());
    Some(Traces { endpoint: endpoint?, sampler: sampler?, service_name, resource_attributes })
}

fn read_sampler(env: &mut Env<'_>) -> Option<Sampler> {
    let ratio = env.or("OTEL_TRACES_SAMPLER_ARG", "1", "a share from 0 to 1", |text| match text.parse::<f64>() {
        Ok(ratio) if (0.0..=1.0).contains(&ratio) => Ok(ratio),
        _ => Err("is not a share".to_owned()),
    })?;
    let allowed = "[parentbased_]always_on, [parentbased_]always_off or [parentbased_]traceidratio";
    env.or("OTEL_TRACES_SAMPLER", "parentbased_always_on", allowed, |text| {
        let (parent_based, rest) = text.strip_prefix("parentbased_").map_or((false, text), |rest| (true, rest));
        let ratio = match rest {
            "always_on" => 1.0,
            "always_off" => 0.0,
            "traceidratio" => ratio,
            _ => return Err("is none of these".to_owned()),
        };
        Ok(Sampler { parent_based, ratio })
    })
}

fn collector(text: &str) -> Result<http::Uri, String> {
    let uri: http::Uri = text.parse().map_err(|error: http::uri::InvalidUri| error.to_string())?;
    match (uri.scheme_str(), uri.host()) {
        (Some("http"), Some(_)) => Ok(uri),
        (Some("https"), _) => {
            Err("the proxy exports without TLS; use a collector on the node or in the mesh".to_owned())
        }
        _ => Err("is not an http URL".to_owned()),
    }
}

/// `key=value,...`, values percent-encoded, as OpenTelemetry's resource SDK specifies.
fn pairs(text: &str) -> Result<Vec<(String, String)>, String> {
    text.split(',')
        .filter(|part| !part.trim().is_empty())
        .map(|part| {
            let (key, value) = part.split_once('=').ok_or_else(|| format!("{part:?} has no '='"))?;
            Ok((key.trim().to_owned(), percent_decoded(value.trim())?))
        })
        .collect()
}

fn percent_decoded(text: &str) -> Result<String, String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digit = |byte: Option<u8>| byte.and_then(|byte| char::from(byte).to_digit(16));
        let (high, low) = (digit(rest.next()), digit(rest.next()));
        let value = high.zip(low).and_then(|(high, low)| u8::try_from(high * 16 + low).ok());
        bytes.push(value.ok_or_else(|| format!("{text:?} has a '%' without two hexadecimal digits"))?);
    }
    String::from_utf8(bytes).map_err(|_| format!("{text:?} is not UTF-8"))
}
