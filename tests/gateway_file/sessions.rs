//! Sessions that agents name: each stays where it was named, and is its client's alone.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::caller::{Answer, Caller};
use crate::certificates::Authority;
use crate::eventually;
use crate::front::Front;
use crate::gateway::{Gateway, free_address};
use crate::replica::Replica;
use crate::sticky::CLIENTS;

const ACME: (&str, &str) = ("x-api-key", "key-of-acme");
const ACMES_OTHER: (&str, &str) = ("x-api-key", "key-of-acme-2");
const OTHER: (&str, &str) = ("x-api-key", "key-of-other");
const SESSION: &str = "mcp-session-id";

const ONE_KEY: &str = "1111111111111111111111111111111111111111111111111111111111111111";
const ANOTHER_KEY: &str = "2222222222222222222222222222222222222222222222222222222222222222";

/// A session as its caller knows it, and the replica that has named it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Session {
    pub(crate) sealed: String,
    pub(crate) replica: String,
    name: String,
}

pub(crate) async fn begin(
    caller: &Caller,
    path: &str,
    key: &[(&str, &str)],
    header: &str,
) -> Session {
    let answer = caller.send("POST", path, key).await.expect("an answer");
    assert_eq!(answer.status, 200, "{path} {answer:?}");
    let sealed = answer
        .header(header)
        .unwrap_or_else(|| panic!("no {header}: {answer:?}"));
    let text = |name: &str| answer.json()[name].as_str().expect("a text").to_owned();
    Session {
        sealed: sealed.to_owned(),
        replica: text("replica"),
        name: text("session"),
    }
}

/// Sends a request of a session.
pub(crate) async fn go_on(
    caller: &Caller,
    method: &str,
    path: &str,
    sent: &[(&str, &str)],
) -> Answer {
    caller.send(method, path, sent).await.expect("an answer")
}

/// A request of the session that gets where it was named.
pub(crate) async fn goes_on(
    caller: &Caller,
    path: &str,
    key: &[(&str, &str)],
    header: &str,
    session: &Session,
) {
    for method in ["POST", "GET"] {
        let sent = [key, &[(header, session.sealed.as_str())]].concat();
        let answer = go_on(caller, method, path, &sent).await;
        assert_eq!(answer.status, 200, "{path} {answer:?}");
        let told = answer.json();
        assert_eq!(told["replica"], session.replica, "{path} {told}");
        assert_eq!(told["session"], session.name, "{path} {told}");
        // Some clients take another word for another session.
        assert_eq!(answer.header(header), Some(session.sealed.as_str()));
        let arrived = told["headers"].to_string();
        assert!(!arrived.contains("x-waykeeper-session"), "{arrived}");
    }
}

fn configuration(
    listen: SocketAddr,
    operations: SocketAddr,
    keys: &str,
    authority: &Authority,
    replicas: [SocketAddr; 2],
    fronts: [u16; 2],
) -> String {
    let [a, b] = replicas;
    let places = format!("endpoints: ['http://{a}', 'http://{b}']");
    format!(
        "
listen: [{{address: '{listen}'}}]
operations: '{operations}'
{CLIENTS}
sessions: {{keys: [{keys}]}}
agents:
  tools: {{{places}, sticky: {{header: mcp-session-id}}, balance: round_robin}}
  twin: {{{places}, sticky: {{header: mcp-session-id}}}}
  named: {{{places}, sticky: {{header: X-Thread, named_by: agent}}}}
  hosted: {{provider: vllm, endpoints: ['http://{a}/tools/v1', 'http://{b}/tools/v1'], sticky: {{header: mcp-session-id}}}}
  plain: {{{places}}}
  secure: {{endpoints: ['https://localhost:{}', 'https://localhost:{}'], tls: {{ca: {}}}, http2: false, sticky: {{header: mcp-session-id}}, balance: round_robin}}
routes:
  - {{prefix: /tools, agents: [tools]}}
  - {{prefix: /twice, agents: [tools]}}
  - {{prefix: /open, agents: [tools], auth_required: false}}
  - {{prefix: /sse, agents: [tools], protocol: sse}}
  - {{prefix: /twin, agents: [twin]}}
  - {{prefix: /named, agents: [named]}}
  - {{prefix: /plain, agents: [plain]}}
  - {{prefix: /secure, agents: [secure]}}
  - {{prefix: /v1/hosted, agents: [hosted]}}
",
        fronts[0],
        fronts[1],
        authority.file.display(),
    )
}

