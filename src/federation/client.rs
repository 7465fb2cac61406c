//! Asking another instance over HTTP: bounded in time and size, never led to another host.

mod error;
mod member;
mod no_answer;
mod probe;
mod problem;
mod signed;
mod tls;

pub use error::ClientError;
pub use no_answer::{CertificateFault, NoAnswer};
pub use probe::Probe;
pub use signed::SIGN_FROM_HEADER;

use super::{
    lines::{Lines, NextLine, Parts},
    membership::Membership,
    pace::{self, LEAST_BYTES_A_SECOND},
    resolver::Resolver,
    unpack::unpacked,
    watch::Watch,
};
use crate::{
    guard::{OutOfReach, Reach, is_open_path},
    types::{self, Limits, SetHash},
};
use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt, stream};
use reqwest::{
    Method, Request, RequestBuilder, Response, Url,
    header::{ACCEPT, ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, RETRY_AFTER},
    redirect::{Attempt, Policy},
};
use std::{error::Error, time::Duration};
use tokio::time::timeout;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the other side may be silent, where nothing else is said.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long a connection that nobody needs is kept: over the pause between two rounds, whose usual length is a minute, and not as long
/// as services and proxies keep it (75 s, 65 s), so that no request meets a connection that is just being closed.
const KEEP_IDLE: Duration = Duration::from_secs(62);
/// How many of them for each address: a round asks one thing after the other.
const MOST_IDLE: usize = 1;
const MAX_REDIRECTS: usize = 3;
/// Largest answer other than a stream: a page of peers, each with up to 16 KiB of its own fields.
const MAX_ANSWER_BYTES: usize = 64 << 20;
/// Largest problem document, or word that a manifest was taken, that is read.
const MAX_PROBLEM_BYTES: usize = 64 << 10;
/// Of a text that is no problem document: a page of a proxy.
const MAX_DETAIL_CHARS: usize = 300;
const NDJSON: &str = "application/x-ndjson";
/// Says what the lines of an answer to `POST /sync` are, where they are not nodes alone.
pub const LINES_HEADER: &str = "ark-lines";
/// They are versions: lines as the changes feed has them.
pub const LINES_OF_VERSIONS: &str = "versions";

/// Another instance's HTTP interface.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    resolver: Resolver,
    base: Url,
    limits: Limits,
    patience: Duration,
    membership: Option<Membership>,
    watch: Option<Watch>,
}

/// Which peers are asked for.
#[derive(Debug, Clone, Default)]
pub struct PeerQuery {
    /// Only peers of this type.
    pub instance_type: Option<String>,
    /// Only peers of this level.
    pub trust_level: Option<String>,
}

impl Client {
    /// For the instance at `base`, such as `https://host:9001` or `https://host/prefix`.
    ///
    /// # Errors
    /// [`ClientError::Address`].
    pub fn new(base: &str, limits: &Limits) -> Result<Self, ClientError> {
        Self::build(base, limits, reqwest::Client::builder())
    }

    /// The same for another instance: what was built for this one serves both.
    ///
    /// # Errors
    /// [`ClientError::Address`].
    pub fn at(&self, base: &str) -> Result<Self, ClientError> {
        Ok(Self { base: address(base, &self.resolver)?, ..self.clone() })
    }

    fn build(base: &str, limits: &Limits, http: reqwest::ClientBuilder) -> Result<Self, ClientError> {
        Self::build_within(base, limits, http, Reach::of_operator())
    }

