use std::net::SocketAddr;
use std::path::Path;

use serde_json::json;

use super::{Bootstrap, FilterFile};
use crate::stack::{AGENTS, AUTH_CLUSTER};

fn reference(file: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../envoy")
        .join(file)
}

fn bootstrap() -> Bootstrap {
    Bootstrap::read(&reference("envoy.yaml")).expect("the reference")
}

#[test]
fn the_reference_has_a_cluster_for_every_service_of_the_stack() {
    let mut bootstrap = bootstrap();

    for (agent, _) in AGENTS {
        bootstrap.cluster_mut(agent).expect(agent);
    }
    bootstrap.cluster_mut(AUTH_CLUSTER).expect(AUTH_CLUSTER);
}

#[test]
fn new_endpoints_replace_the_name_and_nothing_else() {
    let mut bootstrap = bootstrap();
    let before = bootstrap
        .cluster_mut("chat-gpu")
        .expect("the cluster")
        .clone();
    let addresses = [
        SocketAddr::from(([127, 0, 0, 1], 7001)),
        SocketAddr::from(([127, 0, 0, 1], 7002)),
    ];

    bootstrap
        .set_endpoints("chat-gpu", &addresses)
        .expect("the cluster");

    let cluster = bootstrap.cluster_mut("chat-gpu").expect("the cluster");
    let ports: Vec<_> = (0..2)
        .map(|host| {
            let path = format!("/load_assignment/endpoints/0/lb_endpoints/{host}/endpoint/address/socket_address/port_value");
            cluster.pointer(&path).cloned()
        })
        .collect();
    assert_eq!(ports, [Some(json!(7001)), Some(json!(7002))]);
    assert_eq!(cluster["type"], "STATIC");
    for kept in [
        "health_checks",
        "outlier_detection",
        "circuit_breakers",
        "lb_policy",
    ] {
        assert_eq!(cluster[kept], before[kept], "{kept}");
    }
}

#[test]
fn an_added_cluster_is_like_its_model() {
    let mut bootstrap = bootstrap();
    let address = SocketAddr::from(([127, 0, 0, 1], 7001));

    bootstrap
        .add_cluster("another", "chat-gpu", &[address])
        .expect("the model");

    let added = bootstrap
        .cluster_mut("another")
        .expect("the new one")
        .clone();
    let model = bootstrap.cluster_mut("chat-gpu").expect("the model");
    assert_eq!(added["health_checks"], model["health_checks"]);
    assert_eq!(added["load_assignment"]["cluster_name"], "another");
    assert_eq!(model["load_assignment"]["cluster_name"], "chat-gpu");
}

#[test]
fn what_is_not_there_is_named() {
    let mut bootstrap = bootstrap();

    let cluster = bootstrap
        .set_endpoints("chat-gup", &[])
        .expect_err("no such cluster");
    let listener = bootstrap
        .listener_mut("gatewya")
        .expect_err("no such listener");
    let file = Bootstrap::read(Path::new("/no/such/file")).expect_err("no such file");

    assert!(
        cluster
            .to_string()
            .contains("no cluster named \"chat-gup\""),
        "{cluster}"
    );
    assert!(
        listener
            .to_string()
            .contains("no listener named \"gatewya\""),
        "{listener}"
    );
    assert!(file.to_string().starts_with("/no/such/file: "), "{file}");
}

#[test]
fn the_filters_file_holds_its_configuration() {
    let mut filter = FilterFile::read(&reference("waykeeper.yaml")).expect("the reference");

    let configuration = filter.configuration_mut().expect("the configuration");

    assert_eq!(configuration["plans"]["standard"]["requests"], "50/minute");
}
