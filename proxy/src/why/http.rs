//! Which rule a request falls under, and what the rule does.

use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};
use weft_rules::route::{Action, Forward as RuleForward, Match, PathMatch, RequestHead, Rule, Tried};

use super::{Forward, MirrorStep, Outcome, Request, RuleStep, backends, settings};
use crate::discovery::{Cluster, Traffic};

/// The parts of a request that rules look at.
struct Parsed {
    method: Method,
    uri: Uri,
    headers: HeaderMap,
}

impl Parsed {
    fn of(request: &Request) -> Result<Self, String> {
        let method = Method::from_bytes(request.method.as_bytes());
        let method = method.map_err(|_| format!("{:?} is not a method", request.method))?;
        let uri = request.path.parse().map_err(|error| format!("the path {:?}: {error}", request.path))?;
        let mut headers = HeaderMap::new();
        for (name, value) in &request.headers {
            let pair = (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_str(value));
            let (Ok(name), Ok(value)) = pair else { return Err(format!("{name:?}: {value:?} is not a header")) };
            headers.append(name, value);
        }
        Ok(Self { method, uri, headers })
    }

    fn head(&self) -> RequestHead<'_> {
        RequestHead { method: &self.method, path: self.uri.path(), query: self.uri.query(), headers: &self.headers }
    }

    fn host(&self) -> &str {
        let host = self.headers.get(http::header::HOST).and_then(|host| host.to_str().ok());
        self.uri.authority().map(|authority| authority.as_str()).or(host).unwrap_or_default()
    }
}

/// The rules that are tried for a request, and what becomes of it.
pub(super) fn decide(traffic: &Traffic, request: &Request, port: u16) -> (Vec<RuleStep>, Outcome) {
    let parsed = match Parsed::of(request) {
        Ok(parsed) => parsed,
        Err(detail) => return (Vec::new(), Outcome::Refuse { detail: format!("answered with 400: {detail}") }),
    };
    let tried: Vec<Tried<'_, _>> = traffic.routes.explain(&parsed.head()).collect();
    let steps = tried.iter().enumerate().map(|(index, tried)| step(index + 1, tried)).collect();
    let matched = tried.iter().find(|tried| tried.mismatch.is_none());
    (steps, matched.map_or(Outcome::NoRule { status: 404 }, |tried| outcome(tried.rule, &parsed, port)))
}

fn step(position: usize, tried: &Tried<'_, Arc<Cluster>>) -> RuleStep {
    RuleStep {
        position,
        rule: tried.rule.name.to_string(),
        manifest: tried.rule.manifest.to_string(),
        conditions: conditions(&tried.rule.matcher),
        failed: tried.mismatch.map(|mismatch| mismatch.to_string()),
    }
}

/// All conditions in words.
fn conditions(matcher: &Match) -> String {
    let mut conditions = Vec::new();
    if let Some(method) = &matcher.method {
        conditions.push(format!("the method is {method}"));
    }
    let every_path = match &matcher.path {
        PathMatch::Any => true,
        PathMatch::Prefix(prefix) | PathMatch::Segments(prefix) => prefix == "/",
        PathMatch::Exact(_) | PathMatch::Regex(_) => false,
    };
    if !every_path {
        conditions.push(format!("the path {}", matcher.path));
    }
    if matcher.grpc {
        conditions.push("the content-type is application/grpc".to_owned());
    }
    conditions.extend(matcher.headers.iter().map(|header| format!("the header {} {}", header.name, header.value)));
    let query = matcher.query.iter();
    conditions.extend(query.map(|parameter| format!("the query parameter {} {}", parameter.name, parameter.value)));
    if conditions.is_empty() { "every request".to_owned() } else { conditions.join(", ") }
}

fn outcome(rule: &Rule<Arc<Cluster>>, parsed: &Parsed, port: u16) -> Outcome {
    let (name, manifest) = (rule.name.to_string(), rule.manifest.to_string());
    match &rule.action {
        Action::Respond(status) => Outcome::Answer {
            status: status.as_u16(),
            rule: name,
            manifest,
            detail: "the control plane found no way to follow the rule; its status tells the field".to_owned(),
        },
        Action::Redirect(redirect) => Outcome::Redirect {
            status: redirect.status.as_u16(),
            location: redirect.location(&rule.matcher.path, parsed.host(), port, &parsed.uri),
            rule: name,
            manifest,
            filters: settings::filters(&rule.filters),
        },
        Action::Forward(forward) => match self::forward(rule, forward, parsed) {
            Ok(forward) => Outcome::Forward(Box::new(forward)),
            Err(detail) => Outcome::Answer { status: 500, rule: name, manifest, detail },
        },
    }
}

fn forward(rule: &Rule<Arc<Cluster>>, forward: &RuleForward<Arc<Cluster>>, parsed: &Parsed) -> Result<Forward, String> {
    let rewritten = forward.rewrite.path_and_query(&rule.matcher.path, &parsed.uri);
    let path = match rewritten.map_err(|error| error.to_string())? {
        Some(path) => path.to_string(),
        None => parsed.uri.path_and_query().map(ToString::to_string).unwrap_or_default(),
    };
    let mut filters = settings::filters(&rule.filters);
    filters.extend(settings::rewrite(&forward.rewrite));
    Ok(Forward {
        rule: rule.name.to_string(),
        manifest: rule.manifest.to_string(),
        path,
        host: forward.rewrite.host.as_ref().map(|host| String::from_utf8_lossy(host.as_bytes()).into_owned()),
        filters,
        timeouts: settings::timeouts(&forward.timeouts, &parsed.headers),
        retry: settings::retry(forward),
        mirrors: forward
            .mirrors
            .iter()
            .map(|mirror| MirrorStep {
                cluster: mirror.target.name.to_string(),
                share_percent: settings::percent(mirror.share),
                exists: mirror.target.exists,
            })
            .collect(),
        backends: backends::of_requests(&forward.backends),
    })
}
