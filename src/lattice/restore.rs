//! A version that lost counts again. What it replaces is kept in the history: nothing is lost, and nothing is left to settle.

use super::{
    Conflict, LatticeError, NodeDocument, Restored, Version, Written,
    apply::{last_good, overruled},
    node::UPDATED_AT,
    reader,
    store::Store,
};
use crate::{
    json::{Document, jcs},
    types::{ContentHash, Timestamp},
};
use bytes::Bytes;
use std::{ops::Range, path::Path};

/// A conflict that is to be restored.
#[derive(Debug)]
pub(super) struct Restore {
    pub(super) number: u64,
    /// What lost.
    pub(super) node: NodeDocument,
    /// Who asks for it.
    pub(super) by: Box<str>,
}

/// What goes with the write of a version that counts again.
#[derive(Debug)]
pub(super) struct Restoration {
    /// The conflict that is settled by it.
    pub(super) number: u64,
    /// What it is about to replace.
    pub(super) loser: Option<Box<(Conflict, Bytes)>>,
    /// The number under which that is kept.
    pub(super) kept: Option<u64>,
}

/// What there is to do.
#[derive(Debug)]
pub(super) enum Decision {
    /// Nothing; `None`: there is no such conflict any more.
    Done(Option<Restored>),
    /// Write this content, as the version of this time.
    Write(Box<NodeDocument>, Timestamp, Restoration),
}

/// Decides it, on the writer's thread. `path` is where the node's file is or would be.
///
/// # Errors
/// [`LatticeError`]: what is held cannot be told, or not be kept.
pub(super) fn decide(store: &Store, restore: Restore, path: &Path) -> Result<Decision, LatticeError> {
    let Restore { number, node, by } = restore;
    let shared = &store.shared;
    // Two may have asked for it.
    if shared.journal.conflict(number)?.is_none() {
        return Ok(Decision::Done(None));
    }
    let failed = |error: &dyn std::fmt::Display| LatticeError::Io(error.to_string());
    let (held, depth) = (store.held(node.id())?, shared.limits.json_depth);
    let mut replaced = None;
    if let Some(entry) = store.live(node.id()) {
        let (bytes, _) = reader::read_bytes(path, &shared.limits).map_err(|error| failed(&error))?;
        let current = NodeDocument::parse(bytes.clone(), depth).map_err(|error| failed(&error))?;
        if same_but_for_time(&current, &node) {
            shared.journal.forget_conflict(number)?;
            let written = Written::Unchanged(entry.clone());
            return Ok(Decision::Done(Some(Restored { written, kept: None })));
        }
        replaced = Some(bytes);
    } else if held.is_some_and(|held| held.content.is_some()) {
        // Its file is broken: the bytes of that are kept aside, its last good version here.
        replaced = last_good(store, node.id()).map(|(_, bytes)| bytes);
    }
    // Whatever time it states: it counts again from now on.
    let at = store.edit_time(node.id(), None)?;
    let won = Version { at, content: Some(node.content_hash()) };
    let loser = replaced
        .zip(held)
        .map(|(content, lost)| Box::new(overruled(store, node.id(), by, (lost, won), content, false)));
    Ok(Decision::Write(Box::new(node), at, Restoration { number, loser, kept: None }))
}

/// Are both the same but for their `updated_at`?
fn same_but_for_time(one: &NodeDocument, other: &NodeDocument) -> bool {
    let timeless = |node: &NodeDocument| hash_without_updated_at(node).unwrap_or_else(|| node.content_hash());
    timeless(one) == timeless(other)
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
        (Some(start), end) => without(source, start..end),
        (None, end) => {
            let next = source.get(end..)?.iter().position(|byte| *byte == b',')?;
            without(source, root.span().start.saturating_add(1)..end.saturating_add(next).saturating_add(1))
        }
    };
    // The text was within the depth limit before a member was taken out.
    let rest = Document::parse(rest, usize::MAX).ok()?;
    Some(jcs::content_hash(rest.root()))
}

fn without(source: &Bytes, span: Range<usize>) -> Bytes {
    let (before, after) = (source.get(..span.start).unwrap_or_default(), source.get(span.end..).unwrap_or_default());
    Bytes::from([before, after].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_are_compared_without_their_times() {
        let node = |text: &str| NodeDocument::parse(Bytes::copy_from_slice(text.as_bytes()), 64).unwrap();
        let plain = node(r#"{"id":"a","n":1}"#);
        for text in [
            r#"{"id":"a","n":1}"#,
            r#"{"updated_at" : 5 , "id":"a","n":1}"#,
            r#"{"n":1,"updated_at":"2025-01-01T00:00:00Z", "id":"a"}"#,
            "{\"id\":\"a\",\n\"n\":1,\n\"updated_at\":[{\"x\":1}]\n}",
        ] {
            assert!(same_but_for_time(&plain, &node(text)) && same_but_for_time(&node(text), &plain), "{text}");
        }
        assert!(!same_but_for_time(&plain, &node(r#"{"id":"a","n":2,"updated_at":5}"#)));
        assert!(!same_but_for_time(&plain, &node(r#"{"id":"a","n":1,"x":{"updated_at":5}}"#)));
    }
}
