//! A hub on loopback: the API and `resolve` addresses as <https://huggingface.co> answers them, and
//! the store that large files are redirected to. One connection at a time, one request each.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    io::{BufRead, BufReader, Write},
    net::{Shutdown, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
};

use sha2::{Digest, Sha256};

pub(super) const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
pub(super) const OLD_COMMIT: &str = "89abcdef0123456789abcdef0123456789abcdef";

/// How the stand-in behaves.
#[derive(Debug, Clone, Default)]
pub(super) struct Behaviour {
    /// Files of each commit, with whether they are large.
    pub(super) files: BTreeMap<&'static str, (Vec<u8>, bool)>,
    /// The token without which it answers 401.
    pub(super) token: Option<&'static str>,
    /// Ends the body of the first large file after this many bytes, this often.
    pub(super) cuts: Vec<usize>,
    /// Whether the store answers a range with the whole file.
    pub(super) no_ranges: bool,
    /// Announces this size of large files.
    pub(super) announced: Option<u64>,
    /// Sends other bytes than were announced.
    pub(super) damaged: bool,
    /// The name under which the repository moved, from which its old one redirects.
    pub(super) renamed: bool,
    /// Answers 503 to this many requests for contents first.
    pub(super) busy: usize,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) method: String,
    pub(super) path: String,
    pub(super) range: Option<String>,
    pub(super) authorization: Option<String>,
}

/// Two servers: the hub, and the store on another port.
pub(super) struct StandIn {
    pub(super) endpoint: String,
    store: String,
    behaviour: Arc<Mutex<Behaviour>>,
    log: Arc<Mutex<Vec<Request>>>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl StandIn {
    pub(super) fn start(behaviour: Behaviour) -> Self {
        let listeners = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        let [endpoint, store] =
            [0, 1].map(|i| format!("http://{}", listeners[i].local_addr().unwrap()));
        let behaviour = Arc::new(Mutex::new(behaviour));
        let (log, stop) = (Arc::default(), Arc::new(AtomicBool::new(false)));
        let threads = listeners.into_iter().map(|listener| {
            let (behaviour, log) = (Arc::clone(&behaviour), Arc::clone(&log));
            let (store, stop) = (store.clone(), Arc::clone(&stop));
            thread::spawn(move || {
                for stream in listener.incoming() {
                    if stop.load(Ordering::Relaxed) {
                        return;
                    }
                    answer(&stream.unwrap(), &store, &behaviour, &log);
                }
            })
        });
        let threads = threads.collect();
        Self { endpoint, store, behaviour, log, stop, threads }
    }

    pub(super) fn change(&self, change: impl FnOnce(&mut Behaviour)) {
        change(&mut self.behaviour.lock().unwrap());
    }

    /// Requests since the last call.
    pub(super) fn requests(&self) -> Vec<Request> {
        std::mem::take(&mut self.log.lock().unwrap())
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for address in [&self.endpoint, &self.store] {
            // Wakes the thread that accepts.
            drop(TcpStream::connect(address.trim_start_matches("http://")));
        }
        for thread in self.threads.drain(..) {
            thread.join().unwrap();
        }
    }
}

fn answer(
    stream: &TcpStream,
    store: &str,
    behaviour: &Mutex<Behaviour>,
    log: &Mutex<Vec<Request>>,
) {
    let mut lines = BufReader::new(stream).lines();
    let Some(Ok(first)) = lines.next() else { return };
    let mut words = first.split(' ').map(str::to_owned);
    let mut request = Request {
        method: words.next().unwrap(),
        path: words.next().unwrap(),
        range: None,
        authorization: None,
    };
    for line in lines {
        let line = line.unwrap();
        let Some((name, value)) = line.split_once(": ") else { break };
        match name.to_ascii_lowercase().as_str() {
            "range" => request.range = Some(value.to_owned()),
            "authorization" => request.authorization = Some(value.to_owned()),
            _ => {}
        }
    }
    let response = respond(&request, store, &mut behaviour.lock().unwrap());
    log.lock().unwrap().push(request.clone());
    let body: &[u8] = if request.method == "HEAD" { &[] } else { &response.body };
    let mut head = format!("HTTP/1.1 {} x\r\nConnection: close\r\n", response.status);
    for (name, value) in &response.headers {
        write!(head, "{name}: {value}\r\n").unwrap();
    }
    head.push_str("\r\n");
    let mut stream = stream;
    // A client that has seen enough may be gone.
    let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body));
    let _ = stream.shutdown(Shutdown::Both);
}

