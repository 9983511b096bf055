//! A gateway under Istio: what istiod and Kubernetes make of the manifests that the tool writes, in the real Envoy.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::caller::Caller;
use crate::gateway::{Around, Gateway, free_address};
use crate::manifests::{Manifests, list, text};
use crate::patch::{EnvoyFilter, Generated, apply};
use crate::{generated, needed, resources};

/// What the manifests put into the pods lies below it.
const OWN: &str = "/etc/waykeeper";

/// Lets the tool write the manifests, and reads them.
pub(crate) fn write(directory: &Path, text: &str, arguments: &[&str]) -> Manifests {
    write_in(directory, text, arguments, &[])
}

/// The same in an environment of its own.
pub(crate) fn write_in(
    directory: &Path,
    text: &str,
    arguments: &[&str],
    environment: &[(&str, &str)],
) -> Manifests {
    let (file, out) = (directory.join("gateway.yaml"), directory.join("out"));
    std::fs::write(&file, text).expect("write");
    let written = Command::new(env!("CARGO_BIN_EXE_waykeeper"))
        .arg("istio")
        .arg(&file)
        .arg("--out")
        .arg(&out)
        .args(arguments)
        .envs(environment.iter().copied())
        .output()
        .expect("the tool");
    let errors = String::from_utf8_lossy(&written.stderr);
    assert!(written.status.success(), "{errors}{text}");
    Manifests::of(out.to_str().expect("a path"))
}

/// What istiod would send to the gateway's pods.
fn sent(manifests: &Manifests) -> Generated {
    let mut sent = generated::gateway(manifests);
    let filters = manifests.of_kind("EnvoyFilter").into_iter();
    let filters: Result<Vec<_>, _> = filters.map(EnvoyFilter::from_manifest).collect();
    let unused = apply(&filters.expect("patches"), &mut sent).expect("patches for this gateway");
    assert_eq!(unused, [""; 0], "each patch finds what it is for");
    sent
}

/// The same as static resources, with all agents on this machine, at the ports that they are said to have, or elsewhere.
fn bootstrap(
    sent: &Generated,
    listen: SocketAddr,
    admin: SocketAddr,
    elsewhere: &[(&str, SocketAddr)],
) -> Value {
    let place = |address: &str, port: u16| json!({"socket_address": {"address": address, "port_value": port}});
    let here = |at: SocketAddr| place(&at.ip().to_string(), at.port());
    let at = |name: &str, port: u16| {
        let wanted = (name, port.to_string());
        let found = elsewhere.iter().find(|(name, _)| {
            let (name, port) = name.split_once(':').unwrap_or((name, "443"));
            (name, port) == (wanted.0, &wanted.1)
        });
        here(found.map_or(SocketAddr::from(([127, 0, 0, 1], port)), |(_, at)| *at))
    };
    let mut listener = resources::listener(sent, here(listen));
    let manager = &mut listener["filter_chains"][0]["filters"][0]["typed_config"];
    let filters = manager["http_filters"].as_array_mut().expect("filters");
    let ours = filters
        .iter_mut()
        .find(|filter| filter["name"] == resources::FILTER);
    let mut configuration = sent.extensions[0]["typed_config"].clone();
    let module = needed("target/waykeeper.wasm", "make build");
    configuration["config"]["vm_config"]["code"]["local"]["filename"] = json!(module);
    *ours.expect("the filter") = json!({"name": resources::FILTER, "typed_config": configuration});
    let clusters = sent.clusters.iter().map(|generated| {
        let mut cluster = resources::cluster(generated);
        let name = cluster["name"].as_str().expect("a name").to_owned();
        if let Some(endpoints) = cluster.pointer_mut("/load_assignment/endpoints/0/lb_endpoints") {
            for endpoint in endpoints.as_array_mut().expect("endpoints") {
                let address = &mut endpoint["endpoint"]["address"];
                let socket = &address["socket_address"];
                let port = socket["port_value"]
                    .as_u64()
                    .and_then(|port| port.try_into().ok());
                *address = at(text(&socket["address"]), port.expect("a port"));
            }
        } else if let Some(port) = name.strip_prefix("outbound|") {
            let mut parts = port.split('|');
            let port = parts.next().and_then(|port| port.parse().ok());
            let service = parts.nth(1).and_then(|host| host.split('.').next());
            let address = at(service.expect("a host"), port.expect("a port"));
            cluster["load_assignment"] = json!({
                "cluster_name": name,
                "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}],
            });
        }
        cluster
    });
    json!({
        // Envoy asks for a name before it watches a file.
        "node": {"id": "gateway", "cluster": "gateway"},
        "admin": {"address": here(admin)},
        "static_resources": {"listeners": [listener], "clusters": clusters.collect::<Vec<_>>()},
    })
}

/// Envoy on what Istio makes of the manifests.
pub(crate) async fn served(directory: &Path, manifests: &Manifests) -> (Gateway, Caller) {
    let pod = Pod::new(directory, manifests, &[]);
    serve(directory, manifests, &pod, &[], None).await
}

/// The same in a pod with more in it, with agents elsewhere, and in another Envoy.
pub(crate) async fn serve(
    directory: &Path,
    manifests: &Manifests,
    pod: &Pod,
    elsewhere: &[(&str, SocketAddr)],
    version: Option<&'static str>,
) -> (Gateway, Caller) {
    let [listen, admin] = [(); 2].map(|()| free_address());
    let configuration = bootstrap(&sent(manifests), listen, admin, elsewhere);
    let file = directory.join("istio.json");
    std::fs::write(&file, pod.seen(&configuration.to_string())).expect("write");
    let environment: Vec<(&str, &str)> = { pod.environment.iter() }
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    let around = Around {
        environment: &environment,
        version,
        ..Around::default()
    };
    let gateway = Gateway::run(directory, &file, &around, admin, admin).await;
    (gateway, Caller::of(listen))
}

