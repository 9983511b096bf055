//! `waykeeper probe` against servers that behave well and badly.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::server::server;
use crate::waykeeper;

fn answering(answer: &'static [u8]) -> (u16, JoinHandle<String>) {
    server(move |mut stream| stream.write_all(answer).unwrap())
}

#[test]
fn any_2xx_is_good() {
    for answer in [
        &b"HTTP/1.1 200 OK\r\n\r\n"[..],
        b"HTTP/1.1 204 No Content\r\n\r\n",
        b"HTTP/1.0 299\r\n\r\n",
    ] {
        let (port, server) = answering(answer);
        let run = waykeeper(
            &["probe", &format!("http://127.0.0.1:{port}/ready?x=1")],
            b"",
        );
        assert_eq!((run.status, run.errors.as_str()), (0, ""));
        let request = server.join().unwrap();
        assert!(
            request.starts_with("GET /ready?x=1 HTTP/1.1\r\n"),
            "{request}"
        );
        assert!(
            request.contains(&format!("\r\nhost: 127.0.0.1:{port}\r\n")),
            "{request}"
        );
    }
}

#[test]
fn an_answer_that_comes_in_pieces_is_good() {
    let (port, server) = server(|mut stream| {
        stream.set_nodelay(true).unwrap();
        for byte in b"HTTP/1.1 200 OK\r\n\r\n" {
            stream.write_all(&[*byte]).unwrap();
        }
    });
    let run = waykeeper(&["probe", &format!("http://127.0.0.1:{port}")], b"");
    assert_eq!((run.status, run.errors.as_str()), (0, ""));
    server.join().unwrap();
}

#[test]
fn other_answers_are_not() {
    for (answer, said) in [
        (
            &b"HTTP/1.1 503 Service Unavailable\r\n\r\n"[..],
            "answered 503",
        ),
        (b"HTTP/1.1 302 Found\r\n\r\n", "answered 302"),
        (b"SSH-2.0-OpenSSH\r\n", "the answer is not HTTP"),
        (b"HTTP/1.1 2x0\r\n\r\n", "the answer is not HTTP"),
        (b"", "the answer is not HTTP"),
    ] {
        let (port, server) = answering(answer);
        let url = format!("http://127.0.0.1:{port}/");
        let run = waykeeper(&["probe", &url], b"");
        assert_eq!((run.status, run.errors), (1, format!("{url}: {said}\n")));
        server.join().unwrap();
    }
}

#[test]
fn nobody_there_is_not_good() {
    let port = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();

    let run = waykeeper(&["probe", &format!("http://127.0.0.1:{port}/")], b"");

    assert_eq!(run.status, 1);
    assert!(run.errors.contains("refused"), "{}", run.errors);
}

#[test]
fn silence_is_not_waited_for_beyond_the_timeout() {
    // The server holds the connection until the probe has given it up.
    let (port, server) = server(|mut stream| {
        let _ = stream.read(&mut [0]);
    });
    let begun = Instant::now();

    let run = waykeeper(
        &[
            "probe",
            "--timeout",
            "200ms",
            &format!("http://127.0.0.1:{port}/"),
        ],
        b"",
    );

    assert_eq!(run.status, 1);
    assert!(
        run.errors.ends_with("no answer in time\n"),
        "{}",
        run.errors
    );
    let taken = begun.elapsed();
    assert!(
        taken >= Duration::from_millis(200) && taken < Duration::from_secs(10),
        "{taken:?}"
    );
    server.join().unwrap();
}

#[test]
fn what_is_no_url_is_a_wrong_argument() {
    for url in [
        "https://a",
        "127.0.0.1:80",
        "http://",
        "http://a:b",
        "http://u@a",
        "http://a b",
        "http://::1/",
    ] {
        assert_eq!(waykeeper(&["probe", url], b"").status, 2, "{url}");
    }
    for timeout in ["0s", "5", "2h"] {
        assert_eq!(
            waykeeper(&["probe", "--timeout", timeout, "http://a"], b"").status,
            2,
            "{timeout}"
        );
    }
}
