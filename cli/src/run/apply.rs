//! Gives Envoy what has changed, part by part, in an order in which every request finds all that it needs; and takes all of it
//! back if Envoy refuses a part.
//!
//! 1. certificates, and clusters that are new or changed; those that are gone stay,
//! 2. once the clusters are warm: routes, listeners, the filter's configuration,
//! 3. once no request can be on its way by the former configuration: clusters that are gone go.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value as Json, json};
use tokio::time::{Instant, sleep};

use super::admin::Admin;
use super::files::{filter, in_pattern, link, shown, typed, typed_at, write, write_text};
use super::log::Log;
use crate::gateway::{Parts, Places, Secret, stat_name};

/// How often a condition that is waited for is looked at.
const POLL: Duration = Duration::from_millis(10);
/// How long Envoy may take to say whether it takes a part.
const ANSWERS: Duration = Duration::from_secs(30);
/// And how long to say why not.
const SAYS: Duration = Duration::from_millis(500);

/// A request that is tried again is sent within so much time.
const BETWEEN_TRIES: Duration = Duration::from_secs(1);

const FILTER: &str = "the filter's configuration";
/// The names of its statistics.
const FILTERS: &str = "extension_config_discovery\\.http_filter\\.waykeeper";

/// How long a cluster may take to be ready: its names looked up, its hosts asked once whether they are well.
pub(super) const WARMS: Duration = Duration::from_secs(15);

/// What Envoy was given, and its answers.
#[derive(Debug)]
pub(super) struct Applied {
    places: Places,
    admin: Admin,
    log: Log,
    /// Of the next file that is written.
    version: u64,
    parts: Parts,
    /// Clusters that no configuration names any more.
    leaving: BTreeMap<String, Leaving>,
    /// What is live as a whole, while something else is on its way. Requests go by it until the last part of that is taken.
    live: Option<Live>,
    /// Files that were written and not taken yet.
    unsure: BTreeSet<PathBuf>,
}

#[derive(Debug)]
struct Live {
    parts: Parts,
    leaving: BTreeMap<String, Leaving>,
}

/// A cluster that is gone from the file and may still be asked.
#[derive(Debug, Clone)]
struct Leaving {
    cluster: Json,
    /// By then nothing waits that was decided on by the former configuration.
    from: Instant,
    /// By then no request to it can be tried again.
    until: Instant,
    /// Since when nothing is under way to it.
    idle: Option<Instant>,
}

/// For how long a former configuration is remembered by requests.
#[derive(Debug, Clone, Copy)]
pub(super) struct Waits {
    /// Those that wait for a decision.
    pub(super) undecided: Duration,
    /// Those that may be tried again.
    pub(super) tried: Duration,
}

/// What a file was before it was written, by which Envoy's answer is known.
#[derive(Debug)]
struct Asked {
    file: PathBuf,
    version: String,
    /// How many were refused.
    refused: u64,
    /// How many lines Envoy had logged.
    logged: usize,
}

/// Envoy does not take a part.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) part: String,
    pub(super) said: String,
}

/// How a change that Envoy takes goes on.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step<T> {
    /// It is live; these clusters were not ready in time.
    Live { cold: Vec<String> },
    /// Something else is to be done first.
    Superseded(T),
}

// === impl Applied ===

impl Applied {
    /// An Envoy that has its bootstrap and nothing else.
    pub(super) fn new(places: Places, admin: Admin, log: Log, bootstrap: Json) -> Self {
        Self {
            places,
            admin,
            log,
            version: 0,
            parts: Parts {
                bootstrap,
                ..Parts::default()
            },
            leaving: BTreeMap::new(),
            live: None,
            unsure: BTreeSet::new(),
        }
    }

    pub(super) fn parts(&self) -> &Parts {
        &self.parts
    }

    /// Writes what Envoy wants to see when it starts: nothing yet, as what it is given later it may have in any order.
    pub(super) fn begin(&mut self) -> io::Result<()> {
        write(&self.places.bootstrap(), &self.parts.bootstrap)?;
        self.leave(&self.places.clusters(), Vec::new())?;
        self.leave(&self.places.listeners(), Vec::new())
    }

