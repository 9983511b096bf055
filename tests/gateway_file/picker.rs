//! `picker:` of an agent, an endpoint picker of the Gateway API Inference Extension behind the filter: the filter chooses the agent,
//! Envoy's `ext_proc` asks the picker which of that agent's endpoints it is, and `override_host` goes there.

use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::caller::{Answer, Caller};
use crate::eventually;
use crate::gateway::free_address;
use crate::picker_stand_in::{DESTINATION, ENDS, Picker, lock};
use crate::running::Running;
use crate::stand_in::{Came, StandIn, json};

/// An engine that says who it is, and which endpoint it was told that it is.
async fn engine(name: &'static str) -> StandIn {
    StandIn::start(move |came: &Came| {
        let told = came.header(DESTINATION).unwrap_or("-");
        json(
            200,
            &format!(
                "{name} {told} {}",
                came.header("x-prefiller-host-port").unwrap_or("-")
            ),
        )
    })
    .await
}

async fn ask(caller: &Caller, path: &str, body: &str) -> Answer {
    // What a caller says of it counts nothing, for the picker neither.
    let headers = [
        (DESTINATION, "127.0.0.1:1"),
        ("x-gateway-destination-endpoint-subset", "127.0.0.1:1"),
        ("x-prefiller-host-port", "127.0.0.1:1"),
    ];
    caller.post(path, &headers, body).await
}

/// How many listeners were replaced.
async fn replaced(running: &Running) -> u64 {
    running.stat("listener_manager\\.listener_modified").await
}

#[tokio::test]
async fn a_picker_says_which_endpoint_of_its_agent_answers_while_agents_change() {
    let directory = tempfile::tempdir().expect("a directory");
    let picker = Picker::start().await;
    let [one, two, three, shadow] = [
        engine("one").await,
        engine("two").await,
        engine("three").await,
        engine("shadow").await,
    ];
    let listen = free_address();
    let text = |pool: &str, more: &str| {
        format!(
            "
listen: [{{address: '{listen}'}}]
agents:
  pool.1: {{endpoints: ['http://{}', 'http://{}'{more}]{pool}}}
  other: {{url: 'http://{}'}}
  shadow: {{url: 'http://{}'}}
routes:
  - {{prefix: /pool, agents: [pool.1], auth_required: false}}
  - {{prefix: /stream, agents: [pool.1], streams: true, auth_required: false}}
  - {{prefix: /heard, agents: [pool.1], mirror: {{agent: shadow}}, auth_required: false}}
  - {{prefix: /else, agents: [other], auth_required: false}}
",
            one.address, two.address, three.address, shadow.address
        )
    };
    // It begins without one.
    let mut running = Running::start(directory.path(), &text("", ""), &[]).await;
    let caller = Caller::of(listen);
    assert_eq!(ask(&caller, "/pool/x", "{}").await.status, 200);
    let pool = format!(
        ", picker: {{url: 'http://{}', timeout: 2s}}",
        picker.address
    );
    running.change(&text(&pool, "")).await;
    assert_eq!(replaced(&running).await, 0, "the listener is as it was");

    for engine in [&one, &two] {
        engine.came();
    }
    let mut shown = 0;
    for path in ["/pool/x", "/stream/x", "/heard/x"] {
        for (name, engine) in [("two", &two), ("one", &one), ("two", &two), ("two", &two)] {
            let address = engine.address.to_string();
            picker.picks(&address);
            let body = format!("{{\"model\":\"m\",\"number\":{shown}}}");
            let answer = ask(&caller, path, &body).await;
            assert_eq!(
                (answer.status, answer.text()),
                (200, format!("{name} {address} -"))
            );
            shown += 1;
            assert_eq!(lock(&picker.bodies).last(), Some(&body));
            assert_eq!(lock(&picker.bodies).len(), shown);
            let engines = [&one, &two].map(StandIn::came).concat();
            assert_eq!(
                engines.iter().map(|it| &it.body[..]).collect::<Vec<_>>(),
                [body.as_bytes()]
            );
        }
    }
    let heads = lock(&picker.heads).clone();
    for (name, value) in heads.iter().flatten() {
        assert!(value != "127.0.0.1:1", "{name} is a caller's");
    }
    // Those of the mirrored route are heard of beside, whole.
    let heard = || async {
        let heard = shadow.came();
        (!heard.is_empty()).then_some(heard)
    };
    let heard = eventually("the mirror", heard).await;
    assert!(heard[0].body.starts_with(b"{\"model\""), "{heard:?}");
    // Requests without a body, and of other agents, which do not meet it.
    picker.picks(&one.address.to_string());
    let answer = caller.get("/pool/x", &[]).await;
    assert_eq!(answer.text(), format!("one {} -", one.address));
    assert!(
        ask(&caller, "/else/x", "{}")
            .await
            .text()
            .starts_with("three - ")
    );
    assert_eq!(lock(&picker.bodies).len(), shown);

    // The agent is another now, and its cluster has another name: it is still the picker who says.
    running
        .change(&text(&pool, &format!(", 'http://{}'", three.address)))
        .await;
    picker.picks(&three.address.to_string());
    for _ in 0..3 {
        let answer = ask(&caller, "/pool/x", "{}").await;
        assert_eq!(answer.text(), format!("three {} -", three.address));
    }
    // One that is none of the agent's is nobody's: the request is balanced, and goes nowhere else.
    picker.picks(&shadow.address.to_string());
    shadow.came();
    let answer = ask(&caller, "/pool/x", "{}").await;
    assert!(!answer.text().starts_with("shadow"), "{}", answer.text());
    assert_eq!(shadow.came().len(), 0);
    running.change(&text("", "")).await;
    let before = lock(&picker.bodies).len();
    assert_eq!(ask(&caller, "/pool/x", "{}").await.status, 200);
    assert_eq!(lock(&picker.bodies).len(), before, "it is asked no more");
    assert_eq!(replaced(&running).await, 0);
}

