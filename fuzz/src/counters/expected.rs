//! What should come of each request, by exact buckets and windows.

use super::*;

impl Run {
    /// The time, as if it had never been set back.
    pub(super) fn now(&self) -> i128 {
        i128::from(self.world.clock.get()) + i128::from(self.set_back)
    }

    /// The time that a request's worker reads.
    pub(super) fn read(&self, request: Request) -> i128 {
        self.now() + i128::from(self.workers[request.worker].borrow().host.skew.get())
    }

    pub(super) fn count(&mut self, made: &Made, alone: bool) {
        self.tell(format_args!("{made:?}"));
        let request = made.request;
        let (now, read) = (self.now(), self.read(request));
        let gate = self.subjects(request, true);
        let admit = self.subjects(request, false);
        let exact = alone && self.is_exact();
        let exactly = |(name, rate): &(String, Rate)| self.bucket(name, *rate).is_exact();
        let less_exact = exact && [&gate, &admit].into_iter().flatten().all(exactly);
        let refused = self.is_empty(&gate, now) || self.is_empty(&admit, now);
        match &made.outcome {
            Outcome::Forwarded => {
                assert!(
                    !exact || !refused,
                    "more passes than is left\n{}",
                    self.story
                );
                self.take(&gate, read);
                self.take(&admit, read);
            }
            Outcome::Refused(code) if code == "rate_limited" => {
                assert!(
                    !less_exact || refused,
                    "less passes than is left\n{}",
                    self.story
                );
                // Who was refused at admit was counted at the gate.
                if made.admit {
                    self.take(&gate, read);
                }
                if less_exact {
                    let known = if made.admit {
                        [gate, admit].concat()
                    } else {
                        gate
                    };
                    let wait = known
                        .iter()
                        .map(|(name, rate)| self.bucket(name, *rate).wait(now, 1).unwrap_or(0))
                        .max()
                        .unwrap_or(0);
                    let seconds = wait.div_euclid(SECOND.into())
                        + i128::from(wait.rem_euclid(SECOND.into()) > 0);
                    assert_eq!(
                        made.retry_after,
                        Some(seconds),
                        "Retry-After is not the wait\n{}",
                        self.story
                    );
                }
            }
            Outcome::Refused(code) if code == "limits_unavailable" => {
                assert!(self.troubled, "nothing was wrong\n{}", self.story);
                if made.gate {
                    self.take(&gate, read);
                }
            }
            other => panic!("{other:?}\n{}", self.story),
        }
    }

    /// True if a calm clock and a host without faults leave no doubt of what is left.
    pub(super) fn is_exact(&self) -> bool {
        let calm = [Mode::Calm, Mode::SetBack].contains(&self.mode) && self.set_back == 0;
        calm && !self.troubled && !self.late
    }

    pub(super) fn is_empty(&mut self, subjects: &[(String, Rate)], now: i128) -> bool {
        subjects
            .iter()
            .any(|(name, rate)| self.bucket(name, *rate).wait(now, 1) != Some(0))
    }

    pub(super) fn take(&mut self, subjects: &[(String, Rate)], read: i128) {
        for (name, rate) in subjects {
            self.take_one(name, *rate, read, 1);
        }
    }

    pub(super) fn take_one(&mut self, name: &str, rate: Rate, read: i128, amount: u64) -> usize {
        let now = self.now();
        let clocks = Clocks {
            read,
            latest: self.latest,
            set_back: self.set_back.into(),
        };
        let bucket = self.bucket(name, rate);
        let noted = bucket.take(now, amount);
        let fits = bucket.passes(noted, amount, clocks);
        assert!(
            fits,
            "{name}: more passes than the rate and the clocks allow\n{}",
            self.story
        );
        noted
    }

    pub(super) fn bucket(&mut self, name: &str, rate: Rate) -> &mut Counted {
        self.buckets
            .entry(name.to_owned())
            .or_insert_with(|| Counted::new(rate))
    }

    /// The buckets that a request takes from, at the gate or at admit.
    pub(super) fn subjects(&self, request: Request, at_gate: bool) -> Vec<(String, Rate)> {
        let Request {
            client,
            route,
            address,
            ..
        } = request;
        let mut subjects = Vec::new();
        if !at_gate {
            let plan = self
                .limits
                .plan
                .map(|rate| (format!("plan of {client}"), rate));
            let own = self.limits.route.filter(|_| ROUTES[route] == "/b");
            subjects.extend(plan);
            subjects.extend(own.map(|rate| (format!("route of {client}"), rate)));
        }
        for (name, each, rate) in self.limits.named {
            let of = match each {
                Each::Address => format!("address {address}"),
                Each::Client => format!("client {client}"),
                Each::Route => format!("route {route}"),
                Each::All => String::new(),
            };
            if (*each == Each::Address) == at_gate {
                subjects.push((format!("{name} {of}"), *rate));
            }
        }
        subjects
    }
}
