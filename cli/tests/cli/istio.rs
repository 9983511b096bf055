//! `waykeeper istio`: what is written, and what Istio's form cannot carry.

use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::place::Place;
use crate::{repository, waykeeper};

const SMALL: &str = "\
listen:
  - {address: 0.0.0.0:8080}
agents:
  chat: {url: http://chat:8000}
routes:
  - {prefix: /chat, agents: [chat], auth_required: false}
";

impl Place {
    fn documents(&self, name: &str) -> Vec<Value> {
        serde_saphyr::from_multiple(&self.written(name)).unwrap()
    }

    /// The only object of a kind and a name in a file.
    fn object(&self, file: &str, kind: &str, name: &str) -> Value {
        let mut found = self.documents(file);
        found.retain(|it| it["kind"] == kind && it["metadata"]["name"] == name);
        assert_eq!(found.len(), 1, "{kind} {name} in {file}");
        found.remove(0)
    }

    /// The filter's document.
    fn document(&self) -> Value {
        let filter = self.documents("waykeeper.yaml").remove(0);
        filter["spec"]["configPatches"][0]["patch"]["value"]["typed_config"]["config"]["configuration"]
            ["value"]
            .clone()
    }

    /// What is patched of a kind.
    fn patches(&self, apply_to: &str) -> Vec<Value> {
        let filter = self.documents("envoy-filter.yaml").remove(0);
        let patches = filter["spec"]["configPatches"].as_array().unwrap().clone();
        let of_kind = patches
            .into_iter()
            .filter(|patch| patch["applyTo"] == apply_to);
        of_kind.collect()
    }
}

/// The faults of a gateway, each without the file's name.
fn faults(text: &str, arguments: &[&str]) -> Vec<String> {
    let place = Place::with(text);
    let run = place.write("istio", arguments);
    assert_eq!(run.status, 1, "{}", run.errors);
    assert!(!place.path("out").exists(), "nothing is written");
    let lines = run
        .errors
        .lines()
        .filter(|line| !line.contains(": warning: "));
    lines
        .map(|line| {
            line.strip_prefix("DIR/gateway.yaml:")
                .unwrap_or(line)
                .to_owned()
        })
        .collect()
}

#[test]
fn the_manifests_of_the_repository_are_what_is_written_out_of_the_demo_s_gateway() {
    let out = tempfile::tempdir().unwrap();
    let run = waykeeper(
        &[
            "istio",
            repository("envoy/gateway.yaml").to_str().unwrap(),
            "--agents-namespace",
            "agents",
            "--out",
            out.path().to_str().unwrap(),
        ],
        b"",
    );

    assert_eq!((run.status, run.errors.as_str()), (0, ""));
    let mut names = Vec::new();
    for folder in ["", "gateway"] {
        for entry in fs::read_dir(out.path().join(folder)).unwrap() {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_file() {
                names.push(PathBuf::from(folder).join(entry.file_name()));
            }
        }
    }
    assert_eq!(names.len(), 12, "{names:?}");
    for name in names {
        let written = fs::read_to_string(out.path().join(&name)).unwrap();
        let kept = fs::read_to_string(repository("istio").join(&name)).unwrap();
        assert!(
            written == kept,
            "istio/{} is not what `waykeeper istio envoy/gateway.yaml --agents-namespace agents --out istio` writes",
            name.display()
        );
    }
}

#[test]
fn a_host_is_a_service_by_its_spelling_or_outside() {
    let place = Place::with(&SMALL.replace(
        "  chat: {url: http://chat:8000}\n",
        "  chat: {url: http://chat:8000}\n  \
             other: {url: http://other.tools.svc}\n  \
             whole: {url: http://whole.tools.svc.cluster.local:81}\n  \
             hosted: {url: https://api.example.com}\n  \
             address: {url: http://10.0.0.5:8000}\n  \
             several: {endpoints: [{url: http://a.example.com:8000, weight: 2}, http://b:8001]}\n  \
             theirs: {cluster: \"outbound|90||x.y.svc.cluster.local\"}\n",
    ));

    let run = place.write("istio", &["--agents-namespace", "agents"]);

    assert_eq!(run.status, 0, "{}", run.errors);
    let agents = &place.document()["agents"];
    for (agent, cluster) in [
        ("chat", "outbound|8000||chat.agents.svc.cluster.local"),
        ("other", "outbound|80||other.tools.svc.cluster.local"),
        ("whole", "outbound|81||whole.tools.svc.cluster.local"),
        ("hosted", "outbound|443||api.example.com"),
        ("address", "outbound|8000||address.waykeeper.internal"),
        ("several", "outbound|8000||several.waykeeper.internal"),
        ("theirs", "outbound|90||x.y.svc.cluster.local"),
    ] {
        assert_eq!(agents[agent]["cluster"], cluster, "{agent}");
    }
    let entries = place.documents("gateway/destinations.yaml");
    let entries: Vec<_> = entries
        .iter()
        .filter(|it| it["kind"] == "ServiceEntry")
        .collect();
    let specs: Vec<_> = entries.iter().map(|entry| entry["spec"].clone()).collect();
    let port = |number: u16| json!([{"number": number, "name": "http", "protocol": "HTTP"}]);
    assert_eq!(
        specs,
        [
            json!({"hosts": ["api.example.com"], "exportTo": ["."], "location": "MESH_EXTERNAL", "resolution": "DNS",
                "ports": port(443)}),
            json!({"hosts": ["address.waykeeper.internal"], "exportTo": ["."], "location": "MESH_EXTERNAL",
                "resolution": "STATIC", "ports": port(8000),
                "endpoints": [{"address": "10.0.0.5", "ports": {"http": 8000}}]}),
            json!({"hosts": ["several.waykeeper.internal"], "exportTo": ["."], "location": "MESH_EXTERNAL",
            "resolution": "DNS", "ports": port(8000), "endpoints": [
                {"address": "a.example.com", "ports": {"http": 8000}, "weight": 2},
                {"address": "b.agents.svc.cluster.local", "ports": {"http": 8001}, "weight": 1},
            ]}),
        ]
    );
    let filter = place.documents("envoy-filter.yaml").remove(0);
    let referenced = &filter["metadata"]["annotations"]["envoyfilter.istio.io/referenced-services"];
    let mut referenced: Vec<_> = referenced.as_str().unwrap().split(',').collect();
    referenced.sort_unstable();
    assert_eq!(
        referenced,
        [
            "agents/chat.agents.svc.cluster.local",
            "tools/other.tools.svc.cluster.local",
            "tools/whole.tools.svc.cluster.local",
            "waykeeper/address.waykeeper.internal",
            "waykeeper/api.example.com",
            "waykeeper/several.waykeeper.internal",
            "y/x.y.svc.cluster.local",
        ]
    );
}

#[test]
fn an_agent_over_tls_is_known_by_its_name_and_sent_it() {
    let place = Place::with(&SMALL.replace(
        "{url: http://chat:8000}",
        "{url: https://api.example.com:8443, tls: {sni: other.example.com, ca: /etc/tls/ca.pem, certificate: /etc/tls/c.pem, \
         key: /etc/tls/k.pem}}",
    ));

    let run = place.write("istio", &["--files-secret", "agents-tls"]);

    assert_eq!((run.status, run.errors.as_str()), (0, ""));
    let rule = place.object(
        "gateway/destinations.yaml",
        "DestinationRule",
        "api.example.com",
    );
    assert_eq!(
        rule["spec"]["trafficPolicy"]["tls"],
        json!({"mode": "MUTUAL", "sni": "other.example.com", "subjectAltNames": ["other.example.com"],
            "caCertificates": "/etc/tls/ca.pem", "clientCertificate": "/etc/tls/c.pem", "privateKey": "/etc/tls/k.pem"})
    );
    let routes = place.patches("HTTP_ROUTE");
    let own: Vec<_> = routes
        .iter()
        .map(|patch| &patch["patch"]["value"])
        .filter(|route| route["route"]["host_rewrite_literal"] == "api.example.com:8443")
        .collect();
    assert_eq!(own.len(), 3);
    for route in own {
        let headers = route["match"]["headers"].as_array().unwrap();
        let cluster = headers.last().unwrap();
        assert_eq!(
            cluster["string_match"]["exact"],
            "outbound|8443||api.example.com"
        );
    }
    let deployment = place.object("gateway/deployment.yaml", "Deployment", "waykeeper-gateway");
    let pod = &deployment["spec"]["template"]["spec"];
    assert_eq!(
        pod["volumes"][1],
        json!({"name": "waykeeper-files", "secret": {"secretName": "agents-tls"}})
    );
    assert_eq!(
        pod["containers"][0]["volumeMounts"][1],
        json!({"name": "waykeeper-files", "mountPath": "/etc/tls", "readOnly": true})
    );
}

#[test]
fn listeners_are_servers_of_the_gateway_and_ports_of_its_service() {
    let place = Place::with(
        &SMALL
            .replace(
                "  - {address: 0.0.0.0:8080}\n",
                "  - {address: 0.0.0.0:8080, trusted_hops: 2, proxy_protocol: true}\n  \
                 - {address: 0.0.0.0:8443, trusted_hops: 2, proxy_protocol: true, tls: {certificate: /c, key: /k}}\n  \
                 - {address: 0.0.0.0:8444, trusted_hops: 2, proxy_protocol: true, tls: {certificate: /d, key: /l, client_ca: /m}}\n",
            )
            .replace("}\nroutes", "}\nproof: a-secret-of-sixteen\nroutes"),
    );

    let run = place.write(
        "istio",
        &[
            "--tls-secret",
            "one",
            "--tls-secret",
            "two",
            "--image",
            "r:5000/gw:3",
            "--namespace",
            "edge",
        ],
    );

    assert_eq!((run.status, run.errors.as_str()), (0, ""));
    let gateway = place.object("gateway/gateway.yaml", "Gateway", "waykeeper");
    assert_eq!(gateway["metadata"]["namespace"], "edge");
    assert_eq!(
        gateway["spec"]["servers"],
        json!([
            {"port": {"number": 80, "name": "http", "protocol": "HTTP"}, "hosts": ["*"]},
            {"port": {"number": 443, "name": "https", "protocol": "HTTPS"}, "hosts": ["*"],
                "tls": {"mode": "SIMPLE", "credentialName": "one", "minProtocolVersion": "TLSV1_2"}},
            {"port": {"number": 8444, "name": "https-8444", "protocol": "HTTPS"}, "hosts": ["*"],
                "tls": {"mode": "MUTUAL", "credentialName": "two", "minProtocolVersion": "TLSV1_2"}},
        ])
    );
    let service = place.object("gateway/service.yaml", "Service", "waykeeper-gateway");
    let ports = service["spec"]["ports"].as_array().unwrap();
    let ports: Vec<_> = ports
        .iter()
        .skip(1)
        .map(|it| (&it["port"], &it["targetPort"]))
        .collect();
    let expected =
        [(80, 8080), (443, 8443), (8444, 8444)].map(|(from, to)| (json!(from), json!(to)));
    assert_eq!(ports, expected.each_ref().map(|(from, to)| (from, to)));
    let deployment = place.object("gateway/deployment.yaml", "Deployment", "waykeeper-gateway");
    let annotations = &deployment["spec"]["template"]["metadata"]["annotations"];
    let config: Value =
        serde_saphyr::from_str(annotations["proxy.istio.io/config"].as_str().unwrap()).unwrap();
    assert_eq!(
        config["gatewayTopology"],
        json!({"numTrustedProxies": 2, "proxyProtocol": {}})
    );
    let kustomization = place.documents("gateway/kustomization.yaml").remove(0);
    assert_eq!(
        kustomization["images"],
        json!([{"name": "waykeeper-gateway", "newName": "r:5000/gw", "newTag": "3"}])
    );
    // Each route to an agent demands the proof that the filter sends, and no agent sees it.
    let routes = place.patches("HTTP_ROUTE");
    let values = routes.iter().map(|patch| &patch["patch"]["value"]);
    let to_agents: Vec<_> = values
        .filter(|it| it["route"]["cluster_header"].is_string())
        .collect();
    assert_eq!(to_agents.len(), 3);
    for route in to_agents {
        let headers = route["match"]["headers"].as_array().unwrap();
        let proof =
            json!({"name": "x-waykeeper-proof", "string_match": {"exact": "a-secret-of-sixteen"}});
        assert!(headers.contains(&proof), "{route}");
    }
    let host = &place.patches("VIRTUAL_HOST")[0]["patch"]["value"];
    let removed = host["request_headers_to_remove"].as_array().unwrap();
    assert!(removed.contains(&json!("x-waykeeper-proof")));
}

#[test]
fn what_istio_cannot_carry_is_told_with_its_place() {
    let agents = |agents: &str| SMALL.replace("  chat: {url: http://chat:8000}\n", agents);
    let listen = |listen: &str| SMALL.replace("  - {address: 0.0.0.0:8080}\n", listen);
    for (text, arguments, told) in [
        (
            listen("  - {address: 10.0.0.1:8080}\n"),
            &[][..],
            &[
                "2: listen[0].address: an Istio gateway listens on all addresses of its pods; write 0.0.0.0:8080",
            ][..],
        ),
        (
            listen("  - {address: 0.0.0.0:15021}\n"),
            &[],
            &["2: listen[0].address: port 15021 is one of Istio's own; take another"],
        ),
        (
            listen(
                "  - {address: 0.0.0.0:8080}\n  - {address: \"[::]:8080\", cors: {origins: [localhost]}}\n",
            ),
            &[],
            &[
                "3: listen[1].address: an Istio gateway takes all connections to port 8080, and an earlier listener has it",
                "3: listen[1].cors: an Istio gateway has one for all listeners; write the same for each, or two gateways",
            ],
        ),
        (
            listen("  - {address: 0.0.0.0:8443, tls: {certificate: /c, key: /k}}\n"),
            &[],
            &[
                "2: listen[0].tls: an Istio gateway reads certificates from Secrets; make one of these files, in the gateway's \
               namespace, and name it by --tls-secret",
            ],
        ),
        (
            SMALL.to_owned(),
            &["--tls-secret", "one"],
            &["1: listen: has 0 certificates, and --tls-secret names 1"],
        ),
        (
            agents("  chat: {url: http://localhost:8000}\n  b: {url: http://127.0.0.1:1}\n"),
            &[],
            &[
                "4: agents.chat.url: would be the gateway's own pod; write the agent's Service, as in http://chat.agents.svc:8000, or its \
                 address as pods reach it",
                "5: agents.b.url: would be the gateway's own pod; write the agent's Service, as in http://chat.agents.svc:8000, or its \
                 address as pods reach it",
            ],
        ),
        (
            agents("  chat: {endpoints: [http://127.0.0.1:1, http://a:1, http://localhost:1]}\n"),
            &[],
            &[
                "4: agents.chat.endpoints[0]: would be the gateway's own pod; write the agent's Service, as in \
                 http://chat.agents.svc:8000, or its address as pods reach it",
                "4: agents.chat.endpoints[2]: would be the gateway's own pod; write the agent's Service, as in \
                 http://chat.agents.svc:8000, or its address as pods reach it",
            ],
        ),
        (
            agents("  chat: {endpoints: [http://a:1, http://b_c:1]}\n"),
            &[],
            &["4: agents.chat.endpoints[1]: \"b_c\" can be no Service's name, nor its namespace's"],
        ),
        (
            agents("  chat: {url: http://a.b.c.svc}\n"),
            &[],
            &[
                "4: agents.chat.url: \"a.b.c.svc\" is no Service's name, which is NAME.NAMESPACE.svc",
            ],
        ),
        (
            agents("  chat: {endpoints: [https://a.example.com, https://b.example.com]}\n"),
            &[],
            &[
                "4: agents.chat.endpoints: a cluster of Istio's has one name for TLS and as the host, and these have several; \
               write an agent for each",
            ],
        ),
        (
            agents(
                "  chat: {url: https://a.example.com, tls: {ca: /one/ca.pem, certificate: /two/c.pem, key: /two/k.pem}}\n",
            ),
            &["--files-secret", "files"],
            &[
                "4: agents.chat.tls.certificate: one Secret is mounted in one directory, and another file lies in /one; put \
                 them together",
                "4: agents.chat.tls.key: one Secret is mounted in one directory, and another file lies in /one; put them together",
            ],
        ),
        (
            agents("  chat: {url: https://a.example.com, tls: {ca: /one/ca.pem}}\n"),
            &[],
            &[
                "4: agents.chat.tls.ca: the gateway's pods do not have this file; put it into a Secret under its own name, and \
               say --files-secret",
            ],
        ),
        (
            agents("  chat: {url: http://a:1}\n  b: {url: http://a:1, balance: random}\n"),
            &[],
            &[
                "5: agents.b: is spoken to in another way than an earlier one that is at a:1 too, and they are one cluster of \
               Istio's; write the same for both, or a Service for each",
            ],
        ),
        (
            agents(&format!(
                "  chat: {{url: http://a:1, sticky: {{header: mcp-session-id}}}}\n  \
                 b: {{cluster: b, sticky: {{client: true}}}}\nsessions: {{keys: ['{}']}}\n",
                "0".repeat(64)
            )),
            &[],
            &[
                "6: sessions.keys[0]: stands here, and no manifest may hold it; say where it is, as {file: PATH} or {env: NAME}",
            ],
        ),
        (
            agents(
                "  chat: {provider: openai, credential: {file: /a/key}}\n  b: {url: http://b, credential: {env: KEY_OF_B}}\n",
            ),
            &[],
            &[
                "4: agents.chat.credential.file: the gateway's pods do not have this file; put it into a Secret as key, and say \
                 --credentials-secret",
                "5: agents.b.credential.env: the gateway's pods do not have this variable; put it into a Secret as KEY_OF_B, and \
                 say --credentials-secret",
            ],
        ),
        (
            agents(
                "  chat: {url: http://a, credential: {file: /a/key}}\n  b: {url: http://b, credential: {file: /b/key}}\n  \
                 c: {url: http://c, credential: {file: /a/k y}}\n",
            ),
            &["--credentials-secret", "of-agents"],
            &[
                "5: agents.b.credential.file: is one entry of the Secret with /a/key; give one of them another name",
                "6: agents.c.credential.file: \"k y\" can be no entry of a Secret: letters, digits and ._-",
            ],
        ),
        (
            SMALL.replace("agents: [chat]", "agents: [chat], mirror: {agent: chat}"),
            &[],
            &["6: routes[0].mirror: is not carried to Istio yet; in Envoy's own configuration it is"],
        ),
        (
            agents(
                "  chat: {endpoints: [http://a:1, http://b:1], load: {from: metrics}}\n  b: {url: http://b, load: {from: metrics}, \
                 picker: {url: http://p:9002}}\n",
            ),
            &[],
            &[
                "4: agents.chat.load: asks each endpoint for its metrics, for which istiod makes no clusters; make an agent of each, or \
                 have them report in their answers (from: orca or queue_depth)",
                "5: agents.b.picker: is not carried to Istio: there an HTTPRoute to an InferencePool has one asked; in Envoy's own \
                 configuration it is",
            ],
        ),
        (
            agents("  chat: {provider: vllm, endpoints: [http://a:1, http://b:1]}\n"),
            &[],
            &[
                "4: agents.chat.endpoints: a cluster of Istio's has one name for TLS and as the host, and these have several; \
                 write an agent for each",
            ],
        ),
        (
            format!(
                "{SMALL}envoy:
  patches:
    - {{in: bootstrap, merge: {{node: {{id: mine}}}}}}
    - {{in: routes, name: http, merge: {{name_of_stat: a}}}}
    - {{in: clusters, add: {{name: mine}}}}
    - {{in: clusters, name: mine, merge: {{connect_timeout: 2s}}}}
    - {{in: clusters, name: chat, merge: {{circuit_breakers: {{thresholds: []}}}}}}
    - {{in: clusters, name: chat, merge: {{transport_socket: {{name: a}}}}}}
    - {{in: http_connection_manager, merge: {{access_log: []}}}}
    - {{in: http_connection_manager, merge: {{stream_idle_timeout: null}}}}
    - {{in: virtual_host, listener: gateway, merge: {{include_request_attempt_count: false}}}}
    - {{in: virtual_host, merge: {{typed_per_filter_config: {{envoy.filters.http.cors: {{a: 1}}}}}}}}
    - {{in: http_filters, name: envoy.filters.http.router, merge: {{disabled: true}}}}
"
            ),
            &[],
            &[
                "9: envoy.patches[0].in: Istio writes its own bootstrap; change the ConfigMap waykeeper-bootstrap by a \
                 kustomization of yours",
                "10: envoy.patches[1].in: istiod merges into its own routes before it inserts those of this gateway, and so \
                 never into these",
                "12: envoy.patches[3].name: istiod merges only into clusters that it makes; write it where the cluster is added",
                "13: envoy.patches[4].merge: circuit_breakers.thresholds is a list, and Istio appends to one that is there in \
                 place of replacing it",
                "14: envoy.patches[5].merge: holds transport_socket, which the rest of the manifests says",
                "15: envoy.patches[6].merge: access_log is a list, and Istio appends to one that is there in place of \
                 replacing it",
                "16: envoy.patches[7].merge: stream_idle_timeout is null, and Istio takes nothing away",
                "17: envoy.patches[8].listener: an Istio gateway has one virtual host for all listeners; leave it out",
                "18: envoy.patches[9].merge: typed_per_filter_config.envoy.filters.http.cors has no @type, and Istio puts it in \
                 the place of what is there",
                "19: envoy.patches[10].merge: holds more than typed_config, and Istio merges no more of a filter",
            ],
        ),
    ] {
        assert_eq!(faults(&text, arguments), told, "{text}");
    }
}

#[test]
fn a_validator_that_is_a_cluster_of_istio_s_is_named_to_istiod() {
    let asked = "clients:\n  default_plan: a\n  validator: {cluster: \"outbound|80||auth.infra.svc.cluster.local\", path: /v}\n\
                 plans: {a: {}}\nagents:";
    let place = Place::with(&SMALL.replacen("agents:", asked, 1));

    let run = place.write("istio", &[]);

    assert_eq!((run.status, run.errors.as_str()), (0, ""));
    let filter = place.documents("envoy-filter.yaml").remove(0);
    let referenced = &filter["metadata"]["annotations"]["envoyfilter.istio.io/referenced-services"];
    let referenced = referenced.as_str().unwrap();
    assert!(
        referenced.contains("infra/auth.infra.svc.cluster.local"),
        "{referenced}"
    );
    let validator = &place.document()["clients"]["validator"];
    assert_eq!(
        validator["cluster"],
        "outbound|80||auth.infra.svc.cluster.local"
    );
}

/// What is at one place outside may be spoken to in two ways: as two clusters.
#[test]
fn agents_at_one_place_are_one_cluster_unless_they_differ() {
    let place = Place::with(&SMALL.replace(
        "  chat: {url: http://chat:8000}\n",
        "  chat: {url: http://chat:8000}\n  same: {url: http://chat:8000}\n  \
         a: {url: https://api.example.com}\n  b: {url: https://api.example.com, http2: true}\n  \
         other: {url: http://chat:8001, balance: random}\n",
    ));

    assert_eq!(place.write("istio", &[]).status, 0);

    let agents = &place.document()["agents"];
    assert_eq!(agents["same"]["cluster"], agents["chat"]["cluster"]);
    assert_eq!(agents["a"]["cluster"], "outbound|443||api.example.com");
    assert_eq!(agents["b"]["cluster"], "outbound|443||b.waykeeper.internal");
    // One rule for each host: with a policy for each of its ports where they differ.
    let rule = place.object("gateway/destinations.yaml", "DestinationRule", "chat");
    let ports = rule["spec"]["trafficPolicy"]["portLevelSettings"]
        .as_array()
        .unwrap();
    assert!(
        ports
            .iter()
            .all(|port| port["connectionPool"]["http"]["maxRetries"] == 819)
    );
    let simple = |port: &Value| {
        (
            port["port"]["number"].clone(),
            port["loadBalancer"]["simple"].clone(),
        )
    };
    assert_eq!(
        ports.iter().map(simple).collect::<Vec<_>>(),
        [
            (json!(8000), json!("LEAST_REQUEST")),
            (json!(8001), json!("RANDOM"))
        ]
    );
}

#[test]
fn the_form_for_kubernetes_gateway_api_takes_the_place_of_the_other() {
    let place = Place::with(&SMALL.replace(
        "8080}",
        "8080}\n  - {address: 0.0.0.0:8443, tls: {certificate: /c, key: /k, client_ca: /m}}",
    ));
    let other = place.write("istio", &["--tls-secret", "one"]);
    assert_eq!((other.status, other.errors.as_str()), (0, ""));
    assert!(place.path("out/gateway/deployment.yaml").exists());

    let run = place.write(
        "istio",
        &[
            "--tls-secret",
            "one",
            "--gateway-api",
            "--image",
            "gw@sha256:0123",
        ],
    );

    assert_eq!((run.status, run.errors.as_str()), (0, ""));
    assert!(
        run.output
            .contains("DIR/out/virtual-service.yaml: removed\n"),
        "{}",
        run.output
    );
    assert!(!place.path("out/gateway/deployment.yaml").exists());
    let gateway = place.object("gateway/gateway.yaml", "Gateway", "waykeeper");
    assert_eq!(gateway["apiVersion"], "gateway.networking.k8s.io/v1");
    let listeners = gateway["spec"]["listeners"].as_array().unwrap();
    assert_eq!(listeners[0]["port"], 80);
    assert_eq!(
        listeners[1]["tls"],
        json!({"mode": "Terminate", "certificateRefs": [{"name": "one"}],
            "options": {"gateway.istio.io/tls-terminate-mode": "MUTUAL"}})
    );
    let parameters = gateway["spec"]["infrastructure"]["parametersRef"]["name"]
        .as_str()
        .unwrap()
        .to_owned();
    let parameters = place.object("gateway/parameters.yaml", "ConfigMap", &parameters);
    let deployment: Value =
        serde_saphyr::from_str(parameters["data"]["deployment"].as_str().unwrap()).unwrap();
    let pod = &deployment["spec"]["template"]["spec"];
    assert_eq!(pod["initContainers"][0]["image"], "gw@sha256:0123");
    let mounts = pod["containers"][0]["volumeMounts"].as_array().unwrap();
    assert!(
        mounts
            .iter()
            .any(|mount| mount["mountPath"] == "/var/lib/waykeeper")
    );
    for file in ["envoy-filter.yaml", "waykeeper.yaml"] {
        let filter = place.documents(file).remove(0);
        assert_eq!(
            filter["spec"]["targetRefs"],
            json!([{"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "waykeeper"}])
        );
        assert_eq!(filter["spec"].get("workloadSelector"), None);
    }
    let route = place.object("http-route.yaml", "HTTPRoute", "waykeeper");
    assert_eq!(route["spec"]["rules"][0].get("backendRefs"), None);
}

#[test]
fn a_file_of_another_hand_is_left_alone() {
    let place = Place::with(SMALL);
    assert_eq!(place.write("istio", &[]).status, 0);
    fs::write(place.path("out/gateway/service.yaml"), "mine\n").unwrap();
    fs::write(place.path("out/http-route.yaml"), "mine too\n").unwrap();

    let run = place.write("istio", &[]);

    assert_eq!(run.status, 1);
    assert_eq!(
        run.errors,
        "DIR/out/gateway/service.yaml: was not written by this command; --force overwrites it\n"
    );
    assert_eq!(place.written("gateway/service.yaml"), "mine\n");
    assert_eq!(place.write("istio", &["--force"]).status, 0);
    assert_eq!(place.written("http-route.yaml"), "mine too\n");
}

/// What is written is no fault, and easily not what was meant.
#[test]
fn hosts_images_and_counts_that_are_easily_mistaken_are_told_of() {
    let limits = "limits: [{name: all, each: address, requests: 5/minute}]\n";
    let text = SMALL.replace("http://chat:8000", "http://chat.agents:8000") + limits;
    let place = Place::with(&text);
    let arguments = ["--agents-namespace", "agents"];
    let run = place.write("istio", &arguments);
    assert_eq!(run.status, 0, "{}", run.errors);
    let doubt = "warning: chat.agents: is taken for a host outside the mesh; did you mean chat.agents.svc?\n";
    assert_eq!(run.errors, doubt);
    let image = "\nThe image waykeeper-gateway:latest is nowhere yet: build it, push it";
    let pods = "limits: each pod counts for itself, and there are 2 to 20 of them; with `scope: fleet` all have one count\n";
    assert!(
        run.output.contains(image) && run.output.contains(pods),
        "{}",
        run.output
    );

    let place = Place::with(SMALL);
    let run = place.write(
        "istio",
        &[&arguments[..], &["--image", "registry/mine:1"]].concat(),
    );
    assert_eq!((run.status, run.errors.as_str()), (0, ""));
    assert!(
        !run.output.contains("nowhere yet") && !run.output.contains("each pod"),
        "{}",
        run.output
    );
}

#[test]
fn a_fallback_is_told_of_and_not_what_it_sets_at_agents() {
    let text = "listen: [{address: '0.0.0.0:8080'}]
agents:
  one: {url: 'http://one.agents:8000', rest: {}}
  two: {url: 'http://two.agents:8000', rest: {REST}}
routes:
  - {prefix: /, agents: [one], fallback: [two], auth_required: false}
";
    let of_fallback =
        "6: routes[0].fallback: is not carried to Istio yet; in Envoy's own configuration it is";
    assert_eq!(faults(&text.replace("REST", ""), &[]), [of_fallback]);
    let both = faults(&text.replace("REST", "each_attempt: true"), &[]);
    assert!(
        both.len() == 2 && both[0].starts_with("4: agents.two.rest.each_attempt: "),
        "{both:?}"
    );
}
