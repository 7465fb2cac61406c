//! What one instance asks of another in a round (DESIGN 4.6): heads, changes, nodes; and what it sends, signed.

use super::{
    client::{Client, ClientError, small},
    feed::Received,
    filter::Filter,
    lines::Lines,
    reconcile::{Answer, item::ItemId, message::FRAME_BYTES},
    remote::{ChangesQuery, Remote},
    waiting::Waits,
};
use crate::{
    identity::{
        KeyLog, KeyPair,
        message::{self, Message},
    },
    manifest::{Head, Verified, verify_head},
    types::{Limits, NodeId, PeerId, SetHash, Timestamp, decode_hex},
};
use async_trait::async_trait;
use reqwest::Method;
use serde::Deserialize;
use std::ops::Range;

/// Largest signed head.
const MAX_HEAD_BYTES: usize = 16 << 10;
/// Largest answer to what was sent: the ids of one list of offers, each as long as may be and written in escapes.
const MAX_ANSWER_BYTES: usize = 2 << 20;
/// Longest line that tells of a change.
const MAX_NOTICE_BYTES: usize = 4 << 10;
/// Largest list of statements about a key.
const MAX_STATEMENTS_BYTES: usize = 1 << 20;
const LINES: &str = "application/x-ndjson";
/// A message of a set reconciliation.
const MESSAGE: &str = "application/octet-stream";
/// Of an answer to such a message: whose versions it speaks of,
pub const INDEX_HEADER: &str = "ark-index-id";
/// up to which position they are complete,
pub const POSITION_HEADER: &str = "ark-position";
/// and which message it answers, SHA-256 in hex digits.
pub const ANSWERS_HEADER: &str = "ark-answers";

/// Who sends, and to whom.
#[derive(Debug, Clone, Copy)]
pub struct Signer<'a> {
    /// Our key.
    pub key: &'a KeyPair,
    /// Our id.
    pub node_id: &'a PeerId,
    /// The other side's id.
    pub audience: &'a PeerId,
    /// The time.
    pub now: Timestamp,
}

#[derive(Deserialize)]
struct WantedAnswer {
    wanted: Vec<String>,
}

#[derive(Deserialize)]
struct ReceivedAnswer {
    taken: usize,
    same: usize,
    kept: usize,
    ahead: usize,
    conflicts: usize,
    since: u64,
    seq: u64,
    /// None of these three where nothing waits, and of an instance that knows of no waiting.
    #[serde(default)]
    waiting: usize,
    #[serde(default)]
    waiting_total: u64,
    waiting_without: Option<String>,
}

fn filter_pair(filter: &Filter) -> Option<(&'static str, String)> {
    (!filter.is_all()).then(|| ("filter", filter.to_text()))
}

fn encoded(pairs: &[(&str, String)]) -> String {
    form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish()
}

#[async_trait]
impl Remote for Client {
    async fn head(&self, limits: &Limits) -> Result<Verified<Head>, ClientError> {
        let response = self.ask(small(self.request(Method::GET, "lattice/head", None))).await?;
        let body = self.body(response, MAX_HEAD_BYTES).await?;
        let head = verify_head(body, limits).map_err(|error| self.wrong(&format!("its head: {error}")))?;
        if let Some(watch) = self.watch() {
            watch.met(&head.get().node_id);
        }
        Ok(head)
    }

    async fn changes(&self, query: &ChangesQuery<'_>) -> Result<Lines, ClientError> {
        let ChangesQuery { index_id, since, contents, filter, priorities } = query;
        let mut pairs = vec![
            ("index_id", (*index_id).to_owned()),
            ("since", since.to_string()),
            ("contents", contents.to_string()),
        ];
        pairs.extend(filter_pair(filter));
        pairs.extend(priorities.then(|| ("priorities", "true".to_owned())));
        let query = encoded(&pairs);
        let response = self
            .ask(self.request(Method::GET, "lattice/changes", Some(&query)).header("accept-encoding", "zstd"))
            .await?;
        self.lines(response)
    }

    async fn nodes(&self, ids: &[NodeId]) -> Result<Lines, ClientError> {
        let ids: Vec<&str> = ids.iter().map(NodeId::as_str).collect();
        self.fetch(&serde_json::json!({ "ids": ids })).await
    }

