//! What one instance asks of another in a round (DESIGN 4.6): heads, changes, nodes; and what it sends, signed.

use super::{
    client::{Client, ClientError, small},
    feed::Received,
    filter::Filter,
    inbound::PeerRoundStatus,
    lines::Lines,
    operator::percent_encode,
    reconcile::{Answer, item::ItemId, message::FRAME_BYTES},
    remote::{ChangesQuery, JournalStand, Knowing, OfferAnswer, PushAnswer, ReceiverBounds, Remote},
    waiting::Waits,
    wire::most_node_bytes,
};
use crate::{
    identity::{KeyLog, KeyPair, message::Message},
    manifest::{Epoch, EpochStart, Head, Lineage, Verified, lineage::MAX_EPOCHS, verify_head},
    types::{Limits, NodeId, PeerId, SetHash, Timestamp, decode_hex},
};
use async_trait::async_trait;
use bytes::Bytes;
use reqwest::Method;
use serde::{Deserialize, de::IgnoredAny};

/// Largest signed head.
const MAX_HEAD_BYTES: usize = 16 << 10;
/// Largest list of a journal's epochs.
const MAX_LINEAGE_BYTES: usize = MAX_EPOCHS * 96;
/// Largest answer to what was sent: the ids of one list of offers, each as long as may be and written in escapes.
const MAX_ANSWER_BYTES: usize = 2 << 20;
/// Longest line that tells of a change.
const MAX_NOTICE_BYTES: usize = 4 << 10;
/// Largest list of statements about a key.
const MAX_STATEMENTS_BYTES: usize = 1 << 20;
const LINES: &str = "application/x-ndjson";
const JSON: &str = "application/json";
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

/// Nothing in it: of an instance that does not state what it takes.
#[derive(Deserialize, Default)]
#[serde(default)]
struct TakesAnswer {
    node_bytes: Option<usize>,
    body_bytes: Option<usize>,
}

impl TakesAnswer {
    fn bounds(&self) -> ReceiverBounds {
        ReceiverBounds { node_bytes: self.node_bytes, body_bytes: self.body_bytes }
    }
}

#[derive(Deserialize)]
struct WantedAnswer {
    wanted: Vec<String>,
    #[serde(default)]
    epoch: Option<Epoch>,
    #[serde(default)]
    epoch_since: u64,
    #[serde(default)]
    seq: u64,
    #[serde(default)]
    takes: TakesAnswer,
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
    #[serde(default)]
    epoch: Option<Epoch>,
    #[serde(default)]
    epoch_since: u64,
    /// None of the next three where nothing waits, and of an instance that knows of no waiting.
    #[serde(default)]
    waiting: usize,
    #[serde(default)]
    waiting_total: u64,
    waiting_without: Option<String>,
    #[serde(default)]
    twin: bool,
    #[serde(default)]
    too_large: Vec<String>,
    #[serde(default)]
    takes: TakesAnswer,
}

