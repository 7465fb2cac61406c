//! What was written, and what must have become of it.

use ark_lattice::{
    lattice::{NodeDocument, Version},
    types::{ContentHash, NodeId, Timestamp},
};
use bytes::Bytes;
use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
};

use crate::site::Site;

/// What a node holds; `None`: it is deleted.
pub(crate) type Content = Option<ContentHash>;
type Key = (NodeId, ContentHash);
/// Who restores conflicts.
pub(crate) const OPERATOR: &str = "operator";

/// One acknowledged write.
#[derive(Debug, Clone)]
pub(crate) struct Write {
    pub(crate) id: NodeId,
    pub(crate) content: Content,
    pub(crate) site: usize,
    pub(crate) at: Option<Timestamp>,
    pub(crate) before: Content,
    pub(crate) step: usize,
}

/// All writes of a run.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    pub(crate) writes: Vec<Write>,
    texts: HashMap<NodeId, Vec<Vec<u8>>>,
    /// Contents that an edit replaced where they were held.
    replaced: HashSet<Key>,
    /// Contents that an operator gave up with a backup or a deleted journal.
    given_up: HashSet<Key>,
    makers: HashMap<Key, BTreeSet<usize>>,
    /// Nodes whose greatest version cannot be told: an edit of theirs was dated by whoever met it first.
    uncertain: HashSet<NodeId>,
    /// An operator lost or brought back state: what was known is not all known any more.
    pub(crate) state_lost: bool,
    /// An old answer passed for a fresh one: what it leaves out is noticed by the sets alone.
    pub(crate) replayed: bool,
    /// A version was refused for its date, or lay so far ahead that others would: what it kept out meanwhile comes later.
    pub(crate) was_ahead: bool,
    /// Tombstones may be forgotten.
    pub(crate) months: bool,
    /// A file was broken: where it is, what it held cannot be kept.
    pub(crate) broke: bool,
    /// One content was written more than once.
    pub(crate) reused: bool,
}

impl Ledger {
    /// A write that replaced `before` on `site`. `at`: its version's time, where it is known for sure.
    pub(crate) fn wrote(&mut self, write: Write, text: Option<&[u8]>) {
        let Write { id, content, site, at, before, .. } = &write;
        if at.is_none() {
            self.uncertain.insert(id.clone());
        }
        if let Some(before) = before {
            self.replaced.insert((id.clone(), *before));
        }
        if let Some(content) = content {
            let makers = self.makers.entry((id.clone(), *content)).or_default();
            self.reused |= !makers.is_empty();
            makers.insert(*site);
        }
        if let Some(text) = text {
            self.texts.entry(id.clone()).or_default().push(text.to_owned());
        }
        self.writes.push(write);
    }

    /// May two sets differ after everything was exchanged?
    pub(crate) fn may_be_unexplained(&self) -> bool {
        self.state_lost || self.replayed
    }

    /// May two instances that hold the same content date it differently for good?
    pub(crate) fn may_date_otherwise(&self) -> bool {
        self.state_lost && self.replayed
    }

    /// Was this content written at that time or later, or may it have been?
    pub(crate) fn was_written_since(&self, id: &NodeId, content: ContentHash, at: Timestamp) -> bool {
        let is_its = |write: &&Write| write.id == *id && write.content == Some(content);
        self.writes.iter().filter(is_its).any(|write| write.at.is_none_or(|it| it >= at))
    }

    /// Was this version deleted somewhere, or overruled by a deletion, so long ago that the deletion itself may be forgotten?
    pub(crate) fn may_be_forgotten(&self, id: &NodeId, version: Version) -> bool {
        let is_deletion = |write: &Write| {
            let is_later = write.at.is_none_or(|at| at > version.at);
            write.content.is_none() && (write.before == version.content || is_later)
        };
        self.months && self.writes.iter().any(|write| write.id == *id && is_deletion(write))
    }

    /// Its greatest version cannot be told any more.
    pub(crate) fn doubt(&mut self, id: &NodeId) {
        self.uncertain.insert(id.clone());
    }

