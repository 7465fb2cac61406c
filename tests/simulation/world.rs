//! Instances, the ways between them, and what happens to both.

use crate::{
    brittle::{Break, Brittle, Process},
    oracle::{Ledger, OPERATOR, Write, short},
    plan::{Link, Plan},
    random::Random,
    site::{START, Site, reserve},
    way::{Before, Way},
};
use ark_lattice::{
    federation::{
        deletions::{Account, Sender},
        feed::{self, FeedError},
        filter::Filter,
        peers::Direction,
        rate::Rates,
        remote::{PushAnswer, ReceiverBounds},
        round::{Outcome, Position, Positions, Reset, UnexplainedRounds},
        run::{Known, Parties, RoundError, RunEnd, run},
        waiting,
    },
    lattice::{Lattice, LatticeError, NodeDocument, Precondition, Version, Written},
    trust::MAX_SKEW,
    types::{Clock, ContentHash, Limits, NodeId, SharedClock, Timestamp},
};
use bytes::Bytes;
use disks::{Disks, stated};
use std::{
    collections::{BTreeMap, BTreeSet, HashSet, VecDeque},
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

mod disks;

const LOG_LINES: usize = 400;
/// Rounds within rounds.
const DEPTH: usize = 2;

pub(crate) type Log = Arc<Mutex<VecDeque<String>>>;

/// A push that is still on its way.
#[derive(Debug, Clone)]
pub(crate) struct Delayed {
    pub(crate) from: usize,
    pub(crate) to: usize,
    pub(crate) filter: Filter,
    pub(crate) lines: Bytes,
    /// What the sender held of the receiver's journal.
    pub(crate) holds: Option<Position>,
}

/// What an instance knows of a peer, durably.
#[derive(Debug, Clone, Default)]
struct Contact {
    node_id: Option<String>,
    public_key: Option<String>,
    positions: Positions,
    unexplained: UnexplainedRounds,
    cuts: u32,
    waiting_there: u64,
}

/// What happened in a run: a simulation in which nothing goes wrong finds nothing.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Tally {
    pub(crate) writes: usize,
    pub(crate) rounds: usize,
    pub(crate) failed_rounds: usize,
    pub(crate) faults: usize,
    pub(crate) conflicts: usize,
    pub(crate) kills: usize,
    pub(crate) torn: usize,
    pub(crate) resets: usize,
    /// Rounds that reconciled.
    pub(crate) reconciled: usize,
    pub(crate) below_floor: usize,
    pub(crate) went_back: usize,
    pub(crate) new_index: usize,
    pub(crate) ahead: usize,
    pub(crate) unexplained: usize,
    pub(crate) mixed: usize,
    pub(crate) nested: usize,
    pub(crate) sweeps: usize,
    /// Deletions that were pushed and waited.
    pub(crate) waiting: usize,
}

impl Tally {
    pub(crate) fn plus(&self, other: &Self) -> Self {
        Self {
            writes: self.writes + other.writes,
            rounds: self.rounds + other.rounds,
            failed_rounds: self.failed_rounds + other.failed_rounds,
            faults: self.faults + other.faults,
            conflicts: self.conflicts + other.conflicts,
            kills: self.kills + other.kills,
            torn: self.torn + other.torn,
            resets: self.resets + other.resets,
            reconciled: self.reconciled + other.reconciled,
            below_floor: self.below_floor + other.below_floor,
            went_back: self.went_back + other.went_back,
            new_index: self.new_index + other.new_index,
            ahead: self.ahead + other.ahead,
            unexplained: self.unexplained + other.unexplained,
            mixed: self.mixed + other.mixed,
            nested: self.nested + other.nested,
            // The most that any of them needed.
            sweeps: self.sweeps.max(other.sweeps),
            waiting: self.waiting + other.waiting,
        }
    }
}

pub(crate) struct World {
    pub(crate) sites: Vec<Site>,
    pub(crate) before: Mutex<Before>,
    plan: Plan,
    ids: Vec<NodeId>,
    random: Mutex<Random>,
    ledger: Mutex<Ledger>,
    contacts: Mutex<Vec<Contact>>,
    blocked: Mutex<HashSet<(usize, usize)>>,
    delayed: Mutex<Vec<Delayed>>,
    disks: Mutex<Disks>,
    /// What is wrong whatever comes after.
    problem: Mutex<Option<String>>,
    /// A file is changed and nobody has seen it yet.
    unnoticed: Mutex<bool>,
    /// Counts what happens while a round is under way, and is not the round.
    beside: Mutex<usize>,
    /// Who is in a round of its own, and with which link.
    busy: Mutex<Vec<(usize, usize)>>,
    calm: Mutex<bool>,
    tally: Mutex<Tally>,
    step: Mutex<usize>,
    log: Log,
}