/// What Kubernetes puts into a pod of the gateway: ConfigMaps, and one Secret of the operator's.
pub(crate) struct Pod {
    root: PathBuf,
    /// Variables that the Secret has entries for.
    pub(crate) environment: BTreeMap<String, String>,
    /// The directory of the Secret, and the entries that are files there.
    secret: Option<(PathBuf, Vec<String>)>,
}

// === impl Pod ===

impl Pod {
    /// By the manifests, with these entries of the Secret `providers`.
    pub(crate) fn new(directory: &Path, manifests: &Manifests, entries: &[(&str, &str)]) -> Self {
        let template = template(manifests);
        let containers = list(&template["spec"]["containers"]);
        let proxy = containers.iter().find(|it| it["name"] == "istio-proxy");
        let proxy = proxy.expect("the proxy");
        let root = directory.join("pod");
        let mut pod = Self {
            root,
            environment: BTreeMap::new(),
            secret: None,
        };
        for variable in list(&proxy["env"]) {
            let entry = &variable["valueFrom"]["secretKeyRef"];
            if entry.is_object() {
                assert_eq!(
                    (&entry["name"], &entry["optional"]),
                    (&json!("providers"), &json!(true))
                );
                let found = entries.iter().find(|(name, _)| entry["key"] == *name);
                let value = found.map(|(_, value)| (*value).to_owned());
                let named = value.map(|value| (text(&variable["name"]).to_owned(), value));
                pod.environment.extend(named);
            }
        }
        for mount in list(&proxy["volumeMounts"]) {
            let place = text(&mount["mountPath"]);
            if !place.starts_with(OWN) {
                continue;
            }
            let volumes = list(&template["spec"]["volumes"]);
            let volume = volumes.iter().find(|it| it["name"] == mount["name"]);
            let volume = volume.expect("the volume");
            let place = pod.at(place);
            if let Some(map) = volume["configMap"]["name"].as_str() {
                let data = manifests.get("ConfigMap", map)["data"].as_object();
                let files: Vec<_> = { data.expect("data").iter() }
                    .map(|(name, value)| (name.clone(), pod.seen(text(value))))
                    .collect();
                put(&place, &files);
            } else {
                let secret = &volume["secret"];
                assert_eq!(
                    (&secret["secretName"], &secret["optional"]),
                    (&json!("providers"), &json!(true))
                );
                let items = list(&secret["items"]).iter().map(|item| {
                    assert_eq!(item["key"], item["path"]);
                    text(&item["key"]).to_owned()
                });
                pod.secret = Some((place, items.collect()));
                pod.change(entries);
            }
        }
        pod
    }

    /// Other entries of the Secret, as Kubernetes puts them there.
    pub(crate) fn change(&self, entries: &[(&str, &str)]) {
        let (place, items) = self.secret.as_ref().expect("a Secret with files");
        let files: Vec<_> = { items.iter() }
            .filter_map(|item| {
                let (_, value) = entries.iter().find(|(name, _)| name == item)?;
                Some((item.clone(), (*value).to_owned()))
            })
            .collect();
        put(place, &files);
    }

    fn at(&self, place: &str) -> PathBuf {
        self.root.join(place.trim_start_matches('/'))
    }

    /// A text that names files of the pod, which lie elsewhere here.
    fn seen(&self, text: &str) -> String {
        let own = self.at(OWN).display().to_string();
        text.replace(&format!("\"{OWN}/"), &format!("\"{own}/"))
    }
}

/// The template of the gateway's pods, as far as the manifests say.
fn template(manifests: &Manifests) -> Value {
    match manifests.of_kind("Deployment").as_slice() {
        [deployment] => deployment["spec"]["template"].clone(),
        _ => {
            let parameters = manifests.get("ConfigMap", "waykeeper-parameters");
            let deployment = text(&parameters["data"]["deployment"]);
            let deployment: Value = serde_saphyr::from_str(deployment).expect("YAML");
            deployment["spec"]["template"].clone()
        }
    }
}

/// Puts files into a volume as the kubelet does: behind one link that is replaced for all of them at once.
fn put(volume: &Path, files: &[(String, String)]) {
    let current = volume.join("..data");
    let before = std::fs::read_link(&current).ok();
    let number = before.as_ref().map_or(0, |before| {
        let name = before.to_string_lossy();
        name.trim_start_matches('.')
            .parse::<u32>()
            .expect("a number")
            + 1
    });
    let name = format!("..{number}");
    std::fs::create_dir_all(volume.join(&name)).expect("a directory");
    for (file, content) in files {
        std::fs::write(volume.join(&name).join(file), content).expect("write");
        let link = volume.join(file);
        if std::fs::symlink_metadata(&link).is_err() {
            symlink(Path::new("..data").join(file), link).expect("a link");
        }
    }
    let beside = volume.join("..data_tmp");
    symlink(&name, &beside).expect("a link");
    std::fs::rename(beside, current).expect("rename");
    if let Some(before) = before {
        std::fs::remove_dir_all(volume.join(before)).expect("remove");
    }
}
