//! `waykeeper init`: a `gateway.yaml` to begin with, and a key to it. It asks nothing and overwrites nothing.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use clap::builder::PossibleValuesParser;
use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{Environment, UndefinedBehavior, Value, context};
use waykeeper::identity::KeyHash;
use waykeeper::text::hex;

use crate::Outcome;
use crate::envoy::shell;

const TEMPLATE: &str = include_str!("../templates/gateway.yaml");
/// What the file is called, unless somebody says otherwise.
const FILE: &str = "gateway.yaml";
const LISTEN: &str = "127.0.0.1:8080";
const OPERATIONS: &str = "127.0.0.1:9902";
/// With what keys begin, so that whoever finds one knows what it opens.
const KEY_PREFIX: &str = "wk-";
/// Nobody guesses so many bytes.
const KEY_BYTES: usize = 32;

/// Write a gateway.yaml to begin with, and print a key to it
///
/// It has an agent that `waykeeper run` serves itself and that says what it was asked; with --for, one at a provider in its
/// place. A file that is there is never overwritten.
#[derive(Debug, Args)]
#[command(
    after_help = "Exit status: 0 if the file is written, 1 if there is one already, 2 if it cannot be written or the arguments are \
                  wrong."
)]
pub(crate) struct Arguments {
    /// The file to write, or the directory to write gateway.yaml into
    #[arg(value_name = "PATH", default_value = FILE)]
    path: PathBuf,
    /// Whose models to begin with
    #[arg(long = "for", value_name = "PROVIDER", value_parser = PossibleValuesParser::new(BEGINNINGS.map(|it| it.provider)))]
    provider: Option<String>,
}

/// What stands in the file of one agent.
struct Beginning {
    provider: &'static str,
    /// The fields beside the provider's name.
    fields: &'static str,
    /// What else to know of them.
    remarks: &'static [&'static str],
    /// What has to be in the environment of `run`. Not under the names by which clients take the gateway's key from theirs: one would
    /// be sent where the other belongs.
    environment: &'static [&'static str],
    /// What its paths begin with: OpenAI's, and its own.
    prefixes: &'static [&'static str],
    ask: Ask,
}

/// A first request that needs no knowledge of models.
enum Ask {
    Chat,
    Models,
    Converse,
}

const ECHO: Beginning = Beginning {
    provider: "",
    fields: "builtin: echo",
    remarks: &[
        "Says what it was asked. For a service of your own: {url: \"http://127.0.0.1:8000\"}",
    ],
    environment: &[],
    prefixes: &["/v1"],
    ask: Ask::Chat,
};

/// A provider that speaks as OpenAI does and wants a key.
const HOSTED: Beginning = Beginning {
    provider: "openai",
    fields: "provider: openai, credential: {env: OPENAI_PROVIDER_KEY}",
    remarks: &[FROM_A_FILE],
    environment: &["OPENAI_PROVIDER_KEY"],
    ask: Ask::Models,
    ..ECHO
};

const FROM_A_FILE: &str = "The provider's own key; callers never see it. From a file, which may change: {file: /run/secrets/key}";

const BEGINNINGS: [Beginning; 9] = [
    HOSTED,
    Beginning {
        provider: "anthropic",
        fields: "provider: anthropic, credential: {env: ANTHROPIC_PROVIDER_KEY}",
        environment: &["ANTHROPIC_PROVIDER_KEY"],
        ..HOSTED
    },
    Beginning {
        provider: "gemini",
        fields: "provider: gemini, credential: {env: GEMINI_PROVIDER_KEY}",
        environment: &["GEMINI_PROVIDER_KEY"],
        ..HOSTED
    },
    Beginning {
        provider: "mistral",
        fields: "provider: mistral, credential: {env: MISTRAL_PROVIDER_KEY}",
        environment: &["MISTRAL_PROVIDER_KEY"],
        ..HOSTED
    },
    Beginning {
        provider: "groq",
        fields: "provider: groq, credential: {env: GROQ_PROVIDER_KEY}",
        environment: &["GROQ_PROVIDER_KEY"],
        ..HOSTED
    },
    Beginning {
        provider: "azure-openai",
        fields: "provider: azure-openai, url: \"https://RESOURCE.openai.azure.com\", credential: {env: AZURE_OPENAI_PROVIDER_KEY}",
        remarks: &["RESOURCE is your own resource's name.", FROM_A_FILE],
        environment: &["AZURE_OPENAI_PROVIDER_KEY"],
        ..HOSTED
    },
    Beginning {
        provider: "bedrock",
        fields: "provider: bedrock, region: us-east-1",
        remarks: &[
            "Requests are signed with what AWS's own programs would sign with; the region is yours to choose.",
        ],
        environment: &["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"],
        prefixes: &["/model"],
        ask: Ask::Converse,
    },
    Beginning {
        provider: "ollama",
        fields: "provider: ollama",
        remarks: &["At http://127.0.0.1:11434, unless a url is written beside it."],
        environment: &[],
        prefixes: &["/v1", "/api"],
        ..HOSTED
    },
    Beginning {
        provider: "vllm",
        fields: "provider: vllm",
        remarks: &["At http://127.0.0.1:8000, unless a url is written beside it."],
        environment: &[],
        ..HOSTED
    },
];