    pub(crate) fn give_up(&mut self, id: &NodeId, content: ContentHash) {
        self.given_up.insert((id.clone(), content));
    }

    pub(crate) fn texts(&self, id: &NodeId) -> &[Vec<u8>] {
        self.texts.get(id).map(Vec::as_slice).unwrap_or_default()
    }

    /// Does everything hold that must hold once all instances have spoken with each other? `partial`: not of everything; then each
    /// content is somewhere.
    pub(crate) fn check(&self, sites: &[Site], partial: bool) -> Result<(), String> {
        let held: Vec<_> = sites.iter().map(versions).collect();
        for (number, other) in held.iter().enumerate().skip(1).filter(|_| !partial) {
            let is_same = self.may_date_otherwise() && contents(&held[0]) == contents(other);
            if let Some(difference) = difference(&held[0], other).filter(|_| !is_same) {
                return Err(format!("s0 and s{number} differ: {difference}"));
            }
        }
        for (number, site) in sites.iter().enumerate() {
            check_directory(site).map_err(|problem| format!("s{number}: {problem}"))?;
        }
        let anywhere: HashSet<Key> = held.iter().flatten().map(|(id, (_, content))| (id.clone(), *content)).collect();
        for (id, content) in &anywhere {
            if !self.makers.contains_key(&(id.clone(), *content)) {
                return Err(format!("{id} holds {}, which nobody wrote", short(*content)));
            }
        }
        let conflicts = self.conflicts(sites)?;
        for write in &self.writes {
            let Some(content) = write.content else { continue };
            let key = (write.id.clone(), content);
            if anywhere.contains(&key) || self.replaced.contains(&key) || self.given_up.contains(&key) {
                continue;
            }
            let kept_by = conflicts.get(&key);
            let kept = match kept_by {
                None => false,
                // Who found it again made it, as far as he knows.
                Some(_) if self.state_lost || self.reused || self.broke || partial => true,
                Some(kept_by) => kept_by.contains(&write.site),
            };
            if !kept {
                return Err(format!(
                    "step {}: {} = {}, written on s{}, is lost: nobody replaced it knowingly, it is not held, and kept by {kept_by:?}",
                    write.step,
                    write.id,
                    short(content),
                    write.site,
                ));
            }
        }
        if partial { Ok(()) } else { self.greatest(&held[0]) }
    }

    /// Where every version was known to somebody all the time, the greatest of them is what is held.
    fn greatest(&self, held: &Held) -> Result<(), String> {
        if self.state_lost || self.months {
            return Ok(());
        }
        let mut greatest: BTreeMap<&NodeId, (Timestamp, Option<[u8; 32]>)> = BTreeMap::new();
        let stepped_back = self.stepped_back();
        let is_certain = |write: &&Write| !self.uncertain.contains(&write.id) && !stepped_back.contains(&write.id);
        for write in self.writes.iter().filter(is_certain) {
            let Some(at) = write.at else { continue };
            let version = (at, write.content.map(|content| *content.as_bytes()));
            let known = greatest.entry(&write.id).or_insert(version);
            *known = (*known).max(version);
        }
        for (id, (at, content)) in greatest {
            let found = held.get(id).map(|(_, content)| *content.as_bytes());
            if found != content {
                return Err(format!(
                    "{id}: the greatest version is of {at:?}, and another one is held: {:?}",
                    held.get(id)
                ));
            }
        }
        Ok(())
    }

    /// Nodes of which an instance dated a later write before an earlier one: it found a file with an older date of its own at a start.
    fn stepped_back(&self) -> HashSet<NodeId> {
        let mut last: HashMap<(NodeId, usize), Timestamp> = HashMap::new();
        let mut found = HashSet::new();
        for write in &self.writes {
            let Some(at) = write.at else { continue };
            if last.insert((write.id.clone(), write.site), at).is_some_and(|before| before > at) {
                found.insert(write.id.clone());
            }
        }
        found
    }

