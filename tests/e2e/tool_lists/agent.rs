//! An agent that lists tools, in the form that the path's second part names, and so many more of them as the third says.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// The agent.
pub(super) struct Lister {
    address: SocketAddr,
    encoding: Arc<Mutex<Option<String>>>,
}

impl Lister {
    pub(super) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let address = listener.local_addr().expect("an address");
        let encoding = Arc::new(Mutex::new(None));
        let seen = Arc::clone(&encoding);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&seen)));
            }
        });
        Self { address, encoding }
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The `accept-encoding` of the last request.
    pub(super) fn last_encoding(&self) -> Option<String> {
        self.encoding.lock().expect("a lock").clone()
    }
}

/// A list, with so many tools beside those that tests look for, some 1,050 bytes each.
pub(super) fn list(more: usize) -> String {
    format!(
        r#"{{"jsonrpc": "2.0","id":1, "result":{{"_meta":{{"x":[1.0,"é"]}},"tools":[{}],"nextCursor":"c"}}}}"#,
        tools(more)
    )
}

fn tools(more: usize) -> String {
    let mut tools = vec![
        r#"{"name":"look","inputSchema":{"type":"object"}}"#.to_owned(),
        r#"{"inputSchema":{"type":"object"},"description":"a \"secret\" ]}","name":"admin.wipe"}"#
            .to_owned(),
        r#"{"name":"find"}"#.to_owned(),
    ];
    let description = "x".repeat(1000);
    for number in 0..more {
        tools.push(format!(
            r#"{{"name":"tool-{number}","description":"{description}"}}"#
        ));
    }
    tools.join(",")
}

/// Answers requests until the connection ends.
async fn serve(mut stream: TcpStream, encoding: Arc<Mutex<Option<String>>>) {
    let _ = stream.set_nodelay(true);
    let mut came = Vec::new();
    loop {
        let head = loop {
            if let Some(end) = came.windows(4).position(|it| it == b"\r\n\r\n") {
                let rest = came.split_off(end + 4);
                break String::from_utf8_lossy(&std::mem::replace(&mut came, rest)).into_owned();
            }
            match stream.read_buf(&mut came).await {
                Ok(1..) => {}
                _ => return,
            }
        };
        let header = |name: &str| {
            let mut lines = head.lines().filter_map(|line| line.split_once(": "));
            lines
                .find(|(other, _)| *other == name)
                .map(|(_, value)| value)
        };
        *encoding.lock().expect("a lock") = header("accept-encoding").map(str::to_owned);
        let length: usize = header("content-length").map_or(0, |it| it.parse().expect("a length"));
        while came.len() < length {
            match stream.read_buf(&mut came).await {
                Ok(1..) => {}
                _ => return,
            }
        }
        came.drain(..length);
        let path = head.split(' ').nth(1).expect("a path");
        let mut parts = path.trim_start_matches("/mcp").trim_matches('/').split('/');
        let form = parts.next().unwrap_or_default();
        let more = parts.next().map_or(0, |it| it.parse().expect("a number"));
        if answer(&mut stream, form, &list(more)).await.is_none() {
            return;
        }
    }
}

/// Writes an answer. `None`: the connection is to end.
async fn answer(stream: &mut TcpStream, form: &str, list: &str) -> Option<()> {
    const JSON: &str = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\netag: \"1\"\r\n";
    const EVENTS: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n";
    const CHUNKED: &str = "transfer-encoding: chunked\r\n\r\n";
    let with_length = |head: &str, body: &str| {
        let length = body.len();
        format!("{head}content-length: {length}\r\n\r\n{body}")
    };
    let chunk = |bytes: &str| format!("{:x}\r\n{bytes}\r\n", bytes.len());
    let event = |data: &str| format!("event: message\r\nid: 8\r\ndata: {data}\r\n\r\n");
    let progress = event(r#"{"method":"notifications/progress"}"#).replace("id: 8\r\n", "");
    let mut pieces = Vec::new();
    match form {
        "length" => pieces.push(with_length(JSON, list)),
        "chunks" => return in_chunks(stream, JSON, list.as_bytes(), 5000).await,
        "bytes" => return in_chunks(stream, JSON, list.as_bytes(), 1).await,
        "late-end" => {
            pieces.push(format!("{JSON}{CHUNKED}{}", chunk(list)));
            pieces.push(format!("{}0\r\n\r\n", chunk("\r\n ")));
        }
        "events" => {
            pieces.push(format!("{EVENTS}{CHUNKED}{}", chunk(&progress)));
            pieces.push(chunk(&progress) + &chunk(&progress));
            for piece in event(list).split_inclusive(',') {
                pieces.push(chunk(piece));
            }
            pieces.push("0\r\n\r\n".to_owned());
        }
        "one-event" => pieces.push(format!("{EVENTS}{CHUNKED}{}0\r\n\r\n", chunk(&event(list)))),
        "counted-events" => pieces.push(with_length(EVENTS, &event(list))),
        "gzip" => pieces.push(with_length(
            &format!("{JSON}content-encoding: gzip\r\n"),
            list,
        )),
        "garbage" => pieces.push(with_length(JSON, &format!("{list}{list}"))),
        "half" => pieces.push(with_length(
            JSON,
            list.split("find").next().unwrap_or_default(),
        )),
        "html" => pieces.push(with_length(
            &JSON.replace("application/json", "text/html"),
            &format!("<p>{list}"),
        )),
        "cut" => {
            let whole = with_length(JSON, list);
            stream
                .write_all(whole.split("find").next()?.as_bytes())
                .await
                .ok()?;
            return None;
        }
        "not-found" => pieces.push(with_length(
            "HTTP/1.1 404 Not Found\r\ncontent-type: text/html\r\n",
            "<p>none {}",
        )),
        "accepted" => pieces.push(with_length("HTTP/1.1 202 Accepted\r\n", "")),
        "error" => pieces.push(with_length(
            "HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\n",
            r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32601,"message":"no"}}"#,
        )),
        other => panic!("no form {other:?}"),
    }
    for piece in pieces {
        stream.write_all(piece.as_bytes()).await.ok()?;
        // What is written next is to come by itself.
        tokio::task::yield_now().await;
    }
    Some(())
}

/// In chunks of so many bytes, which may end within a character.
async fn in_chunks(stream: &mut TcpStream, head: &str, body: &[u8], size: usize) -> Option<()> {
    let head = format!("{head}transfer-encoding: chunked\r\n\r\n");
    stream.write_all(head.as_bytes()).await.ok()?;
    for piece in body.chunks(size) {
        let chunk = [format!("{:x}\r\n", piece.len()).as_bytes(), piece, b"\r\n"].concat();
        stream.write_all(&chunk).await.ok()?;
    }
    stream.write_all(b"0\r\n\r\n").await.ok()
}
