//! Copies of many small nodes in one file, in the order of their ids: who wants most of them reads it from front to back, in the
//! place of a file for each. Nothing rests on it. It may be old, damaged or gone: what it does not surely have is read where it always was.
//!
//! It is made of chunks of one length, so that a place in it can be found by halving, without a table of places.
//!
//! | bytes of a chunk | |
//! |---|---|
//! | 8 | XXH3 of the rest, as far as it is used |
//! | 8 | `arkpack1` |
//! | 32 | SHA-256 of the journal's `index_id` |
//! | 4 | how many bytes of the chunk are used |
//! | | nodes: length of the id (2), length of the content (2), SHA-256 of the content (32), id, content |
//!
//! Numbers are little-endian. The hashes are those of the index, so that it decides what is read; the sum shows what a disk did to it.

use super::Entry;
use crate::types::{ContentHash, MAX_ID_CHARS, Sha256Digest};
use bytes::Bytes;
use rustix::{buffer::spare_capacity, io::Errno};
use std::{
    cmp::Ordering,
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
};
use xxhash_rust::xxh3::xxh3_64;

/// So much is read at once.
const CHUNK_BYTES: usize = 64 << 10;
const MAGIC: &[u8; 8] = b"arkpack1";
const SUM_BYTES: usize = 8;
const HEAD_BYTES: usize = SUM_BYTES + 8 + 32 + 4;
const NODE_HEAD_BYTES: usize = 2 + 2 + 32;
/// Chunks in which nothing was found, one after the other, until the rest is not looked for any more: the pack has little of it, or is
/// damaged.
const FRUITLESS: u8 = 3;

/// A node of which the pack has a copy, at most: of a larger one opening its file is a small part of what it costs, and chunks of one
/// length are full of such small ones.
const MAX_NODE_BYTES: usize = 8 << 10;

/// Is it worth having a copy of this node?
pub(super) fn is_packed(entry: &Entry) -> bool {
    usize::try_from(entry.size_bytes).is_ok_and(|size| size <= MAX_NODE_BYTES)
}

/// What a copy of this node takes in a pack, bytes.
pub(super) fn room_bytes(entry: &Entry) -> u64 {
    let around = NODE_HEAD_BYTES.saturating_add(entry.id.as_str().len());
    entry.size_bytes.saturating_add(u64::try_from(around).unwrap_or(u64::MAX))
}

fn label(index_id: &str) -> Sha256Digest {
    *ContentHash::of(index_id.as_bytes()).as_bytes()
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (first, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(*first)
}

fn take_length(bytes: &mut &[u8]) -> Option<usize> {
    take(bytes).map(|length| usize::from(u16::from_le_bytes(length)))
}

/// Takes the head of a chunk of this journal; answers the sum and how much of the chunk is used.
fn take_head(bytes: &mut &[u8], of: &Sha256Digest) -> Option<(u64, usize)> {
    let sum = u64::from_le_bytes(take(bytes)?);
    if take(bytes)? != *MAGIC || take(bytes)? != *of {
        return None;
    }
    let used = usize::try_from(u32::from_le_bytes(take(bytes)?)).ok()?;
    (HEAD_BYTES..=CHUNK_BYTES).contains(&used).then_some((sum, used))
}

/// A node in a chunk. The content is what follows.
struct NodeHead<'a> {
    id: &'a [u8],
    hash: Sha256Digest,
    size: usize,
}

fn take_node_head<'a>(bytes: &mut &'a [u8]) -> Option<NodeHead<'a>> {
    let (id, size, hash) = (take_length(bytes)?, take_length(bytes)?, take(bytes)?);
    let (id, rest) = bytes.split_at_checked(id)?;
    *bytes = rest;
    Some(NodeHead { id, hash, size })
}

/// A pack that is read.
#[derive(Debug)]
pub(super) struct Pack {
    file: File,
    label: Sha256Digest,
    chunks: u64,
}