    /// Makes `new` live. While clusters warm, `meanwhile` may end the waiting with something that is to be done first: another
    /// `apply`, or [`Applied::take_back`].
    ///
    /// # Errors
    /// If Envoy refuses a part; what was live before is to be put back then.
    pub(super) async fn apply<T>(
        &mut self,
        new: &Parts,
        waits: Waits,
        meanwhile: impl AsyncFnMut() -> T,
    ) -> Result<Step<T>, Refused> {
        // Of several that follow each other before one is live, none but the first begins with what is.
        if self.live.is_none() {
            self.live = Some(Live {
                parts: self.parts.clone(),
                leaving: self.leaving.clone(),
            });
        }
        let applied = self.apply_in_order(new, waits, meanwhile).await;
        match &applied {
            Ok(Step::Live { .. }) => self.is_whole(),
            Ok(Step::Superseded(_)) | Err(_) => {}
        }
        applied
    }

    /// Puts what is live in force again, as far as anything else is. What cannot be put back is told, and waits for the next time.
    pub(super) async fn take_back(&mut self) -> Vec<Refused> {
        let Some(Live { parts, leaving }) = &self.live else {
            return Vec::new();
        };
        let (parts, leaving) = (parts.clone(), leaving.clone());
        let mut left = Vec::new();
        left.extend(self.filter(&parts).await.err());
        left.extend(self.listeners(&parts.listeners).await.err());
        for (name, routes) in &parts.routes {
            left.extend(self.route(name, routes).await.err());
        }
        left.extend(self.clusters(&parts, leaving).await.err());
        for (name, secret) in &parts.secrets {
            left.extend(self.secret(name, secret).await.err());
        }
        left.extend(self.credentials(&parts).err());
        if left.is_empty() {
            self.forget(&parts);
            self.is_whole();
        }
        left
    }

    /// Whether nothing is in force but what is live as a whole.
    pub(super) fn whole(&self) -> bool {
        self.live.is_none()
    }

    fn is_whole(&mut self) {
        self.live = None;
        // What is left is of no part any more.
        self.unsure.clear();
    }

    async fn apply_in_order<T>(
        &mut self,
        new: &Parts,
        waits: Waits,
        mut meanwhile: impl AsyncFnMut() -> T,
    ) -> Result<Step<T>, Refused> {
        self.secrets(new).await?;
        let leaving = self.leaving_after(new, waits);
        self.clusters(new, leaving).await?;
        let cold = tokio::select! {
            cold = self.cold() => cold,
            other = meanwhile() => return Ok(Step::Superseded(other)),
        };
        self.routes(new).await?;
        // The first filter has to be there before a listener asks for it; of later ones the listener may lack a part.
        let asked = match self.parts.filter.is_null() {
            true => Some(self.first_filter(new)?),
            false => None,
        };
        // What tells others that we are ready comes last.
        let mut first = new.listeners.clone();
        if !self.parts.listeners.contains_key("operations") {
            first.remove("operations");
        }
        self.listeners(&first).await?;
        if let Some(asked) = &asked {
            self.answer(asked, FILTERS, FILTER).await?;
        }
        self.listeners(&new.listeners).await?;
        self.filter(new).await?;
        self.count_from_now(waits);
        self.forget(new);
        Ok(Step::Live { cold })
    }

    /// Clusters that are live or leave already, and are not in the new ones: they stay for a while.
    fn leaving_after(&self, new: &Parts, waits: Waits) -> BTreeMap<String, Leaving> {
        let now = Instant::now();
        let (clusters, leaving) = match &self.live {
            Some(live) => (&live.parts.clusters, &live.leaving),
            None => (&self.parts.clusters, &self.leaving),
        };
        let live = clusters.iter().map(|(name, cluster)| {
            let leaving = Leaving {
                cluster: cluster.clone(),
                from: now + waits.undecided,
                until: now + waits.undecided + waits.tried,
                idle: None,
            };
            (name.clone(), leaving)
        });
        let leaving = leaving.iter().map(|(name, it)| (name.clone(), it.clone()));
        live.chain(leaving)
            .filter(|(name, _)| !new.clusters.contains_key(name))
            .collect()
    }

    /// Counts the time of those that leave from now on: the new configuration has just become live.
    fn count_from_now(&mut self, waits: Waits) {
        let now = Instant::now();
        for leaving in self.leaving.values_mut() {
            leaving.from = leaving.from.max(now + waits.undecided);
            leaving.until = leaving.from + waits.tried;
        }
    }

