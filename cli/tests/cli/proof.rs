//! `waykeeper check` on a WasmPlugin and the VirtualService that has its routes: do they believe the filter alone?

use std::fs;

use crate::{Run, repository, waykeeper};

const PROOF: &str = "6d1f-a-proof-of-the-tests";

/// The two manifests, the same proof put into both, as kustomize does.
fn manifests() -> [String; 2] {
    ["wasm-plugin.yaml", "virtual-service.yaml"].map(|name| {
        let file = repository("istio/wasm-plugin").join(name);
        fs::read_to_string(file)
            .unwrap()
            .replace("REPLACE-ME\\n", PROOF)
    })
}

/// Checks both, each in a file of its own. Whatever is said, no proof is shown.
fn check([plugin, service]: &[String; 2]) -> Run {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = directory.path().join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (plugin, service) = (file("plugin", plugin), file("service", service));
    let mut run = waykeeper(&["check", "--target", "wasmplugin", &service, &plugin], b"");
    let folder = format!("{}/", directory.path().display());
    run.errors = run.errors.replace(&folder, "");
    assert!(!(run.output.clone() + &run.errors).contains("-proof-of-"));
    run
}

/// What is said, without the lines.
fn told(run: &Run) -> Vec<String> {
    let lines = run.errors.lines();
    let mut told: Vec<_> = lines
        .map(|line| {
            let (file, rest) = line.split_once(':').unwrap();
            format!(
                "{file}{}",
                rest.trim_start_matches(|it: char| it.is_ascii_digit())
            )
        })
        .collect();
    told.dedup();
    told
}

#[test]
fn what_kustomize_makes_of_both_is_good_in_two_files_and_in_one() {
    let manifests = manifests();
    let run = check(&manifests);
    assert_eq!((run.status, &*run.errors), (0, ""));
    assert!(run.output.contains("plugin:19: good"), "{}", run.output);

    let whole = manifests.join("---\n");
    let run = waykeeper(&["check", "--target", "wasmplugin", "-"], whole.as_bytes());
    assert_eq!((run.status, &*run.errors), (0, ""));
}

#[test]
fn the_manifests_as_they_are_shipped_are_no_configuration_yet() {
    let [plugin, service] = manifests().map(|text| text.replace(PROOF, "REPLACE-ME\\n"));
    let run = check(&[plugin, service]);
    assert_eq!(run.status, 1);
    assert_eq!(
        told(&run),
        [
            "service: the proof that this route demands is too short; check what `kubectl kustomize` makes of the files",
            "plugin: proof: expected a secret of 16 to 256 visible ASCII characters, in quotes; `openssl rand -hex 32` \
             makes one",
        ]
    );
}

#[test]
fn a_plugin_needs_a_proof_and_an_envoy_filter_none() {
    let [plugin, _] = manifests();
    let without = plugin.replace("    proof: ", "    # ");
    let run = check(&[without.clone(), String::from("{}")]);
    assert_eq!(run.status, 1);
    assert!(
        run.errors
            .contains("plugin:19: proof is missing: once the plugin is gone, "),
        "{}",
        run.errors
    );
    // It need not be told what it is.
    let run = waykeeper(&["check", "-"], without.as_bytes());
    assert_eq!(run.status, 1);
    let fault = "standard input:19: proof is missing: ";
    assert!(run.errors.starts_with(fault), "{}", run.errors);
    let document = without.split_once("  pluginConfig:\n").unwrap().1;
    let run = waykeeper(&["check", "-"], document.as_bytes());
    assert_eq!((run.status, &*run.errors), (0, ""));
}

#[test]
fn each_route_must_demand_the_proof_and_take_it_away() {
    let [plugin, service] = manifests();
    let check = |service: String| told(&check(&[plugin.clone(), service]));
    let demand = format!("            x-waykeeper-proof: {{exact: \"{PROOF}\"}}\n");
    assert_eq!(
        check(service.replacen(&demand, "", 1)),
        [
            "service: whoever writes x-waykeeper-cluster takes this route once the filter is not there: demand \
             x-waykeeper-proof beside it, exact and as the configuration's proof is written"
        ]
    );
    // A pattern is no secret.
    let pattern = demand.replace("exact: ", "prefix: ");
    assert_eq!(check(service.replacen(&demand, &pattern, 1)).len(), 1);
    assert_eq!(
        check(service.replacen(PROOF, "another-proof-of-the-tests", 1)),
        [
            "service: no request takes this route: it demands another x-waykeeper-proof than the configuration sends"
        ]
    );
    let kept = service.replacen(
        "x-waykeeper-cluster, x-waykeeper-proof]",
        "x-waykeeper-cluster]",
        1,
    );
    assert_eq!(
        check(kept),
        ["service: the agent is shown the proof: name x-waykeeper-proof in headers.request.remove"]
    );
}

