//! One node's document.

use super::NodeType;
use crate::{
    json::{Document, JsonError, Value, jcs},
    types::{ContentHash, IdError, NodeId, Timestamp},
};
use bytes::Bytes;

/// How far over the limit of a node's size a stored document may be and is still read: release 0.1.0 added a time to documents that had
/// none, also to those at the limit.
pub const OVERSIZE_BYTES: usize = 128;

/// The member that says when a document was made.
pub(super) const UPDATED_AT: &str = "updated_at";

/// Why a text is not a node.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// The strict gate refused the text.
    #[error(transparent)]
    Json(#[from] JsonError),
    /// The document is not an object.
    #[error("a node is a JSON object")]
    NotAnObject,
    /// `id` is missing or not a string.
    #[error("a node has a string \"id\"")]
    NoId,
    /// `id` is not an id.
    #[error("the node's id is not usable: {0}")]
    BadId(#[from] IdError),
}

/// A JSON text that passed the gate and is a node.
#[derive(Debug, Clone)]
pub struct NodeDocument {
    id: NodeId,
    document: Document,
    content_hash: ContentHash,
}

impl NodeDocument {
    /// Reads a node.
    ///
    /// # Errors
    /// [`NodeError`] says which rule the text breaks.
    pub fn parse(source: Bytes, max_depth: usize) -> Result<Self, NodeError> {
        let document = Document::parse(source, max_depth)?;
        let root = document.root();
        let object = root.as_object().ok_or(NodeError::NotAnObject)?;
        let id = object.get("id").and_then(Value::as_str).ok_or(NodeError::NoId)?;
        let id = NodeId::parse(&id)?;
        let content_hash = jcs::content_hash(root);
        Ok(Self { id, document, content_hash })
    }

    /// The node's id.
    #[must_use]
    pub fn id(&self) -> &NodeId {
        &self.id
    }

    /// The document.
    #[must_use]
    pub fn document(&self) -> &Document {
        &self.document
    }

    /// SHA-256 of its canonical bytes.
    #[must_use]
    pub fn content_hash(&self) -> ContentHash {
        self.content_hash
    }

    /// `type`, where it is a string of at most [`MAX_TYPE_BYTES`](super::MAX_TYPE_BYTES).
    #[must_use]
    pub fn node_type(&self) -> Option<NodeType> {
        self.member("type").and_then(Value::as_str).and_then(|text| NodeType::parse(&text))
    }

    /// The length of `type`, bytes of UTF-8; 0 where it is no string.
    #[must_use]
    pub fn type_bytes(&self) -> usize {
        self.member("type").and_then(Value::as_str).map_or(0, |text| text.len())
    }

    /// `updated_at`, where it is there and can be read: see [`Self::instant`].
    #[must_use]
    pub fn updated_at(&self) -> Option<Timestamp> {
        self.instant(UPDATED_AT)
    }

    /// There is an `updated_at`, and it is neither `null` nor a time that can be read.
    #[must_use]
    pub fn has_unreadable_time(&self) -> bool {
        self.member(UPDATED_AT).is_some_and(|value| !value.is_null() && read_instant(value).is_none())
    }

    /// A direct member that states an instant (DESIGN 4.7): epoch seconds, epoch milliseconds from 10^11 on, RFC 3339, or ISO 8601
    /// without an offset, taken as UTC. `None` for every other value.
    #[must_use]
    pub fn instant(&self, key: &str) -> Option<Timestamp> {
        self.member(key).and_then(read_instant)
    }

    /// A direct member of the object.
    pub(super) fn member(&self, key: &str) -> Option<Value<'_>> {
        self.document.root().as_object()?.get(key)
    }
}

fn read_instant(value: Value<'_>) -> Option<Timestamp> {
    match value.as_number() {
        Some(text) => Timestamp::from_epoch_text(text),
        None => Timestamp::from_iso8601(&value.as_str()?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<NodeDocument, NodeError> {
        NodeDocument::parse(Bytes::copy_from_slice(text.as_bytes()), 64)
    }

    #[test]
    fn a_node_is_an_object_with_a_usable_id() {
        assert_eq!(parse(r#"{"id":"a"}"#).unwrap().id().as_str(), "a");
        assert!(matches!(parse("[]"), Err(NodeError::NotAnObject)));
        assert!(matches!(parse("{}"), Err(NodeError::NoId)));
        assert!(matches!(parse(r#"{"id":1}"#), Err(NodeError::NoId)));
        assert!(matches!(parse(r#"{"id":"\u0000"}"#), Err(NodeError::BadId(IdError::Control(0)))));
        assert!(matches!(parse(r#"{"id":"a""#), Err(NodeError::Json(_))));
    }

    #[test]
    fn the_type_counts_where_it_is_a_string() {
        assert_eq!(parse(r#"{"id":"a","type":"note"}"#).unwrap().node_type().as_deref(), Some("note"));
        assert_eq!(parse(r#"{"id":"a","type":7}"#).unwrap().node_type(), None);
        let long = format!(r#"{{"id":"a","type":"{}"}}"#, "é".repeat(129));
        let long = NodeDocument::parse(Bytes::from(long), 64).unwrap();
        assert_eq!((long.node_type(), long.type_bytes()), (None, 258));
    }

    #[test]
    fn updated_at_is_read_in_every_style_and_otherwise_counts_as_absent() {
        let node = |text: &str| parse(&format!(r#"{{"id":"a","updated_at":{text}}}"#)).unwrap();
        for text in [
            "1699564800",
            "1699564800.0",
            "1699564800000",
            r#""2023-11-09T21:20:00Z""#,
            r#""2023-11-09T21:20:00.000000""#,
            r#""2023-11-09 21:20""#,
        ] {
            assert_eq!(node(text).updated_at(), Some(Timestamp::from_seconds(1_699_564_800)), "{text}");
            assert!(!node(text).has_unreadable_time(), "{text}");
        }
        for text in [r#""yesterday""#, "1e300", r#""1699564800""#, "[1]", "true", r#""""#, r#""2023-11""#] {
            assert_eq!(node(text).updated_at(), None, "{text}");
            assert!(node(text).has_unreadable_time(), "{text}");
        }
        assert_eq!(node(r#""2023-11-09""#).updated_at(), Some(Timestamp::from_seconds(1_699_488_000)));
        assert_eq!(node("null").updated_at(), None);
        assert!(!node("null").has_unreadable_time(), "it says that there is no time");
        assert!(!parse(r#"{"id":"a"}"#).unwrap().has_unreadable_time());
    }
}
