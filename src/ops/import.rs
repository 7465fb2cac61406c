//! Many nodes from one file into a data directory.

use super::{
    edits::EditError,
    interrupt::Interrupt,
    set_sum::SetSum,
    versions::{Fate, Offered, TakeError, TakenVersions},
};
use crate::{
    json::{Document, JsonError, Value},
    lattice::{Ancestry, NodeDocument, Written, offline::OfflineDirectory, version},
    types::{Limits, NodeId, SetHash, Timestamp},
};
use bytes::Bytes;
use std::{
    collections::HashSet,
    io::{self, BufRead, Read},
};

/// How much deeper than a node the file around it may be nested.
const OUTER_DEPTH: usize = 32;
/// Nodes that are written together.
const BATCH: usize = 256;
/// What they may have together before they are written, bytes.
const BATCH_BYTES: usize = 8 << 20;
/// The largest document that is read; lines of nodes have no bound together.
const MAX_DOCUMENT_BYTES: usize = 1 << 30;
/// More than a node's own limit that a line may have: it is refused as a node then, with its id.
const LINE_ROOM_BYTES: usize = 64 << 10;

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
    /// The file cannot be read.
    #[error(transparent)]
    Read(#[from] io::Error),
    /// The file is larger than anything that is read as one document.
    #[error("larger than {0} bytes; as one node a line (.ndjson) it may be of any size")]
    TooLarge(usize),
    /// Nodes cannot be written; nodes before that may have been imported.
    #[error(transparent)]
    Edit(#[from] EditError),
    /// Versions cannot be taken; nodes before that may have been imported.
    #[error(transparent)]
    Take(#[from] TakeError),
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
#[derive(Debug)]
pub struct ImportReport {
    /// New ones.
    pub added: usize,
    /// Ones with other content than before.
    pub changed: usize,
    /// Ones that were there already.
    pub unchanged: usize,
    /// Exact ones that lost against the versions that are there, which are later.
    pub kept: Vec<NodeId>,
    /// Exact ones that were deleted here later: they stay deleted.
    pub kept_deleted: Vec<NodeId>,
    /// Where the versions that exact ones replaced are kept as files, relative to the directory.
    pub kept_as: Vec<String>,
    /// The numbers under which the history keeps the versions that exact ones replaced.
    pub overruled: Vec<u64>,
    /// Ones that are no nodes, or that the directory did not take.
    pub refused: Vec<Refusal>,
    /// The set hash of all that were taken, as they are in the directory now.
    pub set_hash: SetHash,
}

/// What takes versions: [`super::Target::take`], waited for.
pub type TakeExact<'a> = &'a dyn Fn(Vec<Offered>) -> Result<TakenVersions, TakeError>;

/// What writes nodes: [`super::EditTarget::put_many`], waited for, or what only says what that would do.
pub type PutNodes<'a> = &'a dyn Fn(Vec<NodeDocument>) -> Result<Vec<Result<Written, EditError>>, EditError>;

/// As what the nodes of a file are taken, and by what.
#[derive(Clone, Copy)]
pub enum ImportTarget<'a> {
    /// As edits made now.
    Edits(PutNodes<'a>),
    /// As the versions that they were.
    Exact(TakeExact<'a>),
}

/// How nodes are imported.
#[derive(Debug, Clone)]
pub struct ImportOptions {
    /// The time.
    pub now: Timestamp,
    /// The file is known to hold one node a line; otherwise its first line tells.
    pub lines: bool,
    /// Who may stop the import between two batches.
    pub interrupt: Interrupt,
}

/// Finds the nodes of a file: the document itself where it has a string `id`, the elements where it is a list, otherwise the
/// elements of every list called `nodes`, however deep.
///
/// # Errors
/// [`ImportError::Json`], [`ImportError::NoNodes`].
fn find_nodes(file: Bytes, limits: &Limits) -> Result<Vec<(String, Bytes)>, ImportError> {
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
    if found.is_empty() { Err(ImportError::NoNodes) } else { Ok(found) }
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

/// Brings the nodes of `source` into the directory: one document with nodes in it, or one node a line. The same file again changes
/// nothing. An id that occurs a second time is refused. `directory` is that of the target; `progress` hears how many are done, and of how many where that is known.
///
/// # Errors
/// [`ImportError`].
pub fn import(
    (directory, target): (&OfflineDirectory, ImportTarget<'_>),
    mut source: impl BufRead,
    limits: &Limits,
    options: &ImportOptions,
    progress: impl FnMut(usize, Option<usize>),
) -> Result<ImportReport, ImportError> {
    let mut importer = Importer::new((directory, target), limits, options, progress);
    let first = read_line(&mut source, line_limit(limits))?;
    let is_node =
        |line: &Line| matches!(line, Line::Whole(text) if NodeDocument::parse(text.clone(), limits.json_depth).is_ok());
    if options.lines || first.as_ref().is_some_and(is_node) {
        importer.lines(first, &mut source)?;
    } else {
        let head = match first {
            None => Bytes::new(),
            Some(Line::Whole(text) | Line::TooLong(text)) => text,
        };
        importer.document(&head, source)?;
    }
    importer.finish()
}

/// When an exact node was made, where it says so. A time in the future is none.
fn version_time(node: &NodeDocument, now: Timestamp) -> Option<Timestamp> {
    node.updated_at().filter(|stated| *stated <= now.plus(version::MAX_AHEAD))
}

fn line_limit(limits: &Limits) -> usize {
    limits.node_bytes.saturating_add(LINE_ROOM_BYTES)
}

/// A line of the file, without its end.
enum Line {
    Whole(Bytes),
    /// Its beginning. The rest has not been read.
    TooLong(Bytes),
}

/// `None` at the end of the file.
fn read_line(source: &mut impl BufRead, limit: usize) -> io::Result<Option<Line>> {
    let mut line = Vec::new();
    let most = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
    if source.by_ref().take(most).read_until(b'\n', &mut line)? == 0 {
        return Ok(None);
    }
    // The end of the line stays: it is white space to the gate, and tells a whole line from the beginning of one.
    let too_long = line.len() > limit && !line.ends_with(b"\n");
    let line = Bytes::from(line);
    Ok(Some(if too_long { Line::TooLong(line) } else { Line::Whole(line) }))
}

struct Importer<'a, P> {
    directory: &'a OfflineDirectory,
    target: ImportTarget<'a>,
    limits: &'a Limits,
    options: &'a ImportOptions,
    progress: P,
    report: ImportReport,
    sum: SetSum,
    seen: HashSet<NodeId>,
    batch: Vec<(String, NodeDocument)>,
    batch_bytes: usize,
    done: usize,
    total: Option<usize>,
}

impl<'a, P: FnMut(usize, Option<usize>)> Importer<'a, P> {
    fn new(
        (directory, target): (&'a OfflineDirectory, ImportTarget<'a>),
        limits: &'a Limits,
        options: &'a ImportOptions,
        progress: P,
    ) -> Self {
        let sum = SetSum::default();
        let report = ImportReport {
            added: 0,
            changed: 0,
            unchanged: 0,
            kept: Vec::new(),
            kept_deleted: Vec::new(),
            kept_as: Vec::new(),
            overruled: Vec::new(),
            refused: Vec::new(),
            set_hash: sum.finish(),
        };
        let (seen, batch) = (HashSet::new(), Vec::with_capacity(BATCH));
        Self {
            directory,
            target,
            limits,
            options,
            progress,
            report,
            sum,
            seen,
            batch,
            batch_bytes: 0,
            done: 0,
            total: None,
        }
    }

    fn document(&mut self, head: &[u8], rest: impl Read) -> Result<(), ImportError> {
        let mut text = head.to_vec();
        let most = u64::try_from(MAX_DOCUMENT_BYTES).unwrap_or(u64::MAX).saturating_add(1);
        rest.take(most).read_to_end(&mut text)?;
        if text.len() > MAX_DOCUMENT_BYTES {
            return Err(ImportError::TooLarge(MAX_DOCUMENT_BYTES));
        }
        let found = find_nodes(Bytes::from(text), self.limits)?;
        self.total = Some(found.len());
        found.into_iter().try_for_each(|(place, text)| self.take(place, text))
    }

    fn lines(&mut self, first: Option<Line>, source: &mut impl BufRead) -> Result<(), ImportError> {
        let (mut line, mut number) = (first, 0_usize);
        while let Some(text) = line {
            number += 1;
            let place = format!("line {number}");
            match text {
                Line::Whole(text) => {
                    let text = text.slice_ref(text.trim_ascii());
                    if !text.is_empty() {
                        self.take(place, text)?;
                    }
                }
                Line::TooLong(_) => {
                    source.skip_until(b'\n')?;
                    let reason = format!("larger than {} bytes", self.limits.node_bytes);
                    self.refuse(place, reason);
                }
            }
            line = read_line(source, line_limit(self.limits))?;
        }
        if self.done == 0 { Err(ImportError::NoNodes) } else { Ok(()) }
    }

    fn take(&mut self, place: String, text: Bytes) -> Result<(), ImportError> {
        let bytes = text.len();
        match NodeDocument::parse(text, self.limits.json_depth) {
            Ok(node) if self.seen.insert(node.id().clone()) => {
                self.done += 1;
                self.batch_bytes = self.batch_bytes.saturating_add(bytes);
                self.batch.push((place, node));
            }
            Ok(node) => self.refuse(place, format!("{:?} stands in this file before already", node.id())),
            Err(error) => self.refuse(place, error.to_string()),
        }
        if self.batch.len() >= BATCH || self.batch_bytes >= BATCH_BYTES { self.store() } else { Ok(()) }
    }

    fn refuse(&mut self, place: String, reason: String) {
        self.done += 1;
        self.report.refused.push(Refusal { place, reason });
    }

    fn store(&mut self) -> Result<(), ImportError> {
        self.batch_bytes = 0;
        let batch = std::mem::take(&mut self.batch);
        let (places, nodes): (Vec<_>, Vec<_>) = batch.into_iter().unzip();
        match self.target {
            ImportTarget::Exact(take) => self.take_exact(places, nodes, take)?,
            ImportTarget::Edits(put) => self.put(places, nodes, put)?,
        }
        (self.progress)(self.done, self.total);
        Ok(())
    }

    fn take_exact(
        &mut self,
        places: Vec<String>,
        nodes: Vec<NodeDocument>,
        take: TakeExact<'_>,
    ) -> Result<(), ImportError> {
        let now = self.options.now;
        let contents: Vec<_> = nodes.iter().map(|node| (node.id().clone(), node.content_hash())).collect();
        let offered =
            nodes.into_iter().map(|node| Offered { at: version_time(&node, now), node, ancestry: Ancestry::default() });
        let taken = {
            let _held = self.options.interrupt.hold();
            take(offered.collect())?
        };
        self.report.kept_as.extend(taken.kept_as);
        self.report.overruled.extend(taken.overruled);
        for ((place, (id, content)), fate) in places.into_iter().zip(contents).zip(taken.fates) {
            let count = match fate {
                Fate::Added => &mut self.report.added,
                Fate::Replaced => &mut self.report.changed,
                Fate::Unchanged => &mut self.report.unchanged,
                Fate::Kept => {
                    if let Some(held) = self.directory.node(&id) {
                        self.sum.insert(id.clone(), held.entry.content_hash);
                    }
                    self.report.kept.push(id);
                    continue;
                }
                Fate::KeptDeleted => {
                    self.report.kept_deleted.push(id);
                    continue;
                }
                Fate::Refused(reason) => {
                    self.report.refused.push(Refusal { place, reason });
                    continue;
                }
            };
            *count += 1;
            self.sum.insert(id, content);
        }
        Ok(())
    }

    fn put(&mut self, places: Vec<String>, nodes: Vec<NodeDocument>, put: PutNodes<'_>) -> Result<(), ImportError> {
        let ids: Vec<NodeId> = nodes.iter().map(|node| node.id().clone()).collect();
        let answers = {
            let _held = self.options.interrupt.hold();
            put(nodes)?
        };
        for ((place, id), answer) in places.into_iter().zip(ids).zip(answers) {
            match answer {
                Ok(written) => {
                    let count = match written {
                        Written::Created(_) => &mut self.report.added,
                        Written::Replaced(_) => &mut self.report.changed,
                        Written::Unchanged(_) => &mut self.report.unchanged,
                    };
                    *count += 1;
                    self.sum.insert(id, written.entry().content_hash);
                }
                Err(error) => self.report.refused.push(Refusal { place, reason: error.to_string() }),
            }
        }
        Ok(())
    }

    fn finish(mut self) -> Result<ImportReport, ImportError> {
        self.store()?;
        self.report.set_hash = self.sum.finish();
        Ok(self.report)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(text: &str) -> Vec<String> {
        let file = Bytes::copy_from_slice(text.as_bytes());
        find_nodes(file, &Limits::default()).unwrap().into_iter().map(|(place, _)| place).collect()
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
            let now = Timestamp::from_seconds(now);
            let options = ImportOptions { now, lines: false, interrupt: Interrupt::default() };
            let put = |nodes| Ok(directory.put_many(nodes, false)?.into_iter().map(|put| Ok(put?)).collect());
            import((&directory, ImportTarget::Edits(&put)), &file[..], &limits, &options, |_, _| {}).unwrap()
        };
        let report = run(1);
        assert_eq!((report.added, report.changed, report.unchanged), (2, 0, 0));
        let places: Vec<_> = report.refused.iter().map(|refusal| refusal.place.as_str()).collect();
        assert_eq!(places, ["nodes[1]", "nodes[3]"]);
        assert_eq!(run(2).unchanged, 2);
    }
}