/// What somebody sees who is about to replace it, and what must still be so then.
fn seen(site: &Site, id: &NodeId) -> (crate::oracle::Content, Precondition) {
    let held = site.held(id);
    (site.current(id), held.map_or(Precondition::Absent, |held| Precondition::OneOf(vec![held])))
}

/// The version that counts in a lattice.
fn held(lattice: &dyn Lattice, id: &NodeId) -> Option<Version> {
    lattice.current_version(id).unwrap()
}

/// Epochs are drawn by the journals, not by the seed.
fn without_epochs(text: &str) -> String {
    let is_time = |word: &str| word.bytes().all(|byte| byte.is_ascii_digit());
    let is_epoch = |word: &str| word.len() >= 16 && !is_time(word) && word.bytes().all(|byte| byte.is_ascii_hexdigit());
    let parts = text.split_inclusive(|letter: char| !letter.is_ascii_alphanumeric());
    let masked = parts.map(|part| match part.split_at_checked(part.len().saturating_sub(1)) {
        Some((word, end)) if is_epoch(word) => format!("an epoch{end}"),
        _ => part.to_owned(),
    });
    masked.collect()
}

/// In which contents two instances differ.
fn contents_differ(one: &Site, other: &Site) -> Option<String> {
    let contents = |site: &Site| crate::oracle::versions(site).into_iter().map(|(id, (_, content))| (id, content));
    let contents = |site: &Site| contents(site).collect::<BTreeMap<_, _>>();
    let (one, other) = (contents(one), contents(other));
    let ids: BTreeSet<&NodeId> = one.keys().chain(other.keys()).collect();
    let differing = ids.into_iter().find(|id| one.get(*id) != other.get(*id))?;
    let name = |contents: &BTreeMap<NodeId, ContentHash>| contents.get(differing).copied().map(short);
    Some(format!("{differing} is {:?} and {:?}", name(&one), name(&other)))
}

impl World {
    pub(crate) async fn new(seed: u64, folder: &Path, log: Log) -> Self {
        let mut random = Random::new(seed);
        let plan = Plan::new(&mut random, seed);
        let reserve = reserve(folder);
        let mut sites = Vec::new();
        for number in 0..plan.sites {
            sites.push(Site::start(number, folder, &reserve).await);
        }
        let contacts = vec![Contact::default(); plan.links.len()];
        let ids = (0..plan.ids).map(|number| NodeId::parse(&format!("n{number}")).unwrap()).collect();
        let world = Self {
            sites,
            before: Mutex::default(),
            plan,
            ids,
            random: Mutex::new(random),
            ledger: Mutex::default(),
            contacts: Mutex::new(contacts),
            blocked: Mutex::default(),
            delayed: Mutex::default(),
            disks: Mutex::default(),
            problem: Mutex::default(),
            unnoticed: Mutex::default(),
            beside: Mutex::default(),
            busy: Mutex::default(),
            calm: Mutex::new(false),
            tally: Mutex::default(),
            step: Mutex::new(0),
            log,
        };
        world.set_clocks(world.plan.skew, START);
        world.say(|| format!("{:?}", world.plan));
        world
    }

    // ---- what chance says

    pub(crate) fn below(&self, limit: usize) -> usize {
        self.random.lock().unwrap().below(limit)
    }

    fn percent(&self, chance: usize) -> bool {
        self.random.lock().unwrap().percent(chance)
    }

    pub(crate) fn pick<T: Clone>(&self, of: &[T]) -> T {
        self.random.lock().unwrap().pick(of).clone()
    }

    fn is_calm(&self) -> bool {
        *self.calm.lock().unwrap()
    }

    /// Does this go wrong?
    pub(crate) fn fault(&self) -> bool {
        let fault = !self.is_calm() && self.percent(self.plan.faults);
        self.count(|tally| tally.faults += usize::from(fault));
        fault
    }

    pub(crate) fn may_kill(&self, site: usize) -> bool {
        // In two rounds at once, the other one would have to end as well.
        let once = self.busy.lock().unwrap().iter().filter(|(from, _)| *from == site).count() == 1;
        once && !self.is_calm() && self.percent(self.plan.kills)
    }

    pub(crate) fn is_open(&self, from: usize, to: usize) -> bool {
        self.is_calm() || !self.blocked.lock().unwrap().contains(&(from, to))
    }

    pub(crate) fn say(&self, text: impl FnOnce() -> String) {
        let line = format!("{:>3} {}", self.step.lock().unwrap(), without_epochs(&text()));
        let mut log = self.log.lock().unwrap();
        if log.len() == LOG_LINES {
            // The first line is what the seed stands for.
            log.remove(1);
        }
        log.push_back(line);
    }

    fn count(&self, count: impl FnOnce(&mut Tally)) {
        count(&mut self.tally.lock().unwrap());
    }