#[tokio::test]
async fn without_a_pick_requests_are_refused_or_balanced() {
    let directory = tempfile::tempdir().expect("a directory");
    let picker = Picker::start().await;
    let (one, two) = (engine("one").await, engine("two").await);
    let listen = free_address();
    let endpoints = format!(
        "endpoints: ['http://{}', 'http://{}']",
        one.address, two.address
    );
    let at = format!("url: 'http://{}', timeout: 500ms", picker.address);
    let text = format!(
        "
listen: [{{address: '{listen}'}}]
agents:
  denies: {{{endpoints}, picker: {{{at}}}}}
  balances: {{{endpoints}, balance: round_robin, picker: {{{at}, on_failure: balance}}}}
routes:
  - {{prefix: /denies, agents: [denies], auth_required: false}}
  - {{prefix: /balances, agents: [balances], auth_required: false}}
"
    );
    let _running = Running::start(directory.path(), &text, &[]).await;
    let caller = Caller::of(listen);
    // It hears and says nothing. What has gone to it of a body is with it, and cannot go anywhere else.
    for (path, status) in [("/denies/x", 503), ("/balances/x", 503)] {
        let begun = std::time::Instant::now();
        let answer = ask(&caller, path, "{}").await;
        assert_eq!(answer.status, status, "{path}");
        assert!(answer.header("retry-after").is_some());
        assert!(
            begun.elapsed() >= std::time::Duration::from_millis(400),
            "{path}"
        );
    }
    assert_eq!(caller.get("/denies/x", &[]).await.status, 503);
    assert_eq!(caller.get("/balances/x", &[]).await.status, 200);

    // It has nothing to say: to Envoy that is its consent, to whom it denies it is none.
    picker.picks(ENDS);
    for engine in [&one, &two] {
        engine.came();
    }
    for answer in [
        ask(&caller, "/denies/x", "{}").await,
        caller.get("/denies/x", &[]).await,
    ] {
        assert_eq!(answer.status, 503, "{}", answer.text());
        assert!(answer.header("retry-after").is_some());
    }
    assert_eq!([&one, &two].map(|it| it.came().len()), [0, 0]);
    assert_eq!(caller.get("/balances/x", &[]).await.status, 200);

    // Once Envoy knows that it is gone, nothing is asked of it, and bodies are still whole.
    let address = picker.address;
    drop(picker);
    let balanced = || async {
        let answer = ask(&caller, "/balances/x", "{}").await;
        (answer.status == 200).then_some(answer)
    };
    eventually("requests are balanced", balanced).await;
    for engine in [&one, &two] {
        engine.came();
    }
    for _ in 0..4 {
        assert_eq!(ask(&caller, "/balances/x", "a body").await.status, 200);
    }
    for engine in [&one, &two] {
        let came = engine.came();
        assert_eq!(
            came.iter().map(|it| &it.body[..]).collect::<Vec<_>>(),
            [b"a body", b"a body"]
        );
    }
    assert_eq!(ask(&caller, "/denies/x", "{}").await.status, 503);

    // It is back.
    let listener = TcpListener::bind(address).await.expect("its address");
    let picker = Picker::on(listener);
    picker.picks(&two.address.to_string());
    let picked = || async {
        let answer = ask(&caller, "/denies/x", "{}").await;
        answer.text().starts_with("two ").then_some(())
    };
    eventually("it is asked again", picked).await;
}

