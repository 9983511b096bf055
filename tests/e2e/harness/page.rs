//! A real browser (Chromium) on a page of an origin of its own, which runs a script there.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::process::Stdio;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::process::{Child, Command};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::{PATIENCE, World, eventually};

/// A page, and the browser that looks at it.
struct Visit {
    browser: Child,
    profile: TempDir,
    results: mpsc::Receiver<Value>,
}

/// Runs the script in a page of an origin of its own, and takes what it returns. It knows the gateway's address as
/// `gateway`, and may await.
pub(crate) async fn visit(world: &World, script: &str) -> Value {
    let mut visit = Visit::begin(world.address(), script).await;
    let result = timeout(3 * PATIENCE, visit.results.recv()).await;
    let result = result.expect("the page is not done").expect("a result");
    visit.end().await;
    assert!(result.get("failed").is_none(), "{result}");
    result
}

impl Visit {
    async fn begin(gateway: SocketAddr, script: &str) -> Self {
        let page = format!(
            r#"<!doctype html>
            <meta charset="utf-8">
            <script type="module">
                const gateway = "http://{gateway}";
                const run = async () => {{ {script} }};
                const result = await run().catch((error) => ({{ failed: String(error) }}));
                await fetch("/result", {{ method: "POST", body: JSON.stringify(result) }});
            </script>"#
        );
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let address = listener.local_addr().expect("an address");
        let (sender, results) = mpsc::channel(1);
        tokio::spawn(serve(listener, Arc::from(page), sender));
        let profile = tempfile::tempdir().expect("a directory");
        let browser = Command::new("chromium")
            .args([
                "--headless",
                // Its sandbox does not work for root, nor in most containers; it sees no page but ours.
                "--no-sandbox",
                "--disable-gpu",
                "--disable-dev-shm-usage",
                "--disable-background-networking",
                "--disable-component-update",
                "--disable-extensions",
                "--no-first-run",
            ])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .arg(format!("http://{address}/"))
            .env("TMPDIR", profile.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap_or_else(|error| panic!("chromium: {error}; run `make test-tools`"));
        Self {
            browser,
            profile,
            results,
        }
    }

    /// Ends the browser. Its helpers end with it, but a moment later, and until then they write files.
    async fn end(mut self) {
        self.browser.kill().await.expect("a browser to end");
        eventually("the browser to leave nothing behind", || async {
            let removed = std::fs::remove_dir_all(self.profile.path());
            removed.is_ok().then_some(())
        })
        .await;
    }
}

/// Serves the page, and takes its result.
async fn serve(listener: TcpListener, page: Arc<str>, results: mpsc::Sender<Value>) {
    while let Ok((stream, _)) = listener.accept().await {
        let (page, results) = (Arc::clone(&page), results.clone());
        let service = service_fn(move |request: Request<Incoming>| {
            let (page, results) = (Arc::clone(&page), results.clone());
            async move { Ok::<_, Infallible>(answer(request, &page, &results).await) }
        });
        let connection = hyper::server::conn::http1::Builder::new()
            .serve_connection(TokioIo::new(stream), service);
        tokio::spawn(connection);
    }
}

async fn answer(
    request: Request<Incoming>,
    page: &str,
    results: &mpsc::Sender<Value>,
) -> Response<Full<Bytes>> {
    let response = Response::builder().header("content-type", "text/html");
    match (request.method(), request.uri().path()) {
        (&Method::GET, "/") => response.body(page.to_owned().into()),
        (&Method::POST, "/result") => {
            let body = request.into_body().collect().await.expect("a result");
            let result = serde_json::from_slice(&body.to_bytes()).expect("JSON");
            // Whoever has given up waiting says so.
            let _ = results.send(result).await;
            response.body(Full::default())
        }
        _ => response.status(404).body(Full::default()),
    }
    .expect("a response")
}