    fn wrong(&self, what: impl FnOnce() -> String) {
        self.problem.lock().unwrap().get_or_insert_with(what);
    }

    pub(crate) fn replayed(&self) {
        *self.beside.lock().unwrap() += 1;
        self.ledger.lock().unwrap().replayed = true;
    }

    pub(crate) fn delay(&self, delayed: Delayed) {
        self.delayed.lock().unwrap().push(delayed);
    }

    // ---- time

    fn set_clocks(&self, skew: usize, now: Timestamp) {
        for site in &self.sites {
            self.skew(site, skew, now);
        }
    }

    fn skew(&self, site: &Site, skew: usize, now: Timestamp) {
        let ahead = self.below(2) == 0;
        let by = Duration::from_secs(u64::try_from(self.below(skew)).unwrap());
        site.clock.set_wall(if ahead { now.plus(by) } else { now.minus(by) });
    }

    /// The true time, which no instance knows.
    fn true_now(&self) -> Timestamp {
        START.plus(self.sites[0].clock.elapsed())
    }

    fn pass(&self, by: Duration) {
        self.sites.iter().for_each(|site| site.clock.advance(by));
    }

    // ---- the run

    pub(crate) async fn run(&self) -> Result<Tally, String> {
        for step in 1..=self.plan.steps {
            *self.step.lock().unwrap() = step;
            let most = if self.percent(5) { 60_000 } else { 800 };
            self.pass(Duration::from_millis(1 + u64::try_from(self.below(most)).unwrap()));
            self.act().await;
            self.nothing_wrong()?;
        }
        self.heal().await;
        let greatest = self.greatest();
        let sweeps = self.quiet().await?;
        self.nothing_wrong()?;
        let ledger = self.ledger.lock().unwrap();
        let greatest = if self.plan.partial { BTreeMap::new() } else { greatest };
        self.check_greatest(&greatest, &ledger).map_err(|problem| format!("{problem}\n{}", ledger.story()))?;
        ledger.check(&self.sites, self.plan.partial).map_err(|problem| format!("{problem}\n{}", ledger.story()))?;
        self.count(|tally| {
            tally.writes = ledger.writes.len();
            tally.sweeps = sweeps;
        });
        Ok(*self.tally.lock().unwrap())
    }

    fn nothing_wrong(&self) -> Result<(), String> {
        let problem = self.problem.lock().unwrap().take();
        problem.map_or(Ok(()), |problem| Err(format!("{problem}\n{}", self.ledger.lock().unwrap().story())))
    }

    async fn act(&self) {
        let site = self.below(self.sites.len());
        match self.below(103) {
            100..101 => self.unmount(site).await,
            101..103 if self.plan.broken_files => self.repair(site).await,
            101..103 => self.lose_or_back_up(site).await,
            0..28 => self.edit(site).await,
            28..34 => self.edit_by_hand(site, 0).await,
            34..73 => drop(self.round(self.below(self.plan.links.len()), 0).await),
            73..78 => self.change_ways(),
            78..84 => self.deliver().await,
            84..86 => self.skew(&self.sites[site], self.plan.skew, self.true_now()),
            86..91 => self.restart(site).await,
            91..93 => self.back_up(site).await,
            93..96 if self.plan.state_loss => self.lose(site).await,
            96..98 if self.plan.months => self.month().await,
            _ if self.plan.reuse => self.restore_conflict(site).await,
            _ => {}
        }
    }

    /// What else happens while somebody waits for an answer.
    pub(crate) async fn meanwhile(&self, from: usize, to: usize, depth: usize) {
        if self.is_calm() || depth >= DEPTH || !self.percent(self.plan.meanwhile) {
            return;
        }
        *self.beside.lock().unwrap() += 1;
        self.pass(Duration::from_millis(1 + u64::try_from(self.below(50)).unwrap()));
        match self.below(10) {
            0..4 => self.edit(if self.below(2) == 0 { from } else { to }).await,
            4..5 => self.edit_by_hand(if self.below(2) == 0 { from } else { to }, depth + 1).await,
            5..8 => {
                let link = self.below(self.plan.links.len());
                if !self.busy.lock().unwrap().iter().any(|(_, busy)| *busy == link) {
                    self.count(|tally| tally.nested += 1);
                    // Its future would hold itself otherwise.
                    Box::pin(self.round(link, depth + 1)).await;
                }
            }
            8..9 => self.deliver().await,
            _ => self.restart(to).await,
        }
    }

    // ---- writes

