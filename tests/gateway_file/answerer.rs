//! One of several places of an agent of OpenAI's Responses API, which keeps its answers to itself, as servers of models do.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures_util::stream;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

/// It ends when dropped.
pub(crate) struct Answerer {
    pub(crate) address: SocketAddr,
    serving: JoinHandle<()>,
}

/// What its answers share.
struct State {
    name: String,
    known: Mutex<BTreeSet<String>>,
    /// How often it was asked.
    asked: watch::Sender<usize>,
}

type Body = StreamBody<stream::BoxStream<'static, Result<Frame<Bytes>, Infallible>>>;

impl Answerer {
    /// Listens on any port.
    pub(crate) async fn start(name: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let address = listener.local_addr().expect("an address");
        let state = Arc::new(State {
            name: name.to_owned(),
            known: Mutex::default(),
            asked: watch::channel(0).0,
        });
        let serving = tokio::spawn(async move {
            // Connections end with it.
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let state = Arc::clone(&state);
                let service = service_fn(move |request| answer(Arc::clone(&state), request));
                connections.spawn(async move {
                    let server = auto::Builder::new(TokioExecutor::new());
                    let _ = server.serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        Self { address, serving }
    }
}

impl Drop for Answerer {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// Says who it is, and which headers it was sent; of an answer that it does not know, 404. A stream ends when something else has
/// been asked.
async fn answer(
    state: Arc<State>,
    request: Request<Incoming>,
) -> Result<Response<Body>, hyper::Error> {
    let (head, body) = request.into_parts();
    let body = body.collect().await?.to_bytes();
    let asked: Value = serde_json::from_slice(&body).unwrap_or_default();
    let in_path = head.uri.path().strip_prefix("/v1/responses/");
    let in_path = in_path.map(|rest| rest.split('/').next().unwrap_or_default().to_owned());
    let previous = asked["previous_response_id"].as_str().map(str::to_owned);
    let number = {
        let mut number = 0;
        state.asked.send_modify(|asked| {
            *asked += 1;
            number = *asked;
        });
        number
    };
    let mut known = state.known.lock().expect("what it knows");
    if let Some(other) = in_path
        .iter()
        .chain(&previous)
        .find(|it| !known.contains(*it))
    {
        let error = json!({"error": {"message": format!("no response {other}"), "code": "previous_response_not_found"}});
        return Ok(whole(404, &error));
    }
    let id = in_path.unwrap_or_else(|| format!("resp_{number}_of_{}", state.name));
    known.insert(id.clone());
    if head.method == "DELETE" {
        known.remove(&id);
        return Ok(whole(
            200,
            &json!({"id": id, "object": "response.deleted", "deleted": true}),
        ));
    }
    drop(known);
    let names: BTreeSet<&str> = head.headers.keys().map(|name| name.as_str()).collect();
    let encoding = head.headers.get("accept-encoding");
    let content = json!([{"type": "output_text", "text": state.name, "annotations": []}]);
    let output = json!([{"id": "msg_1", "type": "message", "role": "assistant", "status": "completed", "content": content}]);
    let response = json!({
        "id": id, "object": "response", "created_at": 1, "status": "completed", "model": "m", "output": output,
        "parallel_tool_calls": true, "tool_choice": "auto", "tools": [], "agent": state.name,
        "metadata": {"names": names.iter().copied().collect::<Vec<_>>().join(" "), "encoding": encoding.and_then(|it| it.to_str().ok())},
    });
    if asked["stream"] != true {
        return Ok(whole(200, &response));
    }
    Ok(events(&state, number, &response))
}

fn whole(status: u16, body: &Value) -> Response<Body> {
    let text = Ok(Frame::data(Bytes::from(body.to_string())));
    response(status, "application/json", stream::iter([text]))
}

fn events(state: &Arc<State>, number: usize, response_said: &Value) -> Response<Body> {
    let event = |kind: &str, number: u32| {
        let data = json!({"type": kind, "sequence_number": number, "response": response_said});
        format!("event: {kind}\ndata: {data}\n\n")
    };
    let (created, completed) = (event("response.created", 0), event("response.completed", 1));
    let (start, rest) = created.split_at(60);
    let pieces = [start, rest].map(|piece| Bytes::from(piece.to_owned()));
    let mut asked = state.asked.subscribe();
    let last = async move {
        // It lives until then.
        let _ = asked.wait_for(|asked| *asked > number).await;
        Ok(Frame::data(Bytes::from(completed)))
    };
    let pieces = stream::iter(pieces.map(|piece| Ok(Frame::data(piece))));
    response(
        200,
        "text/event-stream",
        futures_util::StreamExt::chain(pieces, stream::once(last)),
    )
}

fn response<S>(status: u16, content_type: &str, pieces: S) -> Response<Body>
where
    S: futures_util::Stream<Item = Result<Frame<Bytes>, Infallible>> + Send + 'static,
{
    let answer = Response::builder()
        .status(status)
        .header("content-type", content_type)
        .header("x-waykeeper-host", "of the agent");
    answer
        .body(StreamBody::new(futures_util::StreamExt::boxed(pieces)))
        .expect("an answer")
}
