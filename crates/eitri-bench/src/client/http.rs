//! HTTP/1.1 with connections that are kept and used again, and a limit on every wait.

use std::{sync::Mutex, time::Duration};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{
    HeaderMap, Request, Response, StatusCode, Uri,
    body::{Frame, Incoming},
    client::conn::http1::{self, SendRequest},
    header::{ACCEPT, HOST, HeaderValue, USER_AGENT},
};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::timeout,
};

use super::{Certificates, Limits, tls::Tls};
use crate::{
    BenchError,
    outcome::{Failure, FailureKind},
};

/// Most of a body that is read as text.
const MAX_TEXT: usize = 16 << 20;

/// A server, with connections to it.
#[derive(Debug)]
pub(crate) struct Http {
    address: Address,
    tls: Option<Tls>,
    limits: Limits,
    idle: Mutex<Vec<Connection>>,
}

type Connection = SendRequest<Full<Bytes>>;

/// Taken apart from `http://HOST:PORT/PREFIX` or the same with `https`.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Address {
    is_https: bool,
    host: String,
    port: u16,
    /// Host and port as in the `Host` header.
    authority: String,
    /// Goes before every path.
    prefix: String,
}

/// A response that is being read, with the connection that it comes over.
pub(crate) struct Exchange {
    pub(crate) response: Response<Incoming>,
    connection: Connection,
    silence: Duration,
}

/// An answer that was read as a whole.
pub(crate) struct Page {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl Http {
    pub(crate) fn new(
        base_url: &str,
        certificates: Certificates,
        limits: Limits,
    ) -> Result<Self, BenchError> {
        let unusable = |message| BenchError::Address { url: base_url.to_owned(), message };
        let address = Address::parse(base_url).map_err(unusable)?;
        let tls = address.is_https.then(|| Tls::new(&address.host, certificates)).transpose();
        let tls = tls.map_err(unusable)?;
        Ok(Self { address, tls, limits, idle: Mutex::default() })
    }

    pub(crate) fn limits(&self) -> Limits {
        self.limits
    }

    /// Address of a path on this server.
    pub(crate) fn url(&self, path: &str) -> String {
        let Address { authority, prefix, .. } = &self.address;
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://{authority}{prefix}{path}")
    }

    pub(crate) fn request(
        &self,
        method: &str,
        path: &str,
        body: Bytes,
    ) -> Result<Request<Full<Bytes>>, hyper::http::Error> {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.address.prefix))
            .header(ACCEPT, "*/*")
            .header(USER_AGENT, concat!("eitri-bench/", env!("CARGO_PKG_VERSION")))
            .body(Full::new(body))?;
        request.headers_mut().insert(HOST, HeaderValue::from_str(&self.address.authority)?);
        Ok(request)
    }

    /// Sends a request and waits for the headers of its answer. A kept connection that the server
    /// has closed meanwhile is replaced, even if that showed only once the request was on its way:
    /// asking a second time for text changes nothing on a server.
    pub(crate) async fn send(&self, request: Request<Full<Bytes>>) -> Result<Exchange, Failure> {
        let mut request = request;
        loop {
            let kept = self.kept_connection().await;
            let is_kept = kept.is_some();
            let mut connection = match kept {
                Some(connection) => connection,
                None => self.connect().await?,
            };
            let silence = self.limits.silence;
            let again = is_kept.then(|| request.clone());
            let answer = timeout(silence, connection.send_request(request)).await;
            match (answer, again) {
                (Err(_), _) => return Err(silent(silence)),
                (Ok(Ok(response)), _) => return Ok(Exchange { response, connection, silence }),
                (Ok(Err(error)), Some(again)) if was_closed(&error) => request = again,
                (Ok(Err(error)), _) => return Err(broken(&error)),
            }
        }
    }

    async fn kept_connection(&self) -> Option<Connection> {
        loop {
            let mut connection = self.idle.lock().ok()?.pop()?;
            if !connection.is_closed() && connection.ready().await.is_ok() {
                return Some(connection);
            }
        }
    }

    async fn connect(&self) -> Result<Connection, Failure> {
        let Address { host, port, authority, .. } = &self.address;
        let failed = |message: String| {
            Failure::new(FailureKind::Connect, format!("cannot connect to {authority}: {message}"))
        };
        let stream = timeout(self.limits.connect, TcpStream::connect((host.as_str(), *port)))
            .await
            .map_err(|_| failed(format!("no answer within {:?}", self.limits.connect)))?
            .map_err(|error| failed(error.to_string()))?;
        stream.set_nodelay(true).map_err(|error| failed(error.to_string()))?;
        match &self.tls {
            None => handshake(stream).await,
            Some(tls) => {
                let stream = timeout(self.limits.connect, tls.connect(stream))
                    .await
                    .map_err(|_| failed(format!("no TLS within {:?}", self.limits.connect)))?
                    .map_err(|error| failed(error.to_string()))?;
                handshake(stream).await
            }
        }
        .map_err(|error| failed(error.to_string()))
    }

    /// Keeps the connection of an answer that was read to its end.
    pub(crate) fn give_back(&self, exchange: Exchange) {
        if let Ok(mut idle) = self.idle.lock() {
            idle.push(exchange.connection);
        }
    }

    /// The next piece of a body; none at its end.
    pub(crate) async fn frame(
        &self,
        next: impl Future<Output = Option<Result<Frame<Bytes>, hyper::Error>>>,
    ) -> Result<Option<Frame<Bytes>>, Failure> {
        next_frame(self.limits.silence, next).await
    }

    /// Fetches a page.
    pub(crate) async fn get(
        &self,
        path: &str,
        headers: &HeaderMap,
        limit: Duration,
    ) -> Result<Page, Failure> {
        self.call("GET", path, Bytes::new(), headers, limit).await
    }

    /// Sends a body and reads the whole answer.
    pub(crate) async fn call(
        &self,
        method: &str,
        path: &str,
        body: Bytes,
        headers: &HeaderMap,
        limit: Duration,
    ) -> Result<Page, Failure> {
        let mut request = self
            .request(method, path, body)
            .map_err(|error| Failure::new(FailureKind::Malformed, error.to_string()))?;
        request.headers_mut().extend(headers.clone());
        let work = async {
            let mut exchange = self.send(request).await?;
            let text = exchange.text().await?;
            let (status, headers) =
                (exchange.response.status(), exchange.response.headers().clone());
            self.give_back(exchange);
            Ok(Page { status, headers, text })
        };
        timeout(limit, work).await.unwrap_or_else(|_| Err(silent(limit)))
    }
}