    fn text(&self, site: usize, id: &NodeId) -> String {
        let old = self.ledger.lock().unwrap().texts(id).to_vec();
        if self.plan.reuse && !old.is_empty() && self.percent(15) {
            return String::from_utf8(self.pick(&old)).unwrap();
        }
        let number = self.ledger.lock().unwrap().writes.len();
        let now = self.sites[site].now();
        let ten = |at: Timestamp| at.seconds() / 10 * 10;
        let dated = match self.below(10) {
            // Rounded: two edits that state the same time are what a tie is made of.
            0..3 => format!(",\"updated_at\":{}", ten(now)),
            3..4 => format!(",\"updated_at\":{}", ten(now) - 3600),
            4..5 => format!(",\"updated_at\":{}", ten(now) + 60),
            _ => String::new(),
        };
        let priority = if self.percent(10) { ",\"priority\":3" } else { "" };
        format!("{{\"id\":\"{id}\",\"content\":\"{site}-{number}-{}\"{priority}{dated}}}", self.below(1_000_000))
    }

    fn note(&self, write: Write, text: Option<&[u8]>) {
        self.ledger.lock().unwrap().wrote(write, text);
    }

    async fn edit(&self, site: usize) {
        let id = self.pick(&self.ids);
        if self.percent(20) { self.delete(site, &id).await } else { self.put(site, &id).await }
    }

    async fn put(&self, number: usize, id: &NodeId) {
        let text = self.text(number, id);
        self.put_text(number, id, text.as_bytes()).await;
    }

    async fn put_text(&self, number: usize, id: &NodeId, text: &[u8]) {
        let site = &self.sites[number];
        // Who replaces what he has not seen has replaced it all the same: here he looks first, and again where a round was faster.
        let (before, written) = loop {
            let (before, precondition) = seen(site, id);
            let node = NodeDocument::parse(Bytes::copy_from_slice(text), 64).unwrap();
            match site.lattice().put(node, precondition).await {
                Err(LatticeError::PreconditionFailed { .. }) => {}
                written => break (before, written.unwrap()),
            }
        };
        let (Written::Created(entry) | Written::Replaced(entry)) = written else { return };
        site.date(id);
        let (content, at) = (Some(entry.content_hash), Some(entry.updated_at));
        self.say(|| format!("s{number} puts {id} = {}", short(entry.content_hash)));
        self.note(Write { id: id.clone(), content, site: number, at, before, step: self.step() }, Some(text));
    }

    async fn delete(&self, number: usize, id: &NodeId) {
        let site = &self.sites[number];
        let (before, deleted) = loop {
            let (before, precondition) = seen(site, id);
            match site.lattice().delete(id, precondition).await {
                Err(LatticeError::PreconditionFailed { .. }) => {}
                deleted => break (before, deleted.unwrap()),
            }
        };
        let Some(tombstone) = deleted else { return };
        self.say(|| format!("s{number} deletes {id}"));
        let at = Some(tombstone.deleted_at);
        self.note(Write { id: id.clone(), content: None, site: number, at, before, step: self.step() }, None);
    }

    fn step(&self) -> usize {
        *self.step.lock().unwrap()
    }

    /// Another program changes a file. It is seen at once, or first by whatever comes to it.
    async fn edit_by_hand(&self, number: usize, depth: usize) {
        let id = self.pick(&self.ids);
        let site = &self.sites[number];
        let late = depth == 0 && self.percent(30);
        let before = site.current(&id);
        let (previous, made_at) = (held(&*site.lattice(), &id).map(|held| held.at), site.now());
        let kind = self.below(10);
        let mut text = None;
        match kind {
            0..2 if site.has_file(&id) => site.remove(&id),
            2..4 if self.plan.broken_files && site.held(&id).is_some() => {
                return self.break_file(number, &id, late).await;
            }
            _ => {
                let written = self.text(number, &id);
                site.write(&id, written.as_bytes());
                text = Some(written.into_bytes());
            }
        }
        let content = site.held(&id);
        self.say(|| {
            format!("s{number} has {id} = {:?} by hand, seen {}", content.map(short), if late { "late" } else { "now" })
        });
        if content == before && !site.lattice().is_unavailable(&id) {
            self.touched(number);
            return;
        }
        if late {
            let write = Write { id: id.clone(), content, site: number, at: None, before, step: self.step() };
            self.note(write, text.as_deref());
            self.pass(Duration::from_millis(1 + u64::try_from(self.below(3000)).unwrap()));
            self.round_of(number).await;
        }
        site.settle().await;
        let lattice = site.lattice();
        let entry = lattice.entry(&id).unwrap().filter(|entry| Some(entry.content_hash) == content);
        let is_dated = text.as_deref().is_some_and(|text| stated(text).is_some());
        // With one clock an edit counts from when it was made, however late it is noticed.
        if let Some(entry) = entry.as_ref().filter(|_| self.plan.skew == 0 && !self.plan.reuse && !is_dated)
            && entry.updated_at != made_at
            && previous.is_none_or(|previous| previous < made_at)
        {
            self.wrong(|| {
                format!("{id} was edited on s{number} at {made_at:?}, and counts from {:?}", entry.updated_at)
            });
        }
        if late {
            return;
        }
        let at = match content {
            Some(_) => entry.map(|entry| entry.updated_at),
            None => lattice.tombstone(&id).unwrap().map(|tombstone| tombstone.deleted_at),
        };
        self.note(Write { id, content, site: number, at, before, step: self.step() }, text.as_deref());
    }