    fn build_within(
        base: &str,
        limits: &Limits,
        http: reqwest::ClientBuilder,
        reach: Reach,
    ) -> Result<Self, ClientError> {
        let resolver = Resolver::new(reach);
        let url = address(base, &resolver)?;
        let wrong = |problem: &str| ClientError::Address(base.to_owned(), problem.to_owned());
        let http = http
            .connect_timeout(CONNECT_TIMEOUT)
            .pool_idle_timeout(KEEP_IDLE)
            .pool_max_idle_per_host(MOST_IDLE)
            .redirect(Policy::custom(stay))
            .dns_resolver(resolver.clone())
            // Only settings read the environment.
            .no_proxy()
            .user_agent(concat!("ark-lattice/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| wrong(&cause(&error)))?;
        Ok(Self { http, resolver, base: url, limits: *limits, patience: PATIENCE, membership: None, watch: None })
    }

    /// As a member of a network, to another one.
    #[must_use]
    pub fn with_membership(self, membership: Option<Membership>) -> Self {
        Self { membership, ..self }
    }

    /// With its requests watched.
    pub(super) fn watched(self, watch: Watch) -> Self {
        Self { watch: Some(watch), ..self }
    }

    /// The bounds on what it reads.
    pub(super) fn bounds(&self) -> &Limits {
        &self.limits
    }

    /// Who watches its requests.
    pub(super) fn watch(&self) -> Option<&Watch> {
        self.watch.as_ref()
    }

    /// With so much patience for a silent or slow other side.
    #[must_use]
    pub fn with_patience(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// One page of `GET /discover`: the answer's JSON.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn discover(&self, query: &PeerQuery, cursor: Option<&str>) -> Result<Bytes, ClientError> {
        let mut url = self.url("discover");
        {
            let mut pairs = url.query_pairs_mut();
            let wanted = [
                ("instance_type", query.instance_type.as_deref()),
                ("trust_level", query.trust_level.as_deref()),
                ("cursor", cursor),
            ];
            for (key, value) in wanted {
                if let Some(value) = value {
                    pairs.append_pair(key, value);
                }
            }
        }
        let response = self.send(self.http.request(Method::GET, url)).await?;
        self.whole(response, MAX_ANSWER_BYTES).await
    }

    /// `POST /manifest`: the answer's JSON.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn publish(&self, envelope: String) -> Result<Bytes, ClientError> {
        let response = self.send(small(self.post("manifest", envelope))).await?;
        self.whole(response, MAX_PROBLEM_BYTES).await
    }

    /// `POST /v1/trust/rotate`: statements about a key, as JSON; the answer's JSON.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn rotate(&self, statements: String) -> Result<Bytes, ClientError> {
        let response = self.send(self.post("v1/trust/rotate", statements)).await?;
        self.whole(response, MAX_PROBLEM_BYTES).await
    }

