//! Providers by their names: each is asked as it publicly says that it wants to be, by what stands in for it. A stand-in has a
//! certificate for the provider's own name and answers to nothing but the exact host, path and headers.

use std::path::Path;
use std::sync::Arc;

use serde_json::{Value, json};
use tokio::process::Command;

use crate::aws::{self, hex};
use crate::caller::Caller;
use crate::certificates::Authority;
use crate::front::{Front, Seen};
use crate::gateway::{Around, Gateway, free_address};
use crate::needed;
use crate::stand_in::{Came, StandIn, json};
use crate::under_istio::{Pod, serve, write};

const KEY: &str = "gateways-own-key";
/// What the caller sends to everyone: the gateway's key, and what the gateway must not let a provider read.
const SENT: [(&str, &str); 14] = [
    ("authorization", "Bearer gateways-own-key"),
    ("api-key", "not-for-you"),
    ("x-goog-api-key", "not-for-you"),
    ("openai-organization", "org-of-the-caller"),
    ("x-amz-security-token", "not-for-you"),
    ("content-type", "application/json"),
    // By what a provider would know who that is.
    ("x-forwarded-for", "198.51.100.7"),
    ("forwarded", "for=198.51.100.7"),
    ("via", "1.1 proxy.inside"),
    ("x-real-ip", "198.51.100.7"),
    ("cookie", "session=ours"),
    ("referer", "https://inside.example/page"),
    ("origin", "https://inside.example"),
    ("baggage", "user=alice"),
];
const CREDENTIALS: [&str; 5] = [
    "authorization",
    "x-api-key",
    "api-key",
    "x-goog-api-key",
    "openai-organization",
];
const PROVIDERS_KEY: &str = "the-providers-key\n";
const AWS: (&str, &str) = ("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY");

fn aws_file() -> String {
    format!(
        "[default]\naws_access_key_id = {}\naws_secret_access_key = {}\n",
        AWS.0, AWS.1
    )
}

/// What a provider answers to.
#[derive(Clone)]
struct Wanted {
    provider: &'static str,
    /// Its fields in the file beside the provider and the credential.
    fields: String,
    host: &'static str,
    /// What is asked for at the gateway, and what arrives.
    paths: Vec<(&'static str, &'static str)>,
    /// By what it knows who pays; none where the request is signed.
    credential: Option<(&'static str, &'static str)>,
    /// What it must be sent, and is sent where the caller sends none.
    headers: Vec<(&'static str, &'static str)>,
}

impl Wanted {
    fn new(
        provider: &'static str,
        host: &'static str,
        paths: &[(&'static str, &'static str)],
        credential: (&'static str, &'static str),
    ) -> Self {
        Self {
            provider,
            fields: String::new(),
            host,
            paths: paths.to_vec(),
            credential: Some(credential),
            headers: Vec::new(),
        }
    }

    /// A header by which a provider would know who calls at the gateway, and from where.
    fn told_of_callers(&self, came: &Came) -> Option<String> {
        let begins = ["x-waykeeper-", "x-forwarded-", "x-envoy-"];
        let is_sent = |name: &str| { SENT.iter().skip(6) }.any(|(sent, _)| *sent == name);
        let mut names = came.headers.keys().map(|name| name.as_str());
        let told = names.find(|name| {
            // Envoy puts it in last of all, and finds the provider's own there.
            let own = *name == "x-envoy-original-host" && came.header(name) == Some(self.host);
            !own && (begins.iter().any(|begin| name.starts_with(begin)) || is_sent(name))
        });
        told.map(str::to_owned)
    }

    /// What is wrong with a request.
    fn refusal(&self, came: &Came) -> Option<String> {
        if came.host != self.host {
            return Some(format!("I am {}, not {}", self.host, came.host));
        }
        if !self.paths.iter().any(|(_, path)| *path == came.path) {
            return Some(format!("no {}", came.path));
        }
        let shown = |name: &&str| came.headers.get(*name).is_some();
        // On paths of Google's own it stands elsewhere.
        let wanted = match self.credential {
            Some(_) if came.path.starts_with("/v1beta/models") => {
                Some(("x-goog-api-key", "the-providers-key"))
            }
            wanted => wanted,
        };
        let credential = match wanted {
            None => {
                let scope = ("eu-central-1", "bedrock");
                if let Err(error) = aws::verify(came, AWS.0, AWS.1, scope) {
                    return Some(error);
                }
                "authorization"
            }
            Some((name, value)) if came.header(name) == Some(value) => name,
            Some((name, _)) => return Some(format!("{name}: {:?}", came.header(name))),
        };
        let mut others = CREDENTIALS.into_iter().filter(|name| *name != credential);
        if let Some(other) = others.find(shown) {
            return Some(format!("I know no {other}"));
        }
        if let Some(told) = self.told_of_callers(came) {
            return Some(format!("who wants to know? {told}"));
        }
        let mut headers = self.headers.iter();
        let missing = headers.find(|(name, _)| came.header(name).is_none());
        missing.map(|(name, _)| format!("no {name}"))
    }
}