    /// What lost counts again; what stood in its place is kept.
    async fn restore_conflict(&self, number: usize) {
        let site = &self.sites[number];
        let conflicts = site.lattice().conflicts(0, usize::MAX).unwrap();
        if conflicts.is_empty() {
            return;
        }
        let conflict = self.pick(&conflicts);
        let id = conflict.id;
        let before = site.held(&id);
        let restored = site.lattice().restore(conflict.number, OPERATOR).await.unwrap().unwrap();
        self.say(|| format!("s{number} restores conflict {} of {id}: {:?}", conflict.number, restored.kept));
        let entry = restored.written.entry();
        let (content, at) = (Some(entry.content_hash), Some(entry.updated_at));
        // Dated anew where it states a time, and nothing where that is all: another content, which came from the one that was kept.
        let lost = conflict.lost.content.unwrap();
        if content != Some(lost) {
            self.ledger.lock().unwrap().give_up(&id, lost);
        }
        if let Written::Unchanged(_) = restored.written {
            return;
        }
        site.date(&id);
        self.note(Write { id, content, site: number, at, before, step: self.step() }, None);
    }

    // ---- ways

    fn change_ways(&self) {
        let sites = self.sites.len();
        let mut blocked = HashSet::new();
        match self.below(4) {
            0 => self.say(|| "all ways are open".to_owned()),
            1 => {
                let group: Vec<bool> = (0..sites).map(|_| self.below(2) == 0).collect();
                let pairs = (0..sites).flat_map(|one| (0..sites).map(move |other| (one, other)));
                blocked.extend(pairs.filter(|(one, other)| group[*one] != group[*other]));
                self.say(|| format!("two parts: {group:?}"));
            }
            _ => {
                let mut pairs: Vec<_> = self.plan.links.iter().map(|link| (link.from, link.to)).collect();
                pairs.extend(self.plan.links.iter().map(|link| (link.to, link.from)));
                blocked.extend(pairs.into_iter().filter(|_| self.percent(30)));
                let mut shown: Vec<_> = blocked.iter().copied().collect();
                shown.sort_unstable();
                self.say(|| format!("blocked: {shown:?}"));
            }
        }
        *self.blocked.lock().unwrap() = blocked;
    }

    /// Something that was sent long ago arrives.
    async fn deliver(&self) {
        let waiting = self.delayed.lock().unwrap().len();
        if waiting == 0 {
            return;
        }
        let at = self.below(waiting);
        let again = self.percent(30);
        let delayed = {
            let mut delayed = self.delayed.lock().unwrap();
            if again { delayed[at].clone() } else { delayed.remove(at) }
        };
        let Delayed { from, to, .. } = delayed;
        // Nobody tears a process away under a round of its own.
        self.say(|| format!("late: push s{from} -> s{to}"));
        if let Err(error) = self.receive(&delayed).await {
            self.say(|| format!("late: {error}"));
        }
    }

    /// What an instance does with what is pushed to it.
    pub(crate) async fn receive(&self, pushed: &Delayed) -> Result<PushAnswer, FeedError> {
        let site = &self.sites[pushed.to];
        let changes = feed::read_changes(&pushed.lines, &Limits::default())?;
        let busy = self.busy.lock().unwrap().iter().any(|(from, _)| *from == pushed.to);
        let may_die = !busy && !self.is_calm() && self.percent(self.plan.kills);
        let torn = may_die && self.plan.torn && self.below(2) == 0;
        let plan = match (torn, may_die) {
            (true, _) => None,
            (_, true) => Some(self.pick(&[Break::KilledBefore, Break::KilledAfter])),
            _ => self.fault().then(|| self.pick(&[Break::Full, Break::Half])),
        };
        let process = Arc::new(Process::default());
        let brittle =
            Brittle { inner: site.lattice(), process: Arc::clone(&process), plan: Mutex::new(plan.map(|it| (0, it))) };
        let changes = feed::admitted(&brittle, &pushed.filter.matcher(), changes).await?;
        let since = brittle.status().seq;
        let given = feed::given(&brittle, pushed.holds.as_ref());
        let from = format!("s{}", pushed.from);
        let sender = Sender { id: &from, account: Account::own(&from), address: None, given, is_pulled: false };
        let received = waiting::receive(&brittle, &site.deletions(), sender, site.clock.elapsed(), changes).await;
        let stood = feed::here(&brittle);
        let end = stood.seq;
        let there = waiting::waits(&brittle, &from);
        let old = (torn && end > since).then(|| site.copy_journal_before_last_commit()).flatten();
        drop(brittle);
        if process.is_killed() {
            self.say(|| format!("    s{} is killed while it writes", pushed.to));
            self.count(|tally| tally.kills += 1);
            self.reopen_as_killed(site).await;
        } else if let Some(old) = old {
            self.say(|| format!("    s{} is killed between its files and its journal", pushed.to));
            self.count(|tally| tally.torn += 1);
            self.reopen_torn(pushed.to, &old).await;
            return Err(FeedError::Lattice(LatticeError::Io("killed".to_owned())));
        }
        let epoch = Some(stood.start).filter(|_| !site.is_old);
        let judged = received?;
        if let Some(error) = judged.left_out {
            return Err(error.into());
        }
        let mut received = judged.received;
        self.count(|tally| tally.waiting += received.waiting);
        received.there = there?;
        let (too_large, bounds) = (Vec::new(), ReceiverBounds::default());
        Ok(PushAnswer { received, moved: since..end, epoch, has_twin: false, too_large, bounds })
    }

