//! What a write does to `updated_at` (DESIGN 4.8). Pure: text in, text out, the user's formatting kept.

use super::node::{NodeDocument, NodeError, UPDATED_AT, read_instant};
use crate::{
    json::{Value, jcs},
    types::{ContentHash, Timestamp},
};
use bytes::Bytes;
use std::{ops::Range, time::Duration};

pub(super) use super::node::STAMP_ROOM_BYTES;

/// How much later than the version that it replaces an edit is dated at least.
const STEP: Duration = Duration::from_millis(1);

/// The version that an edit replaces.
#[derive(Debug, Clone, Copy)]
pub(super) struct Current<'a> {
    /// Its content hash.
    pub(super) content_hash: ContentHash,
    /// Its time: declared, or when it was first seen here.
    pub(super) updated_at: Timestamp,
    /// Its document, where that could be read. Only looked at where [`wants_current`] says so.
    pub(super) document: Option<&'a NodeDocument>,
}

/// What there is to do.
#[derive(Debug)]
pub(super) enum Stamped {
    /// Store this document.
    Store(NodeDocument),
    /// The current version says the same already.
    Unchanged,
}

/// Does the edit state no time, or an earlier one than the current version's `updated_at`, so that [`edit`] wants to see the
/// current document?
pub(super) fn wants_current(incoming: &NodeDocument, updated_at: Timestamp) -> bool {
    incoming.member(UPDATED_AT).is_none_or(|value| read_instant(value).is_some_and(|declared| declared < updated_at))
}

/// `now`, or just after the version that is replaced: also while the clock is behind (it was set back), a change must not be dated
/// before what it changed, or it would lose against that wherever the two meet.
pub(super) fn after_version(now: Timestamp, replaced: Option<Timestamp>) -> Timestamp {
    replaced.map_or(now, |replaced| now.max(replaced.plus(STEP)))
}

/// Dates an edit that is made at `now`.
///
/// * No `updated_at`: set to `now`, or just after the current version where that is dated later. Where nothing but the current
///   version's own `updated_at` differs, the edit is [`Stamped::Unchanged`]: putting the same document twice is one write.
/// * The same instant as the current version, other content: moved to `now`, at least 1 ms later than it was, in the same style.
/// * An earlier instant than the current version's and nothing else that differs: [`Stamped::Unchanged`]. It is the edit of the
///   line before, sent again: dated back, it could lose against the very version that it replaced.
/// * Anything else, also what cannot be read as an instant: left as it is.
///
/// # Errors
/// [`NodeError`] where the stamped text does not pass the gate, which the depth limit alone could cause.
pub(super) fn edit(
    current: Option<Current<'_>>,
    incoming: NodeDocument,
    now: Timestamp,
    max_depth: usize,
) -> Result<Stamped, NodeError> {
    if current.is_some_and(|current| current.content_hash == incoming.content_hash()) {
        return Ok(Stamped::Unchanged);
    }
    let later = after_version(now, current.map(|current| current.updated_at));
    let Some(value) = incoming.member(UPDATED_AT) else {
        let same = current
            .is_some_and(|current| current.document.and_then(hash_without_updated_at) == Some(incoming.content_hash()));
        if same {
            return Ok(Stamped::Unchanged);
        }
        let text = insert(&incoming, &later.to_seconds_text());
        return NodeDocument::parse(text, max_depth).map(Stamped::Store);
    };
    let declared = read_instant(value);
    let earlier = current.filter(|current| declared.is_some_and(|declared| declared < current.updated_at));
    let sent_again = earlier.is_some_and(|current| {
        let stored = current.document.and_then(hash_without_updated_at);
        stored.is_some() && stored == hash_without_updated_at(&incoming)
    });
    if sent_again {
        return Ok(Stamped::Unchanged);
    }
    if declared.is_none() || declared != current.map(|current| current.updated_at) {
        return Ok(Stamped::Store(incoming));
    }
    let text = splice(incoming.document().source(), value.span(), &in_style_of(value, later));
    let stamped = NodeDocument::parse(text, max_depth)?;
    // Beyond the year 9999 an instant has no RFC 3339 form: the user's text stays.
    Ok(Stamped::Store(if stamped.updated_at() > declared { stamped } else { incoming }))
}

/// The document as it is written when it is restored: dated `at`, in its own style. What cannot be read as an instant stays.
///
/// # Errors
/// [`NodeError`] where the stamped text does not pass the gate, which the depth limit alone could cause.
pub(super) fn restored(node: NodeDocument, at: Timestamp, max_depth: usize) -> Result<NodeDocument, NodeError> {
    let text = match node.member(UPDATED_AT) {
        None => insert(&node, &at.to_seconds_text()),
        Some(value) if read_instant(value).is_some() => {
            splice(node.document().source(), value.span(), &in_style_of(value, at))
        }
        Some(_) => return Ok(node),
    };
    let stamped = NodeDocument::parse(text, max_depth)?;
    Ok(if stamped.updated_at().is_some() { stamped } else { node })
}

