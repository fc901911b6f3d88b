//! The manifests by address and by Service.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use super::{EndpointSlice, Manifests, ObjectName, Pod, ReferenceGrant, Route, Service, TokenDigest, TrafficPolicy};

type ByAddress<T> = HashMap<IpAddr, T, foldhash::fast::RandomState>;

#[derive(Debug, Default)]
pub(super) struct Index {
    pub(super) services_by_address: ByAddress<Arc<Service>>,
    pub(super) pods_by_address: ByAddress<Arc<Pod>>,
    /// The slices that have an endpoint at the address, whatever its state.
    pub(super) slices_by_address: ByAddress<Vec<Arc<EndpointSlice>>>,
    pub(super) slices_by_service: BTreeMap<ObjectName, Vec<Arc<EndpointSlice>>>,
    /// Routes of all kinds, ordered by kind and name.
    pub(super) routes_by_service: BTreeMap<ObjectName, Vec<Arc<Route>>>,
    /// The oldest first.
    pub(super) policies_by_service: BTreeMap<ObjectName, Vec<Arc<TrafficPolicy>>>,
    pub(super) grants_by_namespace: BTreeMap<Arc<str>, Vec<Arc<ReferenceGrant>>>,
    /// `None`: several ServiceAccounts have the token, so nobody does.
    accounts_by_token: BTreeMap<TokenDigest, Option<ObjectName>>,
}

impl Index {
    /// The maps of `manifests` are ordered by name, so that who comes first is the same each time.
    pub(super) fn build(manifests: &Manifests) -> Self {
        let mut index = Self::default();
        manifests.services.values().for_each(|service| index.add_service(service));
        manifests.pods.values().for_each(|pod| index.add_pod(pod));
        manifests.endpoint_slices.values().for_each(|slice| index.add_slice(slice));
        manifests.routes.values().for_each(|route| index.add_route(route));
        manifests.traffic_policies.values().for_each(|policy| index.add_policy(policy));
        for policies in index.policies_by_service.values_mut() {
            policies.sort_by_key(|policy| policy.created);
        }
        for grant in manifests.reference_grants.values() {
            index.grants_by_namespace.entry(grant.name.namespace.clone()).or_default().push(grant.clone());
        }
        for token in manifests.join_tokens.values() {
            let account = Some(token.service_account.clone());
            index
                .accounts_by_token
                .entry(token.digest)
                .and_modify(|known| {
                    if *known != account {
                        *known = None
                    }
                })
                .or_insert(account);
        }
        index
    }

    pub(super) fn account_of_token(&self, digest: &TokenDigest) -> Option<&ObjectName> {
        self.accounts_by_token.get(digest)?.as_ref()
    }

    /// Of two Services that claim one cluster IP the first by name has it.
    fn add_service(&mut self, service: &Arc<Service>) {
        for &address in &service.addresses {
            self.services_by_address.entry(address).or_insert_with(|| service.clone());
        }
    }

    /// Of two pods that claim one address the younger has it: an address is given anew when a pod has ended.
    fn add_pod(&mut self, pod: &Arc<Pod>) {
        for &address in &pod.addresses {
            self.pods_by_address
                .entry(address)
                .and_modify(|known| {
                    if pod.created > known.created {
                        *known = pod.clone();
                    }
                })
                .or_insert_with(|| pod.clone());
        }
    }

    fn add_slice(&mut self, slice: &Arc<EndpointSlice>) {
        self.slices_by_service.entry(slice.service.clone()).or_default().push(slice.clone());
        for endpoint in &slice.endpoints {
            let slices = self.slices_by_address.entry(endpoint.address).or_default();
            if !slices.last().is_some_and(|last| Arc::ptr_eq(last, slice)) {
                slices.push(slice.clone());
            }
        }
    }

    fn add_policy(&mut self, policy: &Arc<TrafficPolicy>) {
        for target in &policy.targets {
            let policies = self.policies_by_service.entry(target.service.clone()).or_default();
            if !policies.last().is_some_and(|last| Arc::ptr_eq(last, policy)) {
                policies.push(policy.clone());
            }
        }
    }

    fn add_route(&mut self, route: &Arc<Route>) {
        for parent in &route.parents {
            let routes = self.routes_by_service.entry(parent.service.clone()).or_default();
            if !routes.last().is_some_and(|last| Arc::ptr_eq(last, route)) {
                routes.push(route.clone());
            }
        }
    }
}