    // ---- rounds

    async fn round(&self, number: usize, depth: usize) -> Option<RunEnd> {
        let link = &self.plan.links[number];
        let (from, to) = (link.from, link.to);
        let site = &self.sites[from];
        let contact = self.contacts.lock().unwrap()[number].clone();
        let known = Known {
            same_instance: None,
            node_id: contact.node_id.clone(),
            public_key: contact.public_key.clone(),
            positions: contact.positions.clone(),
            options: link.options.clone(),
            deletions_confirmed: true,
            waiting_there: contact.waiting_there,
            asks_what_waits: false,
            unstaged: contact.cuts >= 2,
        };
        self.say(|| {
            let seq = |position: &Option<Position>| position.as_ref().map(|it| it.seq);
            let Positions { pulled, pushed, .. } = &contact.positions;
            format!("round s{from} -> s{to} {:?} at {:?} {:?}", link.options.direction, seq(pulled), seq(pushed))
        });
        self.busy.lock().unwrap().push((from, number));
        let beside = *self.beside.lock().unwrap();
        let process = Arc::new(Process::default());
        let once = self.busy.lock().unwrap().iter().filter(|(busy, _)| *busy == from).count() == 1;
        let plan = if self.is_calm() {
            None
        } else if once && self.percent(self.plan.kills) {
            Some((self.below(3), self.pick(&[Break::KilledBefore, Break::KilledAfter])))
        } else {
            self.fault().then(|| (self.below(3), self.pick(&[Break::Full, Break::Half])))
        };
        let brittle =
            Arc::new(Brittle { inner: site.lattice(), process: Arc::clone(&process), plan: Mutex::new(plan) });
        let end = {
            let lattice: Arc<dyn Lattice> = brittle.clone();
            let clock: SharedClock = site.clock.clone();
            let way = Way { world: self, from, to, depth, process: Arc::clone(&process) };
            let (sets, deletions) = (site.sets(), site.deletions());
            let parties = Parties {
                lattice: &lattice,
                client: &way,
                sets: &sets,
                deletions: &deletions,
                account: &|peer, _| Account::own(peer.as_str()),
                key: &site.key,
                node_id: &site.node_id,
                clock: &clock,
                limits: Limits::default(),
                rates: Rates::default(),
            };
            let note = |positions: &Positions| self.contacts.lock().unwrap()[number].positions = positions.clone();
            tokio::select! {
                biased;
                () = process.dead() => None,
                end = run(&parties, known, note) => Some(end),
            }
        };
        // What was being written when the round ended is carried to its end.
        while Arc::strong_count(&brittle) > 1 {
            tokio::task::yield_now().await;
        }
        drop(brittle);
        self.busy.lock().unwrap().pop();
        self.count(|tally| tally.rounds += 1);
        // Killed by the last thing that it did.
        let end = end.filter(|_| !process.is_killed());
        // A round around this one writes what it was given while this one waits.
        let is_within = self.busy.lock().unwrap().iter().any(|(busy, _)| [from, to].contains(busy));
        let is_alone = *self.beside.lock().unwrap() == beside && !*self.unnoticed.lock().unwrap() && !is_within;
        if let Some(end) = end.as_ref().filter(|_| is_alone) {
            self.check_report(link, end);
        }
        match &end {
            Some(end) => self.conclude(number, end),
            None => {
                self.say(|| format!("  s{from} is gone in the middle of its round with s{to}"));
                self.count(|tally| tally.kills += 1);
                self.reopen_as_killed(site).await;
            }
        }
        end
    }