/// Do both say the same, whenever they say it?
pub(super) fn same_but_for_time(one: &NodeDocument, other: &NodeDocument) -> bool {
    let timeless = |node: &NodeDocument| hash_without_updated_at(node).unwrap_or_else(|| node.content_hash());
    timeless(one) == timeless(other)
}

fn in_style_of(value: Value<'_>, instant: Timestamp) -> String {
    if value.as_number().is_some() { instant.to_seconds_text() } else { format!("\"{}\"", instant.to_rfc3339()) }
}

fn splice(source: &Bytes, span: Range<usize>, text: &str) -> Bytes {
    let (before, after) = (source.get(..span.start).unwrap_or_default(), source.get(span.end..).unwrap_or_default());
    Bytes::from([before, text.as_bytes(), after].concat())
}

/// Adds `updated_at` as the last member, spaced like the member before it unless that spacing is absurdly long.
fn insert(document: &NodeDocument, instant: &str) -> Bytes {
    let root = document.document().root();
    let source = document.document().source();
    let (mut previous_end, mut last) = (root.span().start.saturating_add(1), None);
    for (_, value) in root.as_object().into_iter().flat_map(|object| object.iter()) {
        if let Some(last) = last.replace(value.span()) {
            previous_end = last.end;
        }
    }
    let Some(last) = last else { return source.clone() };
    // What stands before the last value: `,` (not before a first member), whitespace, the key, and the colon with its spaces.
    let lead = source.get(previous_end..last.start).unwrap_or_default();
    let lead = lead.iter().position(|byte| *byte == b',').map_or(lead, |comma| after(lead, comma));
    let indent = lead.get(..lead.iter().position(|byte| *byte == b'"').unwrap_or(0)).unwrap_or_default();
    let colon = lead.iter().rposition(|byte| *byte == b'"').map_or(lead, |quote| after(lead, quote));
    let (indent, colon) =
        if indent.len() + colon.len() > STAMP_ROOM_BYTES / 2 { (&b" "[..], &b": "[..]) } else { (indent, colon) };
    let member = [b",", indent, b"\"", UPDATED_AT.as_bytes(), b"\"", colon, instant.as_bytes()].concat();
    let (head, tail) = source.split_at(last.end.min(source.len()));
    Bytes::from([head, member.as_slice(), tail].concat())
}

fn after(bytes: &[u8], at: usize) -> &[u8] {
    bytes.get(at.saturating_add(1)..).unwrap_or_default()
}

