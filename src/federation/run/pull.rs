//! What they have comes.

use super::{
    BATCH, BATCH_BYTES, Held, Known, LIST, Parties, REMEMBERED, RoundError, Run, SKEW, fingerprint,
    push::{seen, they_stood},
    stage::Stage,
};
use crate::{
    federation::{
        deletions::Sender,
        feed,
        lines::Lines,
        promise::Promise,
        remote::ChangesQuery,
        round::{Mode, Position, Positions, Reset, Round},
        waiting::{self, Judged},
        wire::{Line, WireChange, WireContent, read_line},
    },
    lattice::LatticeError,
    types::{ContentHash, NodeId},
};
use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::Arc,
};
use tokio::task::JoinHandle;

/// Batches that are being written while the next one is read, of small nodes and of large ones: what waits is committed together.
const WRITING: usize = 6;
const WRITING_BYTES: usize = 3 * BATCH_BYTES;

/// A pull under way.
pub(super) struct Pulling {
    pub(super) mode: Mode,
    /// Everything up to here was read.
    pub(super) last: u64,
    /// Read, and to be compared with what was signed before it is taken.
    pub(super) stage: Option<Stage>,
    writing: VecDeque<Writing>,
    /// Deletions of what is here: carried out at the end, or all of them wait.
    deletions: Vec<WireChange>,
    /// Wanted contents, each with its node's priority; fetched at the end, where priority counts.
    wanted: Vec<(f64, Wanted)>,
}

impl Pulling {
    /// Nothing was read after `last`.
    pub(super) fn new(mode: Mode, last: u64) -> Self {
        Self { mode, last, stage: None, writing: VecDeque::new(), deletions: Vec::new(), wanted: Vec::new() }
    }

    /// The round's time is over before the end of an answer: an error where nothing of it was taken.
    pub(super) fn ended_early(&self) -> Result<(), RoundError> {
        if self.stage.is_some() { Err(RoundError::TooLong) } else { Ok(()) }
    }
}

/// A content that the list told of.
#[derive(Debug, Clone)]
pub(super) struct Wanted {
    pub(super) id: NodeId,
    pub(super) content_hash: ContentHash,
    /// The position at which their list has it; `None`: it is in none.
    pub(super) listed_at: Option<u64>,
}

/// A batch that is being written.
struct Writing {
    task: JoinHandle<Result<Judged, RoundError>>,
    /// The first position of the changes.
    first: Option<u64>,
    /// The position that is reached when it is.
    seq: u64,
    bytes: usize,
}