    /// How many nodes the other side has.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn node_total(&self) -> Result<usize, ClientError> {
        let mut url = self.url("nodes");
        url.set_query(Some("limit=1"));
        let response = self.send(self.http.request(Method::GET, url)).await?;
        let body = self.whole(response, MAX_ANSWER_BYTES).await?;
        let answer: serde_json::Value =
            serde_json::from_slice(&body).map_err(|error| self.protocol(&error.to_string()))?;
        let total =
            answer.get("total").and_then(serde_json::Value::as_u64).and_then(|total| usize::try_from(total).ok());
        total.ok_or_else(|| self.protocol("its list of nodes has no total"))
    }

    /// The files of the other side that are not nodes: name and reason of the first ones, and how many there are.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn broken_files(&self) -> Result<(Vec<(String, String)>, usize), ClientError> {
        #[derive(serde::Deserialize)]
        struct Health {
            lattice: Lattice,
        }
        #[derive(serde::Deserialize)]
        struct Lattice {
            broken_total: usize,
            broken: Vec<Broken>,
        }
        #[derive(serde::Deserialize)]
        struct Broken {
            file: String,
            reason: String,
        }
        let response = self.send(self.http.request(Method::GET, self.url("health"))).await?;
        let body = self.whole(response, MAX_ANSWER_BYTES).await?;
        let health: Health = serde_json::from_slice(&body).map_err(|error| self.protocol(&error.to_string()))?;
        let named =
            health.lattice.broken.into_iter().map(|broken| (printable(&broken.file), printable(&broken.reason)));
        Ok((named.collect(), health.lattice.broken_total))
    }

    /// `POST /sync`, answered line by line.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn sync(&self, body: String) -> Result<SyncStream, ClientError> {
        let response = self.send(self.post("sync", body).header(ACCEPT, NDJSON)).await?;
        let headers = response.headers();
        let media_type = text(headers, CONTENT_TYPE.as_str()).unwrap_or_default();
        if media_type.split(';').next().map(str::trim) != Some(NDJSON) {
            return Err(self.protocol("its answer to /sync is not application/x-ndjson"));
        }
        let set_hash = text(headers, "ark-manifest-hash").and_then(|hash| SetHash::parse(hash).ok());
        let expected = text(headers, "ark-delta-count").and_then(|count| count.parse().ok());
        let (Some(set_hash), Some(expected)) = (set_hash, expected) else {
            return Err(self.protocol("its answer to /sync lacks Ark-Manifest-Hash or Ark-Delta-Count"));
        };
        let cursor = text(headers, "ark-cursor").map(str::to_owned);
        let versions = text(headers, LINES_HEADER) == Some(LINES_OF_VERSIONS);
        Ok(SyncStream { set_hash, expected, cursor, versions, seen: 0, lines: self.lines(response)? })
    }

    /// Sends a request of [`super::exchange`]; an answer that is no success is an error.
    pub(super) async fn ask(&self, request: RequestBuilder) -> Result<Response, ClientError> {
        self.send(request).await
    }

    /// A request to this instance; `query` as it goes on the wire.
    pub(super) fn request(&self, method: Method, path: &str, query: Option<&str>) -> RequestBuilder {
        let mut url = self.url(path);
        url.set_query(query);
        self.http.request(method, url)
    }

    /// A whole answer of at most `limit` bytes.
    pub(super) async fn body(&self, response: Response, limit: usize) -> Result<Bytes, ClientError> {
        self.whole(response, limit).await
    }

    /// The lines of an answer.
    ///
    /// # Errors
    /// [`ClientError::Protocol`]: it is packed in a way that cannot be unpacked here.
    pub(super) fn lines(&self, response: Response) -> Result<Lines, ClientError> {
        let from = self.base.to_string();
        let packed = text(response.headers(), CONTENT_ENCODING.as_str()).map(|it| it.eq_ignore_ascii_case("zstd"));
        let parts = pace::paced(from.clone(), self.parts(response), self.patience, LEAST_BYTES_A_SECOND);
        let parts = if packed == Some(true) { unpacked(from.clone(), parts)? } else { parts };
        // As JSON on one line no node is longer than its file; some room for other writers.
        Ok(Lines::new(from, parts, self.limits.node_bytes.saturating_add(64 << 10)))
    }

    /// The lines of an answer that has no end and comes when something happens; none is longer than `max_line`.
    pub(super) fn notices_of(&self, response: Response, max_line: usize) -> Lines {
        let parts = pace::paced(self.base.to_string(), self.parts(response), PATIENCE, 0);
        Lines::new(self.base.to_string(), parts, max_line)
    }

    fn parts(&self, response: Response) -> Parts {
        let parts = stream::unfold((self.clone(), response), |(client, mut response)| async move {
            let part = response.chunk().await.map_err(|error| client.unreachable(&error)).transpose()?;
            Some((part, (client, response)))
        });
        parts.boxed()
    }

    /// The other side does not keep to the protocol.
    #[must_use]
    pub fn wrong(&self, problem: &str) -> ClientError {
        self.protocol(problem)
    }

    fn url(&self, path: &str) -> Url {
        let mut url = self.base.clone();
        url.set_path(&format!("{}{path}", self.base.path()));
        url
    }

    fn post(&self, path: &str, body: String) -> RequestBuilder {
        self.http.request(Method::POST, self.url(path)).header(CONTENT_TYPE, "application/json").body(body)
    }

    /// Sends a request and waits until its answer begins.
    async fn begin(&self, request: RequestBuilder) -> Result<Response, ClientError> {
        let request = request.build().map_err(|error| self.unreachable(&error))?;
        let path = self.path_of(&request);
        let Some(membership) = self.membership.as_ref().filter(|_| !is_open_path(&path)) else {
            return self.execute(request).await;
        };
        if membership.is_stranger(&path) {
            self.get_to_know(membership).await?;
        }
        self.as_member(membership, request, &path).await
    }

    async fn execute(&self, mut request: Request) -> Result<Response, ClientError> {
        let length = request.body().and_then(reqwest::Body::as_bytes).map_or(0, <[u8]>::len);
        let asked = self.watch.as_ref().map(|watch| watch.begin(&mut request));
        let answer = timeout(pace::until_answer(self.patience, length), self.http.execute(request)).await;
        let answer = answer.map_err(|_| pace::silent(self.base.as_str()));
        let answer = answer.and_then(|answer| answer.map_err(|error| self.unreachable(&error)));
        if let Some(asked) = asked {
            asked.end(answer.as_ref().map_err(|error| -> &dyn std::fmt::Display { error }));
        }
        answer
    }

    async fn send(&self, request: RequestBuilder) -> Result<Response, ClientError> {
        let response = self.begin(request).await?;
        self.success(response).await
    }

    /// The answer, where it is none that refuses.
    async fn success(&self, response: Response) -> Result<Response, ClientError> {
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        if status.is_redirection() {
            let target = text(response.headers(), "location").unwrap_or("nowhere");
            return Err(ClientError::Redirected(self.base.to_string(), printable(target)));
        }
        Err(self.problem(response).await)
    }

    async fn problem(&self, response: Response) -> ClientError {
        let status = response.status();
        let retry_after = text(response.headers(), RETRY_AFTER.as_str()).and_then(|text| text.parse().ok());
        let retry_after = retry_after.map(Duration::from_secs);
        let body = self.whole(response, MAX_PROBLEM_BYTES).await.unwrap_or_default();
        let (code, detail) = problem::read(&body, status);
        let status = status.as_u16();
        if status < 500 {
            ClientError::Refused { status, code, detail, retry_after }
        } else {
            ClientError::Server { status, code, detail, retry_after }
        }
    }

    async fn whole(&self, response: Response, limit: usize) -> Result<Bytes, ClientError> {
        let mut body = BytesMut::new();
        let mut parts = pace::paced(self.base.to_string(), self.parts(response), self.patience, LEAST_BYTES_A_SECOND);
        while let Some(chunk) = parts.next().await.transpose()? {
            if body.len().saturating_add(chunk.len()) > limit {
                return Err(self.protocol(&format!("its answer is larger than {limit} bytes")));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body.freeze())
    }

    fn unreachable(&self, error: &reqwest::Error) -> ClientError {
        let mut source: Option<&(dyn Error + 'static)> = Some(error);
        while let Some(error) = source {
            if let Some(out) = error.downcast_ref::<OutOfReach>() {
                return ClientError::OutOfReach(self.base.to_string(), out.clone());
            }
            source = error.source();
        }
        ClientError::Unreachable(self.base.to_string(), NoAnswer::of(error, &self.base))
    }

    fn protocol(&self, problem: &str) -> ClientError {
        ClientError::Protocol(self.base.to_string(), problem.to_owned())
    }
}

/// The nodes of one answer of `POST /sync`.
#[derive(Debug)]
pub struct SyncStream {
    /// The other side's set hash.
    pub set_hash: SetHash,
    /// How many nodes it announced.
    pub expected: usize,
    /// There where the answer was cut short.
    pub cursor: Option<String>,
    /// Each line is a version with its time (`super::wire`), as was asked for; otherwise it is a node alone.
    pub versions: bool,
    seen: usize,
    lines: Lines,
}

impl SyncStream {
    /// The next node's JSON text. `None` at the end.
    ///
    /// # Errors
    /// [`ClientError::Unreachable`] where the connection broke, [`ClientError::Protocol`] for a line that is too long, for more
    /// lines than announced, and for an end within a line.
    pub async fn next_line(&mut self) -> Result<Option<Bytes>, ClientError> {
        let line = self.lines.next_line().await?;
        self.count(line)
    }

    /// The same, with lines skipped that are too long (see [`Lines::next_or_skip`]).
    ///
    /// # Errors
    /// As [`Self::next_line`], but for lines that are skipped.
    pub async fn next_or_skip(
        &mut self,
        longest: impl Fn(&[u8]) -> Option<u64>,
    ) -> Result<Option<NextLine>, ClientError> {
        let line = self.lines.next_or_skip(longest).await?;
        self.count(line)
    }

    fn count<L>(&mut self, line: Option<L>) -> Result<Option<L>, ClientError> {
        self.seen = self.seen.saturating_add(usize::from(line.is_some()));
        if self.seen > self.expected {
            return Err(self.lines.wrong("it sends more nodes than it announced"));
        }
        Ok(line)
    }

    /// How many bytes came so far, after decompression.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.lines.bytes()
    }
}