/// An answer in the shape that was asked for.
fn body(path: &str) -> String {
    let answer = match path {
        path if path.ends_with("/messages") => json!({
            "id": "msg_1", "type": "message", "role": "assistant", "model": "demo", "stop_reason": "end_turn",
            "content": [{"type": "text", "text": "Hello from the provider"}],
            "usage": {"input_tokens": 1, "output_tokens": 1},
        }),
        _ => json!({
            "id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "demo",
            "choices": [{
                "index": 0, "finish_reason": "stop",
                "message": {"role": "assistant", "content": "Hello from the provider"},
            }],
            "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
        }),
    };
    answer.to_string()
}

fn all() -> Vec<Wanted> {
    let chat = "/v1/chat/completions";
    let secret = "Bearer the-providers-key";
    let bearer = ("authorization", secret);
    let mut anthropic = Wanted::new(
        "anthropic",
        "api.anthropic.com",
        &[("/v1/messages", "/v1/messages")],
        ("x-api-key", "the-providers-key"),
    );
    anthropic.headers = vec![("anthropic-version", "2023-06-01")];
    let mut azure = Wanted::new(
        "azure-openai",
        "mine.openai.azure.com",
        &[
            (chat, "/openai/v1/chat/completions"),
            (
                "/openai/deployments/a?api-version=1",
                "/openai/deployments/a?api-version=1",
            ),
        ],
        ("api-key", "the-providers-key"),
    );
    azure.fields = "url: 'https://mine.openai.azure.com', ".to_owned();
    let mut bedrock = Wanted::new(
        "bedrock",
        "bedrock-runtime.eu-central-1.amazonaws.com",
        &[
            (
                "/model/some.model-v1:0/converse",
                "/model/some.model-v1:0/converse",
            ),
            (
                "/model/some.model%3A0/invoke",
                "/model/some.model%3A0/invoke",
            ),
        ],
        ("", ""),
    );
    bedrock.fields = "region: eu-central-1, ".to_owned();
    bedrock.credential = None;
    vec![
        Wanted::new(
            "openai",
            "api.openai.com",
            &[(chat, chat), ("/chat/completions", chat)],
            bearer,
        ),
        anthropic,
        Wanted::new(
            "gemini",
            "generativelanguage.googleapis.com",
            &[
                (chat, "/v1beta/openai/chat/completions"),
                (
                    "/v1beta/models/a:generateContent",
                    "/v1beta/models/a:generateContent",
                ),
            ],
            bearer,
        ),
        Wanted::new("mistral", "api.mistral.ai", &[(chat, chat)], bearer),
        Wanted::new(
            "groq",
            "api.groq.com",
            &[(chat, "/openai/v1/chat/completions")],
            bearer,
        ),
        azure,
        bedrock,
        Wanted::new(
            "ollama",
            "127.0.0.1:11434",
            &[(chat, chat), ("/api/chat", "/api/chat")],
            bearer,
        ),
        Wanted::new("vllm", "127.0.0.1:8000", &[(chat, chat)], bearer),
    ]
}

