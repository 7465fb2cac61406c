//! Many nodes from one file into a data directory.

use crate::{
    json::{Document, JsonError, Value},
    lattice::{
        NodeDocument, Stamp, Written,
        offline::{OfflineDirectory, OfflineError},
    },
    types::{Limits, Timestamp},
};
use bytes::Bytes;
use std::collections::HashSet;

/// How much deeper than a node the file around it may be nested.
const OUTER_DEPTH: usize = 32;
/// Nodes that are written together.
const BATCH: usize = 256;

/// Why nothing was imported.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The strict gate refused the file.
    #[error(transparent)]
    Json(#[from] JsonError),
    /// There is no node in it.
    #[error(
        "there is no node in it: a node is an object with a string \"id\", alone, in a list, or in lists called \"nodes\""
    )]
    NoNodes,
    /// The directory failed; nodes before that may have been imported.
    #[error(transparent)]
    Directory(#[from] OfflineError),
}

/// A node that was not imported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Where it stands in the file, such as `topics[0].nodes[2]`.
    pub place: String,
    /// Why.
    pub reason: String,
}

/// What became of the nodes.
#[derive(Debug, Default)]
pub struct ImportReport {
    /// New ones.
    pub added: usize,
    /// Ones with other content than before.
    pub changed: usize,
    /// Ones that were there already.
    pub unchanged: usize,
    /// Ones that are no nodes, or that the directory did not take.
    pub refused: Vec<Refusal>,
}

/// The nodes of a file: each with its place and its own text as it stands there.
#[derive(Debug)]
pub struct Importable {
    found: Vec<(String, Bytes)>,
}

impl Importable {
    /// How many there are, good or not.
    #[must_use]
    pub fn len(&self) -> usize {
        self.found.len()
    }

    /// None at all? Does not happen: [`find_nodes`] refuses such a file.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.found.is_empty()
    }
}

/// Finds the nodes of a file: the document itself where it has a string `id`, the elements where it is a list, otherwise the
/// elements of every list called `nodes`, however deep.
///
/// # Errors
/// [`ImportError::Json`], [`ImportError::NoNodes`].
pub fn find_nodes(file: Bytes, limits: &Limits) -> Result<Importable, ImportError> {
    let document = Document::parse(file, limits.json_depth.saturating_add(OUTER_DEPTH))?;
    let mut found = Vec::new();
    let root = document.root();
    if has_id(root) {
        take(&document, root, String::from("the document"), &mut found);
    } else if root.as_array().is_some() {
        elements(&document, root, "", &mut found);
    } else {
        search(&document, root, "", &mut found);
    }
    if found.is_empty() { Err(ImportError::NoNodes) } else { Ok(Importable { found }) }
}

fn has_id(value: Value<'_>) -> bool {
    value.as_object().and_then(|object| object.get("id")).is_some_and(|id| id.as_str().is_some())
}

fn take(document: &Document, value: Value<'_>, place: String, found: &mut Vec<(String, Bytes)>) {
    found.push((place, document.source().slice_ref(value.raw().as_bytes())));
}

/// Every element of a list of nodes; one that is a tree itself gives its own nodes.
fn elements(document: &Document, list: Value<'_>, place: &str, found: &mut Vec<(String, Bytes)>) {
    for (index, element) in list.as_array().into_iter().flat_map(|list| list.iter()).enumerate() {
        let place = format!("{place}[{index}]");
        let before = found.len();
        if !has_id(element) {
            search(document, element, &place, found);
        }
        if found.len() == before {
            // Also what has no id: it is refused later, by name.
            take(document, element, place, found);
        }
    }
}

/// Lists called `nodes` below `value`. The gate has bounded the depth.
fn search(document: &Document, value: Value<'_>, place: &str, found: &mut Vec<(String, Bytes)>) {
    if let Some(object) = value.as_object() {
        for (key, member) in object.iter() {
            let place = if place.is_empty() { key.to_string() } else { format!("{place}.{key}") };
            if key == "nodes" && member.as_array().is_some() {
                elements(document, member, &place, found);
            } else {
                search(document, member, &place, found);
            }
        }
    }
    for (index, element) in value.as_array().into_iter().flat_map(|list| list.iter()).enumerate() {
        search(document, element, &format!("{place}[{index}]"), found);
    }
}

