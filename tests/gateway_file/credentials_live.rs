//! Credentials under `waykeeper run`: whatever is changed, each goes to the agent that it is written of and to no other.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use http_body_util::Full;
use hyper::Response;

use crate::caller::Caller;
use crate::eventually;
use crate::gateway::free_address;
use crate::running::Running;
use crate::stand_in::{Came, StandIn};

fn shown(came: &[Came]) -> BTreeSet<&str> {
    let shown = came.iter().map(|it| it.header("authorization"));
    shown.map(Option::unwrap_or_default).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_credential_that_is_changed_goes_where_it_is_written_alone() {
    let directory = tempfile::tempdir().expect("a directory");
    let key = |name: &str| directory.path().join(name).display().to_string();
    for name in ["a", "b"] {
        std::fs::write(key(name), format!("key-of-{name}")).expect("write");
    }
    let answer = |_: &Came| Response::new(Full::new(Bytes::from("{}")));
    let (a, b) = (StandIn::start(answer).await, StandIn::start(answer).await);
    let listen = free_address();
    let agent = |at: &StandIn, key: &str| {
        format!(
            "{{url: 'http://{}', credential: {{file: '{key}'}}}}",
            at.address
        )
    };
    let text = |one: &str, two: &str| {
        format!(
            "listen: [{{address: '{listen}'}}]\nagents:\n  one: {one}\n  two: {two}\nroutes:\n  - {{prefix: /one, agents: [one], \
             auth_required: false}}\n  - {{prefix: /two, agents: [two], auth_required: false}}\n"
        )
    };
    let (of_a, of_b) = (agent(&a, &key("a")), agent(&b, &key("b")));
    let mut running = Running::start(directory.path(), &text(&of_a, &of_b), &[]).await;

    // Agents change places, with all that belongs to them, while requests are under way.
    let ends = Arc::new(AtomicBool::new(false));
    let calling = ["/one", "/two"].map(|path| {
        let (ends, caller) = (Arc::clone(&ends), Caller::of(listen));
        tokio::spawn(async move {
            let mut served = 0;
            while !ends.load(Ordering::Relaxed) {
                assert_eq!(caller.get(path, &[]).await.status, 200, "{path}");
                served += 1;
            }
            served
        })
    });
    for _ in 0..5 {
        running.change(&text(&of_b, &of_a)).await;
        running.change(&text(&of_a, &of_b)).await;
    }
    ends.store(true, Ordering::Relaxed);
    for calling in calling {
        assert!(calling.await.expect("requests") > 20);
    }
    assert_eq!(shown(&a.came()), BTreeSet::from(["Bearer key-of-a"]));
    assert_eq!(shown(&b.came()), BTreeSet::from(["Bearer key-of-b"]));

    // One that is kept where nothing is shows nothing, and not what was kept elsewhere before.
    let caller = Caller::of(listen);
    running.change(&text(&agent(&a, &key("c")), &of_b)).await;
    assert_eq!(caller.get("/one", &[]).await.status, 503);
    assert_eq!(caller.get("/two", &[]).await.status, 200);
    assert_eq!(a.came().len(), 0);
    // It comes as Kubernetes and others bring it.
    std::fs::write(key("c.new"), "key-of-c").expect("write");
    std::fs::rename(key("c.new"), key("c")).expect("rename");
    eventually("the credential", async || {
        (caller.get("/one", &[]).await.status == 200).then_some(())
    })
    .await;
    assert_eq!(shown(&a.came()), BTreeSet::from(["Bearer key-of-c"]));
}
