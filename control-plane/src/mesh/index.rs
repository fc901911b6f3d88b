//! The manifests by address and by Service.

use std::cmp::{Ordering, Reverse};
use std::net::IpAddr;
use std::sync::Arc;

use super::lists::{Lists, Ranked};
use super::{
    EndpointSlice, JoinToken, Manifests, ObjectName, Pod, ReferenceGrant, Route, Service, TokenDigest, TrafficPolicy,
};

/// Cheap to clone, and brought up to date at the cost of what changed.
#[derive(Clone, Debug, Default)]
pub(super) struct Index {
    /// Of several Services that claim one cluster IP the first by name has it.
    pub(super) services_by_address: Lists<IpAddr, Service>,
    /// Of several pods that claim one address the youngest has it: an address is given anew when a pod has ended.
    pub(super) pods_by_address: Lists<IpAddr, Pod>,
    /// The slices that have an endpoint at the address, whatever its state.
    pub(super) slices_by_address: Lists<IpAddr, EndpointSlice>,
    pub(super) slices_by_service: Lists<ObjectName, EndpointSlice>,
    /// Routes of all kinds, ordered by kind and name.
    pub(super) routes_by_service: Lists<ObjectName, Route>,
    /// The oldest first.
    pub(super) policies_by_service: Lists<ObjectName, TrafficPolicy>,
    pub(super) grants_by_namespace: Lists<Arc<str>, ReferenceGrant>,
    tokens: Lists<TokenDigest, JoinToken>,
}

impl Index {
    /// The routes, policies and grants alone.
    pub(super) fn of_rules(manifests: &Manifests) -> Self {
        let mut index = Self::default();
        index.follow_rules(&Manifests::default(), manifests);
        index
    }

    /// Follows the manifests, of which it was of the older state.
    pub(super) fn follow(&mut self, old: &Manifests, new: &Manifests) {
        self.services_by_address.follow(&old.services, &new.services, |service| service.addresses.clone());
        self.pods_by_address.follow(&old.pods, &new.pods, |pod| pod.addresses.clone());
        let (old_slices, new_slices) = (&old.endpoint_slices, &new.endpoint_slices);
        self.slices_by_address
            .follow(old_slices, new_slices, |slice| slice.endpoints.iter().map(|endpoint| endpoint.address).collect());
        self.slices_by_service.follow(old_slices, new_slices, |slice| vec![slice.service.clone()]);
        self.tokens.follow(&old.join_tokens, &new.join_tokens, |token| vec![token.digest]);
        self.follow_rules(old, new);
    }

    fn follow_rules(&mut self, old: &Manifests, new: &Manifests) {
        self.routes_by_service.follow(&old.routes, &new.routes, |route| {
            route.parents.iter().map(|parent| parent.service.clone()).collect()
        });
        self.policies_by_service.follow(&old.traffic_policies, &new.traffic_policies, |policy| {
            policy.targets.iter().map(|target| target.service.clone()).collect()
        });
        self.grants_by_namespace
            .follow(&old.reference_grants, &new.reference_grants, |grant| vec![Arc::clone(&grant.name.namespace)]);
    }

    /// `None` also where several ServiceAccounts have the token: then nobody has.
    pub(super) fn account_of_token(&self, digest: &TokenDigest) -> Option<&ObjectName> {
        let tokens = self.tokens.of(digest);
        let account = &tokens.first()?.service_account;
        tokens.iter().all(|token| token.service_account == *account).then_some(account)
    }
}

impl Ranked for Service {
    fn rank(&self, other: &Self) -> Ordering {
        self.name.cmp(&other.name)
    }
}

impl Ranked for Pod {
    fn rank(&self, other: &Self) -> Ordering {
        (Reverse(self.created), &self.name).cmp(&(Reverse(other.created), &other.name))
    }
}

impl Ranked for EndpointSlice {
    fn rank(&self, other: &Self) -> Ordering {
        self.name.cmp(&other.name)
    }
}

impl Ranked for Route {
    fn rank(&self, other: &Self) -> Ordering {
        (self.kind, &self.name).cmp(&(other.kind, &other.name))
    }
}

impl Ranked for TrafficPolicy {
    fn rank(&self, other: &Self) -> Ordering {
        (self.created, &self.name).cmp(&(other.created, &other.name))
    }
}

impl Ranked for ReferenceGrant {
    fn rank(&self, other: &Self) -> Ordering {
        self.name.cmp(&other.name)
    }
}

impl Ranked for JoinToken {
    fn rank(&self, other: &Self) -> Ordering {
        self.name.cmp(&other.name)
    }
}