#[tokio::test]
async fn a_session_stays_where_it_was_named_and_is_its_clients_alone() {
    let directory = tempfile::tempdir().expect("a directory");
    let authority = Authority::new(directory.path(), "authority");
    let localhost = authority.sign("localhost");
    let (one, two) = (Replica::start("one").await, Replica::start("two").await);
    let replicas = [one.address, two.address];
    let front_one = Front::of(one.address, localhost.server(&["http/1.1"])).await;
    let front_two = Front::of(two.address, localhost.server(&["http/1.1"])).await;
    let fronts = [front_one.port(), front_two.port()];
    let key_file = directory.path().join("key");
    std::fs::write(&key_file, format!("{ANOTHER_KEY}\n")).expect("write");

    let [(first, at_first), (second, at_second)] =
        [(); 2].map(|()| (free_address(), free_address()));
    let (own, others) = (
        directory.path().join("first"),
        directory.path().join("second"),
    );
    for directory in [&own, &others] {
        std::fs::create_dir(directory).expect("a directory");
    }
    let keys = format!("'{ONE_KEY}'");
    let text = configuration(first, at_first, &keys, &authority, replicas, fronts);
    let gateway = Gateway::start(&own, &text, "", at_first).await;
    let keys = format!("{{file: {}}}, '{ONE_KEY}'", key_file.display());
    let text = configuration(second, at_second, &keys, &authority, replicas, fronts);
    let _second_gateway = Gateway::start(&others, &text, "", at_second).await;
    let (first, second) = (Caller::of(first), Caller::of(second));

    // Each stays where it was named, whoever of the gateways is asked.
    let mut sessions = Vec::new();
    for _ in 0..8 {
        sessions.push(begin(&first, "/tools", &[ACME], SESSION).await);
    }
    for session in &sessions {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        assert!(session.sealed.bytes().all(plain), "{session:?}");
        assert!(session.sealed.len() < 200, "{session:?}");
        goes_on(&first, "/tools", &[ACME], SESSION, session).await;
        goes_on(&second, "/tools", &[ACMES_OTHER], SESSION, session).await;
        goes_on(&first, "/sse", &[ACME], SESSION, session).await;
    }
    let named_by: BTreeSet<_> = sessions.iter().map(|it| it.replica.as_str()).collect();
    assert_eq!(named_by, BTreeSet::from(["one", "two"]));
    for (path, key, header) in [
        ("/secure", &[ACME][..], SESSION),
        ("/secure", &[ACME], SESSION),
        ("/v1/hosted", &[ACME], SESSION),
        ("/v1/hosted", &[OTHER], SESSION),
        ("/named", &[OTHER], "x-thread"),
        ("/open", &[], SESSION),
    ] {
        let session = begin(&first, path, key, header).await;
        goes_on(&first, path, key, header, &session).await;
    }

    // What was not named to this client by this agent reaches no replica.
    let session = &sessions[0];
    let sealed = session.sealed.as_str();
    let anybodys = begin(&first, "/open", &[], SESSION).await;
    let of_second = begin(&second, "/tools", &[ACME], SESSION).await;
    let encoded = |text: &str| STANDARD.encode(text);
    let envelope = format!(
        "{};UV:{}",
        encoded(&one.address.to_string()),
        encoded(&session.name)
    );
    let flipped = {
        let place = sealed.len() / 2;
        let other = if sealed.as_bytes()[place] == b'A' {
            "B"
        } else {
            "A"
        };
        format!("{}{other}{}", &sealed[..place], &sealed[place + 1..])
    };
    let before = (one.total(), two.total());
    for (path, sent) in [
        ("/tools", &[OTHER, (SESSION, sealed)][..]),
        ("/open", &[(SESSION, sealed)]),
        ("/open", &[ACME, (SESSION, &anybodys.sealed)]),
        ("/twin", &[ACME, (SESSION, sealed)]),
        ("/secure", &[ACME, (SESSION, sealed)]),
        ("/tools", &[ACME, (SESSION, &of_second.sealed)]),
        ("/tools", &[ACME, (SESSION, &envelope)]),
        ("/tools", &[ACME, (SESSION, &session.name)]),
        ("/tools", &[ACME, (SESSION, &flipped)]),
        ("/tools", &[ACME, (SESSION, &sealed[1..])]),
        ("/tools", &[ACME, (SESSION, &sealed[..sealed.len() - 1])]),
        ("/tools", &[ACME, (SESSION, sealed), (SESSION, sealed)]),
        ("/tools", &[ACME, (SESSION, "")]),
        ("/sse", &[OTHER, (SESSION, sealed)]),
    ] {
        for method in ["POST", "GET", "DELETE"] {
            let refused = go_on(&first, method, path, sent).await;
            assert_eq!(refused.status, 404, "{path} {sent:?} {refused:?}");
            assert_eq!(refused.json()["error"]["code"], "unknown_session");
            assert!(refused.header(SESSION).is_none(), "{refused:?}");
        }
    }
    assert_eq!((one.total(), two.total()), before);

    // A name that the agent says twice stands in no envelope.
    let answer = go_on(&first, "POST", "/twice", &[ACME]).await;
    assert_eq!((answer.status, answer.header(SESSION)), (200, None));
    // Where sessions are not kept together nothing is changed.
    let answer = go_on(&first, "POST", "/plain", &[ACME]).await;
    assert_eq!(answer.header(SESSION), answer.json()["session"].as_str());

    // A key is replaced under the running Envoy: what the other gateway sealed with it opens.
    gateway.change(
        &format!("keys: ['{ONE_KEY}']"),
        &format!("keys: ['{ONE_KEY}', '{ANOTHER_KEY}']"),
    );
    let sent = [ACME, (SESSION, of_second.sealed.as_str())];
    eventually("the other key", || async {
        (go_on(&first, "GET", "/tools", &sent).await.status == 200).then_some(())
    })
    .await;
    goes_on(&first, "/tools", &[ACME], SESSION, &of_second).await;
    goes_on(&first, "/tools", &[ACME], SESSION, session).await;
    gateway.change(&format!("'{ONE_KEY}', "), "");
    eventually("the old key to be gone", || async {
        let answer = go_on(&first, "GET", "/tools", &[ACME, (SESSION, sealed)]).await;
        (answer.status == 404).then_some(())
    })
    .await;
    goes_on(&first, "/tools", &[ACME], SESSION, &of_second).await;

    // The client ends one.
    let ended = go_on(&second, "DELETE", "/tools", &[ACME, (SESSION, sealed)]).await;
    assert_eq!(ended.status, 200);
    let over = go_on(&second, "GET", "/tools", &[ACME, (SESSION, sealed)]).await;
    assert_eq!(
        (over.status, over.text().as_str()),
        (404, "no such session")
    );

    // A replica that dies ends its own, and nothing else.
    drop(one);
    for session in &sessions[1..] {
        let sent = [ACME, (SESSION, session.sealed.as_str())];
        let answer = go_on(&second, "POST", "/tools", &sent).await;
        if session.replica == "two" {
            assert_eq!(answer.status, 200, "{answer:?}");
        } else {
            let told = (answer.status, answer.text());
            assert_eq!(told, (404, "no such session".to_owned()));
        }
    }
}
