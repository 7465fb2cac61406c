//! The changes feed on the wire: one JSON object a line (DESIGN 4.6 steps 1 and 3).
//!
//! ```text
//! {"index_id":"…","since":4,"seq":6,"floor":0,"epoch":"…","epoch_since":3}
//! {"seq":5,"id":"a","at":1763696494.123,"hash":"sha256:…","size":27,"type":"note","after":["9f86d081884c7d65"],"node":{…}}
//! {"seq":6,"id":"b","at":1763696495,"deleted":"sha256:…","after":[]}
//! {"seq":7,"id":"c","at":1763696496,"hash":"sha256:…","size":31,"after":[],"unavailable":true}
//! {"seq":8,"id":"d","at":1763696497,"hash":"sha256:…","size":5242880,"after":[],"unavailable":true,"too_large":5242880}
//! {"end":8}
//! ```
//!
//! `at` is the version's time in seconds, `after` what it came from, `node` the content and `priority` the node's, where they were asked for. `unavailable`: the file of the
//! node is broken or unreadable at the sender; the line states its last good version, whose content cannot be had now. With `too_large` the
//! file is whole, and its content has more bytes than the client said that it takes. Such lines go only to clients that ask for them. Without
//! the last
//! line the answer was cut off; what came before it counts all the same, and the next request goes on from there. A change that
//! is pushed has the same form.

use crate::{
    json::{Document, Object, Value, write_compact},
    lattice::{Ancestry, Arrival, Arrived, Change, MAX_TYPE_BYTES, NodeDocument, NodeError, OVERSIZE_BYTES},
    manifest::{Epoch, EpochStart},
    types::{ContentHash, Limits, NodeId, Timestamp},
};
use bytes::Bytes;
use std::{borrow::Cow, io::Write};

/// What a line may hold beside a node's own text.
pub const LINE_ROOM_BYTES: usize = 16 << 10;
/// What stands between a version and its content.
const NODE_MEMBER: &[u8] = b",\"node\":";
/// Levels of nesting around a node.
const LINE_DEPTH: usize = 4;

/// Why a line is not taken. One line for people.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// It is not JSON as the gate wants it.
    #[error("a line is not JSON: {0}")]
    Json(#[from] crate::json::JsonError),
    /// A member is missing or has the wrong shape.
    #[error("a line's {0} is missing or has the wrong shape")]
    Member(&'static str),
    /// The node is not one.
    #[error("the node {id:?} is not one: {error}")]
    Node {
        /// Its id, as the line says.
        id: NodeId,
        /// Why.
        error: NodeError,
    },
    /// It is longer than any line may be here, and it does not begin as that of a node.
    #[error("a line has {0} bytes, and does not begin as that of a node")]
    TooLong(u64),
    /// The node is another one than the line says.
    #[error("the line of the node {0:?} brings another node")]
    OtherNode(NodeId),
    /// The node does not have the content that the line says.
    #[error("the content of the node {0:?} does not have the hash that it is announced with")]
    OtherContent(NodeId),
}

/// One line.
#[derive(Debug)]
pub enum Line {
    /// The first line of an answer.
    Start(Start),
    /// A change.
    Change(Box<WireChange>),
    /// The last line: everything up to this position came.
    End(u64),
}

/// What a feed is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Start {
    /// Whose positions these are.
    pub index_id: String,
    /// Changes after this position.
    pub since: u64,
    /// The newest position when the answer began.
    pub seq: u64,
    /// The position up to which deletions may be forgotten.
    pub floor: u64,
    /// The newest epoch of the journal; `None`: the sender is of release 0.1.0.
    pub epoch: Option<EpochStart>,
}

/// A version of a node, as a peer tells of it.
#[derive(Debug, Clone)]
pub struct WireChange {
    /// Position in the sender's journal.
    pub seq: u64,
    /// The node.
    pub id: NodeId,
    /// The version's time.
    pub at: Timestamp,
    /// What the version came from.
    pub ancestry: Ancestry,
    /// The node's `priority`, where it was asked for and is not 0.
    pub priority: f64,
    /// What it says.
    pub content: WireContent,
}

/// What a version says.
#[derive(Debug, Clone)]
pub enum WireContent {
    /// The node has this content.
    Put {
        /// Its hash.
        content_hash: ContentHash,
        /// Its `type`.
        node_type: Option<Box<str>>,
        /// Bytes of its file at the sender.
        size_bytes: u64,
        /// The node, where it came along; it has this id and this hash.
        node: Option<NodeDocument>,
    },
    /// The node's last good version has this content, which does not come: its file is broken at the sender, or it is larger than nodes
    /// may be here.
    Unavailable {
        /// The hash of the content.
        content_hash: ContentHash,
        /// Its `type`.
        node_type: Option<Box<str>>,
        /// The bytes of the content, where it is too large; `None`: the file is broken.
        too_large: Option<u64>,
    },
    /// The node, which had this content, is deleted.
    Deleted(ContentHash),
}

