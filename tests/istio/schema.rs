//! Checks manifests against the types of Kubernetes and of Istio's custom resources, generated from their published
//! schemas: unknown fields, missing ones, wrong types and values that an enumeration does not have are all errors.

use serde::de::DeserializeOwned;
use serde_json::Value;

use k8s_openapi::api::{apps, autoscaling, core, policy, rbac};
use kcr_extensions_istio_io::v1alpha1 as extensions;
use kcr_networking_istio_io::{v1, v1alpha3};
use kcr_security_istio_io::v1 as security;

/// Checks one manifest.
///
/// # Errors
/// What is wrong with it, and where.
pub(crate) fn check(manifest: &Value) -> Result<(), String> {
    let api_version = manifest["apiVersion"].as_str().unwrap_or_default();
    let kind = manifest["kind"].as_str().unwrap_or_default();
    let check = match (api_version, kind) {
        ("v1", "Namespace") => fits::<core::v1::Namespace>,
        ("v1", "ServiceAccount") => fits::<core::v1::ServiceAccount>,
        ("v1", "ConfigMap") => fits::<core::v1::ConfigMap>,
        ("v1", "Service") => fits::<core::v1::Service>,
        ("rbac.authorization.k8s.io/v1", "Role") => fits::<rbac::v1::Role>,
        ("rbac.authorization.k8s.io/v1", "RoleBinding") => fits::<rbac::v1::RoleBinding>,
        ("apps/v1", "Deployment") => fits::<apps::v1::Deployment>,
        ("autoscaling/v2", "HorizontalPodAutoscaler") => {
            fits::<autoscaling::v2::HorizontalPodAutoscaler>
        }
        ("policy/v1", "PodDisruptionBudget") => fits::<policy::v1::PodDisruptionBudget>,
        ("networking.istio.io/v1", "Gateway") => fits::<v1::gateways::Gateway>,
        ("networking.istio.io/v1", "VirtualService") => fits::<v1::virtualservices::VirtualService>,
        ("networking.istio.io/v1", "DestinationRule") => {
            fits::<v1::destinationrules::DestinationRule>
        }
        ("networking.istio.io/v1", "ServiceEntry") => fits::<v1::serviceentries::ServiceEntry>,
        ("networking.istio.io/v1", "Sidecar") => fits::<v1::sidecars::Sidecar>,
        ("security.istio.io/v1", "AuthorizationPolicy") => {
            fits::<security::authorizationpolicies::AuthorizationPolicy>
        }
        ("networking.istio.io/v1alpha3", "EnvoyFilter") => {
            fits::<v1alpha3::envoyfilters::EnvoyFilter>
        }
        ("extensions.istio.io/v1alpha1", "WasmPlugin") => {
            fits::<extensions::wasmplugins::WasmPlugin>
        }
        _ => return Err(format!("no schema for {api_version} {kind}")),
    };
    check(manifest)
}

fn fits<T: DeserializeOwned>(manifest: &Value) -> Result<(), String> {
    let mut body = manifest.clone();
    // These two chose the type; Istio's types do not have them.
    if let Some(fields) = body.as_object_mut() {
        fields.retain(|name, _| name != "kind" && name != "apiVersion");
    }
    // Kubernetes' own types insist on them.
    let whole = serde_json::from_value::<T>(body.clone()).map(|_| &body);
    let body = whole.or_else(|_| serde_json::from_value::<T>(manifest.clone()).map(|_| manifest));
    let body = body.map_err(|error| error.to_string())?;
    let mut unknown = Vec::new();
    serde_ignored::deserialize::<_, _, T>(body, |path| unknown.push(path.to_string()))
        .map_err(|error| error.to_string())?;
    if unknown.is_empty() {
        Ok(())
    } else {
        Err(format!("unknown: {}", unknown.join(", ")))
    }
}
