//! Credentials under `waykeeper run`: whatever is changed, each goes to the agent that it is written of and to no other.

use std::collections::BTreeSet;
use std::os::unix::fs::symlink;
use std::path::Path;
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

/// An agent that answers with the credential that it was sent.
async fn telling_its_credential() -> StandIn {
    StandIn::start(|came: &Came| {
        let shown = came.header("authorization").unwrap_or_default().to_owned();
        Response::new(Full::new(Bytes::from(shown)))
    })
    .await
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

/// All that is written in a directory, but for what its links lead to.
fn written(directory: &Path) -> String {
    let entries = std::fs::read_dir(directory).expect("a directory");
    let texts = entries.map(|entry| {
        let entry = entry.expect("an entry");
        let kind = entry.file_type().expect("its type");
        match (kind.is_dir(), kind.is_file()) {
            (true, _) => written(&entry.path()),
            (_, true) => {
                String::from_utf8_lossy(&std::fs::read(entry.path()).expect("read")).into_owned()
            }
            _ => String::new(),
        }
    });
    texts.collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_credential_is_followed_however_it_is_written() {
    let directory = tempfile::tempdir().expect("a directory");
    let secrets = tempfile::tempdir().expect("a directory");
    let at = |name: &str| secrets.path().join(name);
    let write = |name: &str, text: &str| std::fs::write(at(name), text).expect("write");
    let rename = |from: &str, to: &str| std::fs::rename(at(from), at(to)).expect("rename");
    // As Kubernetes shows a Secret: links to a directory that is replaced.
    let swap = |name: &str, text: &str| {
        std::fs::create_dir_all(at("secret").join(name)).expect("a directory");
        write(&format!("secret/{name}/key"), text);
        symlink(name, at("secret/..data_tmp")).expect("a link");
        rename("secret/..data_tmp", "secret/..data");
    };
    let aws = |id: &str| {
        format!("[default]\naws_access_key_id = {id}\naws_secret_access_key = secret-of-aws\n")
    };
    write("placed", "secret-of-one\n");
    write("renamed", "secret-of-one");
    swap("..1", "secret-of-one");
    symlink("..data/key", at("secret/key")).expect("a link");
    write("aws", &aws("first"));
    let service = telling_its_credential().await;
    let listen = free_address();
    let caller = Caller::of(listen);
    let url = format!("url: 'http://{}'", service.address);
    let agents = [
        ("placed", "placed"),
        ("shared", "placed"),
        ("renamed", "renamed"),
        ("swapped", "secret/key"),
    ]
    .map(|(name, file)| {
        let file = at(file);
        let file = file.display();
        (name, format!("{{{url}, credential: {{file: '{file}'}}}}"))
    });
    let bedrock = format!(
        "{{provider: bedrock, region: eu-west-1, {url}, credential: {{file: '{}'}}}}",
        at("aws").display()
    );
    let later = bedrock.replace("/aws'", "/later/aws'");
    let agents = [&agents[..], &[("bedrock", bedrock), ("later", later)]].concat();
    let text = crate::running::gateway(listen, &agents, "");
    let mut running = Running::start(directory.path(), &text, &[]).await;
    let envoy = running.envoy();
    let shows = async |agent: &str, part: &str| {
        eventually(&format!("{agent}: {part}"), async || {
            let answer = caller.get(&format!("/{agent}/x"), &[]).await;
            let shown = answer.status == 200 && answer.text().contains(part);
            shown.then_some(())
        })
        .await;
    };
    for (agent, part) in [
        ("placed", "Bearer secret-of-one"),
        ("shared", "Bearer secret-of-one"),
        ("renamed", "Bearer secret-of-one"),
        ("swapped", "Bearer secret-of-one"),
        ("bedrock", "Credential=first/"),
    ] {
        shows(agent, part).await;
    }

    // Whatever becomes of the gateway's own file meanwhile.
    running.refuse("agents: nothing").await;
    write("placed", "secret-of-two");
    shows("placed", "Bearer secret-of-two").await;
    shows("shared", "Bearer secret-of-two").await;
    let said = running.hears("the credential in ").await;
    assert!(
        said.contains("/placed has changed, and is shown to its agents from now on"),
        "{said}"
    );
    write("renamed.new", "secret-of-two");
    rename("renamed.new", "renamed");
    shows("renamed", "Bearer secret-of-two").await;
    swap("..2", "secret-of-two");
    shows("swapped", "Bearer secret-of-two").await;
    swap("..3", "secret-of-three");
    shows("swapped", "Bearer secret-of-three").await;
    write("aws", &aws("second"));
    shows("bedrock", "Credential=second/").await;
    running.replace(&text);
    running.hears("nothing is different").await;
    std::fs::create_dir(at("later")).expect("a directory");
    write("later/aws", &aws("late"));
    shows("later", "Credential=late/").await;
    running.hears("Envoy's clusters: changed; live in").await;

    // Away it stays in use, and comes back as another.
    std::fs::remove_file(at("renamed")).expect("remove");
    running
        .hears("/renamed is not there; the previous credential stays in use")
        .await;
    shows("renamed", "Bearer secret-of-two").await;
    write("renamed", "secret-of-four");
    shows("renamed", "Bearer secret-of-four").await;

    // Kept elsewhere, in a directory that comes later: that agent waits for it, and nobody else.
    let late = at("no/such/key");
    let elsewhere = text.replacen(
        &format!("{}'", at("placed").display()),
        &format!("{}'", late.display()),
        1,
    );
    let said = running.change(&elsewhere).await;
    assert!(said.contains("agents: changed placed"), "{said}");
    let all = running.said_in_all();
    assert!(
        all.contains("no/such/key is not there; until it is, requests for this agent are answered 503 agent_unreachable"),
        "{all}"
    );
    let answer = caller.get("/placed/x", &[]).await;
    assert_eq!(answer.status, 503, "{answer:?}");
    assert_eq!(answer.json()["error"]["code"], "agent_unreachable");
    shows("shared", "Bearer secret-of-two").await;
    std::fs::create_dir_all(at("no/such")).expect("a directory");
    write("no/such/key", "secret-of-five");
    shows("placed", "Bearer secret-of-five").await;
    write("no/such/key", "secret-of-six");
    shows("placed", "Bearer secret-of-six").await;

    assert_eq!(running.envoy(), envoy, "Envoy was started again");
    let dump = running.admin("/config_dump?include_eds").await;
    assert!(dump.contains("credential_injector"), "{dump}");
    let own = written(running.directory());
    assert!(own.contains("generic_secret"), "{own}");
    for text in [dump, own, running.said_in_all()] {
        let shown = text.lines().find(|line| line.contains("secret-of-"));
        assert_eq!(shown, None);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_credential_is_shown_to_nobody_and_stops_nothing() {
    let directory = tempfile::tempdir().expect("a directory");
    let secrets = tempfile::tempdir().expect("a directory");
    let at = |name: &str| secrets.path().join(name);
    let key = at("key");
    // As most tools bring it: at once.
    let put = |name: &str, secret: &[u8]| {
        std::fs::write(at("beside"), secret).expect("write");
        std::fs::rename(at("beside"), at(name)).expect("rename");
    };
    let service = telling_its_credential().await;
    let listen = free_address();
    let caller = Caller::of(listen);
    let url = format!("url: 'http://{}'", service.address);
    let kept = format!("{{{url}, credential: {{file: '{}'}}}}", key.display());
    let bedrock = |more: &str| {
        let file = at("aws");
        let file = file.display();
        format!(
            "{{provider: bedrock, region: eu-west-1, {url}, {more}credential: {{file: '{file}'}}}}"
        )
    };
    let agents = [
        ("kept", kept),
        ("bedrock", bedrock("")),
        ("newer", bedrock("http2: true, ")),
    ];
    let hash = ring::digest::digest(&ring::digest::SHA256, b"key-of-a-caller");
    let clients = format!(
        "clients: {{keys: [{{sha256: {}, client_id: tester}}]}}",
        crate::aws::hex(hash.as_ref())
    );
    let text = crate::running::gateway(listen, &agents, &clients);
    put("key", b"good");
    let mut running = Running::start(directory.path(), &text, &[]).await;
    let envoy = running.envoy();
    let shows = async |part: &str| {
        eventually(part, async || {
            let answer = caller.get("/kept/x", &[]).await;
            (answer.status == 200 && answer.text() == part).then_some(())
        })
        .await;
    };
    shows("Bearer good").await;

    // What would not be signed is not sent, whatever the caller claims.
    let claimed = [("authorization", "AWS4-HMAC-SHA256 Credential=mine/")];
    service.came();
    for path in ["/bedrock/x", "/newer/x"] {
        let answer = caller.get(path, &claimed).await;
        assert_eq!(answer.status, 503, "{path}: {answer:?}");
        assert_eq!(answer.json()["error"]["code"], "agent_unreachable");
        assert_eq!(answer.header("retry-after"), Some("1"));
    }
    assert_eq!(service.came().len(), 0);
    put("aws", b"[default]\n");
    running
        .hears("/aws is no credentials file of AWS's: aws_access_key_id or aws_secret_access_key is missing; until it is fit, requests for its agents are answered 503")
        .await;
    assert_eq!(caller.get("/bedrock/x", &claimed).await.status, 503);
    put(
        "aws",
        b"[default]\naws_access_key_id = id\naws_secret_access_key = secret\n",
    );
    eventually("the signature", async || {
        let answer = caller.get("/bedrock/x", &claimed).await;
        (answer.status == 200 && answer.text().contains("Credential=id/")).then_some(())
    })
    .await;

    let long = "x".repeat(4097);
    let unfit: [(&str, &[u8]); 8] = [
        ("is not filled: it is empty", b""),
        ("fits no header: a line's end", b"one\nmore"),
        ("fits no header: a line's end", b"one\0"),
        ("begins or ends with a blank or a tab", b"one \n"),
        ("begins with a byte order mark", b"\xef\xbb\xbfone"),
        ("is too long for a credential", long.as_bytes()),
        (
            "holds the gateway key of client tester",
            b"key-of-a-caller\n",
        ),
        (
            "holds the gateway key of client tester",
            b"Bearer key-of-a-caller",
        ),
    ];
    let stays = "the previous credential stays in use";
    for (wrong, secret) in unfit {
        put("key", secret);
        let this = format!("the credential {} ", key.display());
        let said = running.hears(&this).await;
        assert!(said.contains(wrong) && said.contains(stays), "{said}");
        shows("Bearer good").await;
    }
    std::fs::remove_file(&key).expect("remove");
    std::fs::create_dir(&key).expect("a directory");
    let said = running.hears("is a directory, not a file").await;
    assert!(said.contains(stays), "{said}");
    std::fs::remove_dir(&key).expect("remove");
    // Envoy would wait for somebody to write it.
    let made = std::process::Command::new("mkfifo").arg(&key).status();
    assert!(made.expect("mkfifo").success());
    let said = running.hears("is no file, but a pipe").await;
    assert!(said.contains(stays), "{said}");
    shows("Bearer good").await;
    running.refuse(&format!("{text}\n")).await;
    assert_eq!(running.stat("server.live").await, 1);

    put("key", b"better");
    let said = running.hears("/key has changed").await;
    assert!(
        said.contains("is shown to its agents from now on"),
        "{said}"
    );
    shows("Bearer better").await;

    // Of places that are named no more nothing is left.
    let mut last = text.clone();
    for number in 0..5 {
        let name = format!("key-{number}");
        put(&name, name.as_bytes());
        let file = at(&name).display().to_string();
        last = text.replacen(&format!("{}'", key.display()), &format!("{file}'"), 1);
        running.change(&last).await;
        shows(&format!("Bearer {name}")).await;
    }
    let links = || {
        let entries = std::fs::read_dir(running.directory()).expect("a directory");
        let names = entries.map(|entry| entry.expect("an entry").file_name());
        names
            .filter(|name| name.to_string_lossy().starts_with("credential-"))
            .count()
    };
    eventually("no other links", async || (links() == 2).then_some(())).await;
    // And what comes back is there again.
    running.change(&text).await;
    shows("Bearer better").await;
    assert_ne!(last, text);
    assert_eq!(running.envoy(), envoy, "Envoy was started again");
    assert!(!written(running.directory()).contains("key-of-a-caller"));
}
