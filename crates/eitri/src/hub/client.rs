//! Requests to the hub.

use std::{fs, io, sync::Arc, time::Duration};

use serde_json::Value;
use ureq::{
    Agent, Body,
    http::{Response, StatusCode, header},
    tls::{Certificate, RootCerts, TlsConfig},
};

use super::{Hub, HubError, Token, select};

const MAX_REDIRECTS: usize = 5;
/// Longest time without a byte.
const SILENCE: Duration = Duration::from_mins(1);

/// A connection to the hub, for one repository.
pub(super) struct Client<'a> {
    agent: Agent,
    hub: &'a Hub,
    repository: &'a str,
    token: Option<Token>,
}

/// A commit of a repository.
pub(super) struct Listing {
    pub(super) commit: String,
    pub(super) files: Vec<String>,
}

/// What a file will be, before it is downloaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Metadata {
    /// Identifies the content: SHA-256 of large files, a git hash of small ones.
    pub(super) etag: String,
    pub(super) size: u64,
}

/// What became of a request.
pub(super) enum Failure {
    /// Trying again may help.
    Passing(HubError),
    Final(HubError),
}

impl From<Failure> for HubError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Passing(error) | Failure::Final(error) => error,
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Method {
    Head,
    Get { from: u64 },
}

impl<'a> Client<'a> {
    pub(super) fn new(hub: &'a Hub, repository: &'a str) -> Self {
        let read = || fs::read_to_string(&hub.token_file).ok();
        let token = hub.token.clone().or_else(|| Some(Token(read()?.trim().to_owned())));
        let certificates = rustls_native_certs::load_native_certs().certs.into_iter();
        let certificates = certificates.map(|der| Certificate::from_der(&der).to_owned());
        let tls = TlsConfig::builder()
            .root_certs(RootCerts::from(certificates))
            .unversioned_rustls_crypto_provider(Arc::new(rustls_graviola::default_provider()))
            .build();
        let agent = Agent::config_builder()
            .http_status_as_error(false)
            // Redirects are followed here: the token must not go to another host.
            .max_redirects(0)
            .accept_encoding("identity")
            .user_agent(concat!("eitri/", env!("CARGO_PKG_VERSION")))
            .timeout_connect(Some(SILENCE))
            .timeout_recv_response(Some(SILENCE))
            .timeout_per_read(Some(SILENCE))
            .tls_config(tls)
            .build()
            .into();
        Self { agent, hub, repository, token: token.filter(|token| !token.0.is_empty()) }
    }

    pub(super) fn pause(&self) -> Duration {
        self.hub.pause
    }

    /// Which commit a revision is at, and its files.
    pub(super) fn list(&self, revision: &str) -> Result<Listing, HubError> {
        let Hub { endpoint, .. } = self.hub;
        let revision_part = escape(revision, false);
        let url = format!("{endpoint}/api/models/{}/revision/{revision_part}", self.repository);
        let mut response = self.send(Method::Get { from: 0 }, &url, revision)?;
        let text = response.body_mut().read_to_string();
        let text = text.map_err(|error| transfer(&url, &error))?;
        let unexpected = |what: &str| HubError::Transfer {
            url: url.clone(),
            message: format!("the answer is not that of a hub: {what}"),
        };
        let answer: Value =
            serde_json::from_str(&text).map_err(|error| unexpected(&error.to_string()))?;
        let commit = answer["sha"].as_str().unwrap_or_default();
        if commit.is_empty() || !commit.chars().all(|c| c.is_ascii_alphanumeric()) {
            return Err(unexpected("sha is not a commit"));
        }
        let files = answer["siblings"].as_array().ok_or_else(|| unexpected("no siblings"))?;
        let names = files.iter().filter_map(|file| file["rfilename"].as_str());
        // A name that leaves the cache's folder cannot be one that is needed.
        let files = names.filter(|name| select::is_plain_path(name)).map(str::to_owned).collect();
        Ok(Listing { commit: commit.to_owned(), files })
    }

    /// Address of a file of a commit.
    pub(super) fn address(&self, commit: &str, file: &str) -> String {
        let Hub { endpoint, .. } = self.hub;
        format!("{endpoint}/{}/resolve/{commit}/{}", self.repository, escape(file, true))
    }

    pub(super) fn metadata(&self, commit: &str, file: &str) -> Result<Metadata, HubError> {
        let url = self.address(commit, file);
        let response = self.send(Method::Head, &url, commit)?;
        let field = |name: &str| response.headers().get(name)?.to_str().ok();
        // Large files lie elsewhere: the redirect to them has their own fields.
        let etag = field("x-linked-etag").or_else(|| field("etag")).unwrap_or_default();
        let etag = etag.trim_start_matches("W/").trim_matches('"');
        let size = field("x-linked-size").or_else(|| field("content-length"));
        let size = size.and_then(|size| size.parse().ok());
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '-';
        match size {
            Some(size) if !etag.is_empty() && etag.chars().all(is_name) => {
                Ok(Metadata { etag: etag.to_owned(), size })
            }
            _ => {
                let message = "the answer has no ETag or no length".to_owned();
                Err(HubError::Transfer { url, message })
            }
        }
    }

    /// The content from byte `from` on, or from the start where the response has status 200.
    pub(super) fn content(&self, url: &str, from: u64) -> Result<Response<Body>, Failure> {
        self.send(Method::Get { from }, url, "")
    }