/// The answer is small: packing and unpacking it would cost more than its bytes.
pub(super) fn small(request: RequestBuilder) -> RequestBuilder {
    request.header(ACCEPT_ENCODING, "identity")
}

/// Another instance's address.
fn address(base: &str, resolver: &Resolver) -> Result<Url, ClientError> {
    let wrong = |problem: &str| ClientError::Address(base.to_owned(), problem.to_owned());
    if !base.contains("://") {
        return Err(wrong("it begins with http:// or https://"));
    }
    let unreadable = "it names no host, or no port from 1 to 65535";
    let mut url = Url::parse(base).map_err(|_| wrong(unreadable))?;
    if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
        return Err(wrong("it begins with http:// or https://"));
    }
    let host = url.host_str().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    if host.parse::<std::net::IpAddr>().is_ok_and(|host| host.is_unspecified()) {
        return Err(wrong(
            "it stands for every address of a machine and names none: use the machine's name or address",
        ));
    }
    if !url.username().is_empty() || url.password().is_some() {
        // Not repeated: it may be a secret.
        return Err(ClientError::Address(url.host_str().unwrap_or_default().to_owned(), "it names no user".to_owned()));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(wrong("it has no query or fragment"));
    }
    resolver.check(&url).map_err(|error| match error {
        plain @ OutOfReach::PlainHttp(..) => ClientError::OutOfReach(base.to_owned(), plain),
        error => wrong(&error.to_string()),
    })?;
    if !url.path().ends_with('/') {
        url.set_path(&format!("{}/", url.path()));
    }
    Ok(url)
}

/// Follows a redirect within the same origin only: what we send is meant for that host.
fn stay(attempt: Attempt<'_>) -> reqwest::redirect::Action {
    let same = attempt.previous().first().is_some_and(|first| first.origin() == attempt.url().origin());
    if same && attempt.previous().len() <= MAX_REDIRECTS { attempt.follow() } else { attempt.stop() }
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// The innermost reason of an error of the HTTP library that is about no request.
fn cause(error: &reqwest::Error) -> String {
    let mut innermost: &dyn Error = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    printable(&innermost.to_string())
}

/// Text of the other side as one harmless line.
fn printable(text: &str) -> String {
    types::printable(text).chars().take(MAX_DETAIL_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_checked_before_anything_is_sent() {
        // Without a provider the client cannot be built; a second call is refused and does no harm.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let limits = Limits::default();
        for bad in ["", "host:9001", "ftp://host", "http://", "http://u:p@host", "http://host/?a=b", "http://host/#x"] {
            assert!(matches!(Client::new(bad, &limits), Err(ClientError::Address(..))), "{bad}");
        }
        let client = Client::new("https://host/prefix", &limits).unwrap();
        assert_eq!(client.url("sync").as_str(), "https://host/prefix/sync");
    }
}
