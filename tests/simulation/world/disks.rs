//! What happens to processes, disks and files while nobody asks the service: restarts, backups, clones, lost and empty directories, files
//! that break.

use super::{Contact, World, held};
use crate::{
    oracle::{Content, Write, short, versions},
    site::{Files, Site, content_of},
};
use ark_lattice::{
    federation::round::Outcome,
    lattice::{NodeDocument, Precondition},
    types::{ContentHash, NodeId, Timestamp},
};
use bytes::Bytes;
use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    time::Duration,
};

type Held = BTreeMap<NodeId, (Timestamp, ContentHash)>;

/// An instance's disk as it was.
#[derive(Clone)]
struct Backup {
    files: Files,
    journal: PathBuf,
    contacts: Vec<Contact>,
    held: Held,
    /// It is of the other process of one identity: what it holds, this one may never have seen.
    is_of_other: bool,
}

/// What lies beside the instances.
#[derive(Default)]
pub(super) struct Disks {
    backups: BTreeMap<usize, Backup>,
    /// What stood in files that are broken.
    broken: BTreeMap<(usize, NodeId), Vec<u8>>,
    /// Instances that have files whose mtimes say nothing of their versions.
    touched: BTreeSet<usize>,
}

/// What an operator does to an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Loss {
    /// The journal is deleted.
    Journal,
    /// And what is known of peers.
    State,
    /// The state of a backup, with the files as they are.
    OldState,
    /// State and files of a backup; `bool`: with their mtimes.
    Both(bool),
    /// The files of a backup while the service is stopped.
    Data(bool),
    /// The same, file by file: the directory keeps its own mtime.
    Files,
    /// The files of a backup while the service runs: edits.
    DataLive(bool),
    /// Two processes have one identity: from here on the other one answers.
    Clone,
}

fn is_node(name: &str, text: &[u8]) -> bool {
    let node = NodeDocument::parse(Bytes::copy_from_slice(text), 64);
    node.is_ok_and(|node| format!("{}.json", node.id()) == name)
}

/// The time that a document states.
pub(super) fn stated(text: &[u8]) -> Option<Timestamp> {
    NodeDocument::parse(Bytes::copy_from_slice(text), 64).ok()?.updated_at()
}

impl World {
    fn is_busy(&self, site: usize) -> bool {
        self.busy.lock().unwrap().iter().any(|(from, _)| *from == site)
    }

    /// On the files as they stand; the journal is one that was never closed.
    pub(super) async fn reopen_as_killed(&self, site: &Site) {
        let copy = site.copy_journal();
        site.down();
        site.use_journal(Some(&copy));
        site.reopen().await;
    }

    /// With a journal that did not come to its last commit: what that said is found in the files, and dated by them.
    pub(super) async fn reopen_torn(&self, number: usize, journal: &Path) {
        let site = &self.sites[number];
        let times = || -> Vec<_> { self.ids.iter().map(|id| held(&*site.lattice(), id)).collect() };
        let before = times();
        site.down();
        site.use_journal(Some(journal));
        site.reopen().await;
        let after = times();
        let mut ledger = self.ledger.lock().unwrap();
        let changed = self.ids.iter().zip(before.iter().zip(&after)).filter(|(_, (before, after))| before != after);
        changed.for_each(|(id, _)| ledger.doubt(id));
    }

    pub(super) async fn restart(&self, number: usize) {
        if self.is_busy(number) {
            return;
        }
        let site = &self.sites[number];
        let kind = self.below(5);
        self.say(|| format!("s{number} restarts, kind {kind}"));
        self.count(|tally| tally.kills += 1);
        match kind {
            0 => {
                site.close().await;
                site.reopen().await;
            }
            1 => {
                site.down();
                site.reopen().await;
            }
            2 if self.plan.torn => {
                // An edit that was answered, of a process whose journal did not reach the disk.
                let before = site.lattice().status().seq;
                self.edit(number).await;
                if site.lattice().status().seq == before {
                    return;
                }
                let Some(copy) = site.copy_journal_before_last_commit() else { return };
                self.count(|tally| tally.torn += 1);
                self.reopen_torn(number, &copy).await;
            }
            3 => self.edit_while_down(number).await,
            _ => self.reopen_as_killed(site).await,
        }
    }