    /// Which instances keep a content, as a conflict or in the history; each with that very content.
    pub(crate) fn conflicts(&self, sites: &[Site]) -> Result<HashMap<Key, BTreeSet<usize>>, String> {
        let mut kept: HashMap<Key, BTreeSet<usize>> = HashMap::new();
        for (number, site) in sites.iter().enumerate() {
            let lattice = site.lattice();
            let kept_here =
                [lattice.conflicts(0, usize::MAX).unwrap(), lattice.overruled(0, usize::MAX).unwrap()].concat();
            for conflict in kept_here {
                let (_, text) = lattice.conflict(conflict.number).unwrap().unwrap();
                let node = NodeDocument::parse(Bytes::from(text.to_vec()), 64).unwrap();
                let Some(lost) = conflict.lost.content.filter(|lost| *lost == node.content_hash()) else {
                    return Err(format!("s{number} keeps another content than it says: {conflict:?}"));
                };
                if node.id() != &conflict.id {
                    return Err(format!("s{number} keeps another node than it says: {conflict:?}"));
                }
                kept.entry((conflict.id, lost)).or_default().insert(number);
            }
        }
        Ok(kept)
    }

    /// The story of a node, for people.
    pub(crate) fn story(&self) -> String {
        let mut lines = Vec::new();
        let mut writes: Vec<&Write> = self.writes.iter().collect();
        writes.sort_by_key(|write| (write.id.clone(), Reverse(write.step)));
        for write in writes.iter().rev() {
            let name = |content: Content| content.map_or("nothing".to_owned(), short);
            let (before, content) = (name(write.before), name(write.content));
            lines.push(format!(
                "  {} step {} s{}: {before} -> {content} {:?}",
                write.id, write.step, write.site, write.at
            ));
        }
        lines.join("\n")
    }
}

pub(crate) fn short(content: ContentHash) -> String {
    content.to_hex()[..8].to_owned()
}

type Held = BTreeMap<NodeId, (Timestamp, ContentHash)>;

pub(crate) fn versions(site: &Site) -> Held {
    let snapshot = site.lattice().snapshot().unwrap();
    snapshot.iter_after(None).map(|entry| (entry.id.clone(), (entry.updated_at, entry.content_hash))).collect()
}

fn contents(held: &Held) -> BTreeMap<&NodeId, ContentHash> {
    held.iter().map(|(id, (_, content))| (id, *content)).collect()
}

pub(crate) fn difference(one: &Held, other: &Held) -> Option<String> {
    let ids: BTreeSet<&NodeId> = one.keys().chain(other.keys()).collect();
    let differing: Vec<String> = ids
        .into_iter()
        .filter(|id| one.get(*id) != other.get(*id))
        .map(|id| {
            let name =
                |held: &Held| held.get(id).map(|(at, content)| format!("{} at {}", short(*content), at.micros()));
            format!("{id}: {:?} and {:?}", name(one), name(other))
        })
        .collect();
    (!differing.is_empty()).then(|| differing.join("; "))
}

/// Index, files and journal say the same.
fn check_directory(site: &Site) -> Result<(), String> {
    let lattice = site.lattice();
    let snapshot = lattice.snapshot().unwrap();
    let index: BTreeMap<String, ContentHash> =
        snapshot.iter_after(None).map(|entry| (entry.id.to_string(), entry.content_hash)).collect();
    let files = site.files().into_iter().map(|(name, (text, _))| {
        let name = name.trim_end_matches(".json").to_owned();
        crate::site::content_of(text).map(|content| (name.clone(), content)).ok_or(format!("{name} is broken"))
    });
    let files: BTreeMap<String, ContentHash> = files.collect::<Result<_, _>>()?;
    if files != index {
        return Err(format!("the files are {files:?}, the index {index:?}"));
    }
    let mut journal = BTreeMap::new();
    for change in lattice.changes(0, usize::MAX).unwrap() {
        if let ark_lattice::lattice::Change::Put { id, content_hash, .. } = change
            && journal.insert(id.to_string(), content_hash).is_some()
        {
            return Err(format!("{id} occurs twice in the journal", id = journal.len()));
        }
    }
    if journal == index { Ok(()) } else { Err(format!("the journal is {journal:?}, the index {index:?}")) }
}