struct Response {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
}

impl Response {
    fn new(status: u16, body: Vec<u8>) -> Self {
        Self { status, headers: vec![("Content-Length", body.len().to_string())], body }
    }

    fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }
}

fn error(status: u16, code: &'static str) -> Response {
    Response::new(status, b"no".to_vec()).with("X-Error-Code", code)
}

fn respond(request: &Request, store: &str, behaviour: &mut Behaviour) -> Response {
    let path = request.path.as_str();
    if let Some(name) = path.strip_prefix("/store/") {
        return stored(name, request.range.as_deref(), behaviour);
    }
    if let Some(token) = behaviour.token
        && request.authorization.as_deref() != Some(&format!("Bearer {token}"))
    {
        return error(401, "GatedRepo");
    }
    if behaviour.renamed && path.contains("/org/model/") {
        let path = path.replace("/org/model/", "/new/name/");
        return Response::new(307, Vec::new()).with("Location", path);
    }
    let path = path.replace("/new/name/", "/org/model/");
    if let Some(revision) = path.strip_prefix("/api/models/org/model/revision/") {
        let commit = match revision {
            "main" | COMMIT => COMMIT,
            "v1" | "refs%2Fpr%2F1" | OLD_COMMIT => OLD_COMMIT,
            _ => return error(404, "RevisionNotFound"),
        };
        let files = behaviour.files.keys();
        let files: Vec<_> = files.map(|name| serde_json::json!({"rfilename": name})).collect();
        let listing = serde_json::json!({"id": "org/model", "sha": commit, "siblings": files});
        return Response::new(200, listing.to_string().into_bytes());
    }
    let file = [COMMIT, OLD_COMMIT]
        .iter()
        .find_map(|commit| path.strip_prefix(&format!("/org/model/resolve/{commit}/")));
    let Some(file) = file else { return error(404, "RepoNotFound") };
    let Some((bytes, large)) = behaviour.files.get(file) else {
        return error(404, "EntryNotFound");
    };
    if !large {
        let etag = format!(
            "W/\"{:040x}\"",
            bytes.iter().fold(7_u128, |hash, &byte| {
                hash.wrapping_mul(0x0100_0000_01B3).wrapping_add(u128::from(byte))
            })
        );
        return Response::new(200, bytes.clone()).with("ETag", etag);
    }
    if request.method == "GET" && behaviour.busy > 0 {
        behaviour.busy -= 1;
        return error(503, "");
    }
    let size = behaviour.announced.unwrap_or(bytes.len() as u64);
    Response::new(302, Vec::new())
        .with("Location", format!("{store}/store/{file}"))
        .with("X-Linked-Size", size.to_string())
        .with("X-Linked-ETag", format!("\"{:x}\"", Sha256::digest(bytes)))
}

/// A large file, or the rest of it.
fn stored(name: &str, range: Option<&str>, behaviour: &mut Behaviour) -> Response {
    let mut bytes = behaviour.files[name].0.clone();
    if behaviour.damaged {
        bytes[0] ^= 1;
    }
    let range = range.filter(|_| !behaviour.no_ranges);
    let from = range.map(|range| {
        let from = range.strip_prefix("bytes=").and_then(|range| range.strip_suffix('-'));
        from.unwrap().parse::<usize>().unwrap()
    });
    let whole = bytes.len();
    let mut response = match from {
        Some(from) if from >= whole => return error(416, ""),
        Some(from) => Response::new(206, bytes.split_off(from))
            .with("Content-Range", format!("bytes {from}-{}/{whole}", whole - 1)),
        None => Response::new(200, bytes),
    };
    if !behaviour.cuts.is_empty() {
        // The announced length stays, as when a connection breaks.
        response.body.truncate(behaviour.cuts.remove(0));
    }
    response
}