    /// Sends a request, follows redirects, and turns refusals into errors.
    fn send(
        &self,
        method: Method,
        address: &str,
        revision: &str,
    ) -> Result<Response<Body>, Failure> {
        let mut url = address.to_owned();
        for _ in 0..=MAX_REDIRECTS {
            let response = self.send_once(method, &url)?;
            let status = response.status();
            if !status.is_redirection() {
                return self.accept(response, address, revision);
            }
            let location = response.headers().get(header::LOCATION);
            let location = location.and_then(|value| value.to_str().ok()).unwrap_or_default();
            if let Some(path) = location.strip_prefix('/') {
                // A repository that was renamed.
                url = format!("{}/{path}", origin(&url));
            } else if method == Method::Head {
                return Ok(response);
            } else {
                location.clone_into(&mut url);
            }
        }
        let message = format!("more than {MAX_REDIRECTS} redirects");
        Err(Failure::Final(HubError::Transfer { url: address.to_owned(), message }))
    }

    fn send_once(&self, method: Method, url: &str) -> Result<Response<Body>, Failure> {
        if url.starts_with("https:") {
            check_cpu(url).map_err(Failure::Final)?;
        }
        let mut request = match method {
            Method::Head => self.agent.head(url),
            Method::Get { .. } => self.agent.get(url),
        };
        if let Method::Get { from: from @ 1.. } = method {
            request = request.header(header::RANGE, format!("bytes={from}-"));
        }
        if let Some(Token(token)) = &self.token
            && origin(url) == origin(&self.hub.endpoint)
        {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        request.call().map_err(|error| Failure::Passing(transfer(url, &error)))
    }

    fn accept(
        &self,
        response: Response<Body>,
        url: &str,
        revision: &str,
    ) -> Result<Response<Body>, Failure> {
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let code = response.headers().get("x-error-code");
        let code = code.and_then(|code| code.to_str().ok()).unwrap_or_default();
        let id = self.repository.to_owned();
        let endpoint = self.hub.endpoint.clone();
        Err(match (status, code) {
            (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN, _) => {
                let (status, with_token) = (status.as_u16(), self.token.is_some());
                Failure::Final(HubError::Denied { id, endpoint, status, with_token })
            }
            (StatusCode::NOT_FOUND, "RevisionNotFound") => {
                Failure::Final(HubError::NoRevision { id, revision: revision.to_owned() })
            }
            (StatusCode::NOT_FOUND, "RepoNotFound" | "") => {
                Failure::Final(HubError::NotFound { id, endpoint })
            }
            _ if is_passing(status) => Failure::Passing(refused(url, status)),
            _ => Failure::Final(refused(url, status)),
        })
    }
}

fn is_passing(status: StatusCode) -> bool {
    status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error()
}

fn refused(url: &str, status: StatusCode) -> HubError {
    HubError::Transfer { url: url.to_owned(), message: format!("the answer is status {status}") }
}

fn transfer(url: &str, error: &ureq::Error) -> HubError {
    HubError::Transfer { url: url.to_owned(), message: error.to_string() }
}

/// An error while a body arrives.
pub(super) fn broken(url: &str, error: &io::Error) -> HubError {
    HubError::Transfer { url: url.to_owned(), message: error.to_string() }
}

/// Scheme, host and port of an address.
fn origin(url: &str) -> &str {
    let host = url.find("://").map_or(0, |at| at + 3);
    url[host..].find('/').map_or(url, |end| &url[..host + end])
}

/// Percent-encodes what has a meaning in an address.
fn escape(text: &str, keep_slashes: bool) -> String {
    let escape = |byte: u8| {
        let plain = byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
        if plain || keep_slashes && byte == b'/' {
            char::from(byte).to_string()
        } else {
            format!("%{byte:02X}")
        }
    };
    text.bytes().map(escape).collect()
}

/// The cryptography is written for these instructions, and would panic without them.
fn check_cpu(url: &str) -> Result<(), HubError> {
    #[cfg(target_arch = "x86_64")]
    let (has, needs) = (
        std::arch::is_x86_feature_detected!("aes")
            && std::arch::is_x86_feature_detected!("pclmulqdq")
            && std::arch::is_x86_feature_detected!("ssse3")
            && std::arch::is_x86_feature_detected!("bmi1")
            && std::arch::is_x86_feature_detected!("bmi2")
            && std::arch::is_x86_feature_detected!("adx")
            && std::arch::is_x86_feature_detected!("avx2"),
        "AES, PCLMULQDQ, SSSE3, BMI1, BMI2, ADX and AVX2",
    );
    #[cfg(target_arch = "aarch64")]
    let (has, needs) = (
        std::arch::is_aarch64_feature_detected!("neon")
            && std::arch::is_aarch64_feature_detected!("aes")
            && std::arch::is_aarch64_feature_detected!("pmull")
            && std::arch::is_aarch64_feature_detected!("sha2"),
        "NEON, AES, PMULL and SHA2",
    );
    if has {
        return Ok(());
    }
    let message = format!("encrypted connections need a processor with {needs}");
    Err(HubError::Transfer { url: url.to_owned(), message })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_and_escapes() {
        assert_eq!(origin("http://a:80/b/c"), "http://a:80");
        assert_eq!(origin("https://a"), "https://a");
        assert_eq!(escape("refs/pr/1", false), "refs%2Fpr%2F1");
        assert_eq!(escape("a b/c+ü.gguf", true), "a%20b/c%2B%C3%BC.gguf");
    }
}