    /// Files are changed while the service is stopped: each counts from when that was.
    async fn edit_while_down(&self, number: usize) {
        let site = &self.sites[number];
        let times: BTreeMap<&NodeId, _> = self.ids.iter().map(|id| (id, held(&*site.lattice(), id))).collect();
        let before: BTreeMap<&NodeId, Content> = self.ids.iter().map(|id| (id, site.current(id))).collect();
        let mut edits: BTreeMap<NodeId, Option<(String, Timestamp)>> = BTreeMap::new();
        site.down();
        for _ in 0..1 + self.below(3) {
            self.pass(Duration::from_millis(1 + u64::try_from(self.below(2000)).unwrap()));
            let id = self.pick(&self.ids);
            if edits.contains_key(&id) {
                continue;
            }
            if site.held(&id).is_some() && self.percent(25) {
                site.remove(&id);
                edits.insert(id, None);
                continue;
            }
            let text = self.text(number, &id);
            // Now and then a file that was made elsewhere, earlier.
            let ago = if self.percent(15) { 1 + self.below(7200) } else { 0 };
            let at = site.now().minus(Duration::from_secs(u64::try_from(ago).unwrap()));
            site.write_at(&id, text.as_bytes(), at);
            edits.insert(id, Some((text, at)));
        }
        site.reopen().await;
        for (id, edit) in edits {
            let content = site.held(&id);
            if content == before[&id] {
                self.touched(number);
                continue;
            }
            let at = held(&*site.lattice(), &id).filter(|held| held.content == content).map(|held| held.at);
            self.say(|| format!("s{number} had {id} = {:?} while it was down: {at:?}", content.map(short)));
            // Its peers do not hear of it that it stepped back; release 0.1.0 does not.
            if site.is_old && at < times[&id].map(|held| held.at) {
                self.ledger.lock().unwrap().state_lost = true;
            }
            let text = edit.as_ref().map(|(text, _)| text.as_bytes());
            if let (Some((text, modified)), false) = (&edit, self.plan.reuse) {
                let stated = stated(text.as_bytes()).map(|stated| stated.min(site.now()));
                if at != Some(*modified) && (stated.is_none() || at != stated) {
                    self.wrong(|| {
                        format!("{id} was edited at {modified:?} while s{number} was down, and counts from {at:?}")
                    });
                }
            }
            let before = before[&id];
            self.note(Write { id, content, site: number, at, before, step: self.step() }, text);
        }
    }

    fn links_of(&self, site: usize) -> Vec<usize> {
        let links = self.plan.links.iter().enumerate();
        links.filter(|(_, link)| link.from == site).map(|(number, _)| number).collect()
    }

    pub(super) async fn lose_or_back_up(&self, number: usize) {
        if self.plan.state_loss && self.disks.lock().unwrap().backups.contains_key(&number) {
            self.lose(number).await;
        } else {
            self.back_up(number).await;
        }
    }

    fn backup(&self, number: usize) -> Backup {
        let site = &self.sites[number];
        let contacts = self.contacts.lock().unwrap();
        let contacts = self.links_of(number).into_iter().map(|link| contacts[link].clone()).collect();
        Backup { files: site.files(), journal: site.copy_journal(), contacts, held: versions(site), is_of_other: false }
    }

    pub(super) async fn back_up(&self, number: usize) {
        self.repair_all(number).await;
        let backup = self.backup(number);
        self.disks.lock().unwrap().backups.insert(number, backup);
        self.say(|| format!("s{number} is backed up"));
    }

    /// Everything that an instance can give back.
    fn known(&self, number: usize) -> BTreeSet<(NodeId, ContentHash)> {
        let lattice = self.sites[number].lattice();
        let lists = [lattice.conflicts(0, usize::MAX).unwrap(), lattice.overruled(0, usize::MAX).unwrap()];
        let kept = lists.into_iter().flatten().map(|it| (it.id, it.lost.content.unwrap()));
        let held = versions(&self.sites[number]).into_iter().map(|(id, (_, content))| (id, content));
        held.chain(kept).collect()
    }

