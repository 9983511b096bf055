//! The files of docs/routing.md, docs/mcp.md and docs/a2a.md, and what is typed there.

use bytes::Bytes;
use http_body_util::Full;
use hyper::Response;
use serde_json::{Value, json};

use super::{Places, parts, wrong};
use crate::certificates::Authority;
use crate::front::Front;
use crate::gateway::{Around, Gateway, free_address};
use crate::picker_stand_in::Picker;
use crate::running::Running;
use crate::stand_in::{Came, StandIn, json as answer};

/// The part whose agents are providers, which needs a gateway of its own: their names lead elsewhere.
const PROVIDERS: &str = "By the model";

/// The part whose agents have two endpoints each.
const SESSIONS: &str = "Sessions";

/// The part whose first agent has two, of which a picker says which it is.
const PICKER: &str = "An endpoint picker";

const PLACES: [&str; 4] = [
    "10.0.0.5:8000",
    "10.0.0.6:8000",
    "10.0.0.7:8000",
    "10.0.0.8:8000",
];

/// What answers as the page's samples do: who it is, and what it was asked.
async fn sample(name: &'static str) -> StandIn {
    StandIn::start(move |came| tells(name, came)).await
}

fn tells(name: &str, came: &Came) -> Response<Full<Bytes>> {
    let body: Value = serde_json::from_slice(&came.body).unwrap_or_default();
    if came.path.ends_with("/agent-card.json") {
        let interface = json!({"url": "http://10.0.0.5:8000/rpc", "protocolBinding": "JSONRPC", "protocolVersion": "1.0"});
        let card = json!({"name": "planner", "capabilities": {"streaming": true}, "supportedInterfaces": [interface]});
        return answer(200, &format!("{card}\n"));
    }
    if body.get("jsonrpc").is_some() {
        let said = match body["method"] == "tools/list" {
            true => json!({"tools": [{"name": "read"}]}),
            false => json!({"agent": name, "tool": body["params"]["name"]}),
        };
        let told = json!({"jsonrpc": "2.0", "id": body["id"], "result": said});
        return answer(200, &format!("{told}\n"));
    }
    let mut said = json!({"agent": name, "model": body["model"], "path": came.path});
    if let Some(client) = body.get("client_id") {
        said["client_id"] = client.clone();
    }
    answer(200, &format!("{said}\n"))
}

/// The same in a provider's place, which knows its own key alone.
async fn provider(name: &'static str, host: &'static str) -> StandIn {
    StandIn::start(move |came| {
        let known = came.host == host
            && came.header("authorization") == Some(&format!("Bearer the-key-of-{name}"))
            && came.header("x-api-key").is_none();
        if known {
            tells(name, came)
        } else {
            answer(401, "{}")
        }
    })
    .await
}

#[tokio::test]
async fn each_file_about_routing_does_what_is_shown() {
    let directory = tempfile::tempdir().expect("a directory");
    let at = |name: &str| directory.path().join(name).display().to_string();
    let authority = Authority::new(directory.path(), "ca");
    let [openai, mistral] = [("openai", "api.openai.com"), ("mistral", "api.mistral.ai")];
    let mut elsewhere = Vec::new();
    let mut stand_ins = Vec::new();
    for (name, host) in [openai, mistral] {
        std::fs::write(at(name), format!("the-key-of-{name}\n")).expect("write");
        let stand_in = provider(name, host).await;
        let identity = authority.sign(host);
        let front = Front::of(stand_in.address, identity.server(&["h2", "http/1.1"])).await;
        elsewhere.push((host, front.address));
        stand_ins.push((stand_in, front));
    }
    let picker = Picker::start().await;
    let files: Vec<_> = parts("docs/routing.md");
    assert_eq!(files.len(), 13, "the parts of the page");
    let of_mcp = parts("docs/mcp.md");
    assert_eq!(of_mcp.len(), 4, "the parts of the page");
    let of_a2a = parts("docs/a2a.md");
    assert_eq!(of_a2a.len(), 1, "the parts of the page");
    let files = files.into_iter().chain(of_mcp).chain(of_a2a);

    let [first, operations] = [(); 2].map(|()| free_address());
    let mut gateway: Option<Running> = None;
    let mut faults = Vec::new();
    for part in files {
        // Who is asked at the addresses of the page: the agents of this part.
        let mut names = agents(&part.file);
        if part.heading == SESSIONS {
            names = names
                .into_iter()
                .flat_map(|name| [name.clone(), name])
                .collect();
        }
        if part.heading == PICKER {
            names.insert(0, names[0].clone());
        }
        let mut places = Places(Vec::new());
        places.put("127.0.0.1:8080", &first.to_string());
        places.put("/run/secrets/", &at(""));
        let mut samples = Vec::new();
        for (name, place) in names.into_iter().zip(PLACES) {
            let sample = sample(name.leak()).await;
            places.put(place, &sample.address.to_string());
            samples.push(sample);
        }
        if part.heading == PICKER {
            picker.picks(&samples[1].address.to_string());
            places.put("10.0.0.9:9002", &picker.address.to_string());
        }
        let file = places.here(&part.file);
        let mut _hosted = None;
        if part.heading == PROVIDERS {
            let ca = authority.file.display().to_string();
            let mut file = file.replace(
                ", credential:",
                &format!(", tls: {{ca: '{ca}'}}, credential:"),
            );
            assert_eq!(file.matches(&ca).count(), 2, "{file}");
            file.push_str(&format!("\noperations: {operations}\n"));
            let around = Around {
                elsewhere: &elsewhere,
                ..Around::default()
            };
            let beside = directory.path().join("providers");
            std::fs::create_dir(&beside).expect("a directory");
            // Whoever ran has its address.
            drop(gateway.take());
            _hosted = Some(Gateway::start_with(&beside, &file, &around, operations).await);
        } else {
            match &mut gateway {
                Some(gateway) => {
                    gateway.change(&file).await;
                }
                None => gateway = Some(Running::start(directory.path(), &file, &[]).await),
            }
        }
        faults.extend(wrong(&part, &places, directory.path()).await);
        if part.heading == PICKER {
            let came: Vec<usize> = samples.iter().map(|it| it.came().len()).collect();
            assert_eq!(came, [0, 1, 1], "the one that was picked");
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// The names of a file's agents, in the order in which they stand there.
fn agents(file: &str) -> Vec<String> {
    let behind = file.split("\nagents:\n").nth(1).expect("agents");
    let lines = behind.lines().take_while(|line| line.starts_with("  "));
    let names = lines.filter_map(|line| line.trim().split_once(": {"));
    names.map(|(name, _)| name.to_owned()).collect()
}