    /// What a round reports is so, where nothing else happened meanwhile.
    fn check_report(&self, link: &Link, end: &RunEnd) {
        let Some(outcome) = end.report.outcome.filter(|_| end.error.is_none()) else { return };
        let (one, other) = (&self.sites[link.from], &self.sites[link.to]);
        if outcome == Outcome::InStep
            && let Some(difference) = contents_differ(one, other)
        {
            self.wrong(|| format!("s{} says that it is in step with s{}: {difference}", link.from, link.to));
        }
        if outcome == Outcome::Diverged && !one.is_old && !other.is_old {
            let (ours, theirs, matcher) = (one.lattice(), other.lattice(), link.options.filter.matcher());
            let content = |lattice: &dyn Lattice, id: &NodeId| lattice.entry(id).unwrap().map(|it| it.content_hash);
            let differs = |id: &&NodeId| content(&*ours, id) != content(&*theirs, id);
            if !self.ids.iter().filter(|id| matcher.id_may_match(id)).any(|id| differs(&id)) {
                self.wrong(|| format!("s{} says that it differs from s{}, and does not", link.from, link.to));
            }
        }
        // One without epochs cannot say that it stepped back; release 0.1.0 does not.
        if !matches!(outcome, Outcome::InStep | Outcome::Exchanged) || one.is_old || other.is_old {
            return;
        }
        let (matcher, may_forget) = (link.options.filter.matcher(), self.ledger.lock().unwrap().months);
        // Who lost its state dates what it has anew, and an old answer says that it need not be told: equal contents are all that is sure.
        let may_date_otherwise = self.ledger.lock().unwrap().may_date_otherwise();
        let lacking = |from: &Site, to: &Site| {
            let (from, to, now) = (from.lattice(), to.lattice(), to.now());
            let versions = from.snapshot().unwrap();
            let missing = versions.iter_after(None).find(|entry| {
                let version = entry.version();
                matcher.id_may_match(&entry.id)
                    && !from.is_unavailable(&entry.id)
                    && !to.is_unavailable(&entry.id)
                    && version.at <= now
                    // A deletion that was taken there may be forgotten, and an older version have come since.
                    && held(&*to, &entry.id).map_or(!may_forget, |held| {
                        held < version && !(may_date_otherwise && held.content == version.content)
                    })
                    && !self.ledger.lock().unwrap().may_be_forgotten(&entry.id, version)
            });
            missing.map(|entry| format!("{} = {} at {:?}", entry.id, short(entry.content_hash), entry.updated_at))
        };
        if link.options.direction != Direction::Push
            && let Some(missing) = lacking(other, one)
        {
            self.wrong(|| format!("s{} says that it has what s{} has, and lacks {missing}", link.from, link.to));
        }
        if link.options.direction != Direction::Pull
            && let Some(missing) = lacking(one, other)
        {
            self.wrong(|| {
                format!("s{} says that it gave all that it has to s{}, which lacks {missing}", link.from, link.to)
            });
        }
    }

    /// The greatest version of each node that any instance holds.
    fn greatest(&self) -> BTreeMap<NodeId, Version> {
        let mut greatest = BTreeMap::new();
        for site in &self.sites {
            let lattice = site.lattice();
            // What is dated further ahead is not believed.
            let latest = site.now().plus(Duration::from_secs(300));
            for (id, version) in self.ids.iter().filter_map(|id| Some((id, held(&*lattice, id)?))) {
                if version.at > latest {
                    continue;
                }
                let known = greatest.entry(id.clone()).or_insert(version);
                *known = (*known).max(version);
            }
        }
        greatest
    }

    /// What was the greatest version when all was well again is what is held now.
    fn check_greatest(&self, greatest: &BTreeMap<NodeId, Version>, ledger: &Ledger) -> Result<(), String> {
        let lattice = self.sites[0].lattice();
        for (id, version) in greatest {
            let content = lattice.entry(id).unwrap().map(|entry| entry.content_hash);
            // One side lacks the node without a tombstone: it counts as deleted there.
            let is_deletion = content.is_none() && ledger.may_be_forgotten(id, *version);
            if content != version.content && !is_deletion {
                return Err(format!("{id} was {version:?} somewhere, and {content:?} is held instead"));
            }
        }
        Ok(())
    }