#[test]
fn a_plugin_is_known_as_one_by_its_file() {
    let [plugin, service] = manifests();
    let demand = format!("            x-waykeeper-proof: {{exact: \"{PROOF}\"}}\n");
    for (service, status) in [(service.clone(), 0), (service.replacen(&demand, "", 1), 1)] {
        let whole = [plugin.clone(), service].join("---\n");
        let run = waykeeper(&["check", "-"], whole.as_bytes());
        assert_eq!(run.status, status, "{}", run.errors);
        let fault = "whoever writes x-waykeeper-cluster takes this route";
        assert_eq!(run.errors.contains(fault), status == 1, "{}", run.errors);
    }
    let collecting = plugin.replace(
        "streams: true, timeout: 120s",
        "max_body: 1MiB, collect_body: true",
    );
    assert_ne!(collecting, plugin);
    let run = waykeeper(&["check", "-"], collecting.as_bytes());
    let fault = "needs to see the body before the agent does, which a WasmPlugin cannot";
    assert!(
        run.status == 1 && run.errors.contains(fault),
        "{}",
        run.errors
    );
}

#[test]
fn no_copy_of_the_proof_goes_on() {
    let [plugin, service] = manifests();
    let check = |service: &str| told(&check(&[plugin.clone(), service.to_owned()]));
    let to =
        "        - destination: {host: chat-gpu.agents.svc.cluster.local, port: {number: 8000}}\n";
    let removes =
        "headers: {request: {remove: [x-waykeeper-kind, x-waykeeper-cluster, x-waykeeper-proof]}}";
    assert!(service.contains(to) && service.contains(removes));
    // On the way to a destination, a name in capitals.
    let own = "          headers: {request: {remove: [X-Waykeeper-Proof]}}\n";
    let at_destination = service.replacen(to, &format!("{to}{own}"), 1).replacen(
        &format!("      {removes}\n"),
        "",
        1,
    );
    assert_eq!(check(&at_destination), [""; 0]);
    // Whom requests are mirrored to is none of the destinations.
    let name = "    - name: chat-gpu\n";
    for mirror in [
        "mirror: {host: chat-cpu}",
        "mirrors: [{destination: {host: chat-cpu}}]",
    ] {
        let mirrored =
            |service: &str| service.replacen(name, &format!("{name}      {mirror}\n"), 1);
        assert_eq!(check(&mirrored(&service)), [""; 0]);
        assert_eq!(
            check(&mirrored(&at_destination)),
            [
                "service: what mirrors requests is shown the proof: name x-waykeeper-proof in the headers.request.remove of the \
                 route itself"
            ]
        );
    }
    // Out of one header into another.
    let copied = "service: a header is written with the proof in it, which is for this route alone";
    for header in [
        "set: {x-copy: \"%REQ(x-waykeeper-proof)%\"}",
        "add: {x-copy: \"a%REQ(X-Other?X-WAYKEEPER-PROOF):10%\"}",
        "set: {X-Waykeeper-Proof: a}",
        &format!("set: {{x-copy: \"Bearer {PROOF}\"}}"),
    ] {
        let removing = format!("request: {{{header}, remove:");
        assert_eq!(
            check(&service.replacen("request: {remove:", &removing, 1)),
            [copied],
            "{header}"
        );
        let back = removes.replacen("request:", &format!("response: {{{header}}}, request:"), 1);
        assert_eq!(
            check(&service.replacen(removes, &back, 1)),
            [copied],
            "{header}"
        );
        let own = format!("          headers: {{request: {{{header}}}}}\n");
        assert_eq!(
            check(&service.replacen(to, &format!("{to}{own}"), 1)),
            [copied],
            "{header}"
        );
    }
    let other = service.replacen(
        "request: {remove:",
        "request: {set: {x-other: \"%REQ(x-waykeeper-agent)%\"}, remove:",
        1,
    );
    assert_eq!(check(&other), [""; 0]);
}

/// One match is enough for a request, and so is one route.
#[test]
fn no_other_match_and_no_other_route_leads_past_the_proof() {
    let [plugin, service] = manifests();
    let demand = format!("            x-waykeeper-proof: {{exact: \"{PROOF}\"}}\n");
    let last = "    - name: not-decided\n";
    assert!(service.contains(last));
    let check = |service: String| {
        let run = check(&[plugin.clone(), service]);
        assert_eq!(run.status, i32::from(!run.errors.is_empty()));
        told(&run)
    };
    let open = "service: whoever meets this match takes the route once the filter is not there: demand x-waykeeper-cluster \
                and x-waykeeper-proof in each match";
    for other in [
        "{uri: {prefix: /x}}",
        "{}",
        "{headers: {x-waykeeper-kind: {exact: sse}}}",
        &format!("{{headers: {{x-waykeeper-proof: {{exact: {PROOF}}}}}}}"),
        &format!(
            "{{withoutHeaders: {{x-waykeeper-cluster: {{exact: a}}, x-waykeeper-proof: {{exact: {PROOF}}}}}}}"
        ),
    ] {
        let service = service.replacen(&demand, &format!("{demand}        - {other}\n"), 1);
        assert_eq!(check(service), [open], "{other}");
    }

    let remove = "headers: {request: {remove: [x-waykeeper-proof]}}";
    let leads = format!("route: [{{destination: {{host: chat-gpu}}}}], {remove}");
    let with = |route: &str| check(service.replace(last, &format!("    - {{{route}}}\n{last}")));
    let everybody = "service: everybody takes this route once the filter is not there: demand x-waykeeper-cluster and \
                     x-waykeeper-proof";
    assert_eq!(with(&leads), [everybody]);
    assert_eq!(with(&format!("match: [], {leads}")), [everybody]);
    let delegates = format!("delegate: {{name: chat-gpu}}, {remove}");
    assert_eq!(with(&delegates), [everybody]);
    assert_eq!(
        with(&format!("match: [{{uri: {{exact: /x}}}}], {leads}")),
        [open]
    );
    // What leads nowhere may be for all.
    for answer in [
        "directResponse: {status: 404}",
        "redirect: {uri: /elsewhere}",
    ] {
        assert_eq!(
            with(&format!("match: [{{uri: {{prefix: /x}}}}], {answer}")),
            [""; 0]
        );
    }
    // Names of headers are written in either case.
    let capitals = service.replacen("x-waykeeper-cluster: ", "X-Waykeeper-Cluster: ", 1);
    assert_eq!(check(capitals.replacen(&demand, "", 1)).len(), 1);
    assert_eq!(check(capitals), [""; 0]);
}

