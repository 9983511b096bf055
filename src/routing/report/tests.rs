use std::time::Duration;

use proptest::prelude::*;

use super::*;

fn load(metric: Option<&str>) -> Load {
    Load {
        from: LoadSource::Orca {
            metric: metric.map(str::to_owned),
        },
        full_at: 10,
        lasts: Duration::from_secs(10),
    }
}

fn said(value: &str) -> Option<u64> {
    in_header(&load(None), ORCA, value.as_bytes())
}

#[test]
fn a_report_is_read_in_text_in_json_and_as_a_message() {
    let cases = [
        (
            "TEXT application_utilization=0.7, cpu_utilization=0.3",
            700_000,
        ),
        ("application_utilization:0.7,cpu_utilization:0.3", 700_000),
        ("TEXT cpu_utilization=0.3,mem_utilization=0.9", 300_000),
        (
            "TEXT application_utilization=0, cpu_utilization=0.3",
            300_000,
        ),
        (
            "JSON {\"cpu_utilization\": 0.3, \"application_utilization\": 1.25}",
            1_250_000,
        ),
        (
            "JSON {\"applicationUtilization\":0.5,\"namedMetrics\":{}}",
            500_000,
        ),
        // vLLM's, in both forms.
        (
            "TEXT named_metrics.kv_cache_usage_perc=0.4, named_metrics.num_requests_waiting=5.0",
            900_000,
        ),
        (
            "JSON {\"named_metrics\": {\"kv_cache_usage_perc\": 0.4, \"num_requests_waiting\": 5.0}}",
            900_000,
        ),
    ];
    for (value, expected) in cases {
        assert_eq!(said(value), Some(expected), "{value}");
    }
    // application_utilization 0.75 in field 9, and named_metrics {"queue": 0.5} in field 8.
    let mut message = vec![0x49];
    message.extend(0.75_f64.to_le_bytes());
    message.extend([0x42, 16, 0x0a, 5]);
    message.extend(b"queue");
    message.push(0x11);
    message.extend(0.5_f64.to_le_bytes());
    for padding in ["", "="] {
        let mut text = BASE64.encode(&message);
        while text.ends_with('=') {
            text.pop();
        }
        if !padding.is_empty() {
            text = BASE64.encode(&message);
        }
        let read = |load: &Load| in_header(load, ORCA_BINARY, text.as_bytes());
        assert_eq!(read(&load(None)), Some(750_000), "{text}");
        assert_eq!(read(&load(Some("queue"))), Some(500_000), "{text}");
    }
}

#[test]
fn the_metric_that_is_named_counts_alone() {
    let value = b"TEXT application_utilization=0.7, named_metrics.queue=0.2";
    assert_eq!(in_header(&load(Some("queue")), ORCA, value), Some(200_000));
    assert_eq!(in_header(&load(Some("other")), ORCA, value), None);
}

#[test]
fn how_many_wait_is_part_of_how_many_it_takes_to_be_full() {
    let depth = |value: &str| in_header(&load(None), QUEUE_DEPTH, value.as_bytes());
    assert_eq!(depth("7"), Some(700_000));
    assert_eq!(depth(" 25 "), Some(2_500_000));
    assert_eq!(depth("0"), Some(0));
    for bad in [
        "", "-1", "NaN", "inf", "7,9", "seven", "0x7", "1e", "+", ".", "1e9x",
    ] {
        assert_eq!(depth(bad), None, "{bad}");
    }
}

#[test]
fn a_number_beyond_all_that_is_believed_counts_as_the_largest_however_it_is_written() {
    let nines = "9".repeat(2000);
    for large in [
        "1e9",
        "1e24",
        "1e300",
        "1e999",
        "1e9999",
        "9e99999999999999999999",
        &nines,
    ] {
        assert_eq!(number(large.as_bytes()), Some(MOST), "{large}");
    }
    for small in [
        "0e9999",
        "1e-9999",
        "9e-99999999999999999999",
        &format!("0.{}", "0".repeat(2000)),
    ] {
        assert_eq!(number(small.as_bytes()), Some(0), "{small}");
    }
    let mut message = vec![0x49];
    message.extend(1e300_f64.to_le_bytes());
    let message = BASE64.encode(&message);
    let read = in_header(&load(None), ORCA_BINARY, message.as_bytes());
    assert_eq!(read, Some(MOST));
}

