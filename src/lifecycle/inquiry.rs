//! Questions to the validator that are under way. All requests of a worker that wait for the same key share one.

use std::collections::HashMap;

use crate::config::policy::Validator;
use crate::host::{CalloutId, Host, HostError, StreamId, Timestamp};
use crate::identity::{Credential, KeyHash, Question};

/// All questions under way.
#[derive(Debug, Default)]
pub(super) struct Inquiries {
    by_key: HashMap<KeyHash, Inquiry>,
    by_callout: HashMap<CalloutId, KeyHash>,
}

/// One question, and who waits for the answer.
#[derive(Debug)]
pub(super) struct Inquiry {
    pub(super) key: KeyHash,
    pub(super) asked: Timestamp,
    pub(super) waiting: Vec<StreamId>,
}

impl Inquiries {
    /// Lets `stream` wait for what the validator says of the key, and asks if nobody has yet.
    pub(super) fn ask<H: Host>(
        &mut self,
        host: &H,
        validator: Option<&Validator>,
        credential: &Credential,
        stream: StreamId,
    ) -> Result<(), HostError> {
        let key = KeyHash::of(credential.secret().as_bytes());
        if let Some(inquiry) = self.by_key.get_mut(&key) {
            inquiry.waiting.push(stream);
            return Ok(());
        }
        let validator = validator.ok_or(HostError {
            call: "a callout without a validator",
            status: 0,
        })?;
        let question = Question::new(validator, credential.secret());
        let asked = host.now();
        let callout = host.call(&question.callout())?;
        self.by_callout.insert(callout, key);
        self.by_key.insert(
            key,
            Inquiry {
                key,
                asked,
                waiting: vec![stream],
            },
        );
        Ok(())
    }

    /// The question that a callout has answered. It is no longer under way.
    pub(super) fn take(&mut self, callout: CalloutId) -> Option<Inquiry> {
        let key = self.by_callout.remove(&callout)?;
        self.by_key.remove(&key)
    }
}