impl WireChange {
    /// As a lattice takes it; `None` where the content did not come along. `given`: see [`Arrival::given`].
    #[must_use]
    pub fn into_arrival(self, from: &str, given: u64) -> Option<Arrival> {
        let change = match self.content {
            WireContent::Put { node, .. } => Arrived::Put { node: node?, at: self.at },
            WireContent::Unavailable { .. } => return None,
            WireContent::Deleted(content_hash) => Arrived::Deleted { id: self.id, at: self.at, content_hash },
        };
        Some(Arrival { change, ancestry: self.ancestry, from: from.into(), given })
    }

    /// The content; `None`: deleted.
    #[must_use]
    pub fn content_hash(&self) -> Option<&ContentHash> {
        match &self.content {
            WireContent::Put { content_hash, .. } | WireContent::Unavailable { content_hash, .. } => Some(content_hash),
            WireContent::Deleted(_) => None,
        }
    }
}

/// The first line of an answer, with its line feed.
#[must_use]
pub fn start_line(start: &Start) -> String {
    let Start { index_id, since, seq, floor, epoch } = start;
    let epoch = epoch.as_ref().map_or_else(String::new, |EpochStart { epoch, since }| {
        format!(",\"epoch\":\"{epoch}\",\"epoch_since\":{since}")
    });
    format!("{{\"index_id\":\"{index_id}\",\"since\":{since},\"seq\":{seq},\"floor\":{floor}{epoch}}}\n")
}

/// The last line of an answer, with its line feed.
#[must_use]
pub fn end_line(seq: u64) -> String {
    format!("{{\"end\":{seq}}}\n")
}

/// Appends the line of a change. `node`: the text of its content, where it goes along; `priority`: where it was asked for.
pub fn write_line(change: &Change, node: Option<&[u8]>, priority: Option<f64>, out: &mut Vec<u8>) {
    write_version(change, priority, out);
    if let Some(node) = node {
        out.extend_from_slice(NODE_MEMBER);
        write_compact(node, out);
    }
    out.extend_from_slice(b"}\n");
}

/// Appends the line of a version whose content cannot be had now. `too_large`: its bytes, where it is larger than the client takes.
pub fn write_unavailable(change: &Change, too_large: Option<usize>, out: &mut Vec<u8>) {
    write_version(change, None, out);
    out.extend_from_slice(b",\"unavailable\":true");
    if let Some(bytes) = too_large {
        // A Vec takes all.
        let _infallible = write!(out, ",\"too_large\":{bytes}");
    }
    out.extend_from_slice(b"}\n");
}

/// The largest content that is taken, bytes of its JSON text without blanks.
#[must_use]
pub const fn most_node_bytes(limits: &Limits) -> usize {
    limits.node_bytes.saturating_add(OVERSIZE_BYTES)
}

/// Appends a change's line up to its content.
fn write_version(change: &Change, priority: Option<f64>, out: &mut Vec<u8>) {
    let (seq, id, at, ancestry) = match change {
        Change::Put { seq, id, updated_at, ancestry, .. } => (*seq, id, *updated_at, ancestry),
        Change::Deleted(tombstone, ancestry) => (tombstone.seq, &tombstone.id, tombstone.deleted_at, ancestry),
    };
    // A Vec takes all.
    let _infallible = write!(out, "{{\"seq\":{seq},\"id\":");
    write_text(id.as_str(), out);
    let _infallible = write!(out, ",\"at\":{}", at.to_seconds_text());
    match change {
        Change::Put { content_hash, node_type, size_bytes, .. } => {
            out.extend_from_slice(b",\"hash\":\"sha256:");
            out.extend_from_slice(&content_hash.hex_bytes());
            let _infallible = write!(out, "\",\"size\":{size_bytes}");
            if let Some(node_type) = node_type {
                out.extend_from_slice(b",\"type\":");
                write_text(node_type, out);
            }
        }
        Change::Deleted(tombstone, _) => {
            let _infallible = write!(out, ",\"deleted\":\"{}\"", tombstone.content_hash);
        }
    }
    if let Some(priority) = priority.filter(|it| *it != 0.0).and_then(serde_json::Number::from_f64) {
        let _infallible = write!(out, ",\"priority\":{priority}");
    }
    out.extend_from_slice(b",\"after\":[");
    for (number, ancestor) in ancestry.texts().enumerate() {
        let comma = if number == 0 { "" } else { "," };
        let _infallible = write!(out, "{comma}\"{ancestor}\"");
    }
    out.push(b']');
}

