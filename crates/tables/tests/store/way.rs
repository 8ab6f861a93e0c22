//! The way to an object store: it passes requests on, and does to them what networks and stores do.

use std::{
    io,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use http_body_util::{BodyExt, Full};
use hyper::{
    Method, Request, Response,
    body::{Bytes, Incoming},
    header::IF_NONE_MATCH,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpListener, runtime::Runtime};

/// What happens to requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    None,
    /// Nobody answers.
    Away,
    /// The store overwrites what it was to make only if it was not there.
    ConditionIgnored,
    /// The store refuses to be asked for it.
    ConditionUnknown,
    /// So many puts-if-absent reach the store, and their answers get lost.
    AnswersLost(usize),
    /// Puts-if-absent get no answer, and reach the store only when they are let go.
    PutsHeld,
}

type Sent = (Method, String, Vec<(String, Vec<u8>)>, Bytes);

struct State {
    server: String,
    client: reqwest::Client,
    trouble: Mutex<Trouble>,
    is_away: AtomicBool,
    requests: AtomicUsize,
    held: Mutex<Vec<Sent>>,
    /// moto looks whether an object is there, and then writes it; a store does both in one.
    conditional: tokio::sync::Mutex<()>,
}

pub struct Way {
    url: String,
    state: Arc<State>,
    runtime: Option<Runtime>,
}

impl Way {
    pub fn to(server: &str) -> Self {
        let runtime = Runtime::new().unwrap();
        let state = Arc::new(State {
            server: server.to_owned(),
            client: reqwest::Client::new(),
            trouble: Mutex::new(Trouble::None),
            is_away: AtomicBool::new(false),
            requests: AtomicUsize::new(0),
            held: Mutex::default(),
            conditional: tokio::sync::Mutex::new(()),
        });
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let accepting = state.clone();
        runtime.spawn(async move { accept(TcpListener::from_std(listener).unwrap(), accepting).await });
        Self { url, state, runtime: Some(runtime) }
    }

    pub fn url(&self) -> String {
        self.url.clone()
    }

    pub fn meets(&self, trouble: Trouble) {
        self.state.is_away.store(trouble == Trouble::Away, Ordering::SeqCst);
        *self.state.trouble.lock().unwrap() = trouble;
    }

    /// Whether answers are still to be lost.
    pub fn trouble(&self) -> Trouble {
        *self.state.trouble.lock().unwrap()
    }

    /// That arrived here, since the start.
    pub fn requests(&self) -> usize {
        self.state.requests.load(Ordering::SeqCst)
    }

    pub fn make_bucket(&self, name: &str) {
        let sent = (Method::PUT, format!("/{name}"), Vec::new(), Bytes::new());
        let answer = self.block_on(pass(self.state.clone(), sent));
        assert!(answer.unwrap().status().is_success());
    }

    /// What was held arrives now. Gives how many the store took.
    pub fn let_go(&self) -> usize {
        let held = std::mem::take(&mut *self.state.held.lock().unwrap());
        let answers = held.into_iter().map(|sent| self.block_on(pass(self.state.clone(), sent)).unwrap());
        answers.filter(|answer| answer.status().is_success()).count()
    }

    /// From inside of a test's own runtime, too.
    fn block_on<T: Send + 'static>(&self, future: impl Future<Output = T> + Send + 'static) -> T {
        let (sender, receiver) = std::sync::mpsc::channel();
        self.runtime.as_ref().unwrap().spawn(async move { sender.send(future.await) });
        receiver.recv().unwrap()
    }
}

impl Drop for Way {
    fn drop(&mut self) {
        self.runtime.take().unwrap().shutdown_background();
    }
}

async fn accept(listener: TcpListener, state: Arc<State>) {
    while let Ok((stream, _)) = listener.accept().await {
        let state = state.clone();
        tokio::spawn(async move {
            let service = service_fn(|request| answer(state.clone(), request));
            // An error closes the connection, without an answer.
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

fn no_answer() -> io::Error {
    io::Error::other("no answer")
}

async fn answer(state: Arc<State>, request: Request<Incoming>) -> io::Result<Response<Full<Bytes>>> {
    state.requests.fetch_add(1, Ordering::SeqCst);
    let (head, body) = request.into_parts();
    let body = body.collect().await.map_err(|_| no_answer())?.to_bytes();
    let target = head.uri.path_and_query().map_or("/", |target| target.as_str()).to_owned();
    let is_conditional = head.method == Method::PUT && head.headers.contains_key(IF_NONE_MATCH);
    let headers = head.headers.iter().map(|(name, value)| (name.to_string(), value.as_bytes().to_vec()));
    let mut sent = (head.method.clone(), target, headers.collect::<Vec<_>>(), body);
    if state.is_away.load(Ordering::SeqCst) {
        return Err(no_answer());
    }
    if !is_conditional {
        return pass(state, sent).await;
    }
    let trouble = *state.trouble.lock().unwrap();
    match trouble {
        Trouble::ConditionIgnored => sent.2.retain(|(name, _)| name != IF_NONE_MATCH.as_str()),
        Trouble::ConditionUnknown => {
            let body = "<Error><Code>NotImplemented</Code><Message>If-None-Match</Message></Error>";
            return Ok(Response::builder().status(501).body(Full::from(body)).unwrap());
        }
        Trouble::PutsHeld => {
            state.held.lock().unwrap().push(sent);
            return Err(no_answer());
        }
        Trouble::AnswersLost(left) if left > 0 => {
            pass(state.clone(), sent).await?;
            *state.trouble.lock().unwrap() = Trouble::AnswersLost(left - 1);
            return Err(no_answer());
        }
        _ => {}
    }
    pass(state, sent).await
}

async fn pass(state: Arc<State>, (method, target, headers, body): Sent) -> io::Result<Response<Full<Bytes>>> {
    let is_conditional = headers.iter().any(|(name, _)| name == IF_NONE_MATCH.as_str());
    let _one_by_one = match is_conditional {
        true => Some(state.conditional.lock().await),
        false => None,
    };
    let mut request = state.client.request(method, format!("{}{target}", state.server));
    for (name, value) in headers.into_iter().filter(|(name, _)| name != "content-length") {
        request = request.header(name, value);
    }
    let answer = request.body(body).send().await.map_err(io::Error::other)?;
    let mut response = Response::builder().status(answer.status());
    for (name, value) in answer.headers() {
        if !["connection", "transfer-encoding"].contains(&name.as_str()) {
            response = response.header(name, value);
        }
    }
    let body = answer.bytes().await.map_err(io::Error::other)?;
    Ok(response.body(Full::from(body)).unwrap())
}