#[test]
fn what_is_no_number_from_zero_says_nothing() {
    for value in [
        "",
        "TEXT",
        "TEXT cpu_utilization=NaN",
        "TEXT cpu_utilization=-0.5",
        "TEXT cpu_utilization=inf",
        "TEXT cpu_utilization",
        "JSON {",
        "JSON {\"cpu_utilization\": \"0.5\"}",
        "TEXT rps=3",
    ] {
        assert_eq!(said(value), None, "{value}");
    }
    let long = format!("TEXT {}cpu_utilization=0.5", " ".repeat(LONGEST));
    assert_eq!(said(&long), None);
    for bytes in [&b"!"[..], b"SQ==", b"SQAA"] {
        assert_eq!(in_header(&load(None), ORCA_BINARY, bytes), None);
    }
}

const VLLM: &str = "# HELP vllm:num_requests_waiting Number of requests waiting to be processed.\n\
    # TYPE vllm:num_requests_waiting gauge\n\
    vllm:num_requests_running{engine=\"0\",model_name=\"m\"} 12.0\n\
    vllm:num_requests_waiting{engine=\"0\",model_name=\"a } b 99\"} 3.0\n\
    vllm:num_requests_waiting{engine=\"1\",model_name=\"m\"} 2.0 1700000000000\n\
    vllm:num_requests_waiting_by_reason{reason=\"x\"} 50.0\n\
    vllm:kv_cache_usage_perc{engine=\"0\"} 0.25\n\
    vllm:kv_cache_usage_perc{engine=\"1\"} 0.75\r\n";

#[test]
fn metrics_of_all_engines_of_an_agent_count() {
    // Half of the caches, and five of ten that wait.
    assert_eq!(in_metrics(&load(None), VLLM.as_bytes()), Some(1_000_000));
    let sglang =
        "sglang:token_usage{model_name=\"m\"} 0.52\nsglang:num_queue_reqs{model_name=\"m\"} 4\n";
    assert_eq!(in_metrics(&load(None), sglang.as_bytes()), Some(920_000));
    assert_eq!(
        in_metrics(&load(None), b"vllm:gpu_cache_usage_perc 4.5e-05"),
        Some(45)
    );
    assert_eq!(in_metrics(&load(None), b"<html>not found</html>"), None);
}

proptest! {
    #[test]
    fn a_number_is_what_the_standard_library_reads(text in "[0-9]{0,9}(\\.[0-9]{0,9})?(e[+-]?[0-9])?") {
        let mine = number(text.as_bytes());
        let theirs = text.parse::<f64>().ok();
        prop_assert_eq!(mine.is_some(), theirs.is_some(), "{}", text);
        if let (Some(mine), Some(theirs)) = (mine, theirs) {
            let expected = (theirs * 1e6).min(MOST as f64);
            prop_assert!((mine as f64 - expected).abs() <= 1.0 + expected * 1e-9, "{} {}", mine, expected);
        }
    }

    #[test]
    fn nothing_that_comes_is_more_than_can_be_reckoned_with(bytes: Vec<u8>, name in 0..3_usize) {
        let name = [ORCA, ORCA_BINARY, QUEUE_DEPTH][name];
        let said = [in_header(&load(None), name, &bytes), in_metrics(&load(Some("x")), &bytes)];
        prop_assert!(said.iter().flatten().all(|load| *load <= MOST));
        let encoded = BASE64.encode(&bytes);
        let said = in_header(&load(None), ORCA_BINARY, encoded.as_bytes());
        prop_assert!(said.is_none_or(|load| load <= MOST));
    }
}
