//! A fresh start is exact, whatever goes on meanwhile.

use super::*;
use crate::host::simulated::Access;
use crate::limits::fleet::OfClient;

fn whose<'a>(asked: Asked<'a>) -> Whose<'a> {
    Whose {
        asked,
        uses: &|_| true,
        in_shadow: true,
    }
}

impl Worker {
    fn reset(&self, client: &str) -> Reset {
        let asked = of(client, 0);
        let nothing = OfClient::default();
        (self.limits)
            .reset(&self.host, &whose(asked), &[], &nothing)
            .unwrap()
    }

    fn used(&self, client: &str) -> u64 {
        let left = self.limits.left(&self.host, &whose(of(client, 0)));
        left.unwrap().limits[0].used
    }
}

#[test]
fn requests_under_way_at_a_reset_give_nothing_back() {
    let world = World::new(plan("10/hour", None));
    let worker = world.worker();
    let under_way: Vec<_> = (0..4).map(|_| worker.admit("one", 0)).collect();
    worker.reset("one");
    assert_eq!(worker.used("one"), 0);
    assert_eq!(worker.passing("one", 3), 3);
    for admission in under_way {
        let _ = worker.limits.release(&worker.host, admission);
    }
    assert_eq!(worker.used("one"), 3);
}

#[test]
fn a_request_between_look_and_swap_of_a_reset_is_before_it_or_after_it_and_never_lost_in_part() {
    let world = World::new(plan("10/hour", None));
    let (worker, rival) = (world.worker(), world.worker());
    assert_eq!(worker.passing("one", 5), 5);
    let mut once = Some(rival);
    worker.host.before_swap(move |_| {
        if let Some(rival) = once.take() {
            assert!(rival.passes("one"));
        }
    });
    // The rival's request came before the reset, which was tried again.
    worker.reset("one");
    assert_eq!(worker.used("one"), 0);
    assert_eq!(world.worker().passing("one", 20), 10);
}

#[test]
fn a_reset_between_look_and_swap_of_a_request_leaves_that_request_alone_counted() {
    let world = World::new(plan("10/hour", None));
    let (worker, rival) = (world.worker(), world.worker());
    assert_eq!(worker.passing("one", 5), 5);
    let mut once = Some(rival);
    worker.host.before_swap(move |_| {
        if let Some(rival) = once.take() {
            rival.reset("one");
        }
    });
    assert!(worker.passes("one"));
    assert_eq!(worker.used("one"), 1);
}

#[test]
fn neighbours_in_the_cell_of_a_client_keep_their_counts() {
    let mut document = plan("10/hour", None);
    document["tables"] = json!({"counters": 1024});
    let world = World::new(document);
    let worker = world.worker();
    let clients: Vec<_> = (0..200).map(|number| format!("client-{number}")).collect();
    for client in &clients {
        assert_eq!(worker.passing(client, 2), 2);
    }
    worker.reset("client-7");
    for client in &clients {
        let expected = if client == "client-7" { 0 } else { 2 };
        assert_eq!(worker.used(client), expected, "{client}");
    }
}

#[test]
fn windows_and_an_overdrawn_bucket_begin_anew_too() {
    for algorithm in ["sliding_window", "fixed_window", "token_bucket"] {
        let mut document = plan("10/hour", None);
        document["plans"] = json!({"standard": {"requests": "10/hour", "algorithm": algorithm}});
        let world = World::new(document);
        let worker = world.worker();
        let admission = worker.try_take("one", 0, 4).unwrap();
        let used = Amounts { requests: 25 };
        let _ = worker.limits.settle(&worker.host, admission, used);
        let left = worker.limits.left(&worker.host, &whose(of("one", 0)));
        let left = &left.unwrap().limits[0];
        assert_eq!(
            (left.algorithm, left.used, left.remaining),
            (algorithm, 10, 0)
        );
        worker.reset("one");
        assert_eq!(worker.passing("one", 20), 10, "{algorithm}");
    }
}

#[test]
fn a_host_that_refuses_its_memory_has_nothing_reset_by_half_a_cell() {
    let world = World::new(plan("10/hour", None));
    let worker = world.worker();
    assert_eq!(worker.passing("one", 4), 4);
    worker.host.refuse(|access, _| access == Access::Swap);
    let refused = worker.limits.reset(
        &worker.host,
        &whose(of("one", 0)),
        &[],
        &OfClient::default(),
    );
    assert_eq!(refused, Err(StateError::Refused));
    worker.host.refuse(|_, _| false);
    assert_eq!(worker.used("one"), 4);
}
