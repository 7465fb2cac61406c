//! The journal as lines of a feed, some changes at a time.

use super::{FeedOptions, find, labels, position, stored};
use crate::{
    federation::wire::{write_line, write_unavailable},
    json::write_compact,
    lattice::{Change, Lattice, LatticeError},
    types::{ContentHash, NodeId},
};
use bytes::Bytes;
use std::sync::Arc;

/// Changes that are looked up together.
const PAGE: usize = 512;
/// Contents that are read together: for a request that this instance sends, and for each of many answers that it gives at the same time.
const BATCH_BYTES: u64 = 4 << 20;
const SMALL_BATCH_BYTES: u64 = 256 << 10;

/// Lines of a feed.
#[derive(Debug, Default)]
pub struct WrittenLines {
    /// Their text.
    pub text: Vec<u8>,
    /// How many they are.
    pub count: usize,
    /// Versions that were left out, with their positions: their files could not be read in this moment. They need not get another
    /// position when they can be read again.
    pub unread: Vec<(u64, NodeId)>,
    /// Versions that were left out because their contents are larger than the reader takes.
    pub too_large: Vec<TooLargeNode>,
}

/// A version whose content is too large for its reader.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TooLargeNode {
    /// Its position in the journal here.
    pub seq: u64,
    /// The node.
    pub id: NodeId,
    /// The hash of the content.
    pub content_hash: ContentHash,
    /// The bytes of the content, without blanks.
    pub bytes: usize,
}

/// A walk through the journal, some changes at a time.
pub struct Walk {
    lattice: Arc<dyn Lattice>,
    since: u64,
    end: u64,
    options: FeedOptions,
    batch_bytes: u64,
    /// Looked up and not sent yet, last first.
    page: Vec<Change>,
}

impl Walk {
    /// The changes after `since`, up to `end`.
    #[must_use]
    pub fn new(lattice: &Arc<dyn Lattice>, since: u64, end: u64, options: FeedOptions) -> Self {
        Self { lattice: Arc::clone(lattice), since, end, options, batch_bytes: BATCH_BYTES, page: Vec::new() }
    }

    /// With changes that are looked up already, last first.
    pub(super) fn with_page(self, page: Vec<Change>) -> Self {
        Self { page, ..self }
    }

    /// For an answer, which lies here until its reader takes it.
    pub(super) fn in_small_batches(self) -> Self {
        Self { batch_bytes: SMALL_BATCH_BYTES, ..self }
    }

    /// The position that it goes up to.
    pub(super) fn end(&self) -> u64 {
        self.end
    }

