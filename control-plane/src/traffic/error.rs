//! What a traffic call can fail with, as a gRPC status with details (AIP-193).

use std::collections::HashMap;

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, FieldViolation, PreconditionViolation, StatusExt};

use super::store::StoreError;
use crate::mesh::ObjectName;

/// The domain of `ErrorInfo`.
const DOMAIN: &str = "weft.dev";

/// Why a call on the traffic API fails.
#[derive(Debug, thiserror::Error)]
pub enum TrafficError {
    /// `INVALID_ARGUMENT`: the request's own fault, each field with the reason.
    #[error("{}", describe(.0))]
    Invalid(Vec<FieldViolation>),
    /// `NOT_FOUND`: the Service whose traffic is meant.
    #[error("Service {0} does not exist; is the namespace right? Splits are set on the Service that clients dial")]
    NoService(ObjectName),
    /// `NOT_FOUND`: a backend.
    #[error("backend {0} does not exist: there is neither a Service {name:?} nor {shorthand:?} in namespace {namespace:?}",
        name = .0.name, namespace = .0.namespace, shorthand = .1)]
    NoBackend(ObjectName, String),
    /// `NOT_FOUND`: the Service has no split.
    #[error("Service {0} has no split; its own endpoints answer")]
    NoSplit(ObjectName),
    /// `FAILED_PRECONDITION`: somebody else's HTTPRoutes split this Service already.
    #[error("Service {service} is already routed by HTTPRoute {}; delete it, or set the weights there", .routes.join(", "))]
    ManualRoutes {
        /// The Service.
        service: ObjectName,
        /// The HTTPRoutes, `NAMESPACE/NAME`.
        routes: Vec<String>,
    },
    /// `FAILED_PRECONDITION`: a shift is under way.
    #[error("Service {service}: {shift}; abort it or await its end (weft traffic shift abort {name} -n {namespace})",
        name = .service.name, namespace = .service.namespace)]
    Shifting {
        /// The Service.
        service: ObjectName,
        /// What the shift does.
        shift: String,
    },
    /// `FAILED_PRECONDITION`: there is nobody to take traffic from.
    #[error("backend {to} of Service {service} has all traffic already; there is nothing to shift")]
    Everything {
        /// The Service.
        service: ObjectName,
        /// The backend.
        to: String,
    },
    /// `FAILED_PRECONDITION`: the shift has ended, or is so already.
    #[error("{reason}")]
    NotNow {
        /// The Service.
        service: ObjectName,
        /// How the shift stands.
        reason: String,
    },
    /// `NOT_FOUND`: the Service has no shift.
    #[error("Service {0} has no shift")]
    NoShift(ObjectName),
    /// `ABORTED`: somebody else wrote in between.
    #[error("the split of {service} has version {current}, not {expected}; read it again and decide anew")]
    Stale {
        /// The Service.
        service: ObjectName,
        /// What the caller expected.
        expected: u64,
        /// What is stored; 0: nothing.
        current: u64,
    },
    /// `FAILED_PRECONDITION`: what would be written is somebody else's.
    #[error("the split of {service} is not written: {reason}")]
    Foreign {
        /// The Service.
        service: ObjectName,
        /// What is whose, and what to do.
        reason: String,
    },
    /// `INVALID_ARGUMENT`: the API server takes no such route.
    #[error("the split of {service} is not written: {reason}")]
    Refused {
        /// The Service.
        service: ObjectName,
        /// What the API server said.
        reason: String,
    },
    /// `UNAVAILABLE`: the API server did not answer, or others wrote all the time.
    #[error("the split of {service} could not be written now: {source}; try again")]
    Unavailable {
        /// The Service.
        service: ObjectName,
        /// What the store said.
        source: StoreError,
    },
    /// `INTERNAL`: the store failed.
    #[error("the split of {service} could not be stored; see the control plane's log")]
    Store {
        /// The Service.
        service: ObjectName,
        /// What the store said.
        source: StoreError,
    },
}