    /// As the engine concludes a round: what nothing explains begins from the beginning, ever more seldom.
    fn conclude(&self, number: usize, end: &RunEnd) {
        let site = &self.sites[self.plan.links[number].from];
        let latest = site.now().plus(MAX_SKEW);
        let own_ahead = crate::oracle::versions(site).values().any(|(at, _)| *at > latest);
        let is_ahead = own_ahead || end.report.received.ahead > 0;
        self.ledger.lock().unwrap().was_ahead |= is_ahead;
        let mut contacts = self.contacts.lock().unwrap();
        let contact = &mut contacts[number];
        if let Some((peer, key)) = &end.peer {
            contact.node_id.get_or_insert(peer.to_string());
            contact.public_key.get_or_insert(key.to_base64());
        }
        contact.cuts = match &end.error {
            Some(error) if error.is_cut() => contact.cuts + 1,
            _ => 0,
        };
        let mixed = matches!(end.error, Some(RoundError::Mixed));
        if mixed {
            contact.positions = Positions::default();
        }
        contact.waiting_there = end.report.waiting_there.unwrap_or(contact.waiting_there);
        let unexplained = end.report.outcome == Some(Outcome::Unexplained);
        let failed = end.error.is_some() || unexplained;
        if unexplained {
            if contact.unexplained.next_begins_anew(is_ahead) {
                contact.positions = Positions::default();
            }
        } else if !failed {
            contact.unexplained = UnexplainedRounds::default();
        }
        drop(contacts);
        let report = &end.report;
        self.say(|| {
            let (error, received) = (end.error.as_ref().map(ToString::to_string), &report.received);
            format!(
                "  {:?} {:?} took {} kept {} conflicts {} gave {}: {error:?}",
                report.outcome, report.reset, received.taken, received.kept, received.conflicts, report.sent_taken
            )
        });
        self.count(|tally| {
            tally.failed_rounds += usize::from(failed);
            tally.unexplained += usize::from(unexplained);
            tally.mixed += usize::from(mixed);
            tally.conflicts += report.received.conflicts;
            tally.ahead += report.received.ahead;
            tally.resets += usize::from(report.reset.is_some());
            tally.reconciled += usize::from(report.messages > 0);
            tally.below_floor += usize::from(report.reset == Some(Reset::BelowFloor));
            tally.went_back += usize::from(report.reset == Some(Reset::WentBack));
            tally.new_index += usize::from(report.reset == Some(Reset::NewIndex));
        });
    }

    // ---- the end

    /// All ways are open, clocks are right again, and what was under way has arrived.
    async fn heal(&self) {
        *self.step.lock().unwrap() = self.plan.steps + 1;
        *self.calm.lock().unwrap() = true;
        self.say(|| "all is well again".to_owned());
        while !self.delayed.lock().unwrap().is_empty() {
            self.deliver().await;
        }
        // What was dated by a clock that ran ahead is believed by then.
        let now = self.true_now().plus(Duration::from_secs(700));
        self.pass(Duration::from_secs(700));
        self.sites.iter().for_each(|site| site.clock.set_wall(now));
        for number in 0..self.sites.len() {
            let site = &self.sites[number];
            for id in &self.ids {
                self.repair_file(number, id).await;
            }
            site.settle().await;
        }
    }

    /// Sweeps over all links until none has anything to say any more. Answers how many that took.
    async fn quiet(&self) -> Result<usize, String> {
        let most = 3 * self.plan.diameter + 4;
        let mut order: Vec<usize> = (0..self.plan.links.len()).collect();
        let mut first_of = HashSet::new();
        for sweep in 1..=most {
            *self.step.lock().unwrap() = self.plan.steps + 1 + sweep;
            self.random.lock().unwrap().shuffle(&mut order);
            let mut quiet = true;
            for site in &self.sites {
                quiet &= site.confirm_deletions().await == 0;
            }
            for link in &order {
                self.pass(Duration::from_millis(5));
                let end = self.round(*link, DEPTH).await.unwrap();
                let report = &end.report;
                if let Some(error) = end.error {
                    return Err(format!("a round fails although all is well: {error}"));
                }
                // A forgotten tombstone is told by nobody: the first round behind the floor may not see why two sets differ.
                let explained = report.outcome != Some(Outcome::Unexplained) || report.reset == Some(Reset::BelowFloor);
                // What a version dated ahead kept out comes with the next round, which begins from the beginning.
                if !explained {
                    let ledger = self.ledger.lock().unwrap();
                    let comes = ledger.was_ahead && first_of.insert(*link);
                    if !comes && !ledger.may_be_unexplained() {
                        return Err("nothing explains why two sets differ".to_owned());
                    }
                }
                quiet &= report.requests == 1 && report.bytes_in == 0 && report.bytes_out == 0;
            }
            if quiet {
                return Ok(sweep);
            }
        }
        let ledger = self.ledger.lock().unwrap();
        let first = crate::oracle::versions(&self.sites[0]);
        let differences: Vec<_> =
            self.sites.iter().map(|site| crate::oracle::difference(&first, &crate::oracle::versions(site))).collect();
        Err(format!("{most} sweeps were not enough: {differences:?}\n{}", ledger.story()))
    }
}
