//! `waykeeper istio`: writes the manifests for a gateway of Istio's, out of the file that people write.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::Args;

use crate::Outcome;
use crate::check;
use crate::gateway::EnvoyVersion;
use crate::gateway::istio::{FILES, MARK, Options, Refusal, is_label, manifests};
use crate::writing::{Writing, source_name};

/// The image's name, unless somebody says otherwise.
const IMAGE: &str = "waykeeper-gateway:latest";

/// Write the manifests for a gateway of Istio's out of a gateway.yaml
///
/// A host without a point, or one that ends in `.svc` or `.svc.cluster.local`, is a Service of the cluster's. All others are
/// outside of it, and get a ServiceEntry. What Istio cannot carry is a fault.
#[derive(Debug, Args)]
#[command(
    after_help = "Exit status: 0 if the files are written, 1 if there are faults or a file of another hand is in the way, 2 if \
                  a file cannot be read or written or the arguments are wrong."
)]
pub(crate) struct Arguments {
    /// The gateway: listeners, agents by their urls, clients, routes
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The directory to write into; it is made if it is not there
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// The namespace of the gateway
    #[arg(long, value_name = "NAME", default_value = "waykeeper", value_parser = label)]
    namespace: String,
    /// The namespace of the Services that gateway.yaml names without one [default: the gateway's]
    #[arg(long, value_name = "NAME", value_parser = label)]
    agents_namespace: Option<String>,
    /// The image that holds the filter, made by `docker build --target gateway`
    #[arg(
        long,
        value_name = "IMAGE",
        default_value = IMAGE,
        value_parser = image
    )]
    image: String,
    /// The Secret, in the gateway's namespace, that holds a listener's certificate and key (and ca.crt for `client_ca`); one
    /// for each certificate, in the order of the file
    #[arg(long, value_name = "NAME", value_parser = object)]
    tls_secret: Vec<String>,
    /// The Secret, in the gateway's namespace, that holds the files that `tls` of agents and of the validator names; it is
    /// mounted where they are
    #[arg(long, value_name = "NAME", value_parser = object)]
    files_secret: Option<String>,
    /// The Secret, in the gateway's namespace, that holds what agents are shown (`credential`) and what `sessions` are sealed
    /// with: each under its file's name, or its variable's
    #[arg(long, value_name = "NAME", value_parser = object)]
    credentials_secret: Option<String>,
    /// Let Istio make the gateway's pods, from a Gateway of Kubernetes' Gateway API
    #[arg(long)]
    gateway_api: bool,
    /// The Envoy in the pods: 1.36 to 1.40. Istio 1.28 has 1.36
    #[arg(long, value_name = "VERSION", default_value_t)]
    envoy_version: EnvoyVersion,
    /// The domain of the cluster's Services
    #[arg(long, value_name = "DOMAIN", default_value = "cluster.local", value_parser = object)]
    cluster_domain: String,
    /// Overwrite files that were not written by this command
    #[arg(long)]
    force: bool,
}

/// Writes all files, or none.
pub(crate) fn run(arguments: &Arguments) -> io::Result<Outcome> {
    let source = source_name(&arguments.file);
    let options = Options {
        source: &source,
        namespace: &arguments.namespace,
        agents_namespace: arguments
            .agents_namespace
            .as_deref()
            .unwrap_or(&arguments.namespace),
        cluster_domain: &arguments.cluster_domain,
        image: &arguments.image,
        tls_secrets: &arguments.tls_secret,
        files_secret: arguments.files_secret.as_deref(),
        credentials_secret: arguments.credentials_secret.as_deref(),
        envoy: arguments.envoy_version,
        gateway_api: arguments.gateway_api,
    };
    let mut broken = None;
    let made = check::gateway_for(
        &arguments.file,
        check::Where::Elsewhere,
        |document, checked| match manifests(&document.node(), checked, options) {
            Ok(manifests) => Ok(Some(manifests)),
            Err(Refusal::Faults(faults)) => Err(faults),
            Err(Refusal::Broken(error)) => {
                broken = Some(error);
                Ok(None)
            }
        },
    )?;
    if let Some(error) = broken {
        return Err(io::Error::other(error));
    }
    let made = match made {
        Ok(Some(made)) => made,
        Ok(None) => return Ok(Outcome::Unusable),
        Err(bad) => return Ok(bad),
    };
    let is_left_over = |name: &&str| !{ made.files.iter() }.any(|(written, _)| written == name);
    let leftovers: Vec<&str> = FILES.into_iter().filter(is_left_over).collect();
    let outcome = Writing {
        directory: &arguments.out,
        source: &arguments.file,
        mark: MARK,
        force: arguments.force,
        // No key of a session gets into manifests.
        guarded: None,
    }
    .write(&made.files, &leftovers)?;
    if outcome != Outcome::Good {
        return Ok(outcome);
    }
    let mut output = io::stdout().lock();
    for note in &made.notes {
        writeln!(output, "{note}")?;
    }
    let mut errors = io::stderr().lock();
    for doubt in &made.doubts {
        writeln!(errors, "warning: {doubt}")?;
    }
    if arguments.image == IMAGE {
        writeln!(
            output,
            "The image {IMAGE} is nowhere yet: build it, push it to where the cluster finds it, and name it by --image:\n\
             docker build --target gateway --tag REGISTRY/waykeeper-gateway:TAG ."
        )?;
    }
    writeln!(
        output,
        "kubectl apply --server-side --kustomize {}",
        crate::envoy::shell(&Path::new(&arguments.out).to_string_lossy())
    )?;
    Ok(Outcome::Good)
}

/// The name of a namespace.
fn label(text: &str) -> Result<String, String> {
    if is_label(text) {
        Ok(text.to_owned())
    } else {
        Err("expected lower-case letters, digits and -, at most 63".to_owned())
    }
}

/// The name of an object: labels with points between.
fn object(text: &str) -> Result<String, String> {
    if text.len() <= 253 && text.split('.').all(is_label) {
        Ok(text.to_owned())
    } else {
        Err("expected labels of lower-case letters, digits and -, with points between".to_owned())
    }
}

fn image(text: &str) -> Result<String, String> {
    let known = |byte: u8| byte.is_ascii_alphanumeric() || b"./:@_-".contains(&byte);
    if !text.is_empty() && text.bytes().all(known) {
        Ok(text.to_owned())
    } else {
        Err("expected an image such as registry.example.com/waykeeper-gateway:1".to_owned())
    }
}