/// Writes the file and prints its key.
pub(crate) fn run(arguments: &Arguments) -> io::Result<Outcome> {
    let path = if arguments.path.is_dir() {
        arguments.path.join(FILE)
    } else {
        arguments.path.clone()
    };
    let chosen = arguments.provider.as_deref();
    let beginning = BEGINNINGS
        .iter()
        .find(|it| Some(it.provider) == chosen)
        .unwrap_or(&ECHO);
    let key = new_key()?;
    let hash = hex::encoded(&KeyHash::of(key.as_bytes()).0);
    let text = text(beginning, &path, &hash).map_err(io::Error::other)?;
    let at =
        |error: &io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
    let mut file = match OpenOptions::new().write(true).create_new(true).open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            writeln!(
                io::stderr().lock(),
                "{}: is there already, and is left as it is; name another file, as in `waykeeper init other.yaml`",
                path.display()
            )?;
            return Ok(Outcome::Faulty);
        }
        Err(error) => return Err(at(&error)),
    };
    let done = file
        .write_all(text.as_bytes())
        .map_err(|error| at(&error))
        .and_then(|()| tell(&mut io::stdout().lock(), beginning, &path, &key));
    if done.is_err() {
        // Nobody has seen its key.
        let _ = fs::remove_file(&path);
    }
    done.map(|()| Outcome::Good)
}

fn new_key() -> io::Result<String> {
    let mut bytes = [0; KEY_BYTES];
    getrandom::fill(&mut bytes).map_err(io::Error::other)?;
    Ok(format!("{KEY_PREFIX}{}", hex::encoded(&bytes)))
}

/// What the file says.
fn text(beginning: &Beginning, path: &Path, hash: &str) -> Result<String, minijinja::Error> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    let mut syntax = SyntaxConfig::builder();
    syntax.trim_blocks(true).lstrip_blocks(true);
    environment.set_syntax(syntax.keep_trailing_newline(true).build()?);
    // A name that would end its line is not shown.
    let shown = path.file_name().and_then(|name| name.to_str());
    let shown = shown.filter(|name| !name.contains(char::is_control));
    environment.render_str(
        TEMPLATE,
        context! {
            file => shown.unwrap_or(FILE),
            listen => LISTEN,
            operations => OPERATIONS,
            hash,
            name => name(beginning),
            fields => beginning.fields,
            remarks => Value::from(Serde(beginning.remarks)),
            prefixes => Value::from(Serde(beginning.prefixes)),
        },
    )
}

/// What its agent is called.
fn name(beginning: &Beginning) -> &str {
    match beginning.provider {
        "" => "echo",
        provider => provider,
    }
}

fn tell(output: &mut impl Write, beginning: &Beginning, path: &Path, key: &str) -> io::Result<()> {
    let file = shell(&path.to_string_lossy());
    writeln!(output, "{}: written", path.display())?;
    writeln!(
        output,
        "\nThe key to it, which is shown this once (the file holds its hash):\n\n  {key}\n"
    )?;
    writeln!(output, "Run it:\n")?;
    for variable in beginning.environment {
        writeln!(output, "  export {variable}=…")?;
    }
    writeln!(output, "  waykeeper run {file}\n")?;
    writeln!(output, "and ask it, elsewhere:\n")?;
    let url = format!("http://{LISTEN}");
    match beginning.ask {
        Ask::Chat => writeln!(
            output,
            "  curl {url}/v1/chat/completions -H 'authorization: Bearer {key}' \\\n    \
             -H 'content-type: application/json' -d '{{\"model\":\"echo\",\"messages\":[{{\"role\":\"user\",\"content\":\"Hello\"}}]}}'"
        )?,
        Ask::Models => writeln!(
            output,
            "  curl {url}/v1/models -H 'authorization: Bearer {key}'"
        )?,
        Ask::Converse => writeln!(
            output,
            "  curl {url}/model/MODEL/converse -H 'authorization: Bearer {key}' \\\n    \
             -H 'content-type: application/json' -d '{{\"messages\":[{{\"role\":\"user\",\"content\":[{{\"text\":\"Hello\"}}]}}]}}'"
        )?,
    }
    if beginning.prefixes.contains(&"/v1") {
        let (variable, base, secret) = match beginning.provider {
            "anthropic" => ("ANTHROPIC_BASE_URL", "", "ANTHROPIC_API_KEY"),
            _ => ("OPENAI_BASE_URL", "/v1", "OPENAI_API_KEY"),
        };
        let client = if base.is_empty() {
            "Anthropic's"
        } else {
            "OpenAI's"
        };
        writeln!(
            output,
            "\n{client} clients take both from the environment:\n\n  \
             export {variable}={url}{base} {secret}={key}"
        )?;
    }
    output.flush()
}
