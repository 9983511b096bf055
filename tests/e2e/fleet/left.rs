//! How a client's limits of the fleet stand, and a fresh start of them, asked at one gateway and seen at all.

use waykeeper::identity::KeyHash;
use waykeeper::text::hex;

use super::*;

const PATH: &str = "/.well-known/waykeeper/limits";
const OTHER: &str = "/.well-known/waykeeper/limits/reset?client=one";

impl Fleet {
    /// Gateways of which `one` is a client, with these limits of its plan, and `boss` an operator.
    async fn of_one(limiter: SocketAddr, plan: &Value, more: &Value) -> Self {
        let mut worlds = Vec::new();
        for _ in 0..GATEWAYS {
            let world = World::with(|draft| {
                draft.workers(2);
                with_limiter(draft, limiter);
                of_fleet(draft, plan, more);
                let key = |client: &str| {
                    let key = format!("{client}-key");
                    let sha256 = hex::encoded(&KeyHash::of(key.as_bytes()).0);
                    json!({"sha256": sha256, "client_id": client, "plan": "standard", "roles": [client]})
                };
                let configuration = draft.configuration();
                configuration["clients"]["keys"] = json!([key("one"), key("boss")]);
                configuration["limits_endpoint"] = json!({"operator_role": "boss"});
            });
            worlds.push(Arc::new(world.await));
        }
        Self(worlds)
    }

    async fn status(&self, gateway: usize) -> u16 {
        self.0[gateway]
            .get(NOTES)
            .key("one-key")
            .send()
            .await
            .status
    }

    async fn left(&self, gateway: usize) -> Value {
        let answer = self.0[gateway].get(PATH).key("one-key").send().await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()
    }

    /// What the tool says of it at that gateway.
    async fn tool(&self, gateway: usize, more: &[&str]) -> String {
        let tool = needed("target/debug/waykeeper", "cargo build -p waykeeper-cli");
        let url = format!("http://{}", self.0[gateway].address());
        let mut command = Command::new(tool);
        command.args(["limits", "one", "--gateway", &url, "--timeout", "30s"]);
        let command = command.args(more).env("WAYKEEPER_KEY", "boss-key");
        let output = command.output().await.expect("the tool");
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).expect("text")
    }

    /// So many requests of `one` at once, over all gateways: how many pass.
    async fn passing(&self, number: usize) -> u64 {
        let mut admitted = 0;
        let all: Vec<_> = (0..number).collect();
        for some in all.chunks(180) {
            let requests = some.iter().map(|number| {
                let world = &self.0[number % GATEWAYS];
                world.get(NOTES).key("one-key").send()
            });
            let answers = requests.collect::<JoinSet<_>>().join_all().await;
            admitted += answers.iter().filter(|it| it.status == 200).count() as u64;
        }
        admitted
    }
}

fn limit<'v>(answer: &'v Value, name: &str) -> &'v Value {
    let mut all = answer["limits"].as_array().expect("limits").iter();
    all.find(|it| it["name"] == name).unwrap_or(&Value::Null)
}

#[tokio::test]
async fn what_one_gateway_has_used_and_what_another_resets_is_seen_at_every_one() {
    let redis = Redis::start().await;
    let at = free_address();
    let _limiter = limiter(at, &["--redis", &redis.url(), "--redis-timeout", "30s"]).await;
    let plan = json!({"requests": "6/month", "scope": "fleet"});
    let fleet = Fleet::of_one(at, &plan, &json!({})).await;

    for number in 0..4 {
        assert_eq!(fleet.status(number % 2).await, 200);
    }
    // Twice: the first question takes nothing.
    for gateway in [2, 0, 2] {
        let answer = fleet.left(gateway).await;
        let plan = limit(&answer, "plan");
        assert_eq!((&plan["used"], &plan["remaining"]), (&json!(4), &json!(2)));
        assert_eq!(plan["scope"], "fleet");
        assert!(plan["reset_seconds"].as_u64().is_some_and(|it| it > 0));
        assert_eq!(answer.get("in_fleet"), None);
    }
    assert_eq!(fleet.passing(30).await, 2);
    assert_eq!(fleet.status(2).await, 429);
    let told = fleet.tool(1, &[]).await;
    assert!(
        told.contains("  plan per client in the fleet: 6 of 6 used, all again in "),
        "{told}"
    );

    let told = fleet.tool(1, &["--reset"]).await;
    assert!(
        told.starts_with("one: reset in this process and in the fleet\n"),
        "{told}"
    );
    assert!(
        told.contains("  plan per client in the fleet: begins anew\n"),
        "{told}"
    );
    assert_eq!(limit(&fleet.left(0).await, "plan")["used"], 0);
    assert_eq!(fleet.passing(30).await, 6);
    let log = fleet.0[1].gateway().envoy_log();
    assert!(
        log.contains("boss resets those of one in the fleet"),
        "{log}"
    );
}