    /// Lets those clusters go whose time has come.
    ///
    /// # Errors
    /// If Envoy refuses that.
    pub(super) async fn let_go(&mut self) -> Result<Vec<String>, Refused> {
        let now = Instant::now();
        let due: Vec<String> = self
            .leaving
            .iter()
            .filter(|(_, leaving)| leaving.from <= now)
            .map(|(name, _)| name.clone())
            .collect();
        let mut gone = Vec::new();
        for name in due {
            let busy = self.requests_under_way(&name).await != Some(0);
            let Some(leaving) = self.leaving.get_mut(&name) else {
                continue;
            };
            leaving.idle = if busy {
                None
            } else {
                leaving.idle.or(Some(now))
            };
            // One that waits for its next try is under way nowhere for a moment.
            let idle = leaving
                .idle
                .is_some_and(|since| now.duration_since(since) >= BETWEEN_TRIES);
            if idle || leaving.until <= now {
                self.leaving.remove(&name);
                gone.push(name);
            }
        }
        if !gone.is_empty() {
            let parts = self.parts.clone();
            self.write_clusters(&parts).await?;
        }
        Ok(gone)
    }

    async fn requests_under_way(&self, cluster: &str) -> Option<u64> {
        let name = in_pattern(&stat_name(cluster));
        let pattern = format!("^cluster\\.{name}\\.upstream_rq_(active|pending_active)$");
        self.admin.sum(&pattern).await.ok()
    }

    async fn secrets(&mut self, new: &Parts) -> Result<(), Refused> {
        for (name, secret) in &new.secrets {
            self.secret(name, secret).await?;
        }
        self.credentials(new)
    }

    async fn secret(&mut self, name: &str, secret: &Secret) -> Result<(), Refused> {
        let file = self.places.secret(name);
        let former = self.parts.secrets.get(name).cloned();
        if former.as_ref() == Some(secret) && self.sure(&file) {
            return Ok(());
        }
        let links = self.places.links(name, secret.generation);
        let linked = link(&links, &secret.files).map_err(|error| Refused::file(&links, &error))?;
        let resource = typed(
            "transport_sockets.tls.v3.Secret",
            &secret.resource(name, &linked),
        );
        // Where nobody refers to it any more, nobody will answer.
        let answered = former.is_some() && self.refers_to(name);
        self.parts.secrets.insert(name.to_owned(), secret.clone());
        if answered {
            let pattern = format!("(.*\\.)?sds\\.{name}");
            let what = shown(&secret.files);
            self.put(&file, &pattern, &what, vec![resource]).await?;
        } else {
            self.leave(&file, vec![resource])
                .map_err(|error| Refused::file(&file, &error))?;
        }
        if let Some(former) = former
            && former.generation != secret.generation
        {
            // What Envoy has read it keeps.
            let _ = std::fs::remove_dir_all(self.places.links(name, former.generation));
        }
        Ok(())
    }

    fn credentials(&mut self, new: &Parts) -> Result<(), Refused> {
        for (name, text) in &new.credentials {
            if self.parts.credentials.get(name) != Some(text) {
                let file = self.places.below(name);
                write_text(&file, text).map_err(|error| Refused::file(&file, &error))?;
                self.parts.credentials.insert(name.clone(), text.clone());
            }
        }
        Ok(())
    }

    async fn clusters(
        &mut self,
        new: &Parts,
        leaving: BTreeMap<String, Leaving>,
    ) -> Result<(), Refused> {
        let same = self.parts.clusters == new.clusters
            && self.leaving.keys().eq(leaving.keys())
            && self.sure(&self.places.clusters());
        self.leaving = leaving;
        if same {
            return Ok(());
        }
        self.write_clusters(new).await?;
        Ok(())
    }

    /// The new ones, and those that leave.
    async fn write_clusters(&mut self, new: &Parts) -> Result<(), Refused> {
        let leaving = self.leaving.values().map(|leaving| &leaving.cluster);
        let clusters = new.clusters.values().chain(leaving);
        let clusters = clusters.map(|it| typed_at("envoy.config.cluster.v3.Cluster", it));
        let clusters = clusters.collect();
        let file = self.places.clusters();
        // As far as Envoy has taken any, it has to be told to let them go again.
        self.parts.clusters.clone_from(&new.clusters);
        self.put(&file, "cluster_manager\\.cds", "the agents", clusters)
            .await
    }

    async fn routes(&mut self, new: &Parts) -> Result<(), Refused> {
        for (name, routes) in &new.routes {
            self.route(name, routes).await?;
        }
        Ok(())
    }