impl Pack {
    /// The pack at `path`, where there is one of this journal.
    pub(super) fn open(path: &Path, index_id: &str) -> Option<Self> {
        let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_CLOEXEC;
        let file = OpenOptions::new().read(true).custom_flags(flags).open(path).ok()?;
        let metadata = file.metadata().ok().filter(fs::Metadata::is_file)?;
        let pack = Self { file, label: label(index_id), chunks: chunks(metadata.len()) };
        pack.first_id(0).is_some().then_some(pack)
    }

    /// Finds one node after another, in ascending order.
    pub(super) fn walk(&self) -> Walk<'_> {
        Walk { pack: self, chunk: Bytes::new(), at: 0, next: None, fruitless: 0 }
    }

    /// The id with which a chunk begins.
    fn first_id(&self, chunk: u64) -> Option<Vec<u8>> {
        // A character of an id has four bytes at most.
        let mut bytes = [0; HEAD_BYTES + NODE_HEAD_BYTES + 4 * MAX_ID_CHARS];
        let read = self.file.read_at(&mut bytes, place(chunk)).ok()?;
        let mut rest = bytes.get(..read)?;
        take_head(&mut rest, &self.label)?;
        take_node_head(&mut rest).map(|node| node.id.to_vec())
    }

    /// The chunk from `from` on in which this id is, if it is in one of them.
    fn seek(&self, id: &[u8], from: u64) -> u64 {
        let (mut low, mut high) = (from, self.chunks);
        while low < high {
            let middle = low.midpoint(high);
            if self.first_id(middle).is_some_and(|first| *first <= *id) {
                low = middle.saturating_add(1);
            } else {
                high = middle;
            }
        }
        low.saturating_sub(1).max(from)
    }

    /// What is used of a chunk whose sum is right.
    fn read(&self, chunk: u64) -> Option<Bytes> {
        let mut bytes = Vec::with_capacity(CHUNK_BYTES);
        while bytes.len() < CHUNK_BYTES {
            let read = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
            match rustix::io::pread(&self.file, spare_capacity(&mut bytes), place(chunk).saturating_add(read)) {
                Ok(0) => break,
                Ok(_) | Err(Errno::INTR) => {}
                Err(_) => return None,
            }
        }
        let (sum, used) = take_head(&mut &*bytes, &self.label)?;
        let summed = bytes.get(SUM_BYTES..used)?;
        if xxh3_64(summed) != sum {
            return None;
        }
        bytes.truncate(used);
        Some(bytes.into())
    }
}

fn place(chunk: u64) -> u64 {
    chunk.saturating_mul(u64::try_from(CHUNK_BYTES).unwrap_or(u64::MAX))
}

/// How many chunks there are in so many bytes; the last one is as long as it is used.
fn chunks(bytes: u64) -> u64 {
    bytes.div_ceil(place(1))
}

/// A way through a pack from front to back.
#[derive(Debug)]
pub(super) struct Walk<'a> {
    pack: &'a Pack,
    /// The chunk that the way has come to; empty before the first one, and where it is damaged.
    chunk: Bytes,
    /// The node in it.
    at: usize,
    /// The chunk after it; none before the first.
    next: Option<u64>,
    fruitless: u8,
}

impl Walk<'_> {
    /// The content of this node with this hash. `id` is greater than the one that was asked for before.
    pub(super) fn find(&mut self, id: &[u8], hash: &Sha256Digest) -> Option<Bytes> {
        let mut is_near = true;
        loop {
            let mut rest = self.chunk.get(self.at..).unwrap_or_default();
            while let Some(node) = take_node_head(&mut rest) {
                let order = node.id.cmp(id);
                if order.is_gt() {
                    return None;
                }
                let start = self.chunk.len().checked_sub(rest.len())?;
                self.at = start.checked_add(node.size)?;
                if order == Ordering::Equal {
                    let content =
                        (node.hash == *hash && self.at <= self.chunk.len()).then(|| self.chunk.slice(start..self.at));
                    self.fruitless = if content.is_some() { 0 } else { self.fruitless };
                    return content;
                }
                rest = self.chunk.get(self.at..).unwrap_or_default();
            }
            if !self.advance(id, is_near) {
                return None;
            }
            is_near = false;
        }
    }

    /// On to the next chunk, or to the one in which this id would be.
    fn advance(&mut self, id: &[u8], is_near: bool) -> bool {
        let chunk = match self.next {
            Some(next) if is_near => next,
            next => self.pack.seek(id, next.unwrap_or(0)),
        };
        if self.fruitless >= FRUITLESS || chunk >= self.pack.chunks {
            return false;
        }
        self.fruitless += 1;
        self.next = Some(chunk.saturating_add(1));
        self.chunk = self.pack.read(chunk).unwrap_or_default();
        self.at = HEAD_BYTES;
        true
    }
}