#[tokio::test]
async fn without_the_limiter_the_rest_is_told_and_reset_and_what_is_not_is_said() {
    let at = free_address();
    let plan = json!({"requests": "9/hour", "limits": [
        {"name": "month", "each": "client", "requests": "6/month", "scope": "fleet"},
    ]});
    let fleet = Fleet::of_one(at, &plan, &json!({"on_failure": "deny"})).await;

    let unavailable = json!([{"name": "month", "why": "unavailable"}]);
    let answer = fleet.left(0).await;
    assert_eq!(limit(&answer, "plan")["used"], 0);
    assert_eq!(answer["in_fleet"], unavailable);
    let answer = fleet.0[0]
        .request("POST", OTHER)
        .key("boss-key")
        .send()
        .await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.json()["done_in"], json!(["process"]));
    assert_eq!(answer.json()["in_fleet"], unavailable);
    let told = fleet.tool(0, &[]).await;
    assert!(
        told.contains("  month in the fleet: not told, the limiter does not answer\n"),
        "{told}"
    );

    // A limiter that hangs is waited for as long as any of its answers.
    let server = limiter(at, &[]).await;
    eventually("the limiter's word", || async {
        (limit(&fleet.left(0).await, "month")["used"] == 0).then_some(())
    })
    .await;
    server.signal(Signal::STOP);
    assert_eq!(fleet.left(0).await["in_fleet"], unavailable);
    server.signal(Signal::CONT);
}

#[tokio::test]
async fn a_fresh_start_of_leased_limits_is_seen_everywhere_and_admits_no_more_than_is_documented() {
    let at = free_address();
    let _limiter = limiter(at, &[]).await;
    // Shares of 4, of which a worker holds six at most.
    let plan = json!({"requests": "1200/month", "scope": "fleet"});
    let fleet = Fleet::of_one(at, &plan, &json!({"manner": "leased"})).await;

    assert_eq!(fleet.status(0).await, 200);
    let answer = fleet.left(1).await;
    assert_eq!(
        limit(&answer, "plan")["used"],
        4,
        "what a worker has fetched is used"
    );

    let first = 1 + fleet.passing(1_800).await;
    assert!(first <= 1_200, "{first}");
    for gateway in 0..GATEWAYS {
        eventually("a full limit", || async {
            (fleet.status(gateway).await == 429).then_some(())
        })
        .await;
    }

    let told = fleet.tool(0, &["--reset"]).await;
    assert!(
        told.starts_with("one: reset in this process and in the fleet\n"),
        "{told}"
    );
    assert_eq!(limit(&fleet.left(2).await, "plan")["used"], 0);
    let mut again = 0;
    for gateway in 0..GATEWAYS {
        eventually("a limit with room", || async {
            (fleet.status(gateway).await == 200).then_some(())
        })
        .await;
        again += 1;
    }
    again += fleet.passing(1_900).await;
    // What other gateways held before it, and what lies unused at the end.
    let (held, unused) = (6 * 2 * (GATEWAYS as u64 - 1), 6 * 2 * GATEWAYS as u64);
    println!("{first}, then {again} of 1200");
    assert!(again <= 1_200 + held && again + unused >= 1_200, "{again}");
}