impl<N: FnMut(&Positions) + Send> Run<'_, N> {
    /// Answers whether it came to the end; otherwise the round's time is over.
    pub(super) async fn pull(
        &mut self,
        round: &mut Round,
        known: &Known,
        (since, mode, reset): (u64, Mode, Option<Reset>),
    ) -> Result<bool, RoundError> {
        let mut pulling = Pulling::new(mode, since);
        pulling.stage = self.stage(round, since, reset)?;
        let read = match self.read(round, &mut pulling).await {
            Ok(Some(end)) => self.settle(round, &mut pulling, known, end).await,
            read => read,
        };
        self.drain(round, &mut pulling).await?;
        if since > 0 && matches!(read, Err(RoundError::Mixed)) {
            // Release 0.1.0 does not show that it was restored. Where it is not that, the whole list does not lead there either.
            tracing::info!(
                peer.id = self.peer.as_str(),
                since,
                "what changed since does not lead to the signed set: all is listed anew"
            );
            round.begin_anew();
            round.stand(self.stand()?);
            return Ok(true);
        }
        let Some(end) = read? else { return Ok(false) };
        self.finish(pulling).await?;
        // What was added there since its head was signed came as well: its hash is that of an older set.
        round.stale |= end > round.theirs.seq;
        round.theirs.seq = end;
        self.pulled_to(round, end);
        round.pulled(self.stand()?);
        Ok(true)
    }

    /// Waits for what is being written. Also after a cut: what came counts, and the next round goes on from there.
    pub(super) async fn drain(&mut self, round: &Round, pulling: &mut Pulling) -> Result<(), RoundError> {
        while let Some(written) = pulling.writing.pop_front() {
            self.written(round, pulling, written).await?;
        }
        Ok(())
    }

    /// Does what was left for the end.
    pub(super) async fn finish(&mut self, pulling: Pulling) -> Result<(), RoundError> {
        self.fetch_in_order(pulling.wanted).await?;
        self.store(pulling.deletions).await
    }

    /// Reads to the end, which it answers, or until the round's time is over.
    pub(super) async fn read(&mut self, round: &mut Round, pulling: &mut Pulling) -> Result<Option<u64>, RoundError> {
        let seen = seen(round);
        let inline = pulling.mode == Mode::Inline;
        self.report.requests = self.report.requests.saturating_add(1);
        let query = ChangesQuery {
            index_id: &round.theirs.index_id,
            seen: seen.as_ref(),
            since: pulling.last,
            contents: inline,
            filter: self.matcher.filter(),
            priorities: self.options.priority,
        };
        let mut lines = self.parties.client.changes(&query).await?;
        let mut promise = self.begin(&mut lines, round, pulling.last).await?;
        let most = if inline { BATCH } else { LIST };
        let (mut batch, mut batch_bytes, mut counted) = (Vec::new(), 0_usize, 0);
        loop {
            let (line, size) = self.next_line(&mut lines).await?;
            let end = match line {
                Line::Start(_) => return Err(RoundError::OtherFeed("it begins twice")),
                Line::End(end) => {
                    promise.end(end).map_err(RoundError::OtherFeed)?;
                    Some(end)
                }
                Line::Change(change) => {
                    promise.change(&change).map_err(RoundError::OtherFeed)?;
                    pulling.last = change.seq;
                    batch_bytes = batch_bytes.saturating_add(size);
                    batch.push(*change);
                    None
                }
            };
            let over = self.is_over();
            if end.is_some() || batch.len() >= most || batch_bytes >= BATCH_BYTES || over {
                let bytes = std::mem::take(&mut batch_bytes);
                self.count_in(lines.bytes(), &mut counted).await;
                self.stage_or_take(round, pulling, std::mem::take(&mut batch), bytes).await?;
            }
            if end.is_some() {
                return Ok(end);
            }
            if over {
                return pulling.ended_early().map(|()| None);
            }
        }
    }

    pub(super) async fn begin(&self, lines: &mut Lines, round: &mut Round, since: u64) -> Result<Promise, RoundError> {
        let no_start = RoundError::OtherFeed("it has no first line");
        let Some(line) = lines.next_line().await? else { return Err(no_start) };
        let Line::Start(start) = read_line(line, &self.parties.limits)? else { return Err(no_start) };
        let promise = Promise::new(&round.theirs, since, &start).map_err(RoundError::OtherFeed)?;
        if let Some(epoch) = start.epoch {
            they_stood(round, epoch, start.seq)?;
        }
        Ok(promise)
    }

    /// Takes changes that came; of a list fetches the contents that are needed.
    pub(super) async fn take(
        &mut self,
        round: &Round,
        pulling: &mut Pulling,
        batch: Vec<WireChange>,
        bytes: usize,
    ) -> Result<(), RoundError> {
        let mut batch = batch;
        batch.retain(|change| !self.forgotten.is_deleted_here(change));
        self.note_available(&batch);
        let batch = feed::admitted(&**self.parties.lattice, &self.matcher, batch).await?;
        self.remember(&batch);
        let clock = self.parties.clock.now();
        for change in &batch {
            Held::hold(&mut self.held.pulled, change.seq, change.at, clock);
        }
        let batch = self.set_aside(batch)?;
        let mut now = Vec::with_capacity(batch.len());
        for change in batch {
            if feed::deletes(&**self.parties.lattice, &change)? {
                pulling.deletions.push(change);
            } else {
                now.push(change);
            }
        }
        if pulling.mode == Mode::Inline {
            self.write(round, pulling, now, bytes).await?;
            return Ok(());
        }
        self.report.received.ahead += now.iter().filter(|change| change.at > clock.plus(SKEW)).count();
        let wanted = feed::wanted(&**self.parties.lattice, &now, clock)?;
        let (gone, listed): (Vec<_>, Vec<_>) =
            now.into_iter().partition(|change| matches!(change.content, WireContent::Deleted(_)));
        self.store(gone).await?;
        let wanted: HashSet<NodeId> = wanted.into_iter().collect();
        let wanted = listed.into_iter().filter(|change| wanted.contains(&change.id));
        let content = |it: &WireChange| {
            Some(Wanted { id: it.id.clone(), content_hash: *it.content_hash()?, listed_at: Some(it.seq) })
        };
        let wanted = wanted.filter_map(|it| Some((it.priority, content(&it)?)));
        let mut wanted: Vec<(f64, Wanted)> = wanted.collect();
        pulling.wanted.append(&mut wanted);
        if self.options.priority && pulling.wanted.len() < REMEMBERED {
            return Ok(());
        }
        self.fetch_in_order(std::mem::take(&mut pulling.wanted)).await?;
        self.note_behind(round, pulling, pulling.last);
        Ok(())
    }

    /// Writes a batch while the next one is read.
    async fn write(
        &mut self,
        round: &Round,
        pulling: &mut Pulling,
        batch: Vec<WireChange>,
        bytes: usize,
    ) -> Result<(), RoundError> {
        let (lattice, guard) = (Arc::clone(self.parties.lattice), Arc::clone(self.parties.deletions));
        let first = first_position(&batch);
        let (peer, account, given) = (self.peer.clone(), self.account.clone(), self.given);
        let elapsed = self.parties.clock.elapsed();
        let task = tokio::spawn(async move {
            let sender = Sender { id: peer.as_str(), account, address: None, given, is_pulled: true };
            Ok(waiting::receive(&*lattice, &guard, sender, elapsed, batch).await?)
        });
        pulling.writing.push_back(Writing { task, first, seq: pulling.last, bytes });
        while pulling.writing.len() > WRITING
            || pulling.writing.iter().map(|writing| writing.bytes).sum::<usize>() > WRITING_BYTES
        {
            let Some(written) = pulling.writing.pop_front() else { break };
            self.written(round, pulling, written).await?;
        }
        Ok(())
    }

    async fn written(
        &mut self,
        round: &Round,
        pulling: &Pulling,
        Writing { task, first, seq, .. }: Writing,
    ) -> Result<(), RoundError> {
        let judged = match task.await {
            Ok(judged) => judged?,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                // Nobody else stops it: the process ends.
                Err(_) => return Err(RoundError::Stopped),
            },
        };
        self.judged(judged, first)?;
        self.note_behind(round, pulling, seq);
        Ok(())
    }

    /// Counts what became of changes of the peer. Where conflicts with it are at their limit, all that makes no conflict goes on; the round
    /// ends as one that failed, and those changes come again. `first`: their first position.
    pub(super) fn judged(&mut self, judged: Judged, first: Option<u64>) -> Result<(), RoundError> {
        self.report.received.add(&judged.received);
        self.report.deleted = self.report.deleted.saturating_add(judged.deleted);
        match judged.left_out {
            None => Ok(()),
            Some(error @ LatticeError::Contested { .. }) => {
                if let Some(first) = first {
                    Held::before(&mut self.held.pulled, first);
                }
                self.refused.here = true;
                self.conflicts_full.get_or_insert(error.into());
                Ok(())
            }
            Some(error) => Err(error.into()),
        }
    }

    /// Notes a position, but none behind a deletion that is still to be carried out.
    fn note_behind(&mut self, round: &Round, pulling: &Pulling, seq: u64) {
        let first = pulling.deletions.first().map(|change| change.seq.saturating_sub(1));
        let seq = first.map_or(seq, |first| first.min(seq));
        let mut positions = round.positions.clone();
        // What does not count any more was forgotten when the round began.
        if seq > positions.pulled.as_ref().map_or(0, |it| it.seq) {
            let theirs = Position::new(round.theirs.current_epoch(), seq);
            positions.set_pulled(theirs, self.here(), round.ours.floor);
            self.tell(&positions);
        }
    }

    fn pulled_to(&mut self, round: &mut Round, seq: u64) {
        let theirs = Position::new(round.theirs.current_epoch(), seq);
        round.positions.set_pulled(theirs, self.here(), round.ours.floor);
        self.tell(&round.positions);
    }

    /// Fetches contents, those of the greatest priority first.
    async fn fetch_in_order(&mut self, mut wanted: Vec<(f64, Wanted)>) -> Result<(), RoundError> {
        if self.options.priority {
            wanted.sort_by(|(one, _), (other, _)| other.total_cmp(one));
        }
        let mut wanted: VecDeque<Wanted> = wanted.into_iter().map(|(_, wanted)| wanted).collect();
        while !wanted.is_empty() {
            let part: Vec<Wanted> = wanted.drain(..wanted.len().min(LIST)).collect();
            self.fetch(part).await?;
        }
        Ok(())
    }

    pub(super) async fn fetch(&mut self, wanted: Vec<Wanted>) -> Result<(), RoundError> {
        self.report.requests = self.report.requests.saturating_add(1);
        let ids: Vec<NodeId> = wanted.iter().map(|it| it.id.clone()).collect();
        let mut lines = self.parties.client.nodes(&ids).await?;
        let mut asked: HashMap<NodeId, Wanted> = wanted.into_iter().map(|it| (it.id.clone(), it)).collect();
        let (mut batch, mut bytes, mut counted) = (Vec::new(), 0_usize, 0);
        loop {
            // An answer that is cut off between two lines must not pass for one in which the other nodes are gone.
            let (line, size) = self.next_line(&mut lines).await?;
            bytes = bytes.saturating_add(size);
            let change = match line {
                Line::Change(change) => Some(*change),
                Line::End(_) => None,
                Line::Start(_) => return Err(RoundError::OtherFeed("it begins twice")),
            };
            let last = change.is_none();
            if let Some(change) = change {
                // Each once: the answer is no longer than what was asked for.
                let Some(listed) = asked.remove(&change.id) else {
                    return Err(RoundError::OtherFeed("it has nodes that were not asked for"));
                };
                if change.content_hash() == Some(&listed.content_hash) {
                    batch.push(change);
                } else if listed.listed_at.is_some_and(|listed_at| change.seq <= listed_at) {
                    // Not what changed since the list, which comes after the list's end: an old answer. The list is asked for again from there.
                    self.hold_missing(&listed);
                }
            }
            // What came counts; but a turn is not held by thousands of nodes that trickle in.
            let over = self.is_over();
            if last || over || batch.len() >= BATCH || bytes >= BATCH_BYTES {
                bytes = 0;
                self.count_in(lines.bytes(), &mut counted).await;
                let lattice = &**self.parties.lattice;
                self.note_available(&batch);
                let admitted = feed::admitted(lattice, &self.matcher, std::mem::take(&mut batch)).await?;
                self.remember(&admitted);
                let admitted = self.set_aside(admitted)?;
                self.store(admitted).await?;
            }
            if last {
                // What was deleted since comes with a later position; where it did not, what was listed comes again.
                asked.values().for_each(|missing| self.hold_missing(missing));
                return Ok(());
            }
            if over {
                return Err(RoundError::TooLong);
            }
        }
    }

    /// This content was listed, and did not come.
    fn hold_missing(&mut self, missing: &Wanted) {
        if let Some(listed_at) = missing.listed_at {
            Held::before(&mut self.held.pulled, listed_at);
        }
    }

    /// Counts what came of an answer, of which `counted` were counted before.
    pub(super) async fn count_in(&mut self, bytes: u64, counted: &mut u64) {
        let came = bytes.saturating_sub(std::mem::replace(counted, bytes));
        self.report.bytes_in = self.report.bytes_in.saturating_add(came);
        self.parties.rates.download.take(usize::try_from(came).unwrap_or(usize::MAX)).await;
    }

    /// The peer, as the sender of what is pulled from it.
    pub(super) fn sender(&self, given: u64) -> Sender<'_> {
        Sender { id: self.peer.as_str(), account: self.account.clone(), address: None, given, is_pulled: true }
    }

    async fn store(&mut self, batch: Vec<WireChange>) -> Result<(), RoundError> {
        let Parties { lattice, deletions, clock, .. } = self.parties;
        let sender = self.sender(self.given);
        let first = first_position(&batch);
        let judged = waiting::receive(&***lattice, deletions, sender, clock.elapsed(), batch).await?;
        self.judged(judged, first)
    }

    fn remember(&mut self, batch: &[WireChange]) {
        for change in batch {
            if self.remembered.len() < REMEMBERED {
                let content = change.content_hash().map(ContentHash::as_bytes);
                self.remembered.insert(fingerprint(&change.id, change.at, content));
            }
        }
    }
}

/// What was asked for one by one has no position.
fn first_position(changes: &[WireChange]) -> Option<u64> {
    changes.iter().map(|change| change.seq).filter(|seq| *seq > 0).min()
}