/// What a request states of the other side's journal.
fn knowing_pairs(Knowing { seen, holds, stands }: Knowing<'_>) -> Vec<(&'static str, String)> {
    let pairs = [("seen", seen), ("holds", holds), ("stands", stands)];
    pairs.into_iter().filter_map(|(key, position)| Some((key, position?.to_string()))).collect()
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

    async fn lineage(&self, head: &Verified<Head>) -> Result<Lineage, ClientError> {
        let head = head.get();
        let Some(stated) = &head.epoch else { return Ok(head.newest_epoch()) };
        let response = self.ask(small(self.request(Method::GET, "lattice/lineage", None))).await?;
        let body = self.body(response, MAX_LINEAGE_BYTES).await?;
        // An epoch may have begun since the head was signed.
        let lineage = Lineage::from_json(&body).and_then(|lineage| lineage.up_to(&stated.epoch));
        let signed = lineage.filter(|lineage| *lineage.hash() == stated.lineage_hash);
        signed.ok_or_else(|| self.wrong("its lineage is not the one that its head states"))
    }

    async fn changes(&self, query: &ChangesQuery<'_>) -> Result<Lines, ClientError> {
        let ChangesQuery { index_id, since, contents, filter, priorities, seen } = query;
        let mut pairs = vec![
            ("index_id", (*index_id).to_owned()),
            ("since", since.to_string()),
            ("contents", contents.to_string()),
        ];
        pairs.extend(filter_pair(filter));
        pairs.extend(priorities.then(|| ("priorities", "true".to_owned())));
        // An instance without epochs is of release 0.1.0, which refuses members that it does not know.
        if seen.is_some() {
            pairs.push(("unavailable", "true".to_owned()));
            pairs.push(("max_bytes", self.max_bytes().to_string()));
        }
        pairs.extend(knowing_pairs(Knowing { seen: *seen, ..Knowing::default() }));
        let query = encoded(&pairs);
        let response = self
            .ask(self.request(Method::GET, "lattice/changes", Some(&query)).header("accept-encoding", "zstd"))
            .await?;
        self.lines(response)
    }

    async fn nodes(&self, ids: &[NodeId]) -> Result<Lines, ClientError> {
        let ids: Vec<&str> = ids.iter().map(NodeId::as_str).collect();
        self.fetch(&serde_json::json!({ "ids": ids, "unavailable": true, "max_bytes": self.max_bytes() })).await
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
        let max_bytes = self.max_bytes();
        let wanted = serde_json::json!({
            "versions": items, "contents": contents, "unavailable": true, "max_bytes": max_bytes,
        });
        self.fetch(&wanted).await
    }

    async fn unavailable(&self) -> Result<Option<Lines>, ClientError> {
        match self.fetch(&serde_json::json!({ "unavailable": true })).await {
            // Of release 0.1.0.
            Err(ClientError::Refused { status: 400, .. }) => Ok(None),
            lines => lines.map(Some),
        }
    }

    async fn offer(&self, signer: &Signer<'_>, knowing: Knowing<'_>, lines: Bytes) -> Result<OfferAnswer, ClientError> {
        let query = encoded(&knowing_pairs(Knowing { seen: knowing.seen, ..Knowing::default() }));
        let answer: WantedAnswer = self.send_signed(signer, ("/lattice/offer", LINES), &query, lines).await?;
        let WantedAnswer { wanted, epoch, epoch_since, seq, takes } = answer;
        let wanted = self.ids(&wanted, "wants")?;
        let stood = epoch.map(|epoch| JournalStand { start: EpochStart { epoch, since: epoch_since }, seq });
        Ok(OfferAnswer { wanted, stood, bounds: takes.bounds() })
    }

    async fn push(
        &self,
        signer: &Signer<'_>,
        knowing: Knowing<'_>,
        filter: &Filter,
        lines: Bytes,
    ) -> Result<PushAnswer, ClientError> {
        let mut pairs = knowing_pairs(knowing);
        pairs.extend(filter_pair(filter));
        let answer: ReceivedAnswer =
            self.send_signed(signer, ("/lattice/changes", LINES), &encoded(&pairs), lines).await?;
        let there = match answer.waiting_without {
            Some(text) if answer.waiting_total > 0 => {
                let set_hash = SetHash::parse(&text).map_err(|_| self.wrong("its answer has no set hash"))?;
                Some(Waits { deletions: answer.waiting_total, set_hash })
            }
            _ => None,
        };
        let ReceivedAnswer {
            taken,
            same,
            kept,
            ahead,
            conflicts,
            since,
            seq,
            epoch,
            epoch_since,
            waiting,
            twin,
            too_large,
            takes,
            ..
        } = answer;
        let too_large = self.ids(&too_large, "leaves out")?;
        let received = Received { taken, same, kept, ahead, conflicts, waiting, there };
        let epoch = epoch.map(|epoch| EpochStart { epoch, since: epoch_since });
        Ok(PushAnswer { received, moved: since..seq, epoch, has_twin: twin, too_large, bounds: takes.bounds() })
    }
}

impl Client {
    /// The newest head of the instance `of` that is known there, if any is.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn head_of(&self, of: &PeerId, limits: &Limits) -> Result<Option<Verified<Head>>, ClientError> {
        let path = format!("lattice/heads/{}", percent_encode(of.as_str()));
        let response = match self.ask(small(self.request(Method::GET, &path, None))).await {
            // Nothing is known of it, or the instance there is of release 0.1.0.
            Err(ClientError::Refused { status: 404 | 405, .. }) => return Ok(None),
            response => response?,
        };
        let body = self.body(response, MAX_HEAD_BYTES).await?;
        verify_head(body, limits).map(Some).map_err(|error| self.wrong(&format!("the head that it shows: {error}")))
    }

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

    /// Says how a round with the instance there went. Answers whether it knows of such notes.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn send_round_status(&self, signer: &Signer<'_>, note: &PeerRoundStatus) -> Result<bool, ClientError> {
        let body = Bytes::from(note.to_json());
        match self.send_signed::<IgnoredAny>(signer, ("/lattice/round", JSON), "", body).await {
            Ok(_) => Ok(true),
            // An instance of before, or another implementation.
            Err(ClientError::Refused { status: 404 | 405, .. } | ClientError::Server { status: 501, .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn max_bytes(&self) -> usize {
        most_node_bytes(self.bounds())
    }

    fn ids(&self, texts: &[String], what: &str) -> Result<Vec<NodeId>, ClientError> {
        let ids: Result<Vec<NodeId>, _> = texts.iter().map(|id| NodeId::parse(id)).collect();
        ids.map_err(|error| self.wrong(&format!("it {what} a node with a bad id: {error}")))
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
        (route, media_type): (&str, &str),
        query: &str,
        body: Bytes,
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
        let request = || {
            let query = Some(query).filter(|it| !it.is_empty());
            let request = self.request(Method::POST, route.trim_start_matches('/'), query);
            request.header("content-type", media_type).body(body.clone())
        };
        let response = self.ask_signed(signer, &message, request).await?;
        let body = self.body(response, MAX_ANSWER_BYTES).await?;
        serde_json::from_slice(&body).map_err(|error| self.wrong(&format!("its answer to {route}: {error}")))
    }
}