/// Appends a JSON string.
fn write_text(text: &str, out: &mut Vec<u8>) {
    // A text is always written, and a Vec takes all.
    let _infallible = serde_json::to_writer(out, text);
}

/// Reads a line that is longer than any may be here from its beginning: a version whose content is too large. `length`: its bytes.
///
/// # Errors
/// [`WireError`]: its beginning does not state a version.
pub fn read_beginning(beginning: &[u8], length: u64, limits: &Limits) -> Result<Line, WireError> {
    let (mut change, at) = read_version(beginning, limits).ok_or(WireError::TooLong(length))?;
    let WireContent::Put { content_hash, node_type, .. } = change.content else {
        return Err(WireError::TooLong(length));
    };
    let around = at.saturating_add(NODE_MEMBER.len()).saturating_add(1);
    let too_large = Some(length.saturating_sub(u64::try_from(around).unwrap_or(u64::MAX)));
    change.content = WireContent::Unavailable { content_hash, node_type, too_large };
    Ok(Line::Change(change))
}

/// How long a line may be that begins so: by the bytes that the version states of its file. `None`: it does not state a version.
#[must_use]
pub fn longest_line(beginning: &[u8], limits: &Limits) -> Option<u64> {
    let (change, at) = read_version(beginning, limits)?;
    let WireContent::Put { size_bytes, .. } = change.content else { return None };
    let around = at.saturating_add(LINE_ROOM_BYTES);
    Some(size_bytes.saturating_add(u64::try_from(around).unwrap_or(u64::MAX)))
}

/// The version that a line begins with, and where its content follows.
fn read_version(beginning: &[u8], limits: &Limits) -> Option<(Box<WireChange>, usize)> {
    // In JSON these bytes stand nowhere within a text: each quotation mark there has a backslash before it.
    let at = memchr::memmem::find(beginning, NODE_MEMBER)?;
    let version = [beginning.get(..at)?, b"}"].concat();
    match read_line(Bytes::from(version), limits) {
        Ok(Line::Change(change)) => Some((change, at)),
        Ok(Line::Start(_) | Line::End(_)) | Err(_) => None,
    }
}

/// Reads a line, without its line feed. A node that comes along is checked against the id and the hash that it is announced with; one
/// that is larger than nodes may be here is read as [`WireContent::Unavailable`].
///
/// # Errors
/// [`WireError`].
pub fn read_line(line: Bytes, limits: &Limits) -> Result<Line, WireError> {
    let document = Document::parse(line, limits.json_depth.saturating_add(LINE_DEPTH))?;
    let object = document.root().as_object().ok_or(WireError::Member("object"))?;
    let number = |key| object.get(key).and_then(Value::as_number).and_then(|text| text.parse::<u64>().ok());
    let count = |key: &'static str| number(key).ok_or(WireError::Member(key));
    if let Some(end) = number("end") {
        return Ok(Line::End(end));
    }
    if let Some(index_id) = text(object, "index_id") {
        let (since, seq, floor) = (count("since")?, count("seq")?, count("floor")?);
        let epoch = match text(object, "epoch") {
            None => None,
            Some(epoch) => {
                let epoch = Epoch::parse(&epoch).map_err(|_| WireError::Member("epoch"))?;
                Some(EpochStart { epoch, since: count("epoch_since")? })
            }
        };
        return Ok(Line::Start(Start { index_id: index_id.into_owned(), since, seq, floor, epoch }));
    }
    let id = text(object, "id").and_then(|text| NodeId::parse(&text).ok()).ok_or(WireError::Member("id"))?;
    let at = object.get("at").and_then(Value::as_number).and_then(Timestamp::from_seconds_text);
    let priority = object.get("priority").and_then(Value::as_number).and_then(|text| text.parse().ok());
    let content = match text(object, "deleted") {
        Some(hash) => WireContent::Deleted(ContentHash::parse(&hash).map_err(|_| WireError::Member("deleted"))?),
        None => read_content(object, &id, &document, limits)?,
    };
    Ok(Line::Change(Box::new(WireChange {
        seq: count("seq")?,
        at: at.ok_or(WireError::Member("at"))?,
        ancestry: read_ancestry(object)?,
        priority: priority.filter(|it: &f64| it.is_finite()).unwrap_or(0.0),
        id,
        content,
    })))
}