    /// Everything up to here was given out.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.since
    }

    /// The next changes; none at the end. As many as fit together in memory with their contents.
    ///
    /// # Errors
    /// [`LatticeError`].
    pub fn next_batch(&mut self) -> Result<Vec<Change>, LatticeError> {
        loop {
            if self.page.is_empty() {
                let page = self.lattice.changes(self.since, PAGE)?;
                self.page = page.into_iter().take_while(|change| position(change) <= self.end).collect();
                self.page.reverse();
            }
            if self.page.is_empty() {
                return Ok(Vec::new());
            }
            let batch = self.batch();
            if !batch.is_empty() {
                return Ok(batch);
            }
        }
    }

    /// The lines of those of these changes that match.
    ///
    /// # Errors
    /// [`LatticeError`].
    pub async fn lines(&self, batch: &[Change]) -> Result<WrittenLines, LatticeError> {
        let FeedOptions { contents, matcher, priorities, unavailable, .. } = &self.options;
        if *contents || *priorities || matcher.needs_content() {
            return self.write_contents(batch).await;
        }
        let mut lines = WrittenLines { count: batch.len(), ..WrittenLines::default() };
        for change in batch {
            match change {
                Change::Put { id, .. } if *unavailable && self.lattice.is_unavailable(id) => {
                    write_unavailable(change, None, &mut lines.text);
                }
                change => write_line(change, None, None, &mut lines.text),
            }
        }
        Ok(lines)
    }

    /// The next lines; `None` at the end.
    pub(super) async fn step(&mut self) -> Result<Option<Bytes>, LatticeError> {
        loop {
            let batch = self.next_batch()?;
            if batch.is_empty() {
                return Ok(None);
            }
            let lines = self.lines(&batch).await?;
            // An empty part would end the answer.
            if lines.count > 0 {
                return Ok(Some(lines.text.into()));
            }
        }
    }

    /// Takes as many as fit together in memory.
    fn batch(&mut self) -> Vec<Change> {
        let (mut batch, mut bytes) = (Vec::new(), 0_u64);
        while let Some(change) = self.page.pop() {
            self.since = self.since.max(position(&change));
            match &change {
                Change::Put { id, node_type, size_bytes, .. } => {
                    if !self.options.matcher.may_match(id, node_type.as_deref()) {
                        continue;
                    }
                    bytes = bytes.saturating_add(*size_bytes);
                }
                Change::Deleted(tombstone, _) if !self.options.matcher.id_may_match(&tombstone.id) => continue,
                Change::Deleted(..) => {}
            }
            batch.push(change);
            if self.options.contents && bytes >= self.batch_bytes {
                break;
            }
        }
        batch
    }

    async fn write_contents(&self, batch: &[Change]) -> Result<WrittenLines, LatticeError> {
        let FeedOptions { contents, matcher, priorities, unavailable, .. } = &self.options;
        let stored = stored(&*self.lattice, batch).await?;
        let mut lines = WrittenLines::default();
        for change in batch {
            let (node, priority) = match change {
                Change::Deleted(..) => (None, None),
                Change::Put { id, seq, content_hash, node_type, .. } => {
                    // A node that changed meanwhile stands further behind in the journal, and comes there.
                    let same = find(&stored, id).filter(|node| node.entry.content_hash == *content_hash);
                    let Some(node) = same else {
                        if self.lattice.entry(id)?.is_none_or(|entry| entry.seq != *seq) {
                            continue;
                        }
                        if *unavailable {
                            write_unavailable(change, None, &mut lines.text);
                            lines.count = lines.count.saturating_add(1);
                        } else if !self.lattice.is_unavailable(id) {
                            lines.unread.push((*seq, id.clone()));
                        }
                        continue;
                    };
                    let labels = (*priorities || matcher.needs_content()).then(|| labels(&node.bytes));
                    if labels.as_ref().is_some_and(|labels| !matcher.matches(id, node_type.as_deref(), labels)) {
                        continue;
                    }
                    if let Some(bytes) = self.too_large(&node.bytes) {
                        self.leave_out(change, bytes, &mut lines);
                        continue;
                    }
                    let priority = labels.filter(|_| *priorities).map(|labels| labels.priority);
                    (contents.then_some(&node.bytes), priority)
                }
            };
            write_line(change, node.map(AsRef::as_ref), priority, &mut lines.text);
            lines.count = lines.count.saturating_add(1);
        }
        Ok(lines)
    }
    /// How many bytes this content goes with, where they are more than the reader takes.
    fn too_large(&self, text: &[u8]) -> Option<usize> {
        let most = self.options.max_bytes.filter(|most| self.options.contents && text.len() > *most)?;
        let mut compact = Vec::with_capacity(text.len());
        write_compact(text, &mut compact);
        Some(compact.len()).filter(|bytes| *bytes > most)
    }

    fn leave_out(&self, change: &Change, bytes: usize, lines: &mut WrittenLines) {
        let Change::Put { seq, id, content_hash, .. } = change else { return };
        if self.options.unavailable {
            write_unavailable(change, Some(bytes), &mut lines.text);
            lines.count = lines.count.saturating_add(1);
        } else {
            let node = TooLargeNode { seq: *seq, id: id.clone(), content_hash: *content_hash, bytes };
            lines.too_large.push(node);
        }
    }
}
