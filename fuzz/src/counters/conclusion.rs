//! The end of a run: what is left is what should be.

use super::*;

impl Run {
    /// What is left is what should be: at once if the clocks agreed, and in any case when all buckets have had the time to
    /// fill.
    pub(super) fn conclude(&mut self) {
        self.heal();
        if self.mode == Mode::Calm {
            self.probe();
        }
        for worker in self.workers.iter() {
            worker.borrow().host.skew.set(0);
        }
        // A cell notices that the clock was set back when it next counts, and a request that is refused on the way
        // comes to no further cell.
        self.open.clear();
        let now = self.now();
        let overdrawn = self.buckets.values().map(|bucket| bucket.fills_in(now));
        let longest = self
            .all_rates()
            .map(|rate| rate.fills_in())
            .chain(overdrawn)
            .max()
            .unwrap_or(0);
        for _ in 0..=self.all_rates().count() {
            self.touch();
            self.pass(u64::try_from(longest).expect("some days") + 2 * SECOND);
        }
        let (now, mode) = (self.now(), self.mode);
        assert!(self.buckets.values().all(|bucket| bucket.is_full(now)));
        self.buckets.clear();
        (self.mode, self.set_back, self.late) = (Mode::Calm, 0, false);
        self.tell(format_args!(
            "the run was {mode:?}, and all buckets are full again"
        ));
        self.probe();
    }

    /// Takes what is left.
    pub(super) fn probe(&mut self) {
        let most = self.all_rates().map(|rate| rate.burst).max().unwrap_or(0);
        for (client, route) in [(0, 0), (1, 1)] {
            for count in 0..=most {
                let worker = usize::try_from(count).expect("few") % WORKERS;
                let request = Request {
                    worker,
                    client,
                    route,
                    address: client,
                };
                self.request(request, Vec::new());
            }
        }
    }

    pub(super) fn touch(&mut self) {
        for (client, route) in [(0, 0), (1, 1)] {
            let request = Request {
                worker: 0,
                client,
                route,
                address: client,
            };
            self.request(request, Vec::new());
        }
    }

    pub(super) fn all_rates(&self) -> impl Iterator<Item = Rate> {
        let named = self.limits.named.iter().map(|(_, _, rate)| *rate);
        self.limits
            .plan
            .into_iter()
            .chain(self.limits.route)
            .chain(named)
    }
}