    async fn route(&mut self, name: &str, routes: &Json) -> Result<(), Refused> {
        let file = self.places.routes(name);
        if self.parts.routes.get(name) == Some(routes) && self.sure(&file) {
            return Ok(());
        }
        let resources = vec![typed_at("envoy.config.route.v3.RouteConfiguration", routes)];
        // Who listens already has to take them; a new listener reads them when it comes.
        let known = self.parts.listeners.contains_key(name) && self.parts.routes.contains_key(name);
        self.parts.routes.insert(name.to_owned(), routes.clone());
        if known {
            let pattern = format!(
                "http\\.[^.]*\\.rds\\.{}",
                in_pattern(&name.replace(':', "_"))
            );
            let what = format!("the routes of {name}");
            self.put(&file, &pattern, &what, resources).await
        } else {
            self.leave(&file, resources)
                .map_err(|error| Refused::file(&file, &error))
        }
    }

    async fn listeners(&mut self, new: &BTreeMap<String, Json>) -> Result<(), Refused> {
        let file = self.places.listeners();
        if self.parts.listeners == *new && self.sure(&file) {
            return Ok(());
        }
        let resources = new.values();
        let resources = resources.map(|it| typed_at("envoy.config.listener.v3.Listener", it));
        let resources = resources.collect();
        self.parts.listeners.clone_from(new);
        self.put(&file, "listener_manager\\.lds", "the listeners", resources)
            .await?;
        let warm = async || {
            let warming = self
                .admin
                .sum("^listener_manager\\.total_listeners_warming$");
            matches!(warming.await, Ok(0))
        };
        if !self.within(ANSWERS, warm).await {
            return Err(Refused {
                part: "the listeners".to_owned(),
                said: "Envoy does not open them".to_owned(),
            });
        }
        Ok(())
    }

    async fn filter(&mut self, new: &Parts) -> Result<(), Refused> {
        let file = self.places.filter();
        if (self.parts.filter == new.filter && self.sure(&file)) || new.filter.is_null() {
            return Ok(());
        }
        self.parts.filter = new.filter.clone();
        let resources = vec![filter(&new.filter)];
        self.put(&file, FILTERS, FILTER, resources).await
    }

    /// Nobody looks at it until there is a listener.
    fn first_filter(&mut self, new: &Parts) -> Result<Asked, Refused> {
        let logged = self.log.count();
        let file = self.places.filter();
        let written = self.write(&file, vec![filter(&new.filter)]);
        let version = written.map_err(|error| Refused::file(&file, &error))?;
        self.parts.filter = new.filter.clone();
        Ok(Asked {
            file,
            version,
            refused: 0,
            logged,
        })
    }

    /// Whether a cluster or a listener needs a secret.
    fn refers_to(&self, secret: &str) -> bool {
        let leaving = self.leaving.values().map(|leaving| &leaving.cluster);
        let listeners = self.parts.listeners.values();
        let mut trees = self.parts.clusters.values().chain(leaving).chain(listeners);
        trees.any(|tree| tree.to_string().contains(secret))
    }

    /// Removes what no part needs any more.
    fn forget(&mut self, new: &Parts) {
        let secrets = self.parts.secrets.keys();
        let secrets = secrets.filter(|name| !new.secrets.contains_key(*name));
        for name in secrets.cloned().collect::<Vec<_>>() {
            if self.refers_to(&name) {
                continue;
            }
            if let Some(secret) = self.parts.secrets.remove(&name) {
                let _ = std::fs::remove_file(self.places.secret(&name));
                let _ = std::fs::remove_dir_all(self.places.links(&name, secret.generation));
            }
        }
        let routes = self.parts.routes.keys();
        let routes = routes.filter(|name| !new.routes.contains_key(*name));
        for name in routes.cloned().collect::<Vec<_>>() {
            self.parts.routes.remove(&name);
            let _ = std::fs::remove_file(self.places.routes(&name));
        }
    }

    /// Waits until all clusters are ready, and names those that are not in time.
    async fn cold(&self) -> Vec<String> {
        let warm = async || {
            let warming = self.admin.sum("^cluster_manager\\.warming_clusters$").await;
            matches!(warming, Ok(0))
        };
        if self.within(WARMS, warm).await {
            return Vec::new();
        }
        let dump = self
            .admin
            .json("/config_dump?resource=dynamic_warming_clusters");
        let dump = dump.await.unwrap_or_default();
        let warming = dump.pointer("/configs").and_then(Json::as_array);
        let names = warming.into_iter().flatten().filter_map(|it| {
            let name = it.pointer("/cluster/name")?;
            name.as_str().map(str::to_owned)
        });
        names.collect()
    }

