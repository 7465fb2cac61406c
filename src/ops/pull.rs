//! Bringing a data directory in step with another instance: what differs comes by `POST /sync`, one node at a time.

mod original;

use super::{
    interrupt::Interrupt,
    versions::{Fate, Offered, TakeError, TakeOptions, Target},
};
use crate::{
    federation::{
        client::{Client, ClientError},
        lines::NextLine,
        wire::{self, Line, WireContent},
    },
    lattice::{
        Ancestry, NodeDocument,
        index::Snapshot,
        offline::{Listing, OfflineDirectory, OfflineError},
    },
    types::{Limits, NodeId, SetHash, SharedClock},
};
use std::{fmt::Write, sync::Arc};

/// What is held in memory before it is written.
const BATCH_NODES: usize = 256;
const BATCH_BYTES: usize = 4 << 20;
/// The most answers that one pull follows.
const MAX_PAGES: usize = 10_000;
/// Refusals that are reported one by one; all are counted.
const REPORTED: usize = 100;

/// Why a pull did not come to its end. What was written before stays; pulling again goes on from there.
#[derive(Debug, thiserror::Error)]
pub enum PullError {
    /// The other side did not do it.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The directory failed.
    #[error(transparent)]
    Directory(#[from] OfflineError),
    /// Nothing can be written.
    #[error(transparent)]
    Take(#[from] TakeError),
    /// A worker thread failed.
    #[error("reading stopped: {0}")]
    Worker(String),
}

/// How the directory stands to the other side afterwards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// Nothing was written, so nothing was compared.
    DryRun,
    /// The set hashes are equal: every node is the same.
    InStep,
    /// So many nodes differ or are only here.
    Differs {
        /// Nodes that are only here.
        only_here: usize,
        /// Nodes of which the own version was kept, or the other one refused.
        not_taken: usize,
    },
    /// The set hashes differ, and files here are broken: what they hold is not known.
    OwnBroken {
        /// How many.
        count: usize,
        /// The first of them, relative to the data directory.
        first: String,
    },
    /// The set hashes differ although everything was taken: the other side changed meanwhile, or did not send what it holds.
    Unexplained,
}

/// What a pull did.
#[derive(Debug)]
pub struct PullReport {
    /// New nodes.
    pub added: usize,
    /// Nodes whose other version won.
    pub replaced: usize,
    /// Nodes whose own version won.
    pub kept: Vec<NodeId>,
    /// Nodes that were deleted here later than the other version was made: they stay deleted.
    pub kept_deleted: Vec<NodeId>,
    /// Nodes that came although they were here already.
    pub unchanged: usize,
    /// How many were refused.
    pub refused: usize,
    /// The first hundred of them: id or line, and why.
    pub refusals: Vec<(String, String)>,
    /// Where the own versions that lost are kept as files, relative to the directory.
    pub kept_as: Vec<String>,
    /// The numbers under which the history keeps the own versions that lost.
    pub overruled: Vec<u64>,
    /// Bytes that came, after decompression.
    pub bytes: u64,
    /// The other side's set hash; `None`: it is an original and states none.
    pub their_hash: Option<SetHash>,
    /// The other side is an original: what came is not signed.
    pub is_original: bool,
    /// How the directory stands to it.
    pub standing: Standing,
}

/// How a pull is done.
#[derive(Debug, Clone, Default)]
pub struct PullOptions {
    /// Nothing is written.
    pub dry: bool,
    /// Who may stop the pull between two batches.
    pub interrupt: Interrupt,
}

/// Takes from the other side what differs. Of two versions the one counts that counts in a round as well (DESIGN 4.7): the later one, also
/// where that is a deletion. What it replaces is kept. `directory` is listed, `target` is written to. `progress` hears how many nodes came,
/// and how many are announced so far.
///
/// # Errors
/// [`PullError`].
pub async fn pull(
    (directory, target): (&OfflineDirectory, Target),
    (client, url): (&Client, &str),
    limits: Limits,
    clock: SharedClock,
    options: PullOptions,
    mut progress: impl FnMut(usize, usize),
) -> Result<PullReport, PullError> {
    let directory = directory.clone();
    let listing = blocking({
        let directory = directory.clone();
        move || directory.list()
    })
    .await??;
    let held = Held::of(&listing);
    let ours = listing.set_hash();
    drop(listing);
    let from = target.source(client, url).await;
    let mut apply = Apply::new((directory, target), from, limits, clock, options);
    // What a running service takes in one request.
    let most_bytes = BATCH_BYTES.min(limits.sync_bytes / 2);
    let mut cursor: Option<String> = None;
    let mut bytes = 0_u64;
    let mut their_hash = ours;
    let (mut came, mut announced) = (0, 0);
    for _ in 0..MAX_PAGES {
        // What was compared already need not be sent again.
        let held = held.after(apply.last.as_ref());
        let mut answer = match client.sync(request_text(held, ours, cursor.as_deref())).await {
            Err(error) if cursor.is_none() && original::is_original(client, &error).await => {
                return original::pull(apply, client, limits, most_bytes, progress).await;
            }
            answer => answer?,
        };
        announced += answer.expected;
        apply.versions = answer.versions;
        let (mut batch, mut batch_bytes, mut any) = (Vec::new(), 0, false);
        let versions = answer.versions;
        // A node alone states nothing of its length.
        let longest = |beginning: &[u8]| match versions {
            true => wire::longest_line(beginning, &limits),
            false => beginning.starts_with(b"{").then_some(u64::MAX),
        };
        while let Some(line) = answer.next_or_skip(longest).await? {
            any = true;
            came += 1;
            batch_bytes += match &line {
                NextLine::Whole(line) => line.len(),
                NextLine::TooLong { beginning, .. } => beginning.len(),
            };
            batch.push(line);
            if batch.len() >= BATCH_NODES || batch_bytes >= most_bytes {
                apply = apply.run(std::mem::take(&mut batch)).await?;
                batch_bytes = 0;
                progress(came, announced);
            }
        }
        apply = apply.run(batch).await?;
        progress(came, announced);
        bytes = bytes.saturating_add(answer.bytes());
        their_hash = answer.set_hash;
        let next = answer.cursor.filter(|next| any && Some(next) != cursor.as_ref());
        if next.is_none() {
            break;
        }
        cursor = next;
    }
    let standing = standing(client, &apply, their_hash).await?;
    Ok(apply.report(bytes, Some(their_hash), standing))
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, PullError> {
    tokio::task::spawn_blocking(work).await.map_err(|error| PullError::Worker(error.to_string()))
}

/// What we hold, as `/sync` takes it, in the order in which it answers: by id. Another order on the other side costs bytes and
/// nothing else: what we hold comes again, and is recognised.
struct Held {
    text: String,
    /// The ids in order, and where in the text each begins.
    starts: Vec<(NodeId, usize)>,
}

impl Held {
    fn of(listing: &Listing) -> Self {
        let mut text = String::with_capacity(listing.nodes.len().saturating_mul(110));
        let mut starts = Vec::with_capacity(listing.nodes.len());
        for (id, node) in &listing.nodes {
            if !text.is_empty() {
                text.push(',');
            }
            starts.push((id.clone(), text.len()));
            let id = serde_json::Value::from(id.as_str());
            let _infallible = write!(text, "{{\"id\":{id},\"hash\":\"{}\"}}", node.entry.content_hash);
        }
        Self { text, starts }
    }

    /// What stands behind `last`.
    fn after(&self, last: Option<&NodeId>) -> &str {
        let Some(last) = last else { return &self.text };
        let next = self.starts.get(self.starts.partition_point(|(id, _)| id <= last));
        next.and_then(|(_, start)| self.text.get(*start..)).unwrap_or_default()
    }
}

fn request_text(held: &str, ours: SetHash, cursor: Option<&str>) -> String {
    let cursor = cursor.map(|cursor| format!(",\"cursor\":{}", serde_json::Value::from(cursor))).unwrap_or_default();
    format!("{{\"manifest_hash\":\"{ours}\",\"versions\":true,\"nodes\":[{held}]{cursor}}}")
}

async fn standing(client: &Client, apply: &Apply, their_hash: SetHash) -> Result<Standing, PullError> {
    if apply.options.dry {
        return Ok(Standing::DryRun);
    }
    // What is on the disk counts, not what we believe to have written.
    let directory = apply.directory.clone();
    let listing = blocking(move || directory.list()).await??;
    let ours = Snapshot::of(listing.nodes.values().map(|node| Arc::clone(&node.entry)));
    if ours.set_hash() == their_hash {
        return Ok(Standing::InStep);
    }
    let theirs = client.node_total().await?;
    let in_common = theirs.saturating_sub(apply.refused_and_lacking).saturating_sub(apply.kept_deleted.len());
    let only_here = ours.len().saturating_sub(in_common);
    let not_taken = apply.kept.len().saturating_add(apply.kept_deleted.len()).saturating_add(apply.refused);
    if only_here + not_taken > 0 {
        return Ok(Standing::Differs { only_here, not_taken });
    }
    Ok(Standing::of_broken(&listing))
}

impl Standing {
    /// Of sets that differ although everything was taken.
    fn of_broken(listing: &Listing) -> Self {
        listing.broken.first().map_or(Self::Unexplained, |first| Self::OwnBroken {
            count: listing.broken.len(),
            first: first.file.clone(),
        })
    }
}

/// Why a line brings no version that can be taken.
#[derive(Debug)]
struct Unread {
    /// Of which node, where that can be read.
    id: Option<NodeId>,
    reason: String,
}

impl From<String> for Unread {
    fn from(reason: String) -> Self {
        Self { id: None, reason }
    }
}

/// What came so far.
#[derive(Debug)]
struct Apply {
    directory: OfflineDirectory,
    target: Target,
    /// The other side, as it is noted beside what its versions replace.
    from: String,
    limits: Limits,
    clock: SharedClock,
    options: PullOptions,
    /// Lines say when their versions were made.
    versions: bool,
    lines: usize,
    /// The last node that came.
    last: Option<NodeId>,
    added: usize,
    replaced: usize,
    unchanged: usize,
    kept: Vec<NodeId>,
    kept_deleted: Vec<NodeId>,
    refused: usize,
    /// Refused nodes of which we hold no version either.
    refused_and_lacking: usize,
    refusals: Vec<(String, String)>,
    kept_as: Vec<String>,
    overruled: Vec<u64>,
}

impl Apply {
    fn new(
        (directory, target): (OfflineDirectory, Target),
        from: String,
        limits: Limits,
        clock: SharedClock,
        options: PullOptions,
    ) -> Self {
        Self {
            directory,
            target,
            from,
            limits,
            clock,
            options,
            versions: false,
            lines: 0,
            last: None,
            added: 0,
            replaced: 0,
            unchanged: 0,
            kept: Vec::new(),
            kept_deleted: Vec::new(),
            refused: 0,
            refused_and_lacking: 0,
            refusals: Vec::new(),
            kept_as: Vec::new(),
            overruled: Vec::new(),
        }
    }

    async fn run(mut self, batch: Vec<NextLine>) -> Result<Self, PullError> {
        let mut offered = Vec::with_capacity(batch.len());
        for line in batch {
            self.lines += 1;
            match self.read(line) {
                Ok(version) => {
                    self.last = Some(version.node.id().clone());
                    offered.push(version);
                }
                Err(Unread { id: Some(id), reason }) => {
                    self.refuse(id.to_string(), Some(&id), reason);
                    self.last = Some(id);
                }
                Err(Unread { id: None, reason }) => self.refuse(format!("line {}", self.lines), None, reason),
            }
        }
        if !offered.is_empty() {
            self.take(offered).await?;
        }
        Ok(self)
    }

    fn read(&self, line: NextLine) -> Result<Offered, Unread> {
        let line = match line {
            NextLine::Whole(line) if !self.versions => {
                let node = NodeDocument::parse(line, self.limits.json_depth).map_err(|error| error.to_string())?;
                return Ok(Offered { at: node.updated_at(), node, ancestry: Ancestry::default() });
            }
            NextLine::TooLong { bytes, .. } if !self.versions => return Err(self.too_large(bytes).into()),
            NextLine::Whole(line) => wire::read_line(line, &self.limits),
            NextLine::TooLong { beginning, bytes } => wire::read_beginning(&beginning, bytes, &self.limits),
        };
        let Line::Change(change) = line.map_err(|error| error.to_string())? else {
            return Err("it brings no node".to_owned().into());
        };
        match change.content {
            WireContent::Put { node: Some(node), .. } => {
                Ok(Offered { node, at: Some(change.at), ancestry: change.ancestry })
            }
            WireContent::Unavailable { too_large: Some(bytes), .. } => {
                Err(Unread { id: Some(change.id), reason: self.too_large(bytes) })
            }
            WireContent::Put { node: None, .. } | WireContent::Unavailable { .. } | WireContent::Deleted(_) => {
                Err("it brings no node".to_owned().into())
            }
        }
    }

    fn too_large(&self, bytes: u64) -> String {
        format!("it has {bytes} bytes; the limit here is {} (limits.node_bytes)", self.limits.node_bytes)
    }

    async fn take(&mut self, offered: Vec<Offered>) -> Result<(), PullError> {
        let ids: Vec<NodeId> = offered.iter().map(|offered| offered.node.id().clone()).collect();
        let (now, limits, dry) = (self.clock.now(), self.limits, self.options.dry);
        let taken = {
            let _held = self.options.interrupt.hold();
            self.target.take(offered, TakeOptions { from: &self.from, now, limits, dry }).await?
        };
        self.kept_as.extend(taken.kept_as);
        self.overruled.extend(taken.overruled);
        for (id, fate) in ids.into_iter().zip(taken.fates) {
            match fate {
                Fate::Added => self.added += 1,
                Fate::Replaced => self.replaced += 1,
                Fate::Unchanged => self.unchanged += 1,
                Fate::Kept => self.kept.push(id),
                Fate::KeptDeleted => self.kept_deleted.push(id),
                Fate::Refused(reason) => self.refuse(id.to_string(), Some(&id), reason),
            }
        }
        Ok(())
    }

    fn refuse(&mut self, what: String, id: Option<&NodeId>, reason: String) {
        self.refused += 1;
        if id.is_none_or(|id| self.directory.node(id).is_none()) {
            self.refused_and_lacking += 1;
        }
        if self.refusals.len() < REPORTED {
            self.refusals.push((what, reason));
        }
    }

    fn report(self, bytes: u64, their_hash: Option<SetHash>, standing: Standing) -> PullReport {
        PullReport {
            added: self.added,
            replaced: self.replaced,
            kept: self.kept,
            kept_deleted: self.kept_deleted,
            unchanged: self.unchanged,
            refused: self.refused,
            refusals: self.refusals,
            kept_as: self.kept_as,
            overruled: self.overruled,
            bytes,
            their_hash,
            is_original: false,
            standing,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::SystemClock;
    use bytes::Bytes;
    use std::{fs, path::Path};

    fn begin(folder: &Path) -> Apply {
        let limits = Limits::default();
        let directory = OfflineDirectory::open(folder, limits).unwrap();
        let target = Target::Files(directory.clone());
        Apply::new((directory, target), "peer".to_owned(), limits, SystemClock::shared(), PullOptions::default())
    }

    fn apply(begun: Apply, batch: Vec<NextLine>) -> Apply {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(begun.run(batch)).unwrap()
    }

    fn lines(lines: &[&'static str]) -> Vec<NextLine> {
        lines.iter().map(|line| NextLine::Whole(Bytes::from_static(line.as_bytes()))).collect()
    }

    #[test]
    fn what_was_compared_is_not_sent_again() {
        let folder = tempfile::tempdir().unwrap();
        for id in ["a", "b\\u00e9", "c"] {
            let name = format!("{}.json", id.replace("\\u00e9", "%C3%A9"));
            write_text(&folder.path().join(name), &format!(r#"{{"id":"{id}"}}"#));
        }
        let listing = begin(folder.path()).directory.list().unwrap();
        assert_eq!(listing.nodes.len(), 3, "{:?}", listing.broken);
        let held = Held::of(&listing);
        let ids = |last: Option<&str>| -> Vec<String> {
            let last = last.map(|id| NodeId::parse(id).unwrap());
            let list = format!("[{}]", held.after(last.as_ref()));
            let list: Vec<serde_json::Value> = serde_json::from_str(&list).unwrap();
            list.iter().map(|node| node["id"].as_str().unwrap().to_owned()).collect()
        };
        let all = ids(None);
        assert_eq!(all.len(), 3);
        for (place, id) in all.iter().enumerate() {
            assert_eq!(ids(Some(id)), all[place + 1..], "{id}");
        }
    }

    #[test]
    fn an_edit_made_while_the_pull_runs_is_not_overwritten_by_an_older_version() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.json");
        write_text(&path, r#"{"id":"a","updated_at":1}"#);
        let begun = begin(folder.path());
        write_text(&path, r#"{"id":"a","updated_at":3}"#);
        write_text(&folder.path().join("b.json"), r#"{"id":"b","updated_at":3}"#);
        let apply = apply(begun, lines(&[r#"{"id":"a","updated_at":2}"#, r#"{"id":"b","updated_at":2}"#]));
        assert_eq!(fs::read(&path).unwrap(), br#"{"id":"a","updated_at":3}"#);
        assert_eq!(fs::read(folder.path().join("b.json")).unwrap(), br#"{"id":"b","updated_at":3}"#);
        assert_eq!((apply.kept.len(), apply.added, apply.replaced), (2, 0, 0));
    }

    #[test]
    fn of_two_versions_that_come_the_later_one_stays_in_whichever_order() {
        let (old, new) = (r#"{"id":"a","updated_at":2}"#, r#"{"id":"a","updated_at":3}"#);
        for batches in [vec![vec![old, new]], vec![vec![new, old]], vec![vec![new], vec![old]]] {
            let folder = tempfile::tempdir().unwrap();
            batches.iter().fold(begin(folder.path()), |begun, batch| apply(begun, lines(batch)));
            assert_eq!(fs::read(folder.path().join("a.json")).unwrap(), new.as_bytes(), "{batches:?}");
        }
    }

    fn write_text(path: &Path, text: &str) {
        crate::lattice::offline::write_file(path, text.as_bytes()).unwrap();
    }
}
