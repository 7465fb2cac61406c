//! One node's document. (signatures are final, bodies are being written)

use crate::{
    json::{Document, JsonError},
    types::{ContentHash, IdError, NodeId, Timestamp},
};
use bytes::Bytes;

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

/// What a write does to `updated_at`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stamp {
    /// Leaves the document as it is: for versions that come from elsewhere and are checked by hash.
    Keep,
    /// An edit made here: sets a missing `updated_at` to this time, and one that the editor left as it was although the content
    /// changed, so that the edit wins over the version that it replaces.
    Edit(Timestamp),
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
        let _ = (source, max_depth);
        unimplemented!()
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

    /// `type`, where it is a string.
    #[must_use]
    pub fn node_type(&self) -> Option<Box<str>> {
        unimplemented!()
    }

    /// `updated_at`, where it is there and can be read: epoch seconds (integer or fraction) or RFC 3339.
    #[must_use]
    pub fn updated_at(&self) -> Option<Timestamp> {
        unimplemented!()
    }
}