    /// Writes a file and waits for Envoy's answer to it; `pattern` is what the names of its statistics begin with.
    async fn put(
        &mut self,
        file: &Path,
        pattern: &str,
        what: &str,
        resources: Vec<Json>,
    ) -> Result<(), Refused> {
        let refusals = format!("^{pattern}\\.update_(rejected|failure)$");
        // Even if it is not written at last, this is not what was asked for.
        self.unsure.insert(file.to_owned());
        let refused = self.refusals(&refusals, what).await?;
        let logged = self.log.count();
        let version = self
            .write(file, resources)
            .map_err(|error| Refused::file(file, &error))?;
        let asked = Asked {
            file: file.to_owned(),
            version,
            refused,
            logged,
        };
        self.answer(&asked, pattern, what).await
    }

    /// How many were refused so far. Not known is not none: all of before would count as answers to what is written next.
    async fn refusals(&self, pattern: &str, what: &str) -> Result<u64, Refused> {
        let deadline = Instant::now() + ANSWERS;
        loop {
            match self.admin.sum(pattern).await {
                Ok(refused) => return Ok(refused),
                Err(error) if Instant::now() >= deadline => {
                    return Err(Refused {
                        part: what.to_owned(),
                        said: format!("its admin interface: {error}"),
                    });
                }
                Err(_) => sleep(POLL).await,
            }
        }
    }

    async fn answer(&mut self, asked: &Asked, pattern: &str, what: &str) -> Result<(), Refused> {
        let refused = |said: &str| Refused {
            part: what.to_owned(),
            said: said.to_owned(),
        };
        let answers = format!("^{pattern}\\.(update_rejected|update_failure|version_text)$");
        let deadline = Instant::now() + ANSWERS;
        while Instant::now() < deadline {
            let stats = self.admin.stats(&answers).await.unwrap_or_default();
            let versions = stats
                .iter()
                .filter(|(name, _)| name.ends_with("version_text"));
            let versions: Vec<&String> = versions.map(|(_, version)| version).collect();
            if !versions.is_empty() && versions.iter().all(|it| **it == asked.version) {
                self.unsure.remove(&asked.file);
                return Ok(());
            }
            let numbers = stats.values().filter_map(|value| value.parse::<u64>().ok());
            if numbers.fold(0, u64::saturating_add) > asked.refused {
                return Err(refused(&self.said_since(asked.logged).await));
            }
            sleep(POLL).await;
        }
        Err(refused("Envoy does not look at it"))
    }

    /// Why Envoy refused something. Its log comes by another way, a moment later.
    async fn said_since(&self, logged: usize) -> String {
        let deadline = Instant::now() + SAYS;
        loop {
            if let Some(said) = self.log.refusal_since(logged) {
                return said;
            }
            if Instant::now() > deadline {
                return "it does not say why".to_owned();
            }
            sleep(POLL).await;
        }
    }

    /// Writes what nobody answers.
    fn leave(&mut self, file: &Path, resources: Vec<Json>) -> io::Result<()> {
        self.write(file, resources)?;
        self.unsure.remove(file);
        Ok(())
    }

    /// Whether Envoy goes by what was written there last.
    fn sure(&self, file: &Path) -> bool {
        !self.unsure.contains(file)
    }

    /// Writes an answer of a discovery service, and tells its version.
    fn write(&mut self, file: &Path, resources: Vec<Json>) -> io::Result<String> {
        self.version += 1;
        self.unsure.insert(file.to_owned());
        // No number alone: that would be added up with those of refusals.
        let version = format!("v{}", self.version);
        write(
            file,
            &json!({"version_info": version, "resources": resources}),
        )?;
        Ok(version)
    }

    async fn within(&self, time: Duration, mut condition: impl AsyncFnMut() -> bool) -> bool {
        let deadline = Instant::now() + time;
        while !condition().await {
            if Instant::now() >= deadline {
                return false;
            }
            sleep(POLL).await;
        }
        true
    }
}

// === impl Refused ===

impl Refused {
    fn file(file: &Path, error: &io::Error) -> Self {
        Self {
            part: file.display().to_string(),
            said: error.to_string(),
        }
    }
}
