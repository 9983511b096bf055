use tempfile::TempDir;

use super::*;
use crate::limiter::protocol::RateLimitDescriptor;
use crate::limiter::question::tests::{descriptor, question};

fn year(value: &str, limit: u32) -> RateLimitDescriptor {
    descriptor(&[value], limit, Unit::Year)
}

fn of(hits: u64, descriptor: RateLimitDescriptor) -> Question {
    question(vec![RateLimitDescriptor {
        hits_addend: Some(hits),
        ..descriptor
    }])
}

async fn left(keep: &Keep, descriptor: RateLimitDescriptor) -> u32 {
    let verdict = keep.count(&of(0, descriptor)).await.unwrap();
    verdict.standings[0].remaining
}

/// What the next process finds if this one is killed now.
fn killed(directory: &TempDir) -> Keep {
    let copy = directory.path().join("copy");
    std::fs::copy(directory.path().join("counts"), &copy).unwrap();
    Keep::open(&copy, 10).unwrap()
}

fn open(directory: &TempDir) -> Keep {
    Keep::open(&directory.path().join("counts"), 10).unwrap()
}

#[tokio::test]
async fn after_an_orderly_end_it_goes_on_exactly() {
    let directory = TempDir::new().unwrap();
    let keep = open(&directory);
    assert!(keep.count(&of(41, year("a", 100))).await.unwrap().admitted);
    assert!(keep.count(&of(1, year("b", 3))).await.unwrap().admitted);
    drop(keep);
    let keep = open(&directory);
    assert_eq!(left(&keep, year("a", 100)).await, 59);
    assert_eq!(left(&keep, year("b", 3)).await, 2);
}

#[tokio::test]
async fn whenever_it_is_killed_all_that_was_admitted_counts_and_at_most_a_twentieth_more() {
    let directory = TempDir::new().unwrap();
    let keep = open(&directory);
    for admitted in 1..=100 {
        assert!(keep.count(&of(1, year("a", 100))).await.unwrap().admitted);
        assert!(
            keep.count(&of(1, year("small", 100_000)))
                .await
                .unwrap()
                .admitted
        );
        if admitted % 7 == 0 || admitted > 90 {
            let left = left(&killed(&directory), year("a", 100)).await;
            assert!(
                (95 - admitted.min(95)..=100 - admitted).contains(&left),
                "{admitted}: {left}"
            );
        }
    }
    assert!(!keep.count(&of(1, year("a", 100))).await.unwrap().admitted);
}

#[tokio::test]
async fn a_fresh_start_outlives_a_crash() {
    let directory = TempDir::new().unwrap();
    let keep = open(&directory);
    for descriptor in [year("a", 100), year("small", 3)] {
        let limit = descriptor.limit.as_ref().unwrap().requests_per_unit;
        assert!(
            keep.count(&of(limit.into(), descriptor.clone()))
                .await
                .unwrap()
                .admitted
        );
        let all = of(
            u64::MAX,
            RateLimitDescriptor {
                is_negative_hits: true,
                ..descriptor.clone()
            },
        );
        keep.count(&all).await.unwrap();
        let left = left(&killed(&directory), descriptor).await;
        assert!(left >= limit - limit / 20, "{left} of {limit}");
    }
}

#[tokio::test]
async fn a_small_limit_is_kept_to_the_hit() {
    let directory = TempDir::new().unwrap();
    let keep = open(&directory);
    for used in 1..=5 {
        assert!(keep.count(&of(1, year("a", 5))).await.unwrap().admitted);
        assert_eq!(left(&killed(&directory), year("a", 5)).await, 5 - used);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nobody_is_admitted_before_it_is_kept() {
    let directory = TempDir::new().unwrap();
    let keep = Arc::new(open(&directory));
    let mut callers = tokio::task::JoinSet::new();
    for _ in 0..16 {
        let keep = Arc::clone(&keep);
        callers.spawn(async move {
            let mut admitted = 0;
            for _ in 0..10 {
                admitted += u32::from(keep.count(&of(1, year("a", 120))).await.unwrap().admitted);
            }
            admitted
        });
    }
    let admitted: u32 = callers.join_all().await.into_iter().sum();
    assert_eq!(admitted, 120);
    assert_eq!(left(&killed(&directory), year("a", 120)).await, 0);
}

#[tokio::test]
async fn windows_that_have_ended_are_forgotten() {
    let directory = TempDir::new().unwrap();
    let keep = open(&directory);
    let second = || descriptor(&["a"], 5, Unit::Second);
    assert!(
        keep.count(&question(vec![second(), year("a", 5)]))
            .await
            .unwrap()
            .admitted
    );
    drop(keep);
    let next = Span::new(Unit::Second, 1).unwrap().around(now()).end;
    tokio::time::sleep(next.since(now())).await;
    let keep = open(&directory);
    assert_eq!(keep.len(), 1);
    assert_eq!(left(&keep, second()).await, 5);
    assert_eq!(left(&keep, year("a", 5)).await, 4);
}

#[test]
fn a_window_of_a_length_takes_the_place_of_the_one_before() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("counts");
    let mut disk = Disk {
        database: Database::create(&path).unwrap(),
        starts: HashMap::new(),
    };
    let span = Span::new(Unit::Hour, 1).unwrap();
    let counter = |id| Counter { span, id };
    let hour = span.around(now()).start;
    let earlier = Timestamp(hour.0 - 3_600_000_000_000);
    disk.write(&Batch::from([
        (counter(1), (earlier, 4)),
        (counter(2), (earlier, 5)),
    ]))
    .unwrap();
    disk.write(&Batch::from([(counter(1), (hour, 6))])).unwrap();
    let mut memory = Memory::new(10);
    disk.load(&mut memory, now()).unwrap();
    let counts: Vec<_> = memory
        .iter()
        .map(|(counter, _, count)| (counter.id, count.used))
        .collect();
    assert_eq!(counts, [(1, 6)]);
}

#[test]
fn two_processes_do_not_share_a_file_and_another_file_is_not_taken() {
    let directory = TempDir::new().unwrap();
    let keep = open(&directory);
    assert!(Keep::open(&directory.path().join("counts"), 10).is_err());
    keep.end();
    let other = directory.path().join("other");
    std::fs::write(&other, "something else").unwrap();
    assert!(Keep::open(&other, 10).is_err());
    assert_eq!(std::fs::read_to_string(&other).unwrap(), "something else");
}

#[tokio::test]
async fn more_counters_than_there_may_be_are_not_taken_in() {
    let directory = TempDir::new().unwrap();
    let keep = open(&directory);
    for client in ["a", "b", "c"] {
        assert!(keep.count(&of(1, year(client, 5))).await.unwrap().admitted);
    }
    drop(keep);
    let error = Keep::open(&directory.path().join("counts"), 2)
        .err()
        .unwrap();
    assert!(error.to_string().contains("--max-counters"), "{error}");
}
