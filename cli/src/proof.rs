//! Whether the routes of Istio's VirtualServices believe the filter alone. A WasmPlugin and these routes are two objects, and
//! either may be there without the other: so a route that reads the agent out of a header demands the configuration's proof
//! beside it. Nothing that is said here shows a proof.

use waykeeper::config;
use waykeeper::routing::{CLUSTER, PROOF};

use crate::find::{self, Configuration};
use crate::target::Target;
use crate::yaml::Value;

/// What is shorter than any proof is no secret.
const SHORTEST: usize = 16;

/// What the VirtualServices of all files are held against.
pub(crate) struct Services {
    /// Those of all configurations.
    proofs: Vec<String>,
    /// Whether they are looked at: a WasmPlugin's routes stand there, and its configuration is among the files.
    wanted: bool,
}

impl Services {
    pub(crate) fn of(files: &[(String, Vec<Value>)], target: Target) -> Self {
        let found = files
            .iter()
            .flat_map(|(_, documents)| find::configurations(documents).configurations);
        let configurations: Vec<_> = found.filter(|_| target == Target::Wasmplugin).collect();
        Self {
            proofs: configurations.iter().filter_map(proof_of).collect(),
            wanted: !configurations.is_empty(),
        }
    }

    /// The routes of a file that read the agent out of the filter's header.
    pub(crate) fn routes<'v>(&self, documents: &'v [Value]) -> Vec<&'v Value> {
        let mut routes = Vec::new();
        for document in documents.iter().filter(|_| self.wanted) {
            collect(document, &mut routes);
        }
        routes
    }

    /// What is wrong with such routes, with its line.
    pub(crate) fn faults(&self, routes: &[&Value]) -> Vec<(usize, String)> {
        let faults = routes.iter().map(|route| faults_of(route, &self.proofs));
        faults.flatten().collect()
    }
}

fn proof_of(configuration: &Configuration<'_>) -> Option<String> {
    let policy = match configuration {
        Configuration::Fields(value) => config::read_node(&value.node()),
        Configuration::Json(text, _) => config::load(text.as_bytes()),
    };
    policy.ok()?.proof.map(|proof| proof.0)
}

fn collect<'v>(value: &'v Value, routes: &mut Vec<&'v Value>) {
    if value.get("kind").and_then(Value::text) == Some("VirtualService") {
        let http = value.get("spec").and_then(|spec| spec.get("http"));
        let of_us = |route: &&Value| matches(route).next().is_some();
        routes.extend(http.into_iter().flat_map(Value::items).filter(of_us));
    } else {
        value.parts().for_each(|part| collect(part, routes));
    }
}

/// The matches of a route that read the agent out of the filter's header. One of them is enough for a request.
fn matches(route: &Value) -> impl Iterator<Item = &Value> {
    let all = route.get("match").into_iter().flat_map(Value::items);
    all.filter(|one| header(one, CLUSTER).is_some())
}

fn header<'v>(one: &'v Value, name: &str) -> Option<&'v Value> {
    one.get("headers")?.get(name)
}

fn faults_of(route: &Value, proofs: &[String]) -> Vec<(usize, String)> {
    let mut faults = Vec::new();
    let mut current = proofs.is_empty();
    for one in matches(route) {
        let demanded = header(one, PROOF).and_then(|it| it.get("exact")?.text());
        match demanded {
            None => faults.push((
                one.line,
                format!(
                    "whoever writes {CLUSTER} takes this route once the filter is not there: demand {PROOF} beside it, \
                     exact and as the configuration's proof is written"
                ),
            )),
            Some(proof) if proofs.iter().any(|it| it == proof) => current = true,
            Some(proof) if proof.len() < SHORTEST => faults.push((
                one.line,
                format!(
                    "what {PROOF} must be is too short for a secret; check what `kubectl kustomize` makes of the files"
                ),
            )),
            // An old or a coming one, while it is changed.
            Some(_) => {}
        }
    }
    if !current && faults.is_empty() {
        let what = format!(
            "no request takes this route: {PROOF} must be another than the configuration's proof"
        );
        faults.push((route.line, what));
    }
    if !removes(route) {
        let what = format!("the agent is shown the proof: name {PROOF} in headers.request.remove");
        faults.push((route.line, what));
    }
    faults
}

/// Whether the proof is taken out, by the route or on the way to each of its destinations.
fn removes(route: &Value) -> bool {
    let named = |part: &Value| {
        let request = part.get("headers").and_then(|it| it.get("request"));
        let removed = request.and_then(|it| it.get("remove"));
        let mut names = removed.into_iter().flat_map(Value::items);
        names.any(|name| name.text() == Some(PROOF))
    };
    let destinations = route.get("route").map_or(&[][..], Value::items);
    named(route) || (!destinations.is_empty() && destinations.iter().all(named))
}
