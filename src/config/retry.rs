//! What an agent is asked again for: how often, and after which answers.

use super::policy::Retry;
use super::reader::Spot;

pub(super) const RETRY_FIELDS: &[&str] = &["max_attempts", "retry_on"];
const ALL_5XX: &str = "5xx";
const SLOW: &str = "slow_first_token";
/// What is tried again beside statuses.
pub(super) const RETRY_WORDS: [&str; 2] = [ALL_5XX, SLOW];

/// `late`: a try ends at a time of its own.
pub(super) fn retry(spot: &Spot<'_>, late: bool) -> Option<Retry> {
    let fields = spot.fields(RETRY_FIELDS)?;
    let max_attempts = fields
        .get("max_attempts")
        .and_then(|spot| spot.whole_u32(1..=10));
    let mut words: Vec<&str> = Vec::new();
    let mut retry_on: Vec<u16> = Vec::new();
    if let Some(list) = fields.get("retry_on") {
        for item in list.list(200).into_iter().flatten() {
            if item.is_text() {
                let Some(word) = item.choice(&RETRY_WORDS.map(|word| (word, word))) else {
                    continue;
                };
                if words.contains(&word) {
                    item.fault(format!("{word} is already in the list"));
                } else if word == SLOW && !late {
                    item.fault(
                        "needs first_byte_timeout: without it no first token comes too late",
                    );
                }
                words.push(word);
                continue;
            }
            let Some(status) = item
                .whole(400..=599)
                .and_then(|status| u16::try_from(status).ok())
            else {
                continue;
            };
            if retry_on.contains(&status) {
                item.fault(format!("{status} is already in the list"));
            }
            retry_on.push(status);
        }
    }
    Some(Retry {
        max_attempts,
        retry_on,
        on_5xx: words.contains(&ALL_5XX),
    })
}