    async fn reconcile(&self, message: &[u8]) -> Result<Option<Answer>, ClientError> {
        let request = self.request(Method::POST, "lattice/reconcile", None).header("content-type", MESSAGE);
        let response = match self.ask(request.body(message.to_vec())).await {
            // An instance of before, or another implementation.
            Err(ClientError::Refused { status: 404 | 405, .. } | ClientError::Server { status: 501, .. }) => {
                return Ok(None);
            }
            response => response?,
        };
        let text = |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let seq = text(POSITION_HEADER).and_then(|text| text.parse().ok());
        let answers = text(ANSWERS_HEADER).and_then(|text| decode_hex(&text));
        let (Some(index_id), Some(seq), Some(answers)) = (text(INDEX_HEADER), seq, answers) else {
            return Err(self.wrong("its answer to /lattice/reconcile does not say what it answers"));
        };
        let message = self.body(response, FRAME_BYTES).await?;
        Ok(Some(Answer { index_id, seq, answers, message }))
    }

    async fn versions(&self, items: &[ItemId], contents: bool) -> Result<Lines, ClientError> {
        let items: Vec<String> = items.iter().map(ItemId::to_hex).collect();
        self.fetch(&serde_json::json!({ "versions": items, "contents": contents })).await
    }

    async fn offer(&self, signer: &Signer<'_>, lines: Vec<u8>) -> Result<Vec<NodeId>, ClientError> {
        let answer: WantedAnswer = self.send_signed(signer, "/lattice/offer", "", lines).await?;
        let ids = answer.wanted.iter().map(|id| NodeId::parse(id));
        ids.collect::<Result<_, _>>().map_err(|error| self.wrong(&format!("it wants a node with a bad id: {error}")))
    }

    async fn push(
        &self,
        signer: &Signer<'_>,
        filter: &Filter,
        lines: Vec<u8>,
    ) -> Result<(Received, Range<u64>), ClientError> {
        let query = encoded(&filter_pair(filter).into_iter().collect::<Vec<_>>());
        let answer: ReceivedAnswer = self.send_signed(signer, "/lattice/changes", &query, lines).await?;
        let ReceivedAnswer { taken, same, kept, ahead, conflicts, since, seq, waiting, .. } = answer;
        let there = match answer.waiting_without {
            Some(text) if answer.waiting_total > 0 => {
                let set_hash = SetHash::parse(&text).map_err(|_| self.wrong("its answer has no set hash"))?;
                Some(Waits { deletions: answer.waiting_total, set_hash })
            }
            _ => None,
        };
        Ok((Received { taken, same, kept, ahead, conflicts, waiting, there }, since..seq))
    }
}

impl Client {
    /// What the instance there says of its key. Nothing of it is checked yet.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn identity(&self) -> Result<KeyLog, ClientError> {
        let response = self.ask(self.request(Method::GET, "lattice/identity", None)).await?;
        let body = self.body(response, MAX_STATEMENTS_BYTES).await?;
        KeyLog::parse(body).map_err(|error| self.wrong(&format!("its statements: {error}")))
    }

    /// `GET /lattice/notify`: lines for as long as the connection lasts; one that begins with `data:` says that something changed.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn notices(&self) -> Result<Lines, ClientError> {
        let response = self.ask(small(self.request(Method::GET, "lattice/notify", None))).await?;
        Ok(self.notices_of(response, MAX_NOTICE_BYTES))
    }

    async fn fetch(&self, wanted: &serde_json::Value) -> Result<Lines, ClientError> {
        let request = self
            .request(Method::POST, "lattice/nodes", None)
            .header("accept-encoding", "zstd")
            .header("content-type", "application/json");
        let response = self.ask(request.body(wanted.to_string())).await?;
        self.lines(response)
    }

    async fn send_signed<T: serde::de::DeserializeOwned>(
        &self,
        signer: &Signer<'_>,
        route: &str,
        query: &str,
        body: Vec<u8>,
    ) -> Result<T, ClientError> {
        let signed_query = format!("?{query}");
        let message = Message {
            method: "POST",
            route,
            query: &signed_query,
            body: &body,
            node_id: signer.node_id.as_str(),
            audience: signer.audience.as_str(),
        };
        let headers =
            message::sign(&message, signer.key, signer.now).map_err(|error| self.wrong(&error.to_string()))?;
        let mut request =
            self.request(Method::POST, route.trim_start_matches('/'), Some(query).filter(|it| !it.is_empty()));
        request = request.header("content-type", LINES);
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let response = self.ask(request.body(body)).await?;
        let body = self.body(response, MAX_ANSWER_BYTES).await?;
        serde_json::from_slice(&body).map_err(|error| self.wrong(&format!("its answer to {route}: {error}")))
    }
}
