//! Envoy's configuration without the TLS whose files it could not use on this machine. What is wrong with those is told of the
//! fields that name them; of all the rest Envoy can still be asked.

use std::collections::HashMap;

use serde_json::{Value as Json, json};

use super::clusters::SYSTEM_CA;
use super::tls::{ClientTls, Identity};
use super::{Gateway, secrets};

/// What a gateway names, each once, however many agents share it: whether Envoy could not use it.
#[derive(Debug, Default)]
struct Absent<'g> {
    identities: HashMap<&'g Identity, bool>,
    authorities: HashMap<&'g str, bool>,
}

/// Takes it out.
pub(crate) fn without_absent(envoy: &mut Json, gateway: &Gateway) {
    let absent = Absent::of(gateway);
    let mut all = absent
        .identities
        .values()
        .chain(absent.authorities.values());
    if all.any(|is_absent| *is_absent) {
        absent.take_out(envoy);
    }
}

// === impl Absent ===

impl<'g> Absent<'g> {
    fn of(gateway: &'g Gateway) -> Self {
        let mut absent = Self::default();
        let listeners = gateway.listeners.iter();
        for tls in listeners.filter_map(|listener| listener.tls.as_ref()) {
            absent.identity(&tls.identity);
            absent.ca(tls.client_ca.as_deref());
        }
        let upstreams = gateway.upstreams();
        for ClientTls { ca, identity, .. } in upstreams.filter_map(|(.., it)| it.tls.as_ref()) {
            absent.ca(Some(ca.as_deref().unwrap_or(SYSTEM_CA)));
            if let Some(identity) = identity {
                absent.identity(identity);
            }
        }
        absent
    }

    fn identity(&mut self, identity: &'g Identity) {
        let known = self.identities.entry(identity);
        known.or_insert_with(|| secrets::is_unusable(identity));
    }

    fn ca(&mut self, file: Option<&'g str>) {
        if let Some(file) = file {
            let known = self.authorities.entry(file);
            known.or_insert_with(|| secrets::is_unusable_ca(file));
        }
    }

    fn take_out(&self, tree: &mut Json) {
        match tree {
            Json::Object(fields) => {
                if let Some(socket) = fields.get_mut("transport_socket")
                    && let Some(context) = socket.get_mut("typed_config")
                    && self.take_from(context)
                {
                    fields.remove("transport_socket");
                }
                fields.values_mut().for_each(|value| self.take_out(value));
            }
            Json::Array(items) => items.iter_mut().for_each(|item| self.take_out(item)),
            _ => {}
        }
    }

    /// Whether nothing is left of a context that Envoy would take.
    fn take_from(&self, context: &mut Json) -> bool {
        let serves = context
            .get("@type")
            .and_then(Json::as_str)
            .is_some_and(|kind| kind.ends_with("DownstreamTlsContext"));
        let Some(common) = context.get_mut("common_tls_context") else {
            return false;
        };
        let file = |tree: &Json, path: &str| {
            let file = tree.pointer(path).and_then(Json::as_str);
            file.map(str::to_owned)
        };
        let ca = file(common, "/validation_context/trusted_ca/filename");
        let no_ca = ca.is_some_and(|ca| self.authorities.get(ca.as_str()) == Some(&true));
        let chain = file(common, "/tls_certificates/0/certificate_chain/filename");
        let key = file(common, "/tls_certificates/0/private_key/filename");
        let identity = chain
            .zip(key)
            .map(|(certificate, key)| Identity { certificate, key });
        let no_identity = identity.is_some_and(|it| self.identities.get(&it) == Some(&true));
        if let Some(fields) = common.as_object_mut() {
            if no_ca {
                fields.remove("validation_context");
            }
            if no_identity {
                fields.remove("tls_certificates");
            }
        }
        if serves && no_ca {
            context["require_client_certificate"] = json!(false);
        }
        serves && no_identity
    }
}
