//! Whether the routes of Istio's VirtualServices believe the filter alone. A WasmPlugin and these routes are two objects, and
//! either may be there without the other: so a route that reads the agent out of a header demands the configuration's proof
//! beside it. Nothing that is said here shows a proof.

use waykeeper::config::{Faults, PROOF_LENGTHS, Policy};
use waykeeper::routing::{CLUSTER, PROOF};

use crate::yaml::{Kind, Value};

/// What the routes of all files are held against.
pub(crate) struct Proofs {
    /// Those of all configurations.
    known: Vec<String>,
    /// Whether routes are looked at: those of a WasmPlugin stand in VirtualServices.
    wanted: bool,
}

impl Proofs {
    /// Those of the configurations of all WasmPlugins, as the filter reads them.
    pub(crate) fn of<'r>(read: impl Iterator<Item = &'r Result<Policy, Faults>>) -> Self {
        let read: Vec<_> = read.collect();
        let known = read.iter().filter_map(|read| {
            let proof = read.as_ref().ok()?.proof.as_ref();
            proof.map(|proof| proof.0.clone())
        });
        Self {
            known: known.collect(),
            wanted: !read.is_empty(),
        }
    }

    /// The routes of a file that lead on, of VirtualServices in which one reads the agent out of the filter's header.
    pub(crate) fn routes<'v>(&self, documents: &'v [Value]) -> Vec<&'v Value> {
        let mut routes = Vec::new();
        for document in documents.iter().filter(|_| self.wanted) {
            collect(document, &mut routes);
        }
        routes
    }

    /// What is wrong with such routes, with its line.
    pub(crate) fn faults(&self, routes: &[&Value]) -> Vec<(usize, String)> {
        let faults = routes.iter().map(|route| faults_of(route, &self.known));
        faults.flatten().collect()
    }
}

fn collect<'v>(value: &'v Value, routes: &mut Vec<&'v Value>) {
    if value.get("kind").and_then(Value::text) == Some("VirtualService") {
        let http = value.get("spec").and_then(|spec| spec.get("http"));
        let http = http.map_or(&[][..], Value::items);
        let of_us = |route: &Value| {
            matches(route)
                .iter()
                .any(|it| header(it, CLUSTER).is_some())
        };
        if http.iter().any(of_us) {
            routes.extend(http.iter().filter(|route| leads_on(route)));
        }
    } else {
        value.parts().for_each(|part| collect(part, routes));
    }
}

/// Whether requests go on from a route to some destination, in place of being answered.
fn leads_on(route: &Value) -> bool {
    let written = |field: &&str| {
        let value = route.get(field);
        value.is_some_and(|value| value.kind != Kind::Null)
    };
    !["directResponse", "redirect"].iter().any(written)
}

/// One of them is enough for a request; where there is none, it takes every request.
fn matches(route: &Value) -> &[Value] {
    route.get("match").map_or(&[], Value::items)
}

/// A header's condition, in whatever case the name is written: Envoy makes it lower case.
fn header<'v>(one: &'v Value, name: &str) -> Option<&'v Value> {
    let mut headers = one.get("headers")?.entries().iter();
    let found = headers.find(|entry| entry.name.eq_ignore_ascii_case(name));
    found.map(|entry| &entry.value)
}

fn faults_of(route: &Value, proofs: &[String]) -> Vec<(usize, String)> {
    let mut faults = Vec::new();
    let mut current = proofs.is_empty();
    if matches(route).is_empty() {
        let what = format!(
            "everybody takes this route once the filter is not there: demand {CLUSTER} and {PROOF}"
        );
        faults.push((route.line, what));
    }
    for one in matches(route) {
        let demanded = header(one, PROOF).and_then(|it| it.get("exact")?.text());
        match demanded {
            _ if header(one, CLUSTER).is_none() => faults.push((
                one.line,
                format!(
                    "whoever meets this match takes the route once the filter is not there: demand {CLUSTER} and {PROOF} in \
                     each match"
                ),
            )),
            None => faults.push((
                one.line,
                format!(
                    "whoever writes {CLUSTER} takes this route once the filter is not there: demand {PROOF} beside it, \
                     exact and as the configuration's proof is written"
                ),
            )),
            Some(proof) if proofs.iter().any(|it| it == proof) => current = true,
            Some(proof) if proof.len() < *PROOF_LENGTHS.start() => faults.push((
                one.line,
                "the proof that this route demands is too short; check what `kubectl kustomize` makes of the files"
                    .to_owned(),
            )),
            // An old or a coming one, while it is changed.
            Some(_) => {}
        }
    }
    if !current && faults.is_empty() {
        let what = format!(
            "no request takes this route: it demands another {PROOF} than the configuration sends"
        );
        faults.push((route.line, what));
    }
    if !removes(route) {
        let what = format!("the agent is shown the proof: name {PROOF} in headers.request.remove");
        faults.push((route.line, what));
    } else if mirrors(route) && !removes_it(route) {
        let what = format!(
            "what mirrors requests is shown the proof: name {PROOF} in the headers.request.remove of the route itself"
        );
        faults.push((route.line, what));
    }
    for line in copies(route, proofs) {
        let what = "a header is written with the proof in it, which is for this route alone";
        faults.push((line, what.to_owned()));
    }
    faults
}

/// Where a route, or one of its destinations, leads.
fn destinations(route: &Value) -> &[Value] {
    route.get("route").map_or(&[], Value::items)
}

/// Whether the proof is taken out, by the route or on the way to each of its destinations.
fn removes(route: &Value) -> bool {
    let destinations = destinations(route);
    removes_it(route) || (!destinations.is_empty() && destinations.iter().all(removes_it))
}

/// Whether the proof is taken out by a route, or by a destination, itself.
fn removes_it(part: &Value) -> bool {
    let request = part.get("headers").and_then(|it| it.get("request"));
    let removed = request.and_then(|it| it.get("remove"));
    let mut names = removed.into_iter().flat_map(Value::items);
    names.any(|name| {
        name.text()
            .is_some_and(|name| name.eq_ignore_ascii_case(PROOF))
    })
}

/// Whether a route sends its requests elsewhere too.
fn mirrors(route: &Value) -> bool {
    let to = |field: &&str| route.get(field).is_some_and(|it| it.kind != Kind::Null);
    ["mirror", "mirrors"].iter().any(to)
}

/// The lines of headers that a route writes, to whomever, and that hold the proof: as a literal, or out of the header.
fn copies(route: &Value, proofs: &[String]) -> Vec<usize> {
    let parts = std::iter::once(route).chain(destinations(route));
    let headers = parts.filter_map(|part| part.get("headers"));
    let messages = headers.flat_map(|it| [it.get("request"), it.get("response")]);
    let written = messages
        .flatten()
        .flat_map(|it| [it.get("set"), it.get("add")]);
    let entries = written.flatten().flat_map(Value::entries);
    let copying = entries.filter(|entry| {
        let text = entry.value.text().unwrap_or_default();
        entry.name.eq_ignore_ascii_case(PROOF)
            || text.to_ascii_lowercase().contains(PROOF)
            || proofs.iter().any(|proof| text.contains(proof))
    });
    copying.map(|entry| entry.line).collect()
}