/// Writes the nodes as edits made at `now`. The same file again changes nothing. An id that occurs a second time is refused.
/// `progress` hears how many are done.
///
/// # Errors
/// [`ImportError::Directory`].
pub fn import(
    directory: &OfflineDirectory,
    nodes: Importable,
    limits: &Limits,
    now: Timestamp,
    dry: bool,
    mut progress: impl FnMut(usize),
) -> Result<ImportReport, ImportError> {
    let mut report = ImportReport::default();
    let mut seen = HashSet::new();
    let mut batch = Vec::with_capacity(BATCH);
    let mut done = 0;
    for (place, text) in nodes.found {
        done += 1;
        match NodeDocument::parse(text, limits.json_depth) {
            Ok(node) if seen.insert(node.id().clone()) => batch.push((place, node)),
            Ok(node) => {
                let reason = format!("{:?} stands in this file before already", node.id());
                report.refused.push(Refusal { place, reason });
            }
            Err(error) => report.refused.push(Refusal { place, reason: error.to_string() }),
        }
        if batch.len() == BATCH {
            store(directory, std::mem::take(&mut batch), now, dry, &mut report)?;
            progress(done);
        }
    }
    store(directory, batch, now, dry, &mut report)?;
    progress(done);
    Ok(report)
}

fn store(
    directory: &OfflineDirectory,
    batch: Vec<(String, NodeDocument)>,
    now: Timestamp,
    dry: bool,
    report: &mut ImportReport,
) -> Result<(), OfflineError> {
    let (places, nodes): (Vec<_>, Vec<_>) = batch.into_iter().unzip();
    let answers = directory.put_many(nodes, Stamp::Edit(now), dry)?;
    for (place, answer) in places.into_iter().zip(answers) {
        match answer {
            Ok(Written::Created(_)) => report.added += 1,
            Ok(Written::Replaced(_)) => report.changed += 1,
            Ok(Written::Unchanged(_)) => report.unchanged += 1,
            Err(error) => report.refused.push(Refusal { place, reason: error.to_string() }),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(text: &str) -> Vec<String> {
        let file = Bytes::copy_from_slice(text.as_bytes());
        find_nodes(file, &Limits::default()).unwrap().found.into_iter().map(|(place, _)| place).collect()
    }

    #[test]
    fn nodes_are_found_alone_in_lists_and_in_trees() {
        assert_eq!(places(r#"{"id":"a","nodes":[{"id":"b"}]}"#), ["the document"]);
        assert_eq!(places(r#"[{"id":"a"},{"x":1},3]"#), ["[0]", "[1]", "[2]"]);
        let tree =
            r#"{"meta":{"id":"no"},"topics":[{"id":"t","nodes":[{"id":"a"},{"nodes":[{"id":"b"}]}]},{"nodes":[]}]}"#;
        assert_eq!(places(tree), ["topics[0].nodes[0]", "topics[0].nodes[1].nodes[0]"]);
        assert!(matches!(find_nodes(Bytes::from_static(b"{}"), &Limits::default()), Err(ImportError::NoNodes)));
    }

    #[test]
    fn the_rest_is_imported_when_some_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let limits = Limits::default();
        let directory = OfflineDirectory::open(folder.path(), limits).unwrap();
        let file = br#"{"nodes":[{"id":"a"},{"id":7},{"id":"b"},{"id":"a","n":2}]}"#;
        let run = |now| {
            let nodes = find_nodes(Bytes::from_static(file), &limits).unwrap();
            import(&directory, nodes, &limits, Timestamp::from_seconds(now), false, |_| {}).unwrap()
        };
        let report = run(1);
        assert_eq!((report.added, report.changed, report.unchanged), (2, 0, 0));
        let places: Vec<_> = report.refused.iter().map(|refusal| refusal.place.as_str()).collect();
        assert_eq!(places, ["nodes[1]", "nodes[3]"]);
        assert_eq!(run(2).unchanged, 2);
    }
}