#[test]
fn a_route_may_demand_the_old_proof_or_the_new_one_while_it_is_changed() {
    let [plugin, service] = manifests();
    let matched = service
        .lines()
        .skip_while(|line| !line.contains("- headers:"))
        .take(3)
        .collect::<Vec<_>>()
        .join("\n");
    let both = format!(
        "{matched}\n{}",
        matched.replace(PROOF, "another-proof-of-the-tests")
    );
    let run = check(&[plugin, service.replace(&matched, &both)]);
    assert_eq!((run.status, &*run.errors), (0, ""));
}

#[test]
fn a_proof_that_is_no_text_is_not_shown_either() {
    for number in ["0123456701234567", "1_000_000_000_000_000"] {
        let [plugin, service] = manifests();
        let plugin = plugin.replace(&format!("\"{PROOF}\""), number);
        let run = check(&[plugin, service.replace(PROOF, number)]);
        let warning =
            "warning: some readers of YAML take the proof for something else; put it in quotes";
        assert!(run.errors.contains(warning), "{}", run.errors);
        assert!(!(run.output + &run.errors).contains(number));
    }
}

/// In flow style many values stand in one line.
#[test]
fn a_proof_in_doubt_hides_no_other_doubt() {
    let number = "0123456701234567";
    for (proof, warned) in [
        (number, 1),
        ("[0123456701234567]", 1),
        ("0123456701234567, proof: 0123456701234567", 2),
        ("{0123456701234567: yes}", 2),
    ] {
        let document = format!(
            "{{clients: {{default_plan: no}}, plans: {{no: {{}}}}, proof: {proof}, agents: {{on: {{cluster: a}}}}, \
             routes: [{{prefix: /, agents: [on], auth_required: off}}]}}"
        );
        let run = waykeeper(&["check", "-"], document.as_bytes());
        let warnings: Vec<_> = run
            .errors
            .lines()
            .filter_map(|line| line.strip_prefix("standard input:1: warning: "))
            .collect();
        let of_proof = "some readers of YAML take the proof for something else; put it in quotes";
        let (of_proof, others): (Vec<&str>, Vec<&str>) =
            warnings.iter().partition(|warning| **warning == of_proof);
        assert_eq!(of_proof.len(), warned, "{}", run.errors);
        for word in ["no", "on", "off"] {
            let of_word = others
                .iter()
                .filter(|it| it.starts_with(&format!("`{word}` is ")));
            assert!(of_word.count() > 0, "{word}: {}", run.errors);
        }
        assert!(!(run.output + &run.errors).contains(number));
    }
}

/// Without the blank behind a colon YAML takes a name and a secret for one name.
#[test]
fn a_secret_that_got_into_a_name_is_not_shown() {
    let secret = "S3CR-abcdefghijklmnop";
    let number = "0123456701234567";
    let rest = "agents: {a: {cluster: a}}, routes: [{prefix: /, agents: [a]}]";
    let validator = "cluster: a, path: /";
    for (text, told) in [
        (
            format!("{{proof:{secret}, clients: {{validator: {{{validator}}}}}, {rest}}}"),
            "\"proof…\": unknown field; write a colon and a blank behind the name\n",
        ),
        (
            format!(
                "{{clients: {{validator: {{{validator}, headers: {{x-secret:{secret}}}}}}}, {rest}}}"
            ),
            "\"x-secret\"… is no header's name; write a colon and a blank behind the name\n",
        ),
        (
            format!(
                "{{clients: {{validator: {{{validator}, headers: {{x-secret: {number}}}}}}}, {rest}}}"
            ),
            "warning: some readers of YAML take this header for something else; put it in quotes\n",
        ),
    ] {
        let run = waykeeper(&["check", "-"], text.as_bytes());
        assert_eq!(run.status, 1);
        assert!(run.errors.contains(told), "{}", run.errors);
        let shown = run.output + &run.errors;
        assert!(
            !shown.contains("S3CR") && !shown.contains(number),
            "{shown}"
        );
    }
}