fn read_content(object: Object<'_>, id: &NodeId, line: &Document, limits: &Limits) -> Result<WireContent, WireError> {
    let hash = text(object, "hash").and_then(|text| ContentHash::parse(&text).ok());
    let content_hash = hash.ok_or(WireError::Member("hash"))?;
    let size = object.get("size").and_then(Value::as_number).and_then(|text| text.parse().ok());
    let node_type = text(object, "type").filter(|text| text.len() <= MAX_TYPE_BYTES).map(|text| text.into());
    match object.get("unavailable").map(Value::as_bool) {
        None | Some(Some(false)) => {}
        Some(Some(true)) if object.get("node").is_none() => {
            let too_large = object.get("too_large").and_then(Value::as_number).and_then(|text| text.parse().ok());
            return Ok(WireContent::Unavailable { content_hash, node_type, too_large });
        }
        Some(_) => return Err(WireError::Member("unavailable")),
    }
    let node = match object.get("node") {
        None => None,
        Some(value) => {
            let bytes = line.source().slice(value.span());
            if bytes.len() > most_node_bytes(limits) {
                let too_large = Some(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
                return Ok(WireContent::Unavailable { content_hash, node_type, too_large });
            }
            let node = NodeDocument::parse(bytes, limits.json_depth)
                .map_err(|error| WireError::Node { id: id.clone(), error })?;
            if node.id() != id {
                return Err(WireError::OtherNode(id.clone()));
            }
            if node.content_hash() != content_hash {
                return Err(WireError::OtherContent(id.clone()));
            }
            Some(node)
        }
    };
    Ok(WireContent::Put { content_hash, node_type, size_bytes: size.ok_or(WireError::Member("size"))?, node })
}

fn read_ancestry(object: Object<'_>) -> Result<Ancestry, WireError> {
    let wrong = || WireError::Member("after");
    let list = object.get("after").and_then(Value::as_array).ok_or_else(wrong)?;
    let texts: Option<Vec<Cow<'_, str>>> = list.iter().map(Value::as_str).collect();
    Ancestry::parse(texts.ok_or_else(wrong)?.iter().map(Cow::as_ref)).ok_or_else(wrong)
}

fn text<'a>(object: Object<'a>, key: &str) -> Option<Cow<'a, str>> {
    object.get(key).and_then(Value::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lattice::Tombstone;

    const NODE: &[u8] = b"{\n \"id\": \"a\\\"b\", \"n\": 1.0\n}";

    fn node() -> NodeDocument {
        NodeDocument::parse(Bytes::from_static(NODE), 64).unwrap()
    }

    fn put() -> Change {
        Change::Put {
            seq: 5,
            id: node().id().clone(),
            content_hash: node().content_hash(),
            updated_at: Timestamp::from_micros(1_763_696_494_123_456),
            node_type: crate::lattice::NodeType::parse("no\"te"),
            size_bytes: 27,
            ancestry: Ancestry::default().after(&ContentHash::of(b"test")),
        }
    }

    fn line(change: &Change, node: Option<&[u8]>) -> Bytes {
        let mut out = Vec::new();
        write_line(change, node, Some(0.5), &mut out);
        assert!(out.ends_with(b"}\n") && !out[..out.len() - 1].contains(&b'\n'));
        out.pop();
        Bytes::from(out)
    }

    fn read(line: Bytes) -> Result<Line, WireError> {
        read_line(line, &Limits::default())
    }

    #[test]
    fn what_is_written_is_read_again() {
        let Line::Change(change) = read(line(&put(), Some(NODE))).unwrap() else { panic!() };
        assert_eq!((change.seq, change.at), (5, Timestamp::from_micros(1_763_696_494_123_456)));
        assert!((change.priority - 0.5).abs() < f64::EPSILON);
        assert_eq!(change.ancestry.texts().collect::<Vec<_>>(), ["9f86d081884c7d65"]);
        let arrival = change.clone().into_arrival("peer", 4).unwrap();
        assert!(matches!(arrival.change, Arrived::Put { node: it, .. } if it.content_hash() == node().content_hash()));
        let Line::Change(bare) = read(line(&put(), None)).unwrap() else { panic!() };
        assert_eq!(bare.content_hash(), change.content_hash());
        assert!(bare.into_arrival("peer", 0).is_none(), "there is nothing to store yet");

        let mut unavailable = Vec::new();
        write_unavailable(&put(), None, &mut unavailable);
        assert_eq!(unavailable.pop(), Some(b'\n'));
        let Line::Change(broken) = read(unavailable.into()).unwrap() else { panic!() };
        assert!(matches!(broken.content, WireContent::Unavailable { too_large: None, .. }), "{broken:?}");
        assert_eq!((broken.content_hash(), broken.at), (change.content_hash(), change.at));
        assert!(broken.into_arrival("peer", 0).is_none());

        let (id, content_hash) = (node().id().clone(), node().content_hash());
        let tombstone = Tombstone { id, deleted_at: Timestamp::from_seconds(7), content_hash, seq: 6 };
        let Line::Change(gone) = read(line(&Change::Deleted(tombstone, Ancestry::default()), None)).unwrap() else {
            panic!()
        };
        assert!(matches!(gone.content, WireContent::Deleted(hash) if hash == content_hash));

        let old = Start { index_id: "ab".into(), since: 1, seq: 9, floor: 2, epoch: None };
        let epoch = Some(EpochStart { epoch: Epoch::from_bytes([7; 8]), since: 3 });
        let trimmed = |text: String| Bytes::from(text.trim_end().to_owned());
        for start in [Start { epoch, ..old.clone() }, old] {
            assert!(matches!(read(trimmed(start_line(&start))).unwrap(), Line::Start(it) if it == start));
        }
        assert!(matches!(read(trimmed(end_line(9))).unwrap(), Line::End(9)));
    }

    #[test]
    fn of_a_node_that_is_too_large_the_version_is_read() {
        let too_large = |line: Line, expected: u64| {
            let Line::Change(change) = line else { panic!() };
            assert_eq!((change.seq, &change.id, change.at.micros()), (5, node().id(), 1_763_696_494_123_456));
            let WireContent::Unavailable { content_hash, node_type, too_large } = change.content else { panic!() };
            assert_eq!((content_hash, node_type.as_deref()), (node().content_hash(), Some("no\"te")));
            assert_eq!(too_large, Some(expected));
        };
        let mut stated = Vec::new();
        write_unavailable(&put(), Some(500), &mut stated);
        stated.pop();
        too_large(read(stated.into()).unwrap(), 500);

        let small = Limits { node_bytes: 1, ..Limits::default() };
        let large = format!("{{\"id\":\"a\\\"b\",\"n\":\"{}\"}}", ",\\\"node\\\":".repeat(100));
        let whole = line(&put(), Some(large.as_bytes()));
        let bytes = u64::try_from(large.len()).unwrap();
        too_large(read_line(whole.clone(), &small).unwrap(), bytes);
        let length = u64::try_from(whole.len()).unwrap();
        too_large(read_beginning(&whole[..400], length, &small).unwrap(), bytes);
        assert!(longest_line(&whole[..400], &small).is_some_and(|most| most < 20_000), "it states 27 bytes");
        for bad in [&whole[..40], b"{\"end\":1,\"node\":", b"{\"seq\":1,\"node\":", b"", &line(&put(), None)] {
            read_beginning(bad, length, &small).unwrap_err();
        }
    }

    #[test]
    fn a_line_that_lies_is_refused() {
        let text = String::from_utf8(line(&put(), Some(NODE)).to_vec()).unwrap();
        let refused = |from: &str, to: &str| {
            assert!(text.contains(from), "{from}");
            read(Bytes::from(text.replacen(from, to, 1))).unwrap_err().to_string()
        };
        assert!(refused("\"n\":1.0", "\"n\":2.0").contains("hash"));
        assert!(refused("\"node\":{\"id\":\"a\\\"b\"", "\"node\":{\"id\":\"c\"").contains("another node"));
        for (from, to, said) in [
            ("\"seq\":5", "\"seq\":-5", "seq"),
            ("\"at\":1", "\"at\":\"x\",\"b\":1", "at"),
            ("\"size\":27", "\"size\":1e9", "size"),
            ("\"after\":[", "\"after\":[7,", "after"),
            ("\"id\":\"a\\\"b\",", "\"id\":\"\\u0000\",", "id"),
            ("\"hash\":\"sha256:", "\"hash\":\"md5:", "hash"),
            ("\"node\":", "\"unavailable\":true,\"node\":", "unavailable"),
            ("\"node\":", "\"unavailable\":1,\"n\":", "unavailable"),
        ] {
            assert!(refused(from, to).contains(said), "{to}");
        }
        assert!(matches!(read(Bytes::from_static(b"[]")), Err(WireError::Member(_))));
        assert!(matches!(read(Bytes::from_static(b"{")), Err(WireError::Json(_))));
    }
}
