use std::path::Path;

use serde_json::{Value as Json, json};

use super::super::tests::around;
use super::super::{Admin, Checked, Parts, Places, read, render};
use crate::yaml;

const GATEWAY: &str = "
listen: [{address: '127.0.0.1:8080'}, {address: '127.0.0.1:8081'}]
operations: 127.0.0.1:9902
agents:
  chat: {url: 'http://chat'}
  hosted: {url: 'https://hosted'}
routes: [{prefix: /, agents: [chat, hosted], auth_required: false}]
envoy:
  patches:
";

fn checked(patches: &str) -> Result<Checked, Vec<String>> {
    let document = yaml::parse(&format!("{GATEWAY}{patches}"))
        .unwrap()
        .remove(0);
    let wrong = match read(&document) {
        Ok(checked) => return Ok(checked),
        Err(wrong) => wrong,
    };
    // The first one stands in the tenth line.
    let told = wrong.told.iter().map(|fault| {
        let line = document.line_at(&fault.positions);
        format!("{}: {fault}", line - 9)
    });
    Err(told.collect())
}

/// Envoy's file with these patches put in, which stand in as many lines.
fn patched(patches: &str) -> (String, Json) {
    let checked = checked(patches).unwrap();
    let text = render(&checked, around(Admin::Loopback)).unwrap().envoy;
    let tree = serde_saphyr::from_str(&text).unwrap();
    (text, tree)
}

fn listener<'t>(envoy: &'t Json, name: &str) -> &'t Json {
    let listeners = envoy["static_resources"]["listeners"].as_array().unwrap();
    listeners.iter().find(|it| it["name"] == name).unwrap()
}

fn manager<'t>(envoy: &'t Json, of: &str) -> &'t Json {
    &listener(envoy, of)["filter_chains"][0]["filters"][0]["typed_config"]
}

fn names(list: &Json) -> Vec<&str> {
    let items = list.as_array().unwrap().iter();
    items.map(|item| item["name"].as_str().unwrap()).collect()
}

#[test]
fn filters_are_added_beside_others_in_the_order_of_the_file() {
    let (_, envoy) = patched(
        "
    - {in: http_filters, before: waykeeper, add: {name: a}}
    - {in: http_filters, before: waykeeper, add: {name: b}}
    - {in: http_filters, after: a, listener: gateway-2, add: {name: c}}
    - {in: http_filters, after: waykeeper, add: {name: d}}
    - {in: http_filters, listener: operations, before: envoy.filters.http.router, add: {name: e}}
",
    );
    let [health, cors, router] =
        ["health_check", "cors", "router"].map(|name| format!("envoy.filters.http.{name}"));
    let filters = |of: &str| names(&manager(&envoy, of)["http_filters"]).join(" ");
    assert_eq!(
        filters("gateway"),
        format!("{health} {cors} a b waykeeper d {router}")
    );
    assert_eq!(
        filters("gateway-2"),
        format!("{health} {cors} a c b waykeeper d {router}")
    );
    assert_eq!(filters("operations"), format!("e {router}"));
}

#[test]
fn a_merge_changes_what_it_says_and_leaves_the_rest() {
    let (_, plain) = patched("    []\n");
    let (text, envoy) = patched(
        "
    - {in: clusters, name: hosted/tls, merge: {connect_timeout: 3s, outlier_detection: null, x: {y: null, z: 1}}}
    - {in: bootstrap, merge: {stats_flush_interval: 7s, node: {cluster: mine}}}
    - {in: listeners, name: gateway-2, merge: {tcp_backlog_size: 99}}
    - {in: http_connection_manager, listener: gateway, merge: {common_http_protocol_options: {max_headers_count: 50}, upgrade_configs: []}}
    - {in: virtual_host, merge: {include_request_attempt_count: true}}
    - {in: routes, name: http, listener: gateway-2, merge: {route: {idle_timeout: 9s}}}
    - {in: http_filters, name: envoy.filters.http.router, merge: {typed_config: {start_child_span: true}}}
    - {in: clusters, add: {name: more}}
    - {in: clusters, name: more, merge: {type: STATIC}}
    - {in: access_log, listener: gateway, add: {name: log}}
",
    );
    let mut expected = plain.clone();
    let resources = &mut expected["static_resources"];
    let clusters = resources["clusters"].as_array_mut().unwrap();
    clusters.push(json!({"name": "more", "type": "STATIC"}));
    let hosted = clusters
        .iter_mut()
        .find(|it| it["name"] == "hosted/tls")
        .unwrap();
    hosted["connect_timeout"] = "3s".into();
    assert!(
        hosted
            .as_object_mut()
            .unwrap()
            .remove("outlier_detection")
            .is_some()
    );
    hosted["x"] = json!({"z": 1});
    resources["listeners"][1]["tcp_backlog_size"] = 99.into();
    for of in [0, 1] {
        let manager =
            &mut resources["listeners"][of]["filter_chains"][0]["filters"][0]["typed_config"];
        let filters = manager["http_filters"].as_array_mut().unwrap();
        filters.last_mut().unwrap()["typed_config"]["start_child_span"] = true.into();
        let host = &mut manager["route_config"]["virtual_hosts"][0];
        host["include_request_attempt_count"] = true.into();
        if of == 0 {
            manager["common_http_protocol_options"]["max_headers_count"] = 50.into();
            manager["upgrade_configs"] = json!([]);
            manager["access_log"]
                .as_array_mut()
                .unwrap()
                .push(json!({"name": "log"}));
        } else {
            let routes = host["routes"].as_array_mut().unwrap();
            let http = routes.iter_mut().find(|it| it["name"] == "http").unwrap();
            http["route"]["idle_timeout"] = "9s".into();
        }
    }
    expected["stats_flush_interval"] = "7s".into();
    expected["node"]["cluster"] = "mine".into();
    assert_eq!(envoy, expected);
    assert!(text.starts_with("# Written by `waykeeper envoy` from gateway.yaml: changes belong there.\n#\n# With `envoy.patches` put in"));
}

