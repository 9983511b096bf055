//! Certificates and keys, of which Envoy is given links, and what tells it where credentials are; and their end.

use super::super::files::{link, shown, typed, write_text};
use super::{Applied, Refused};
use crate::gateway::{Parts, Secret};

// === impl Applied ===

impl Applied {
    pub(super) async fn secrets(&mut self, new: &Parts) -> Result<(), Refused> {
        for (name, secret) in &new.secrets {
            self.secret(name, secret).await?;
        }
        self.credentials(new)
    }

    pub(super) async fn secret(&mut self, name: &str, secret: &Secret) -> Result<(), Refused> {
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

    pub(super) fn credentials(&mut self, new: &Parts) -> Result<(), Refused> {
        for (name, text) in &new.credentials {
            if self.parts.credentials.get(name) != Some(text) {
                let file = self.places.below(name);
                write_text(&file, text).map_err(|error| Refused::file(&file, &error))?;
                self.parts.credentials.insert(name.clone(), text.clone());
            }
        }
        Ok(())
    }

    /// Whether a cluster or a listener needs a secret.
    fn refers_to(&self, secret: &str) -> bool {
        let leaving = self.leaving.values().map(|leaving| &leaving.cluster);
        let listeners = self.parts.listeners.values();
        let mut trees = self.parts.clusters.values().chain(leaving).chain(listeners);
        trees.any(|tree| tree.to_string().contains(secret))
    }

    /// Removes what no part needs any more.
    pub(super) fn forget(&mut self, new: &Parts) {
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
}