/// The content hash that the document would have without its `updated_at`; `None` where it has none.
fn hash_without_updated_at(document: &NodeDocument) -> Option<ContentHash> {
    let root = document.document().root();
    let source = document.document().source();
    let (mut previous_end, mut cut) = (None, None);
    let mut members = root.as_object()?.iter();
    for (key, value) in members.by_ref() {
        let span = value.span();
        if key == UPDATED_AT {
            cut = Some((previous_end, span.end));
            break;
        }
        previous_end = Some(span.end);
    }
    let rest = match cut? {
        // From the end of the member before, so that its comma goes as well.
        (Some(start), end) => splice(source, start..end, ""),
        (None, end) => {
            let next = source.get(end..)?.iter().position(|byte| *byte == b',')?;
            splice(source, root.span().start.saturating_add(1)..end.saturating_add(next).saturating_add(1), "")
        }
    };
    // The text was within the depth limit before a member was taken out.
    let rest = crate::json::Document::parse(rest, usize::MAX).ok()?;
    Some(jcs::content_hash(rest.root()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_micros(1_763_696_494_123_000);

    fn node(text: &str) -> NodeDocument {
        NodeDocument::parse(Bytes::copy_from_slice(text.as_bytes()), 64).unwrap()
    }

    fn stamped(current: Option<&str>, incoming: &str) -> Option<String> {
        let current = current.map(node);
        let current = current.as_ref().map(|document| Current {
            content_hash: document.content_hash(),
            updated_at: document.updated_at().unwrap_or(Timestamp::from_seconds(100)),
            document: Some(document),
        });
        match edit(current, node(incoming), NOW, 64).unwrap() {
            Stamped::Store(document) => Some(String::from_utf8(document.document().source().to_vec()).unwrap()),
            Stamped::Unchanged => None,
        }
    }

    #[test]
    fn a_missing_time_is_added_last_in_the_users_formatting() {
        for (text, expected) in [
            (r#"{"id":"a"}"#, r#"{"id":"a","updated_at":1763696494.123}"#),
            (r#"{"id": "a"}"#, r#"{"id": "a","updated_at": 1763696494.123}"#),
            (r#"{"id": "a", "n": {"x,\"": 1}}"#, r#"{"id": "a", "n": {"x,\"": 1}, "updated_at": 1763696494.123}"#),
            (
                "{\n  \"id\": \"a\",\n  \"n\": [1]\n}\n",
                "{\n  \"id\": \"a\",\n  \"n\": [1],\n  \"updated_at\": 1763696494.123\n}\n",
            ),
            ("{\n\t\"id\" : \"a\"\n}", "{\n\t\"id\" : \"a\",\n\t\"updated_at\" : 1763696494.123\n}"),
            (r#"{"id":"a" , "k\"":1 }"#, r#"{"id":"a" , "k\"":1, "updated_at":1763696494.123 }"#),
        ] {
            assert_eq!(stamped(None, text).as_deref(), Some(expected));
        }
    }

    #[test]
    fn absurd_spacing_is_not_repeated() {
        let text = format!("{{{}\"id\":\"a\"}}", " ".repeat(1000));
        let grown = stamped(None, &text).unwrap().len() - text.len();
        assert!(grown <= STAMP_ROOM_BYTES, "{grown}");
    }

    #[test]
    fn the_same_document_again_is_unchanged_with_and_without_its_time() {
        let stored = r#"{"id":"a","updated_at":1763696000.5,"n":1}"#;
        assert_eq!(stamped(Some(stored), stored), None);
        assert_eq!(stamped(Some(stored), r#"{"n": 1, "id": "a"}"#), None);
        assert_eq!(stamped(Some(r#"{"updated_at":"2025-01-01T00:00:00Z" , "id":"a"}"#), r#"{"id":"a"}"#), None);
        assert_eq!(stamped(Some(r#"{"id":"a"}"#), r#"{"id":"a"}"#), None);
        assert!(stamped(Some(stored), r#"{"id":"a","n":2}"#).is_some());
    }

    #[test]
    fn an_edit_that_was_moved_is_unchanged_when_it_is_sent_again() {
        for (stored, edit) in [
            (r#"{"id":"a","updated_at":1763696000.5,"n":1}"#, r#"{"id":"a","updated_at":1763696000.5,"n":2}"#),
            (
                r#"{"updated_at":"2025-01-01T00:00:00Z","id":"a"}"#,
                r#"{"updated_at":"2025-01-01T00:00:00Z","id":"a","n":2}"#,
            ),
        ] {
            let moved = stamped(Some(stored), edit).unwrap();
            assert_eq!(stamped(Some(&moved), edit), None, "dated back, it could lose against the version it replaced");
        }
        let later = r#"{"id":"a","updated_at":1763696600,"n":1}"#;
        assert_eq!(stamped(Some(r#"{"id":"a","updated_at":1763696000.5,"n":1}"#), later).as_deref(), Some(later));
    }

    #[test]
    fn an_untouched_time_is_moved_when_the_content_changed() {
        let stored = r#"{"id":"a","updated_at":1763696000.5,"n":1}"#;
        let moved = stamped(Some(stored), r#"{"id":"a","updated_at": 1763696000.50,"n":2}"#);
        assert_eq!(moved.as_deref(), Some(r#"{"id":"a","updated_at": 1763696494.123,"n":2}"#));
        let stored = r#"{"id":"a","updated_at":"2025-01-01T01:00:00+01:00"}"#;
        let moved = stamped(Some(stored), r#"{"id":"a","updated_at":"2025-01-01T00:00:00Z","n":2}"#);
        assert_eq!(moved.as_deref(), Some(r#"{"id":"a","updated_at":"2025-11-21T03:41:34.123Z","n":2}"#));
    }

    #[test]
    fn an_edit_is_dated_after_the_version_that_it_replaces_also_when_the_clock_is_behind() {
        let stored = r#"{"id":"a","updated_at":1763696600,"n":1}"#;
        let moved = stamped(Some(stored), r#"{"id":"a","updated_at":1763696600,"n":2}"#);
        assert_eq!(moved.as_deref(), Some(r#"{"id":"a","updated_at":1763696600.001,"n":2}"#));
        let added = stamped(Some(stored), r#"{"id":"a","n":2}"#);
        assert_eq!(added.as_deref(), Some(r#"{"id":"a","n":2,"updated_at":1763696600.001}"#));
    }

    #[test]
    fn a_time_of_the_editors_own_or_one_that_cannot_be_read_is_left_alone() {
        let stored = r#"{"id":"a","updated_at":1763696600,"n":1}"#;
        for text in [
            r#"{"id":"a","updated_at":5,"n":2}"#,
            r#"{"id":"a","updated_at":null,"n":2}"#,
            r#"{"id":"a","updated_at":"today","n":2}"#,
        ] {
            assert_eq!(stamped(Some(stored), text).as_deref(), Some(text));
            assert_eq!(stamped(None, text).as_deref(), Some(text));
        }
    }
}
