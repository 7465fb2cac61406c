//! Cursors of paged answers: opaque to clients, URL-safe base64 of what the next page needs.

use super::{
    codes::Code,
    error::{ApiError, refuse},
};
use crate::{
    ops::PeerCursor,
    types::{NodeId, PeerId},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

fn decode(text: &str) -> Option<String> {
    URL_SAFE_NO_PAD.decode(text).ok().and_then(|bytes| String::from_utf8(bytes).ok())
}

fn bad() -> ApiError {
    refuse(Code::InvalidQuery, "cursor is not one that this service gave")
}

/// The cursor behind a node.
pub(crate) fn after_node(id: &NodeId) -> String {
    URL_SAFE_NO_PAD.encode(id.as_str())
}

/// Reads what [`after_node`] wrote.
pub(crate) fn node(text: &str) -> Result<NodeId, ApiError> {
    decode(text).and_then(|id| NodeId::parse(&id).ok()).ok_or_else(bad)
}

/// The cursor behind a peer.
pub(crate) fn after_peer(cursor: &PeerCursor) -> String {
    URL_SAFE_NO_PAD.encode(format!("{}:{}", cursor.expires_at_ms, cursor.peer))
}

/// Reads what [`after_peer`] wrote.
pub(crate) fn peer(text: &str) -> Result<PeerCursor, ApiError> {
    let text = decode(text).ok_or_else(bad)?;
    let (millis, peer) = text.split_once(':').ok_or_else(bad)?;
    let expires_at_ms = millis.parse().map_err(|_| bad())?;
    Ok(PeerCursor { expires_at_ms, peer: PeerId::parse(peer).map_err(|_| bad())? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursors_survive_any_id_and_strangers_are_refused() {
        let cursor = PeerCursor { expires_at_ms: -5, peer: PeerId::parse("a:b/☃").unwrap() };
        assert_eq!(peer(&after_peer(&cursor)).unwrap(), cursor);
        let id = NodeId::parse("x y&z").unwrap();
        assert_eq!(node(&after_node(&id)).unwrap(), id);
        assert!(peer("!!").is_err() && peer("YWJj").is_err() && node("").is_err());
    }
}
