//! What must hold after each step.

use waykeeper::host::StreamId;
use waykeeper::lifecycle::Flow;

use super::{Run, SPOOFED};
use crate::worker::header;

impl Run {
    pub(super) fn check_all(&self) {
        for (id, stream) in &self.streams {
            let seen = self.worker.host.seen(*id);
            let story = &self.story;
            assert!(seen.replies.len() <= 1, "{id:?} is answered twice\n{story}");
            let spoofed = header(&seen.trailers, "x-waykeeper-client");
            assert!(
                spoofed.is_none() || seen.reset > 0,
                "{id:?}: trailers go on as they came\n{story}"
            );
            assert!(seen.reset <= 1, "{id:?} is broken off twice\n{story}");
            let forwarded = usize::from(stream.continued) + seen.resumed;
            assert!(forwarded <= 1, "{id:?} goes on twice\n{story}");
            let cluster = header(&seen.request, "x-waykeeper-cluster");
            if forwarded == 0 {
                // What was not read could not be cleansed, and must not go on.
                assert!(
                    cluster.is_none() || (seen.unread && cluster == Some(SPOOFED)),
                    "{id:?} has a cluster undecided\n{story}"
                );
                assert!(
                    !seen.unread || !seen.replies.is_empty(),
                    "{id:?} waits unread\n{story}"
                );
                let cut = seen.reset > 0 && seen.trailers.is_empty();
                assert!(!cut, "{id:?} is broken off undecided\n{story}");
                continue;
            }
            assert!(
                matches!(cluster, Some(b"cluster-one" | b"cluster-two")),
                "{id:?} goes nowhere\n{story}"
            );
            if let Some(reply) = seen.replies.first() {
                let late = [
                    "waykeeper_agent_timeout",
                    "waykeeper_body_too_large",
                    "waykeeper_request_timeout",
                ];
                assert!(
                    late.contains(&reply.details.as_str()),
                    "{id:?}: {reply:?} after it went on\n{story}"
                );
            }
            let client = header(&seen.request, "x-waykeeper-client");
            match stream.key {
                None => assert!(
                    stream.path.starts_with("/open"),
                    "{stream:?} goes on without a key\n{story}"
                ),
                Some(key) => assert!(
                    key == "listed"
                        || self.valid.contains(key)
                        || client.is_none() && stream.path.starts_with("/open"),
                    "{stream:?} goes on with a key that nobody spoke up for\n{story}"
                ),
            }
        }
    }

    /// A part of a request goes on if the request has, or goes on with it: what was waited for is there. Whether it may is
    /// then checked of the request.
    pub(super) fn only_if_forwarded(&mut self, id: StreamId, flow: Flow, what: &str) {
        let seen = self.worker.host.seen(id);
        if let Some(stream) = self.streams.get_mut(&id)
            && seen.resumed == 0
        {
            stream.continued |= flow == Flow::Continue;
        }
        let forwarded = self.streams[&id].continued || seen.resumed > 0;
        let goes_on = forwarded && seen.replies.is_empty();
        assert!(
            flow != Flow::Continue || goes_on,
            "{id:?}: {what} would go on\n{}",
            self.story
        );
        assert!(
            flow == Flow::Continue || !goes_on || seen.reset > 0,
            "{id:?}: {what} is held for ever\n{}",
            self.story
        );
    }
}