async fn handshake<S>(stream: S) -> hyper::Result<Connection>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (connection, driver) = http1::handshake(TokioIo::new(stream)).await?;
    // What goes wrong in the driver also ends the request that is under way.
    tokio::spawn(driver);
    Ok(connection)
}

impl Exchange {
    /// The rest of the body as text.
    pub(crate) async fn text(&mut self) -> Result<String, Failure> {
        let mut bytes = Vec::new();
        let body = self.response.body_mut();
        while let Some(frame) = next_frame(self.silence, body.frame()).await? {
            if let Ok(data) = frame.into_data() {
                bytes.extend_from_slice(&data);
            }
            if bytes.len() > MAX_TEXT {
                let message = format!("a page is longer than {MAX_TEXT} bytes");
                return Err(Failure::new(FailureKind::Malformed, message));
            }
        }
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }
}

async fn next_frame(
    silence: Duration,
    next: impl Future<Output = Option<Result<Frame<Bytes>, hyper::Error>>>,
) -> Result<Option<Frame<Bytes>>, Failure> {
    match timeout(silence, next).await {
        Err(_) => Err(silent(silence)),
        Ok(frame) => frame.transpose().map_err(|error| broken(&error)),
    }
}

fn silent(limit: Duration) -> Failure {
    let message = format!("nothing came for {} s", limit.as_secs_f64());
    Failure::new(FailureKind::Timeout, message)
}

/// Whether a connection ended before anything of an answer came.
fn was_closed(error: &hyper::Error) -> bool {
    let is_reset = || {
        let source = std::error::Error::source(error)?.downcast_ref::<std::io::Error>()?;
        Some(source.kind() == std::io::ErrorKind::ConnectionReset)
    };
    error.is_incomplete_message() || error.is_canceled() || is_reset().unwrap_or(false)
}

fn broken(error: &hyper::Error) -> Failure {
    let mut message = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(inner) = source {
        message.push_str(": ");
        message.push_str(&inner.to_string());
        source = inner.source();
    }
    let kind = if error.is_parse() { FailureKind::Malformed } else { FailureKind::Disconnected };
    Failure::new(kind, message)
}

impl Address {
    fn parse(base_url: &str) -> Result<Self, String> {
        let uri: Uri = base_url.parse().map_err(|_| "not an address".to_owned())?;
        let is_https = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err("it should begin with http:// or https://".into()),
        };
        let authority = uri.authority().ok_or("it has no host")?;
        if authority.as_str().contains('@') {
            return Err("a user in it is not supported: send a key with --header".into());
        }
        if uri.query().is_some() {
            return Err("it should end before the question mark".into());
        }
        Ok(Self {
            is_https,
            host: authority.host().trim_matches(['[', ']']).to_owned(),
            port: authority.port_u16().unwrap_or(if is_https { 443 } else { 80 }),
            authority: authority.to_string(),
            prefix: uri.path().trim_end_matches('/').to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_taken_apart() {
        let address = Address::parse("http://[::1]:8000/a/").unwrap();
        assert_eq!((address.host.as_str(), address.port), ("::1", 8000));
        assert_eq!((address.authority.as_str(), address.prefix.as_str()), ("[::1]:8000", "/a"));
        let plain = Address::parse("http://host").unwrap();
        assert_eq!((plain.port, plain.prefix.as_str()), (80, ""));
        let safe = Address::parse("https://host/v").unwrap();
        assert_eq!((safe.port, safe.is_https), (443, true));
    }

    #[test]
    fn other_addresses_are_refused() {
        for (url, part) in [
            ("host:8000", "http://"),
            ("ftp://host", "http://"),
            ("http://me:secret@host", "user"),
            ("http://host/?a", "question mark"),
            ("http://a b", "not an address"),
        ] {
            let message = Address::parse(url).unwrap_err();
            assert!(message.contains(part), "{url}: {message}");
        }
    }
}
