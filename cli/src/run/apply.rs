//! Gives Envoy what has changed, part by part, in an order in which every request finds all that it needs; and takes all of it
//! back if Envoy refuses a part.
//!
//! 1. certificates, and clusters that are new or changed; those that are gone stay,
//! 2. once the clusters are warm: routes, listeners, the filter's configuration,
//! 3. once no request can be on its way by the former configuration: clusters that are gone go.

mod answers;
mod leaving;
mod refused;
mod secrets;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value as Json;

use self::answers::{ANSWERS, Asked};
use self::leaving::Leaving;
pub(super) use self::leaving::Waits;
pub(super) use self::refused::Refused;
use self::refused::{AGENTS, LISTENERS, ROUTES};
use super::admin::Admin;
use super::files::{filter, in_pattern, typed_at, write};
use super::health::hosts;
use super::log::Log;
use super::within;
use crate::gateway::{Parts, Places};

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
    /// How often clusters were given.
    clusters_given: u64,
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

/// A cluster that is not ready.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Cold {
    pub(super) cluster: String,
    /// Whether what it was before goes on in its place meanwhile.
    pub(super) former: bool,
}

/// How a change that Envoy takes goes on.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step<T> {
    /// It is live; these clusters were not ready in time.
    Live { cold: Vec<Cold> },
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
            clusters_given: 0,
            leaving: BTreeMap::new(),
            live: None,
            unsure: BTreeSet::new(),
        }
    }

    pub(super) fn parts(&self) -> &Parts {
        &self.parts
    }

    /// Another number whenever Envoy was given clusters.
    pub(super) fn clusters_given(&self) -> u64 {
        self.clusters_given
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
            self.is_there("anything new").await?;
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
        // Else each part would be waited for by itself.
        if let Err(silent) = self.is_there("all parts").await {
            return vec![silent];
        }
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
        self.clusters_given += 1;
        self.put(&file, "cluster_manager\\.cds", AGENTS, clusters)
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
            let what = format!("{ROUTES}{name}");
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
        self.put(&file, "listener_manager\\.lds", LISTENERS, resources)
            .await?;
        let warm = async || {
            let warming = self
                .admin
                .sum("^listener_manager\\.total_listeners_warming$");
            matches!(warming.await, Ok(0)).then_some(())
        };
        if within(ANSWERS, warm).await.is_none() {
            self.unsure.insert(file);
            return Err(Refused::ByEnvoy {
                part: LISTENERS.to_owned(),
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

    /// Waits until all clusters are ready, and names those that are not in time.
    async fn cold(&self) -> Vec<Cold> {
        let warm = async || {
            let warming = self.admin.sum("^cluster_manager\\.warming_clusters$").await;
            matches!(warming, Ok(0)).then_some(())
        };
        if within(WARMS, warm).await.is_some() {
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
        let names: Vec<String> = names.collect();
        // One that is not ready has no hosts yet, not even an empty list.
        let used = hosts(&self.admin, names.iter()).await.unwrap_or_default();
        let cold = names.into_iter().map(|cluster| Cold {
            former: used.contains_key(&cluster),
            cluster,
        });
        cold.collect()
    }
}