#[test]
fn without_patches_the_file_is_as_it_was() {
    let bare = GATEWAY.split_once("envoy:").unwrap().0;
    let document = yaml::parse(bare).unwrap().remove(0);
    let rendered = render(&read(&document).unwrap(), around(Admin::Loopback)).unwrap();
    assert_eq!(patched("    []\n").0, rendered.envoy);
}

#[test]
fn what_cannot_be_meant_is_told_with_its_place_all_at_once() {
    let told = checked(
        "    - {in: http_filter, before: waykeeper, add: {name: x}}
    - {in: http_filters, before: waykeeper, after: x, add: {name: x}}
    - {in: http_filters, before: waykeeper}
    - {in: http_filters, after: envoy.filters.http.router, add: {name: x, a: {b: 1, b: 2}}}
    - {in: http_filters, name: waykeeper, merge: {disabled: true}}
    - {in: http_filters, name: x, before: x, merge: {name: z}}
    - {in: clusters, add: {}}
    - {in: clusters, name: x, add: {name: waykeeper/x}}
    - {in: clusters, merge: {connect_timeout: 1s}}
    - {in: routes, name: http, merge: {route: null}}
    - {in: routes, name: http, merge: {route: {cluster_header: x, idle_timeout: 1s}}}
    - {in: http_connection_manager, merge: [a]}
    - {in: http_connection_manager, listener: 7, merge: {}}
    - {in: access_log, merge: {}}
    - {in: bootstrap, listener: x, merge: {admin: {}}}
    - {name: x}
    - {in: virtual_host, merge: {request_headers_to_remove: []}, values: 1}
",
    );
    assert_eq!(
        told.unwrap_err(),
        [
            "1: envoy.patches[0].in: expected bootstrap or clusters or listeners or http_connection_manager or http_filters or \
             access_log or virtual_host or routes, found \"http_filter\"; did you mean \"http_filters\"?",
            "2: envoy.patches[1]: must have exactly one of before and after, with the name of a filter",
            "3: envoy.patches[2]: must have exactly one of add and merge",
            "4: envoy.patches[3].after: the router sends the request on, and no filter comes after it; write before: \
             envoy.filters.http.router",
            "4: envoy.patches[3].add.a.b: written twice; only one can count",
            "5: envoy.patches[4].name: stays as it is: what it does the rest of this file says",
            "6: envoy.patches[5].before: stands beside add only",
            "6: envoy.patches[5].merge.name: stays as it is: others name it",
            "7: envoy.patches[6].add: has no name that is a text",
            "8: envoy.patches[7].name: stands beside merge only; what is added has its name in it",
            "8: envoy.patches[7].add: \"waykeeper/x\" would be one of the gateway's own: these begin with waykeeper/ or end in \
             /tls, /host or /websocket",
            "9: envoy.patches[8].name: is missing",
            "10: envoy.patches[9].merge.route: stays as it is: the filter's decision goes to Envoy by it",
            "11: envoy.patches[10].merge.route.cluster_header: stays as it is: the filter's decision goes to Envoy by it",
            "12: envoy.patches[11].merge: expected a mapping of names, found a list",
            "13: envoy.patches[12].listener: expected a string (numbers, true and false need quotes to be text), found the \
             number 7",
            "13: envoy.patches[12].merge: changes nothing",
            "14: envoy.patches[13].merge: has no meaning in access_log",
            "14: envoy.patches[13].add: is missing",
            "15: envoy.patches[14].listener: has no meaning in bootstrap",
            "15: envoy.patches[14].merge.admin: stays as it is: `waykeeper run` and `operations` reach Envoy there",
            "16: envoy.patches[15].in: is missing",
            "17: envoy.patches[16].merge.request_headers_to_remove: stays as it is: no agent is to see the headers by which the \
             filter's decision goes to Envoy",
            "17: envoy.patches[16].values: unknown field",
        ]
    );
}