/// A pack that is being made, under another name. What a killed process leaves of it is removed by the next one.
#[derive(Debug)]
pub(super) struct Writer {
    file: File,
    /// None: it has its own name now.
    path: Option<PathBuf>,
    label: Sha256Digest,
    chunk: Vec<u8>,
}

impl Writer {
    /// Where it is made.
    fn beside(target: &Path) -> PathBuf {
        target.with_extension("pack.new")
    }

    /// Removes what was not finished.
    pub(super) fn clear(target: &Path) {
        // There is nothing, as a rule.
        let _ = fs::remove_file(Self::beside(target));
    }

    /// Begins one that is to be at `target`.
    ///
    /// # Errors
    /// Those of the file system.
    pub(super) fn create(target: &Path, index_id: &str) -> io::Result<Self> {
        Self::clear(target);
        let path = Self::beside(target);
        let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path)?;
        let chunk = Vec::with_capacity(CHUNK_BYTES);
        Ok(Self { file, path: Some(path), label: label(index_id), chunk })
    }

    /// Adds a node; greater ids come later. One that is too large, or not what its hash says, is left out.
    ///
    /// # Errors
    /// Those of the file system.
    pub(super) fn add(&mut self, id: &str, hash: &Sha256Digest, content: &[u8]) -> io::Result<()> {
        let (Ok(id_length), Ok(size)) = (u16::try_from(id.len()), u16::try_from(content.len())) else { return Ok(()) };
        if content.len() > MAX_NODE_BYTES || ContentHash::of(content).as_bytes() != hash {
            return Ok(());
        }
        let length = NODE_HEAD_BYTES + id.len() + content.len();
        if self.chunk.len().saturating_add(length) > CHUNK_BYTES {
            self.end_chunk();
            self.chunk.resize(CHUNK_BYTES, 0);
            self.file.write_all(&self.chunk)?;
            self.chunk.clear();
        }
        if self.chunk.is_empty() {
            self.chunk.extend([0; SUM_BYTES]);
            self.chunk.extend(MAGIC);
            self.chunk.extend(self.label);
            self.chunk.extend([0; 4]);
        }
        self.chunk.extend(id_length.to_le_bytes());
        self.chunk.extend(size.to_le_bytes());
        self.chunk.extend(hash);
        self.chunk.extend(id.as_bytes());
        self.chunk.extend(content);
        Ok(())
    }

    /// Puts length and sum into the head.
    fn end_chunk(&mut self) {
        let used = u32::try_from(self.chunk.len()).unwrap_or(u32::MAX).to_le_bytes();
        if let Some(head) = self.chunk.get_mut(HEAD_BYTES - used.len()..HEAD_BYTES) {
            head.copy_from_slice(&used);
        }
        let sum = xxh3_64(self.chunk.get(SUM_BYTES..).unwrap_or_default()).to_le_bytes();
        if let Some(head) = self.chunk.get_mut(..SUM_BYTES) {
            head.copy_from_slice(&sum);
        }
    }

    /// Puts it into its place. Not made durable: what a crash leaves of it shows in the sums.
    ///
    /// # Errors
    /// Those of the file system.
    pub(super) fn finish(mut self, target: &Path) -> io::Result<Pack> {
        if !self.chunk.is_empty() {
            self.end_chunk();
            self.file.write_all(&self.chunk)?;
        }
        let length = self.file.metadata()?.len();
        if let Some(path) = &self.path {
            fs::rename(path, target)?;
        }
        self.path = None;
        Ok(Pack { file: self.file.try_clone()?, label: self.label, chunks: chunks(length) })
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        if let Some(path) = &self.path {
            // The next one removes it otherwise.
            let _ = fs::remove_file(path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::offline::write_file, *};
    use proptest::prelude::*;
    use std::{collections::BTreeMap, os::unix::fs::PermissionsExt};

    const INDEX_ID: &str = "0123456789abcdef0123456789abcdef";

    type Model = BTreeMap<String, Vec<u8>>;

    fn hash(content: &[u8]) -> Sha256Digest {
        *ContentHash::of(content).as_bytes()
    }

    fn write(path: &Path, nodes: &Model) -> Pack {
        let mut writer = Writer::create(path, INDEX_ID).unwrap();
        for (id, content) in nodes {
            writer.add(id, &hash(content), content).unwrap();
        }
        writer.finish(path).unwrap()
    }

    /// Some chunks of nodes of every size, some of them too large.
    fn model(count: usize) -> Model {
        let size =
            |number: usize| number * 7919 % 1000 + if number.is_multiple_of(97) { MAX_NODE_BYTES - 500 } else { 0 };
        let node = |number: usize| {
            let mut content = format!("{number} ").repeat(size(number) + 1).into_bytes();
            content.truncate(size(number));
            (format!("{:05}", number * 3), content)
        };
        (0..count).map(node).collect()
    }

    fn packed(nodes: &Model) -> usize {
        nodes.values().filter(|content| content.len() <= MAX_NODE_BYTES).count()
    }

    /// How many are found; whatever is, is right.
    fn found(pack: &Pack, nodes: &Model) -> usize {
        let mut walk = pack.walk();
        let right = |(id, content): (&String, &Vec<u8>)| {
            walk.find(id.as_bytes(), &hash(content)).inspect(|copy| assert!(copy == content, "{id}"))
        };
        nodes.iter().filter_map(right).count()
    }

    #[test]
    fn what_is_written_is_found_again_from_any_place() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.pack");
        let nodes = model(2000);
        let made = write(&path, &nodes);
        assert!(made.chunks > 5 && packed(&nodes) < nodes.len());
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert!(!path.with_extension("pack.new").exists());
        for pack in [made, Pack::open(&path, INDEX_ID).unwrap()] {
            assert_eq!(found(&pack, &nodes), packed(&nodes));
            for skipped in [1, 150, 777, 1999] {
                let rest: Model = nodes.clone().into_iter().skip(skipped).collect();
                assert_eq!(found(&pack, &rest), packed(&rest), "from {skipped}");
                let some: Model = nodes.clone().into_iter().step_by(skipped).collect();
                assert_eq!(found(&pack, &some), packed(&some), "each {skipped}th");
            }
            let others: Model = nodes.keys().map(|id| (format!("{id}x"), b"x".to_vec())).collect();
            assert_eq!(found(&pack, &others), 0);
            let edited: Model = nodes.keys().map(|id| (id.clone(), b"edited".to_vec())).collect();
            assert_eq!(found(&pack, &edited), 0);
        }
    }

    #[test]
    fn one_that_is_not_of_this_journal_or_no_file_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.pack");
        assert!(Pack::open(&path, INDEX_ID).is_none());
        write(&path, &model(10));
        assert!(Pack::open(&path, INDEX_ID).is_some());
        assert!(Pack::open(&path, "fedcba9876543210fedcba9876543210").is_none());
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert!(Pack::open(&link, INDEX_ID).is_none() && Pack::open(folder.path(), INDEX_ID).is_none());
        write(&path, &Model::new());
        assert!(Pack::open(&path, INDEX_ID).is_none(), "there is nothing in it");
    }

    #[test]
    fn a_node_that_is_not_what_its_hash_says_is_left_out() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.pack");
        let mut writer = Writer::create(&path, INDEX_ID).unwrap();
        writer.add("a", &hash(b"one"), b"other").unwrap();
        writer.add("b", &hash(b"two"), b"two").unwrap();
        let pack = writer.finish(&path).unwrap();
        assert_eq!(pack.walk().find(b"a", &hash(b"one")), None);
        assert_eq!(pack.walk().find(b"b", &hash(b"two")).as_deref(), Some(&b"two"[..]));
    }

    #[test]
    fn what_was_not_finished_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.pack");
        drop(Writer::create(&path, INDEX_ID).unwrap());
        assert_eq!(folder.path().read_dir().unwrap().count(), 0);
        std::mem::forget(Writer::create(&path, INDEX_ID).unwrap());
        assert_eq!(folder.path().read_dir().unwrap().count(), 1, "a killed process leaves it");
        write(&path, &model(10));
        assert_eq!(folder.path().read_dir().unwrap().count(), 1, "and the next one takes its place");
    }

    #[derive(Debug, Clone)]
    enum Damage {
        Flip(prop::sample::Index),
        Cut(prop::sample::Index),
        Zero(prop::sample::Index),
        Swap(prop::sample::Index, prop::sample::Index),
        Add(Vec<u8>),
    }

    fn damage() -> impl Strategy<Value = Damage> {
        use prop::sample::Index;
        prop_oneof![
            any::<Index>().prop_map(Damage::Flip),
            any::<Index>().prop_map(Damage::Cut),
            any::<Index>().prop_map(Damage::Zero),
            any::<(Index, Index)>().prop_map(|(one, other)| Damage::Swap(one, other)),
            proptest::collection::vec(any::<u8>(), 1..200).prop_map(Damage::Add),
        ]
    }

    /// The chunks that it touches.
    fn apply(damage: &Damage, bytes: &mut Vec<u8>) -> usize {
        match damage {
            Damage::Flip(at) => {
                let at = at.index(bytes.len());
                bytes[at] ^= 1 << (at % 8);
                1
            }
            Damage::Cut(at) => {
                let at = at.index(bytes.len());
                let cut = bytes.len().div_ceil(CHUNK_BYTES) - at / CHUNK_BYTES;
                bytes.truncate(at);
                cut
            }
            Damage::Zero(at) => {
                let at = at.index(bytes.len()) & !4095;
                let end = (at + 4096).min(bytes.len());
                bytes[at..end].fill(0);
                1
            }
            Damage::Swap(one, other) => {
                let whole = bytes.len() / CHUNK_BYTES;
                // An earlier cut left no whole chunk.
                if whole == 0 {
                    return 0;
                }
                let (one, other) = (one.index(whole) * CHUNK_BYTES, other.index(whole) * CHUNK_BYTES);
                let chunk = bytes[one..one + CHUNK_BYTES].to_vec();
                bytes.copy_within(other..other + CHUNK_BYTES, one);
                bytes[other..other + CHUNK_BYTES].copy_from_slice(&chunk);
                // Out of order, whatever lies between them may be missed.
                usize::MAX
            }
            Damage::Add(more) => {
                bytes.extend(more);
                1
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn whatever_befalls_it_what_is_found_is_right(damages in proptest::collection::vec(damage(), 1..3)) {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("a.pack");
            let nodes = model(1000);
            write(&path, &nodes);
            let mut bytes = fs::read(&path).unwrap();
            let mut hurt = 0_usize;
            for damage in &damages {
                if !bytes.is_empty() {
                    hurt = hurt.saturating_add(apply(damage, &mut bytes));
                }
            }
            let other = folder.path().join("b.pack");
            write_file(&other, &bytes).unwrap();
            if let Some(pack) = Pack::open(&other, INDEX_ID) {
                let lost = packed(&nodes) - found(&pack, &nodes);
                // A chunk has fewer nodes than this.
                let most = hurt.saturating_mul(200);
                prop_assert!(lost <= most, "{lost} lost by {damages:?}");
            }
        }
    }
}
