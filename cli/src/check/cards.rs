//! What agents of A2A say in their cards, where these cannot be made to lead to the gateway.

use std::collections::BTreeSet;
use std::io;

use serde_json::Value as Json;
use waykeeper::config::Policy;

use super::report::Report;
use crate::gateway::{Gateway, Upstream};
use crate::reach;
use crate::yaml::Value;

/// Where a card is, behind the prefix that the agent knows.
const CARD: &str = "/.well-known/agent-card.json";

impl Report<'_> {
    /// Warns of signed cards: they pass as they are.
    pub(super) fn warn_of_cards(
        &mut self,
        document: &Value,
        policy: &Policy,
        gateway: &Gateway,
    ) -> io::Result<()> {
        let mut asked: Vec<(&Upstream, String)> = Vec::new();
        let mut about = Vec::new();
        for route in &policy.routes {
            let Some(a2a) = route.a2a.as_ref().filter(|a2a| a2a.rewrite_card) else {
                continue;
            };
            let prefix = route.prefix_rewrite.as_ref().unwrap_or(&route.prefix);
            let path = [prefix.trim_end_matches('/'), CARD].concat();
            let agents: BTreeSet<&str> = { route.all_agents() }
                .filter_map(|id| Some(policy.agents.get(id.0)?.name.as_str()))
                .collect();
            for agent in gateway
                .agents
                .iter()
                .filter(|it| agents.contains(&*it.name))
            {
                if let Some(upstream) = &agent.upstream {
                    asked.push((upstream, path.clone()));
                    about.push((agent.name.as_str(), a2a.public_url.as_deref(), &route.name));
                }
            }
        }
        if asked.is_empty() {
            return Ok(());
        }
        for (card, (agent, public, route)) in reach::fetch_all(&asked)?.into_iter().zip(about) {
            let Some(card) = card else { continue };
            let Ok(card) = serde_json::from_slice::<Json>(&card) else {
                continue;
            };
            let elsewhere = elsewhere(&card, public);
            if !elsewhere.is_empty() {
                let line = document.line_of(&["agents", agent]);
                let urls = elsewhere.join(", ");
                self.warning(
                    line,
                    format_args!(
                        "agents.{agent}: its card is signed, so the route {route} shows it as it is, and whoever goes by it goes to {urls}, \
                         round the gateway; have the agent sign a card that names the gateway, or none"
                    ),
                )?;
            }
        }
        Ok(())
    }
}

/// Where a card leads that is signed, as far as that is not the gateway.
fn elsewhere(card: &Json, public: Option<&str>) -> Vec<String> {
    let list = |name: &str| card.get(name).and_then(Json::as_array);
    if list("signatures").is_none_or(Vec::is_empty) {
        return Vec::new();
    }
    let interfaces = ["supportedInterfaces", "additionalInterfaces"].into_iter();
    let interfaces = interfaces.filter_map(list).flatten();
    let urls = interfaces
        .chain([card])
        .filter_map(|it| it.get("url")?.as_str());
    let is_public = |url: &str| {
        let rest = public.and_then(|public| url.strip_prefix(public));
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    let urls: BTreeSet<&str> = urls.filter(|url| !is_public(url)).collect();
    urls.into_iter().map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::elsewhere;

    #[test]
    fn a_signed_card_is_told_of_where_it_leads_round_the_gateway() {
        let public = Some("https://gateway.example");
        let card = |url: &str, signatures| json!({"url": url, "supportedInterfaces": [{"url": url}], "signatures": signatures});
        let signed = || json!([{"signature": "a"}]);
        assert_eq!(
            elsewhere(&card("http://a/", signed()), public),
            ["http://a/"]
        );
        assert_eq!(
            elsewhere(&card("https://gateway.example/a", signed()), None).len(),
            1
        );
        for good in [
            card("https://gateway.example/a", signed()),
            card("http://a/", json!([])),
            json!({"url": "http://a/"}),
        ] {
            assert!(elsewhere(&good, public).is_empty(), "{good}");
        }
        let near = card("https://gateway.example.org/", signed());
        assert_eq!(elsewhere(&near, public).len(), 1);
    }
}