    /// What an operator destroys here and no other instance has is gone with it.
    fn give_up(&self, number: usize, lost: impl IntoIterator<Item = (NodeId, ContentHash)>) {
        let others = (0..self.sites.len()).filter(|other| *other != number);
        let others: BTreeSet<_> = others.flat_map(|other| self.known(other)).collect();
        let mut ledger = self.ledger.lock().unwrap();
        for (id, content) in lost {
            if !others.contains(&(id.clone(), content)) {
                ledger.give_up(&id, content);
            }
        }
    }

    /// An operator deletes state, or brings back what was.
    pub(super) async fn lose(&self, number: usize) {
        let site = &self.sites[number];
        self.repair_all(number).await;
        let backup = self.disks.lock().unwrap().backups.get(&number).cloned();
        let loss = match &backup {
            None => self.pick(&[Loss::Journal, Loss::State]),
            Some(_) => self.pick(&[
                Loss::Journal,
                Loss::State,
                Loss::OldState,
                Loss::OldState,
                Loss::Both(true),
                Loss::Both(false),
                Loss::Data(true),
                Loss::Data(true),
                Loss::Data(false),
                Loss::Files,
                Loss::DataLive(true),
                Loss::DataLive(false),
                Loss::Clone,
                Loss::Clone,
            ]),
        };
        // Files of which none is a node, or was ever seen here, tell nothing of a directory that is not older itself.
        let tells =
            |backup: &Backup| !backup.is_of_other && backup.files.iter().any(|(name, (text, _))| is_node(name, text));
        let loss = match loss {
            Loss::Files if !backup.as_ref().is_some_and(tells) => Loss::OldState,
            loss => loss,
        };
        self.say(|| format!("s{number} loses state: {loss:?}"));
        self.ledger.lock().unwrap().state_lost = true;
        let (known, now) = (self.known(number), self.backup(number));
        let set_contacts = |list: Vec<Contact>| {
            let mut contacts = self.contacts.lock().unwrap();
            self.links_of(number).into_iter().zip(list).for_each(|(link, contact)| contacts[link] = contact);
        };
        let then = backup.unwrap_or_else(|| now.clone());
        // Files of the other process alone: a journal that never saw their versions has only their mtimes.
        let is_unseen = then.is_of_other && matches!(loss, Loss::Data(_) | Loss::Files);
        if !matches!(loss, Loss::DataLive(_)) {
            site.down();
        }
        match loss {
            Loss::Journal => site.use_journal(None),
            Loss::State => {
                site.use_journal(None);
                set_contacts(vec![Contact::default(); self.plan.links.len()]);
            }
            Loss::OldState => {
                site.use_journal(Some(&then.journal));
                set_contacts(then.contacts);
            }
            Loss::Both(with_times) => {
                site.restore(&then.files, with_times);
                site.use_journal(Some(&then.journal));
                set_contacts(then.contacts);
            }
            Loss::Clone => {
                site.restore(&then.files, true);
                site.use_journal(Some(&then.journal));
                set_contacts(then.contacts);
                self.disks.lock().unwrap().backups.insert(number, Backup { is_of_other: true, ..now.clone() });
            }
            Loss::Files => site.restore_files(&then.files),
            Loss::Data(with_times) | Loss::DataLive(with_times) => {
                site.restore(&then.files, with_times);
                // Older versions, where it can be told; otherwise, edits.
                if loss != Loss::Data(true) {
                    self.note_restored(number, &now.files, &then.files);
                }
            }
        }
        if matches!(loss, Loss::DataLive(_)) {
            site.settle().await;
        } else {
            site.reopen().await;
        }
        let known_now = self.known(number);
        self.give_up(number, known.difference(&known_now).cloned());
        if matches!(loss, Loss::Both(false) | Loss::Data(false) | Loss::DataLive(_)) {
            self.touched(number);
        }
        let tells = !self.disks.lock().unwrap().touched.contains(&number);
        if loss == Loss::Both(false) || (tells && !matches!(loss, Loss::DataLive(_) | Loss::Data(false))) {
            let then = if is_unseen { Held::new() } else { then.held };
            self.check_restored(number, loss, &now.held, &then);
        }
    }