/// An answer may take longer than the picker may.
#[tokio::test]
async fn an_answer_that_takes_long_is_not_cut_by_the_pickers_timeout() {
    let directory = tempfile::tempdir().expect("a directory");
    let picker = Picker::start().await;
    let slow = crate::gateway::agent("slow").await;
    let listen = free_address();
    let text = format!(
        "
listen: [{{address: '{listen}'}}]
agents: {{pool: {{url: 'http://{}', picker: {{url: 'http://{}', timeout: 2s}}}}}}
routes: [{{prefix: /, agents: [pool], auth_required: false}}]
",
        slow.address(),
        picker.address
    );
    let _running = Running::start(directory.path(), &text, &[]).await;
    picker.picks(&slow.address().to_string());
    let caller = Caller::of(listen);
    for delay in [("x-demo-delay", "4s"), ("x-demo-interval", "1s")] {
        let headers = [delay, ("x-demo-events", "5")];
        let answer = caller
            .post("/api/v1/chat/stream", &headers, "{\"messages\":[]}")
            .await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert!(answer.text().contains("[DONE]"), "{}", answer.text());
    }
}

#[tokio::test]
async fn a_change_loses_no_request_that_a_picker_has_been_asked_about() {
    let directory = tempfile::tempdir().expect("a directory");
    let (former, other) = (Picker::start().await, Picker::start().await);
    let [one, two] = [engine("one").await, engine("two").await];
    let listen = free_address();
    let text = |picker: &Picker, engines: &[&StandIn]| {
        let endpoints = engines.iter().map(|it| format!("'http://{}'", it.address));
        let endpoints: Vec<String> = endpoints.collect();
        format!(
            "
listen: [{{address: '{listen}'}}]
agents: {{pool: {{endpoints: [{}], picker: {{url: 'http://{}', timeout: 1m}}}}}}
routes: [{{prefix: /, agents: [pool], auth_required: false}}]
",
            endpoints.join(", "),
            picker.address
        )
    };
    let both = [&one, &two];
    let mut running = Running::start(directory.path(), &text(&former, &both), &[]).await;
    let caller = Caller::of(listen);
    for picker in [&former, &other] {
        picker.picks(&one.address.to_string());
    }
    let goes_on = async |picker: &Picker, asking: JoinHandle<Answer>| {
        picker.speaks.send_replace(true);
        let answer = asking.await.expect("an answer");
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert!(answer.text().starts_with("one "), "{}", answer.text());
    };

    // Another picker is asked now; this one goes on with what it was asked.
    let asked = asking(&caller, &former).await;
    running.change(&text(&other, &both)).await;
    let seen = lock(&former.heads).len();
    assert_eq!(ask(&caller, "/x", "{}").await.status, 200);
    assert_eq!(
        (lock(&former.heads).len(), lock(&other.heads).len()),
        (seen, 1)
    );
    goes_on(&former, asked).await;

    // The agent is another, and for longer than anything waits that no picker is asked about.
    let asked = asking(&caller, &other).await;
    running.change(&text(&other, &[&one])).await;
    tokio::time::sleep(std::time::Duration::from_secs(8)).await;
    goes_on(&other, asked).await;
}

/// A request about which the picker has been asked, and says nothing yet.
async fn asking(caller: &Caller, picker: &Picker) -> JoinHandle<Answer> {
    picker.speaks.send_replace(false);
    let before = lock(&picker.heads).len();
    let caller = caller.clone();
    let asking = tokio::spawn(async move { ask(&caller, "/x", "{}").await });
    eventually("the question", || async {
        (lock(&picker.heads).len() > before).then_some(())
    })
    .await;
    asking
}