#[test]
fn what_stays_stays_however_it_is_spelled() {
    let patches = [
        (
            "listeners, name: gateway",
            "{filterChains: []}",
            "filterChains",
        ),
        (
            "bootstrap",
            "{staticResources: {listeners: []}}",
            "staticResources",
        ),
        (
            "http_connection_manager",
            "{normalizePath: false}",
            "normalizePath",
        ),
        (
            "virtual_host",
            "{requestHeadersToRemove: []}",
            "requestHeadersToRemove",
        ),
        (
            "virtual_host",
            "{typed_per_filter_config: null}",
            "typed_per_filter_config",
        ),
        (
            "virtual_host",
            "{typed_per_filter_config: {envoy.filters.http.header_to_metadata: {disabled: true}}}",
            "typed_per_filter_config.envoy.filters.http.header_to_metadata",
        ),
        (
            "routes, name: http",
            "{typedPerFilterConfig: {waykeeper: {disabled: true}}}",
            "typedPerFilterConfig.waykeeper",
        ),
        (
            "clusters, name: chat",
            "{typed_extension_protocol_options: null}",
            "typed_extension_protocol_options",
        ),
        (
            "clusters, name: chat",
            "{typedExtensionProtocolOptions: {envoy.extensions.upstreams.http.v3.HttpProtocolOptions: {httpFilters: []}}}",
            "typedExtensionProtocolOptions.envoy.extensions.upstreams.http.v3.HttpProtocolOptions.httpFilters",
        ),
    ];
    let lines = patches.map(|(place, merge, _)| format!("    - {{in: {place}, merge: {merge}}}\n"));
    let told = checked(&lines.concat()).unwrap_err();
    assert_eq!(told.len(), patches.len(), "{told:?}");
    for (index, (told, (_, _, path))) in told.iter().zip(patches).enumerate() {
        let line = index + 1;
        let begin = format!("{line}: envoy.patches[{index}].merge.{path}: stays as it is: ");
        // A name with points is shown in quotes.
        assert!(told.replace('"', "").starts_with(&begin), "{begin}: {told}");
    }
}

#[test]
fn what_matches_nothing_is_told_with_its_place_all_at_once() {
    let told = checked(
        "    - {in: http_filters, before: waykeper, add: {name: x}}
    - {in: http_filters, listener: gateway-3, before: waykeeper, add: {name: x}}
    - {in: http_filters, before: waykeeper, add: {name: envoy.filters.http.cors}}
    - {in: http_filters, listener: operations, after: waykeeper, add: {name: x}}
    - {in: clusters, name: hosted, merge: {a: 1}}
    - {in: clusters, add: {name: chat}}
    - {in: listeners, name: gatway, merge: {a: 1}}
    - {in: routes, name: htp, merge: {a: 1}}
    - {in: http_filters, before: waykeeper, listener: gateway-2, add: {name: y}}
    - {in: http_filters, before: y, add: {name: z}}
",
    );
    let filters = "there is a filter named \"envoy.filters.http.cors\" already";
    assert_eq!(
        told.unwrap_err(),
        [
            "1: envoy.patches[0].before: no filter named \"waykeper\" in the listener gateway; did you mean \"waykeeper\"?",
            "2: envoy.patches[1].listener: no listener named \"gateway-3\"; did you mean \"gateway-2\"?",
            &format!(
                "3: envoy.patches[2].add: {filters}; change that with merge, or take another name"
            ),
            "4: envoy.patches[3].after: no filter named \"waykeeper\" in the listener operations",
            "5: envoy.patches[4].name: no cluster named \"hosted\"; there is \"hosted/tls\"",
            "6: envoy.patches[5].add: there is a cluster named \"chat\" already; change that with merge, or take another name",
            "7: envoy.patches[6].name: no listener named \"gatway\"; did you mean \"gateway\"?",
            "8: envoy.patches[7].name: no route named \"htp\" in the listener gateway; did you mean \"http\"?",
            "10: envoy.patches[9].before: no filter named \"y\" in the listener gateway",
        ]
    );
}

/// An operator's filter may get its configuration from a file too, and a cluster its certificates.
#[test]
fn run_leaves_to_operators_what_is_theirs() {
    let checked = checked(
        "
    - in: http_filters
      after: waykeeper
      add: {name: x, config_discovery: {config_source: {path_config_source: {path: /own}}}}
    - in: clusters
      add: {name: more, transport_socket: {typed_config: {common_tls_context: {tls_certificates: [{a: 1, b: 2, c: 3}]}}}}
",
    );
    let rendered = render(&checked.unwrap(), around(Admin::Socket("/d/admin.sock"))).unwrap();
    let parts = Parts::of(&rendered, &Places(Path::new("/d").to_owned())).unwrap();
    let listener = &parts.listeners["127.0.0.1:8080"];
    let filters = &listener["filter_chains"][0]["filters"][0]["typed_config"]["http_filters"];
    let source =
        |at: usize| &filters[at]["config_discovery"]["config_source"]["path_config_source"]["path"];
    assert_eq!(
        (source(2), source(3)),
        (&json!("/d/filter.json"), &json!("/own"))
    );
    let certificates = "/transport_socket/typed_config/common_tls_context/tls_certificates";
    assert!(parts.clusters["more"].pointer(certificates).is_some());
    let whole = super::super::whole(&rendered).unwrap();
    assert_eq!(names(&manager(&whole, "gateway")["http_filters"])[2], "x");
}