    pub(super) fn touched(&self, number: usize) {
        self.disks.lock().unwrap().touched.insert(number);
    }

    /// What is restored is the version that it was, and not a newer one.
    fn check_restored(&self, number: usize, loss: Loss, now: &Held, then: &Held) {
        let (site, step) = (&self.sites[number], self.step());
        let (clock, files) = (site.now(), site.files());
        for (id, (at, content)) in versions(site) {
            let times = [now.get(&id), then.get(&id)].into_iter().flatten();
            let was = times.filter(|(_, was)| *was == content).map(|(at, _)| *at).max();
            // Or one that the journal remembers, though a start without a journal dated it by its file.
            let is_known = self.ledger.lock().unwrap().was_written_since(&id, content, at);
            let modified = files.get(&format!("{id}.json")).map(|(_, modified)| *modified);
            // A file of the future shows that the clock is behind. A document that stated a time ahead of the clock states it still.
            let stated = files.get(&format!("{id}.json")).and_then(|(text, _)| stated(text));
            if let Some(was) = was.filter(|was| {
                *was <= clock && at > *was && stated < Some(at) && !is_known && modified <= clock.to_system_time()
            }) {
                self.wrong(|| {
                    format!(
                        "step {step}, {loss:?}: s{number} has {id} = {} of {was:?}, and says {at:?}",
                        short(content)
                    )
                });
            }
        }
        if matches!(loss, Loss::Data(true) | Loss::Files) {
            let lattice = site.lattice();
            let deleted =
                now.keys().find(|id| lattice.entry(id).unwrap().is_none() && lattice.tombstone(id).unwrap().is_some());
            if let Some(id) = deleted {
                self.wrong(|| {
                    format!("step {step}: s{number} deletes {id}, which is not in the older copy of its directory")
                });
            }
        }
    }

    fn note_restored(&self, number: usize, now: &Files, then: &Files) {
        for name in now.keys().chain(then.keys()).collect::<BTreeSet<_>>() {
            let id = NodeId::parse(name.trim_end_matches(".json")).unwrap();
            let content = |files: &Files| content_of(files.get(name)?.0.clone());
            let (before, content) = (content(now), content(then));
            if before != content {
                let text = then.get(name).map(|(text, _)| text.as_slice());
                self.note(Write { id, content, site: number, at: None, before, step: self.step() }, text);
            }
        }
    }

    /// An empty directory stands in place of the right one, while the service runs or when it starts; then the right one is back.
    pub(super) async fn unmount(&self, number: usize) {
        let site = &self.sites[number];
        let (before, is_down) = (versions(site), self.below(2) == 0);
        // A journal that knows nothing takes any directory.
        if before.is_empty() {
            return;
        }
        self.say(|| format!("s{number} has an empty directory, down: {is_down}"));
        let found = if is_down {
            site.down();
            site.unmount();
            if !site.refuses() {
                self.wrong(|| format!("s{number} starts on an empty directory"));
            }
            let found = site.mount();
            site.reopen().await;
            found
        } else {
            let lattice = site.lattice();
            site.unmount();
            if lattice.rescan().await.is_ok() {
                self.wrong(|| format!("s{number} looks at an empty directory and says nothing"));
            }
            let node = NodeDocument::parse(Bytes::from(format!("{{\"id\":\"{}\",\"n\":1}}", self.ids[0])), 64).unwrap();
            if lattice.put(node, Precondition::None).await.is_ok() {
                self.wrong(|| format!("s{number} writes into the empty directory"));
            }
            drop(lattice);
            let links = self.links_of(number);
            if !links.is_empty() {
                let was_calm = std::mem::replace(&mut *self.calm.lock().unwrap(), true);
                let end = self.round(self.pick(&links), super::DEPTH).await;
                *self.calm.lock().unwrap() = was_calm;
                let moved =
                    end.is_some_and(|end| end.report.outcome == Some(Outcome::InStep) && end.report.received.taken > 0);
                if moved {
                    self.wrong(|| format!("s{number} takes versions without its directory"));
                }
            }
            let found = site.mount();
            site.settle().await;
            found
        };
        if !found.is_empty() {
            self.wrong(|| format!("s{number} wrote into a directory that is not its own: {found:?}"));
        }
        if versions(site) != before {
            self.wrong(|| format!("s{number} held {before:?} before its directory was away"));
        }
    }

