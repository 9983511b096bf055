//! What is counted, whichever the store: never more than a limit says, all of a question or nothing.

use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::protocol::{Code, RateLimitDescriptor, RateLimitRequest, Unit};
use crate::redis::RedisServer;
use crate::{Client, Service, ask, descriptor, of};

const CALLERS: usize = 64;
const EACH: usize = 20;

/// A limiter with each store in turn.
async fn with_each_store<F: Future<Output = ()>>(test: impl Fn(Service) -> F) {
    test(Service::start(&[]).await).await;
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("counts");
    let file = file.to_str().expect("a path");
    test(Service::start(&["--keep", file]).await).await;
    let redis = RedisServer::start().await;
    test(redis.limiter(&[]).await).await;
}

/// How many of so many questions at once are admitted.
pub(crate) async fn admitted(
    clients: &[Client],
    question: impl Fn(usize) -> Vec<RateLimitDescriptor>,
) -> u32 {
    let mut callers = JoinSet::new();
    for caller in 0..CALLERS {
        let client = clients[caller % clients.len()].clone();
        let descriptors = question(caller);
        callers.spawn(async move {
            let mut admitted = 0;
            for _ in 0..EACH {
                let (it_is, _) = ask(&client, descriptors.clone()).await.expect("an answer");
                admitted += u32::from(it_is);
            }
            admitted
        });
    }
    callers.join_all().await.into_iter().sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn sixty_four_callers_at_once_get_what_the_limit_says_and_not_one_more() {
    with_each_store(async |service| {
        let clients = [service.client().await, service.client().await];
        let got = admitted(&clients, |_| vec![descriptor("acme", 500, Unit::Year)]).await;
        assert_eq!(got, 500);
        let look = of(0, descriptor("acme", 500, Unit::Year));
        assert_eq!(ask(&clients[0], vec![look]).await, Ok((true, vec![0])));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_several_descriptors_all_are_counted_or_none() {
    with_each_store(async |service| {
        let clients = [service.client().await, service.client().await];
        let own = |caller: usize| descriptor(&format!("client-{caller}"), 10, Unit::Year);
        let both = |caller| vec![own(caller), descriptor("all", 300, Unit::Year)];
        assert_eq!(admitted(&clients, both).await, 300);
        let mut counted = 0;
        for caller in 0..CALLERS {
            let (_, left) = ask(&clients[0], vec![of(0, own(caller))])
                .await
                .expect("an answer");
            counted += 10 - left[0];
        }
        assert_eq!(
            counted, 300,
            "who was refused by one limit has spent nothing of the other"
        );
    })
    .await;
}

#[tokio::test]
async fn each_descriptor_has_a_status_in_order_admitted_or_not() {
    with_each_store(async |service| {
        let client = service.client().await;
        let request = RateLimitRequest {
            domain: "waykeeper".to_owned(),
            descriptors: vec![
                descriptor("acme", 2, Unit::Hour),
                descriptor("acme", 9, Unit::Year),
            ],
            hits_addend: 2,
        };
        for (code, own) in [(Code::Ok, Code::Ok), (Code::OverLimit, Code::OverLimit)] {
            let answer = client.should_rate_limit(&request).await.expect("an answer");
            assert_eq!(answer.overall_code, i32::from(code));
            let [hour, year] = &answer.statuses[..] else {
                panic!("{answer:?}");
            };
            assert_eq!((hour.code, hour.limit_remaining), (own.into(), 0));
            assert_eq!((year.code, year.limit_remaining), (Code::Ok.into(), 7));
            for (status, limit, unit, most) in [
                (hour, 2, Unit::Hour, 3_600),
                (year, 9, Unit::Year, 366 * 86_400),
            ] {
                let current = status.current_limit.as_ref().expect("a limit");
                assert_eq!(
                    (current.requests_per_unit, current.unit),
                    (limit, unit.into())
                );
                assert_eq!(current.unit_multiplier, None);
                let reset = status.duration_until_reset.as_ref().expect("a reset");
                assert!((0..=most).contains(&reset.seconds), "{reset:?}");
                assert!(reset.seconds > 0 || reset.nanos > 0, "{reset:?}");
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_window_ends_when_it_says_and_the_next_begins_empty() {
    with_each_store(async |service| {
        let client = service.client().await;
        let request = RateLimitRequest {
            domain: "waykeeper".to_owned(),
            descriptors: vec![descriptor("acme", 3, Unit::Second)],
            hits_addend: 0,
        };
        for _ in 0..3 {
            // Until it is full, and then until it says that it is not.
            let mut got = 0;
            let reset = loop {
                let answer = client.should_rate_limit(&request).await.expect("an answer");
                let status = &answer.statuses[0];
                if answer.overall_code != i32::from(Code::Ok) {
                    break status.duration_until_reset.expect("a reset");
                }
                got += 1;
                assert_eq!(status.code, i32::from(Code::Ok));
            };
            assert!(got >= 2, "{got}");
            assert_eq!(reset.seconds, 0);
            let reset = Duration::try_from(reset).expect("a time to come");
            // Its clock is not the one that is slept by.
            sleep(reset + Duration::from_millis(2)).await;
            let answer = client.should_rate_limit(&request).await.expect("an answer");
            assert_eq!(answer.overall_code, i32::from(Code::Ok));
        }
    })
    .await;
}

#[tokio::test]
async fn a_share_can_be_fetched_the_rest_of_it_and_what_is_left_given_back() {
    with_each_store(async |service| {
        let client = service.client().await;
        let share = |hits| vec![of(hits, descriptor("acme", 100, Unit::Year))];
        assert_eq!(ask(&client, share(60)).await, Ok((true, vec![40])));
        assert_eq!(ask(&client, share(60)).await, Ok((false, vec![40])));
        assert_eq!(ask(&client, share(40)).await, Ok((true, vec![0])));
        let back = |hits| {
            let mut share = share(hits);
            share[0].is_negative_hits = true;
            share
        };
        assert_eq!(ask(&client, back(25)).await, Ok((true, vec![25])));
        assert_eq!(ask(&client, share(26)).await, Ok((false, vec![25])));
        assert_eq!(ask(&client, back(u64::MAX)).await, Ok((true, vec![100])));
        // One counter twice in a question is counted twice.
        let twice = [share(50), share(51)].concat();
        assert_eq!(ask(&client, twice).await, Ok((false, vec![100, 100])));
        // A window of several units is another than that of one, and a limit that is changed goes on.
        let mut decade = share(5);
        decade[0].limit.as_mut().expect("a limit").unit_multiplier = Some(10);
        assert_eq!(ask(&client, decade).await, Ok((true, vec![95])));
        let lowered = vec![of(3, descriptor("acme", 4, Unit::Year))];
        assert_eq!(ask(&client, lowered.clone()).await, Ok((true, vec![1])));
        assert_eq!(ask(&client, share(7)).await, Ok((true, vec![90])));
        assert_eq!(ask(&client, lowered).await, Ok((false, vec![0])));
    })
    .await;
}