impl TrafficError {
    /// What the store said about `service`.
    pub fn from_store(service: &ObjectName, error: StoreError) -> Self {
        let service = service.clone();
        match error {
            StoreError::Stale { expected, current } => Self::Stale { service, expected, current },
            StoreError::Missing => Self::NoSplit(service),
            StoreError::Shifting(shift) => Self::Shifting { service, shift },
            StoreError::Foreign(reason) => Self::Foreign { service, reason },
            StoreError::Refused(reason) => Self::Refused { service, reason },
            source @ (StoreError::Overtaken | StoreError::Cluster { .. }) => Self::Unavailable { service, source },
            source @ (StoreError::Database(_) | StoreError::Damaged { .. } | StoreError::Interrupted(_)) => {
                Self::Store { service, source }
            }
        }
    }

    fn code(&self) -> Code {
        match self {
            Self::Invalid(_) | Self::Refused { .. } => Code::InvalidArgument,
            Self::NoService(_) | Self::NoBackend(..) | Self::NoSplit(_) | Self::NoShift(_) => Code::NotFound,
            Self::ManualRoutes { .. }
            | Self::Foreign { .. }
            | Self::Shifting { .. }
            | Self::Everything { .. }
            | Self::NotNow { .. } => Code::FailedPrecondition,
            Self::Unavailable { .. } => Code::Unavailable,
            Self::Stale { .. } => Code::Aborted,
            Self::Store { .. } => Code::Internal,
        }
    }

    fn details(&self) -> ErrorDetails {
        match self {
            Self::Invalid(violations) => ErrorDetails::with_bad_request(violations.clone()),
            Self::NoService(name) | Self::NoBackend(name, _) => resource("Service", name, self),
            Self::NoSplit(name) => resource("Split", name, self),
            Self::NoShift(name) => resource("Shift", name, self),
            Self::Shifting { service, .. } | Self::Everything { service, .. } | Self::NotNow { service, .. } => {
                let violation = PreconditionViolation::new("SHIFT", service.to_string(), self.to_string());
                ErrorDetails::with_precondition_failure(vec![violation])
            }
            Self::ManualRoutes { routes, .. } => {
                let violation = |route: &String| PreconditionViolation::new("HTTPROUTE", route, self.to_string());
                ErrorDetails::with_precondition_failure(routes.iter().map(violation).collect::<Vec<_>>())
            }
            Self::Stale { expected, current, .. } => {
                let metadata = [("expected_version", expected), ("current_version", current)];
                let metadata: HashMap<_, _> = metadata.map(|(key, value)| (key.to_owned(), value.to_string())).into();
                ErrorDetails::with_error_info("STALE_VERSION", DOMAIN, metadata)
            }
            Self::Foreign { service, .. } => {
                let violation = PreconditionViolation::new("HTTPROUTE", service.to_string(), self.to_string());
                ErrorDetails::with_precondition_failure(vec![violation])
            }
            Self::Refused { .. } | Self::Unavailable { .. } | Self::Store { .. } => ErrorDetails::new(),
        }
    }
}

fn resource(kind: &str, name: &ObjectName, error: &TrafficError) -> ErrorDetails {
    ErrorDetails::with_resource_info(kind, name.to_string(), "", error.to_string())
}

fn describe(violations: &[FieldViolation]) -> String {
    let texts: Vec<_> = violations.iter().map(|v| format!("{}: {}", v.field, v.description)).collect();
    texts.join("; ")
}

impl From<TrafficError> for Status {
    fn from(error: TrafficError) -> Self {
        if let TrafficError::Store { service, source } | TrafficError::Unavailable { service, source } = &error {
            tracing::error!(%service, error = source as &(dyn std::error::Error + 'static), "a split could not be stored");
        }
        Self::with_error_details(error.code(), error.to_string(), error.details())
    }
}