    /// A file is half written, or gets a name that does not fit: what it held is neither deleted nor edited.
    pub(super) async fn break_file(&self, number: usize, id: &NodeId, late: bool) {
        let site = &self.sites[number];
        let before = site.held(id);
        let tombstone = held(&*site.lattice(), id).filter(|held| held.content.is_none());
        self.ledger.lock().unwrap().broke = true;
        let half = self.below(2) == 0 || site.is_misnamed(id);
        if half {
            let file = site.files().remove(&format!("{id}.json")).unwrap();
            self.disks.lock().unwrap().broken.insert((number, id.clone()), file.0);
            site.write(id, b"{\"id\":");
        } else {
            site.misname(id);
        }
        self.say(|| format!("s{number} has {id} broken, half written: {half}, late: {late}"));
        self.give_up(number, before.map(|content| (id.clone(), content)));
        if late {
            self.round_of(number).await;
        }
        site.settle().await;
        let now = held(&*site.lattice(), id).map(|held| held.content);
        if !late && now != Some(before) {
            self.wrong(|| format!("s{number} holds {now:?} of the broken {id}, and {before:?} before; {tombstone:?}"));
        }
    }

    /// Somebody repairs a file that is broken.
    pub(super) async fn repair(&self, number: usize) {
        let id = self.pick(&self.ids);
        self.repair_file(number, &id).await;
    }

    async fn repair_all(&self, number: usize) {
        for id in &self.ids {
            self.repair_file(number, id).await;
        }
    }

    pub(super) async fn repair_file(&self, number: usize, id: &NodeId) {
        let site = &self.sites[number];
        let old = self.disks.lock().unwrap().broken.remove(&(number, id.clone()));
        let before = site.current(id);
        let mut text = None;
        let is_misnamed = site.is_misnamed(id);
        if is_misnamed {
            site.name_again(id);
        }
        if site.has_file(id) && site.held(id).is_none() {
            text = match old {
                Some(old) if self.percent(60) => Some(old),
                _ => Some(self.text(number, id).into_bytes()),
            };
            site.write(id, text.as_deref().unwrap());
        } else if !is_misnamed && !site.lattice().is_unavailable(id) {
            return;
        }
        site.settle().await;
        let content = site.held(id);
        self.say(|| format!("s{number} has {id} = {:?}, repaired", content.map(short)));
        if content == before {
            self.touched(number);
        } else {
            let write = Write { id: id.clone(), content, site: number, at: None, before, step: self.step() };
            self.note(write, text.as_deref());
        }
    }

    /// A round of one of its links, while a file of it is changed that nobody has seen.
    pub(super) async fn round_of(&self, number: usize) {
        let links = 0..self.plan.links.len();
        let its = |link: &usize| self.plan.links[*link].from == number || self.plan.links[*link].to == number;
        let its: Vec<usize> = links.filter(its).collect();
        *self.unnoticed.lock().unwrap() = true;
        self.round(self.pick(&its), super::DEPTH).await;
        *self.unnoticed.lock().unwrap() = false;
    }

    pub(super) async fn month(&self) {
        self.say(|| "a month passes".to_owned());
        self.ledger.lock().unwrap().months = true;
        self.delayed.lock().unwrap().clear();
        self.pass(Duration::from_secs(31 * 24 * 60 * 60));
        for site in &self.sites {
            site.settle().await;
        }
    }
}
