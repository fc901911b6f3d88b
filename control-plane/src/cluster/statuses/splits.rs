//! What is wrong with a split together with what else there is.

use crate::mesh::{Conflict, FieldStep, Manifests, ObjectName, Reason, RouteKind, SplitBackend, Subject};

/// As [`conflicts`](crate::mesh::conflicts) does for routes.
pub(super) fn conflicts(
    manifests: &Manifests,
    service: &ObjectName,
    backends: &[(SplitBackend, u16)],
) -> Vec<Conflict> {
    let name = ObjectName::new(service.namespace.clone(), format!("weft-{}", service.name));
    let subject = Subject::Route((RouteKind::Http, name));
    let mut found = Vec::new();
    let mut add = |field: Vec<FieldStep>, reason, message| {
        found.push(Conflict { subject: subject.clone(), field, reason, message });
    };
    let spec = FieldStep::Key("spec");
    if !manifests.services.contains_key(service) {
        let field = vec![spec, FieldStep::Key("parentRefs"), FieldStep::Index(0)];
        let message = format!("there is no Service {service}; the split has no effect");
        add(field, Reason::NoMatchingParent, message);
    }
    for (place, (to, port)) in backends.iter().enumerate() {
        let backend = ObjectName::new(service.namespace.clone(), to.service.clone());
        let message = match manifests.services.get(&backend) {
            None => format!("there is no Service {backend}; its share is answered 500"),
            Some(known) if known.port(*port).is_none() => {
                format!("Service {backend} has no port {port}; its share is answered 500")
            }
            Some(_) => continue,
        };
        let rule = [spec, FieldStep::Key("rules"), FieldStep::Index(0)];
        let field = rule.into_iter().chain([FieldStep::Key("backendRefs"), FieldStep::Index(place)]).collect();
        add(field, Reason::BackendNotFound, message);
    }
    found
}
