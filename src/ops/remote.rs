//! Another instance's registry: who it says is alive, and telling it of us.

use crate::{
    federation::client::{Client, ClientError, PeerQuery},
    json::{Document, Object, Value},
    types::Limits,
};
use bytes::Bytes;

/// The most pages that are followed.
const MAX_PAGES: usize = 10_000;

/// Why it could not be told.
#[derive(Debug, thiserror::Error)]
pub enum RemoteError {
    /// The other side did not do it.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The answer is not what the protocol says.
    #[error("the answer is not what an ark-lattice service gives: {0}")]
    Answer(String),
}

/// A peer as another instance sees it.
#[derive(Debug, Clone)]
pub struct RemotePeer {
    /// Everything that was said of it: a JSON object's text.
    pub text: String,
    /// Its id.
    pub node_id: String,
    /// Its type.
    pub instance_type: Option<String>,
    /// Where it can be reached.
    pub address: Option<String>,
    /// What the other instance thinks of its key.
    pub trust_level: Option<String>,
    /// How many nodes it lists, as the answer writes it.
    pub node_count: Option<String>,
    /// Seconds until its entry expires, as the answer writes it.
    pub expires_in: Option<String>,
}

/// All live peers that the other instance lists, page by page.
///
/// # Errors
/// [`RemoteError`].
pub async fn discover_remote(
    client: &Client,
    query: &PeerQuery,
    limits: &Limits,
) -> Result<Vec<RemotePeer>, RemoteError> {
    let mut peers = Vec::new();
    let mut cursor: Option<String> = None;
    for _ in 0..MAX_PAGES {
        let page = client.discover(query, cursor.as_deref()).await?;
        let page = Document::parse(page, limits.json_depth.saturating_add(4));
        let page = page.map_err(|error| RemoteError::Answer(error.to_string()))?;
        let object = page.root().as_object();
        let list = object.and_then(|object| object.get("peers")).and_then(Value::as_array);
        let list = list.ok_or_else(|| RemoteError::Answer("it has no list of peers".to_owned()))?;
        for peer in list.iter() {
            peers.push(read_peer(peer).ok_or_else(|| RemoteError::Answer("a peer has no node_id".to_owned()))?);
        }
        let next = object.and_then(|object| text(object, "cursor"));
        if next.is_none() {
            return Ok(peers);
        }
        if next == cursor {
            return Err(RemoteError::Answer("its cursor does not move".to_owned()));
        }
        cursor = next;
    }
    Err(RemoteError::Answer("its list has no end".to_owned()))
}

/// Sends an envelope; the answer's JSON text.
///
/// # Errors
/// [`RemoteError`].
pub async fn publish(client: &Client, envelope: String, limits: &Limits) -> Result<String, RemoteError> {
    let answer: Bytes = client.publish(envelope).await?;
    let answer = Document::parse(answer, limits.json_depth).map_err(|error| RemoteError::Answer(error.to_string()))?;
    Ok(answer.root().raw().to_owned())
}

fn read_peer(peer: Value<'_>) -> Option<RemotePeer> {
    let object = peer.as_object()?;
    let number = |key| object.get(key).and_then(Value::as_number).map(str::to_owned);
    Some(RemotePeer {
        text: peer.raw().to_owned(),
        node_id: text(object, "node_id")?,
        instance_type: text(object, "instance_type"),
        address: text(object, "address"),
        trust_level: text(object, "trust_level"),
        node_count: number("node_count"),
        expires_in: number("expires_in"),
    })
}

fn text(object: Object<'_>, key: &str) -> Option<String> {
    object.get(key)?.as_str().map(std::borrow::Cow::into_owned)
}
