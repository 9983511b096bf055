use super::*;
use crate::config::policy::Tables;
use crate::host::simulated::{Process, SimulatedHost};

fn worker(process: &Process, records: u32) -> (SimulatedHost, Responses) {
    let host = process.worker();
    let tables = Tables {
        keys: 8,
        counters: 8,
        address_counters: 8,
        responses: records,
    };
    let (state, _) = State::open(&host, tables, &[]).unwrap();
    let responses = Responses::open(&host, &state, records).unwrap();
    (host, responses)
}

fn found(host: &SimulatedHost, all: &Responses, client: Option<&str>, name: &str) -> Option<Giver> {
    all.find(host, all.key(client, name.as_bytes())).unwrap()
}

#[test]
fn every_worker_knows_who_has_given_an_answer_and_it_is_its_clients_alone() {
    let process = Process::default();
    let [(host, one), (other_host, two)] = [worker(&process, 1024), worker(&process, 1024)];
    let key = one.key(Some("acme"), b"resp_1");
    one.remember(&host, key, "chat", b"10.0.0.1:8000").unwrap();
    let giver = found(&other_host, &two, Some("acme"), "resp_1").unwrap();
    assert_eq!(giver.address, b"10.0.0.1:8000");
    assert!(two.is_by(&giver, "chat") && !two.is_by(&giver, "chats"));
    for (client, name) in [
        (Some("acme"), "resp_2"),
        (Some("other"), "resp_1"),
        (Some(""), "resp_1"),
        (None, "resp_1"),
        (Some("anybody"), "resp_1"),
    ] {
        assert_eq!(found(&host, &one, client, name), None, "{client:?} {name}");
    }
    // The same answer again, from elsewhere.
    two.remember(&other_host, key, "other", b"").unwrap();
    let giver = found(&host, &one, Some("acme"), "resp_1").unwrap();
    assert!(one.is_by(&giver, "other") && giver.address.is_empty());
}

#[test]
fn an_answer_is_forgotten_after_a_day() {
    let process = Process::default();
    let (host, all) = worker(&process, 1024);
    let key = all.key(None, b"resp_1");
    all.remember(&host, key, "chat", b"a").unwrap();
    process.pass(LASTS - Duration::from_secs(1));
    assert!(found(&host, &all, None, "resp_1").is_some());
    process.pass(Duration::from_secs(1));
    assert_eq!(found(&host, &all, None, "resp_1"), None);
}

#[test]
fn the_oldest_of_a_full_table_goes_and_its_size_stays() {
    let process = Process::default();
    // One cell.
    let (host, all) = worker(&process, 16);
    let name = |number: u32| format!("resp_{number}");
    let remember = |number: u32| {
        let key = all.key(None, name(number).as_bytes());
        all.remember(&host, key, "chat", &[b'a'; ADDRESS]).unwrap();
    };
    (0..16).for_each(remember);
    // Said once more, it is the youngest.
    remember(0);
    let size = || read(&host, all.grid.locate(0)).unwrap().0.len();
    assert_eq!(size(), 16 * RECORD);
    for number in 16..40 {
        remember(number);
        assert_eq!(size(), 16 * RECORD);
        assert!(found(&host, &all, None, &name(number)).is_some());
    }
    for number in 0..40 {
        let is_there = found(&host, &all, None, &name(number)).is_some();
        assert_eq!(is_there, number >= 24, "{number}");
    }
}

#[test]
fn a_table_is_found_again_whatever_its_size_was_to_be() {
    let process = Process::default();
    let (host, first) = worker(&process, 64);
    let key = first.key(None, b"resp_1");
    first.remember(&host, key, "chat", b"a").unwrap();
    let (host, second) = worker(&process, 4096);
    assert_eq!(second.grid.cells(), 4);
    assert!(found(&host, &second, None, "resp_1").is_some());
}

#[test]
fn an_address_that_is_longer_than_any_hosts_is_not_kept() {
    let process = Process::default();
    let (host, all) = worker(&process, 64);
    let key = all.key(None, b"resp_1");
    all.remember(&host, key, "chat", &[b'a'; ADDRESS + 1])
        .unwrap();
    assert_eq!(found(&host, &all, None, "resp_1").unwrap().address, b"");
}
