//! A server on loopback that answers with prepared bytes.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

/// What becomes of a connection after the bytes have been written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum After {
    /// It waits for the next request.
    Keep,
    /// It is closed.
    Close,
    /// It stays open, and nothing more comes.
    Hang,
}

/// One answer.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) bytes: Vec<u8>,
    pub(crate) after: After,
}

/// A request as it came.
#[derive(Debug, Clone)]
pub(crate) struct Received {
    pub(crate) head: String,
    pub(crate) body: Value,
}

pub(crate) struct Scripted {
    pub(crate) address: SocketAddr,
    connections: Arc<AtomicUsize>,
    received: Arc<Mutex<Vec<Received>>>,
}

impl Answer {
    /// A chunked stream of events, complete.
    pub(crate) fn stream(events: &[&str]) -> Self {
        let mut answer = Self::open_stream(events);
        answer.bytes.extend(b"0\r\n\r\n");
        answer.after = After::Keep;
        answer
    }

    /// The same without its end.
    pub(crate) fn open_stream(events: &[&str]) -> Self {
        let mut text = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\
                        transfer-encoding: chunked\r\n\r\n"
            .to_owned();
        for event in events {
            let event = format!("data: {event}\n\n");
            let length = format!("{:x}\r\n", event.len());
            text.extend([length.as_str(), &event, "\r\n"]);
        }
        Self { bytes: text.into_bytes(), after: After::Close }
    }

    /// A whole page.
    pub(crate) fn page(status: &str, kind: &str, body: &str) -> Self {
        let length = body.len();
        let text = format!(
            "HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\n\r\n{body}"
        );
        Self { bytes: text.into_bytes(), after: After::Keep }
    }

    pub(crate) fn then(self, after: After) -> Self {
        Self { after, ..self }
    }
}

impl Scripted {
    /// Answers posts with what `answer` says for their number; pages about the server are not found.
    pub(crate) async fn start(answer: impl Fn(usize) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let received = Arc::new(Mutex::new(Vec::new()));
        let server = Self {
            address,
            connections: Arc::clone(&connections),
            received: Arc::clone(&received),
        };
        let answer = Arc::new(answer);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                connections.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(serve(stream, Arc::clone(&answer), Arc::clone(&received)));
            }
        });
        server
    }

    pub(crate) fn base_url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// The posts that came.
    pub(crate) fn received(&self) -> Vec<Received> {
        self.received.lock().unwrap().clone()
    }
}

async fn serve(
    mut stream: TcpStream,
    answer: Arc<impl Fn(usize) -> Answer>,
    received: Arc<Mutex<Vec<Received>>>,
) {
    while let Some((head, body)) = read_request(&mut stream).await {
        let answer = if head.starts_with("POST") {
            let number = {
                let mut received = received.lock().unwrap();
                let body = serde_json::from_slice(&body).unwrap();
                received.push(Received { head, body });
                received.len() - 1
            };
            answer(number)
        } else {
            Answer::page("404 Not Found", "text/plain", "")
        };
        if stream.write_all(&answer.bytes).await.is_err() || answer.after == After::Close {
            return;
        }
        if answer.after == After::Hang {
            // Ends when the client gives up.
            let _ = stream.read(&mut [0; 1]).await;
            return;
        }
    }
}

async fn read_request(stream: &mut TcpStream) -> Option<(String, Vec<u8>)> {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break end + 4;
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8(bytes[..end].to_vec()).unwrap().to_lowercase();
    let head = head.replacen("post", "POST", 1);
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    let length: usize = length.map_or(0, |text| text.parse().unwrap());
    let mut body = bytes[end..].to_vec();
    while body.len() < length {
        if stream.read_buf(&mut body).await.ok()? == 0 {
            return None;
        }
    }
    Some((head, body))
}
