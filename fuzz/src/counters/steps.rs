//! What happens in a run: requests, amounts, clocks, faults, new configurations.

use super::*;

impl Run {
    /// A request, and others that other workers make meanwhile.
    pub(super) fn request(&mut self, request: Request, meanwhile: Vec<(usize, Request)>) {
        let alone = meanwhile.is_empty();
        let made = Rc::new(RefCell::new(Vec::new()));
        if !alone {
            self.interfere(request.worker, meanwhile, &made);
        }
        let own = make(&self.workers, request);
        self.workers[request.worker].borrow().host.interfere(|| {});
        made.borrow_mut().extend(own);
        let made = made.take();
        for made in &made {
            self.latest = self.latest.max(self.read(made.request));
        }
        for made in &made {
            self.count(made, alone);
        }
    }

    pub(super) fn interfere(
        &self,
        worker: usize,
        meanwhile: Vec<(usize, Request)>,
        made: &Rc<RefCell<Vec<Made>>>,
    ) {
        let workers = Rc::clone(&self.workers);
        let made = Rc::clone(made);
        let looks = Cell::new(0);
        self.workers[worker].borrow().host.interfere(move || {
            for (_, request) in meanwhile.iter().filter(|(after, _)| *after == looks.get()) {
                let others = make(&workers, *request);
                made.borrow_mut().extend(others);
            }
            looks.set(looks.get() + 1);
        });
    }

    /// Several requests' worth at once, of which it is not known yet how much will be used.
    pub(super) fn take_amount(&mut self, request: Request, amount: u64) {
        let Request {
            worker,
            client,
            route,
            ..
        } = request;
        let host = Rc::clone(&self.workers[worker].borrow().host);
        let asked = self.counters[worker].take(&host, client, route, amount);
        let (now, read) = (self.now(), self.read(request));
        self.latest = self.latest.max(read);
        let subjects = self.subjects(request, false);
        let fits = subjects
            .iter()
            .all(|(name, rate)| self.bucket(name, *rate).wait(now, amount) == Some(0));
        let exact = self.is_exact();
        match asked {
            Asked::Taken(admission) => {
                self.tell(format_args!("{request:?} takes {amount}"));
                assert!(!exact || fits, "more is taken than is left\n{}", self.story);
                let mut noted = Vec::new();
                for (name, rate) in subjects {
                    noted.push((name.clone(), rate, self.take_one(&name, rate, read, amount)));
                }
                self.open.push(Open { admission, noted });
            }
            Asked::Refused => {
                self.tell(format_args!("{request:?} may not take {amount}"));
                let is_exact = |(name, rate): &(String, Rate)| self.bucket(name, *rate).is_exact();
                let exact = subjects.iter().all(is_exact) && exact;
                assert!(
                    !exact || !fits,
                    "less is taken than is left\n{}",
                    self.story
                );
            }
            Asked::Failed => assert!(self.troubled, "nothing was wrong\n{}", self.story),
        }
    }

    /// Somebody knows now how much was used: nothing, or any amount.
    pub(super) fn settle(&mut self, input: &mut Input<'_>, anything: bool) {
        let worker = input.below(WORKERS);
        let which = input.below(256);
        let used = if anything { input.below(24) as u64 } else { 0 };
        if self.open.is_empty() {
            return;
        }
        let which = which % self.open.len();
        let Open { admission, noted } = self.open.swap_remove(which);
        self.tell(format_args!(
            "worker {worker}: of {noted:?} {used} were used"
        ));
        let host = Rc::clone(&self.workers[worker].borrow().host);
        self.counters[worker].settle(&host, admission, used);
        let now = self.now();
        for (name, rate, noted) in noted {
            self.bucket(&name, rate).settle(noted, now, used);
        }
    }

    pub(super) fn pass(&mut self, time: u64) {
        self.tell(format_args!("{time} ns pass"));
        self.world.pass(time);
        self.late |= self.troubled;
    }

    pub(super) fn turn_clock(&mut self, input: &mut Input<'_>) {
        let worker = input.below(WORKERS);
        match self.mode {
            Mode::Skewed => {
                let skew = *input.one_of(&SKEWS);
                self.tell(format_args!("worker {worker} is {skew} ns off"));
                self.workers[worker].borrow().host.skew.set(skew);
            }
            Mode::SetBack => {
                let time = *input.one_of(&SET_BACKS);
                self.tell(format_args!("the clock is set back by {time} ns"));
                self.set_back += time;
                self.world.clock.set(self.world.clock.get() - time);
            }
            Mode::Calm | Mode::Crowded => {}
        }
    }

    pub(super) fn plan(&mut self, input: &mut Input<'_>) {
        let worker = input.below(WORKERS);
        let plan = Plan {
            trouble: *input.one_of(&[
                Trouble::Unreadable,
                Trouble::Unchangeable,
                Trouble::Overtaken,
            ]),
            after: input.below(8),
            times: 1 + input.below(4),
        };
        self.tell(format_args!("worker {worker} will have {plan:?}"));
        self.workers[worker].borrow().host.plan(plan);
        self.troubled = true;
    }

    /// A worker gets its configuration anew. What it was still to give back is not any more.
    pub(super) fn reload(&mut self, input: &mut Input<'_>) {
        let worker = input.below(WORKERS);
        self.tell(format_args!("worker {worker} has its configuration anew"));
        let new = self.world.worker(&self.policy);
        let before = self.workers[worker].replace(new);
        let now = self.workers[worker].borrow();
        now.host.skew.set(before.host.skew.get());
        self.counters[worker] = Counter::new(&now.host, &self.policy);
        self.late |= self.troubled;
    }

    /// All faults are over, and a second has passed on every worker.
    pub(super) fn heal(&mut self) {
        self.tell(format_args!("all is well again"));
        for worker in self.workers.iter() {
            let mut worker = worker.borrow_mut();
            worker.host.heal();
            worker.tick();
        }
        for (worker, counter) in self.workers.iter().zip(&self.counters) {
            counter.tick(&worker.borrow().host);
        }
        self.troubled = false;
    }
}