/// What stands in for all of them, and what is written of them in `gateway.yaml`.
struct Providers {
    wanted: Vec<Wanted>,
    stand_ins: Vec<StandIn>,
    fronts: Vec<(&'static str, Front)>,
    /// Where they are found in place of their own hosts.
    elsewhere: Vec<(&'static str, std::net::SocketAddr)>,
    /// `clients`, `agents` and `routes`.
    text: String,
}

impl Providers {
    async fn start(directory: &Path, wanted: Vec<Wanted>) -> Self {
        let at = |name: &str| directory.join(name).display().to_string();
        let authority = Authority::new(directory, "authority");
        std::fs::write(at("key"), PROVIDERS_KEY).expect("write");
        std::fs::write(at("aws"), aws_file()).expect("write");
        let (mut agents, mut routes, mut elsewhere) = (String::new(), String::new(), Vec::new());
        let (mut stand_ins, mut fronts) = (Vec::new(), Vec::new());
        for wanted in &wanted {
            let own = Arc::new(wanted.clone());
            let stand_in = StandIn::start(move |came| match own.refusal(came) {
                Some(refusal) => json(418, &refusal),
                None => json(200, &body(&came.path)),
            })
            .await;
            let file = if wanted.credential.is_some() {
                "key"
            } else {
                "aws"
            };
            let mut tls = String::new();
            if wanted.host.contains(':') {
                elsewhere.push((wanted.host, stand_in.address));
            } else {
                let identity = authority.sign(wanted.host);
                let front = Front::of(stand_in.address, identity.server(&["h2", "http/1.1"])).await;
                elsewhere.push((wanted.host, front.address));
                tls = format!("tls: {{ca: {}}}, ", authority.file.display());
                fronts.push((wanted.host, front));
            }
            let provider = wanted.provider;
            agents += &format!(
                "  {provider}: {{provider: {provider}, {}{tls}credential: {{file: {}}}}}\n",
                wanted.fields,
                at(file)
            );
            routes += &format!(
                "  - {{prefix: /{provider}, agents: [{provider}], prefix_rewrite: /, streams: true}}\n"
            );
            stand_ins.push(stand_in);
        }
        let hash = hex(ring::digest::digest(&ring::digest::SHA256, KEY.as_bytes()).as_ref());
        let text = format!(
            "
clients:
  key_sources: [{{header: authorization, scheme: Bearer}}, {{header: x-api-key}}]
  keys: [{{sha256: {hash}, client_id: tester}}]
agents:
{agents}routes:
{routes}"
        );
        Self {
            wanted,
            stand_ins,
            fronts,
            elsewhere,
            text,
        }
    }

    /// Asks each as a caller does.
    async fn ask(&self, caller: &Caller) {
        for (wanted, stand_in) in self.wanted.iter().zip(&self.stand_ins) {
            for (asked, _) in &wanted.paths {
                let path = format!("/{}{asked}", wanted.provider);
                let answer = caller.post(&path, &SENT, "{\"model\": \"demo\"}").await;
                assert_eq!(answer.status, 200, "{path}: {}", answer.text());
                for came in stand_in.came() {
                    for (name, value) in &wanted.headers {
                        assert_eq!(came.header(name), Some(*value), "{path}");
                    }
                }
            }
        }
        for (host, front) in &self.fronts {
            let seen = Seen {
                name: Some((*host).to_owned()),
                protocol: "h2".to_owned(),
            };
            assert_eq!(front.seen(), [seen]);
        }
        // What does not fit the room in which it is signed is not sent.
        let large = "x".repeat(2 << 20);
        let path = "/bedrock/model/some.model-v1:0/converse";
        let answer = caller.post(path, &SENT, &large).await;
        assert_eq!(answer.status, 413, "{}", answer.text());
        assert_eq!(answer.json()["error"]["code"], "body_too_large");
    }
}

#[tokio::test]
async fn each_provider_is_asked_as_it_wants_to_be() {
    let directory = tempfile::tempdir().expect("a directory");
    let [listen, operations] = [(); 2].map(|()| free_address());
    let providers = Providers::start(directory.path(), all()).await;
    let text = format!(
        "listen: [{{address: '{listen}'}}]\noperations: '{operations}'\n{}",
        providers.text
    );
    let around = Around {
        elsewhere: &providers.elsewhere,
        ..Around::default()
    };
    let _gateway = Gateway::start_with(directory.path(), &text, &around, operations).await;
    providers.ask(&Caller::of(listen)).await;

    // The providers' own clients need nothing but the gateway's url and key.
    let say = |package, base| client(package, format!("http://{listen}{base}"));
    let (openai, gemini, anthropic) = tokio::join!(
        say("openai", "/openai/v1"),
        say("openai", "/gemini/v1"),
        say("anthropic", "/anthropic"),
    );
    for said in [openai, gemini, anthropic] {
        assert_eq!(said, "Hello from the provider");
    }
}

#[tokio::test]
async fn each_provider_is_asked_as_it_wants_to_be_under_istio() {
    // Those of one's own are Services.
    let mut wanted = all();
    for wanted in &mut wanted {
        match wanted.provider {
            "ollama" => {
                (wanted.host, wanted.fields) =
                    ("ollama:11434", "url: 'http://ollama:11434', ".to_owned())
            }
            "vllm" => {
                (wanted.host, wanted.fields) = ("vllm:8000", "url: 'http://vllm:8000', ".to_owned())
            }
            _ => {}
        }
    }
    let directory = tempfile::tempdir().expect("a directory");
    let providers = Providers::start(directory.path(), wanted).await;
    let text = format!("listen: [{{address: '0.0.0.0:8080'}}]\n{}", providers.text);
    let secrets = [
        "--files-secret",
        "files",
        "--credentials-secret",
        "providers",
    ];
    for (form, version) in [
        (&[][..], None),
        (
            &["--gateway-api", "--envoy-version", "1.36"],
            Some("1.36.4"),
        ),
    ] {
        let manifests = write(directory.path(), &text, &[&secrets, form].concat());
        let aws = aws_file();
        let entries = [("key", PROVIDERS_KEY), ("aws", &aws)];
        let pod = Pod::new(directory.path(), &manifests, &entries);
        let (_gateway, caller) = serve(
            directory.path(),
            &manifests,
            &pod,
            &providers.elsewhere,
            version,
        )
        .await;
        providers.ask(&caller).await;
    }
}

/// What the provider's own client is answered by way of the gateway.
async fn client(package: &str, base_url: String) -> Value {
    run_client(package, &[&base_url, KEY], &[]).await
}

/// Runs a provider's own client, with these arguments and variables, and takes what it printed.
pub(crate) async fn run_client(
    package: &str,
    arguments: &[&str],
    variables: &[(&str, &str)],
) -> Value {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/gateway_file/client.py");
    let client = Command::new("python3")
        .arg(script)
        .arg(package)
        .args(arguments)
        .envs(variables.iter().copied())
        .env(
            "PYTHONPATH",
            needed(&format!(".tools/{package}"), "make test-tools"),
        )
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .kill_on_drop(true)
        .output();
    let output = client.await.expect("python3");
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}");
    serde_json::from_slice(&output.stdout).expect("JSON")
}
