//! What they have comes.

use super::{BATCH, BATCH_BYTES, FEW_DELETIONS, LIST, REMEMBERED, RoundError, Run, fingerprint};
use crate::{
    federation::{
        client::ClientError,
        feed::{self, Received},
        lines::Lines,
        remote::ChangesQuery,
        round::{Mode, Position, Positions, Round},
        wire::{Line, WireChange, WireContent, read_line},
    },
    lattice::Version,
    manifest::Head,
    types::{ContentHash, NodeId},
};
use std::{
    collections::{HashSet, VecDeque},
    sync::Arc,
};
use tokio::task::JoinHandle;

/// Batches that are being written while the next one is read.
const WRITING: usize = 2;

/// A pull under way.
struct Pulling {
    mode: Mode,
    /// Everything up to here was read.
    last: u64,
    /// Being written, and the position that is reached when it is.
    writing: VecDeque<(JoinHandle<Result<Received, RoundError>>, u64)>,
    /// Deletions of what is here: carried out at the end, if there are not too many.
    deletions: Vec<WireChange>,
    /// Wanted contents, each with its node's priority; fetched at the end, where priority counts.
    wanted: Vec<(f64, NodeId)>,
}

impl<N: FnMut(&Positions) + Send> Run<'_, N> {
    pub(super) async fn pull(&mut self, round: &mut Round, since: u64, mode: Mode) -> Result<(), RoundError> {
        let (writing, deletions, wanted) = (VecDeque::new(), Vec::new(), Vec::new());
        let mut pulling = Pulling { mode, last: since, writing, deletions, wanted };
        let read = self.read(round, &mut pulling).await;
        // Also after a cut: what came counts, and the next round goes on from there.
        while let Some(written) = pulling.writing.pop_front() {
            self.written(round, &pulling, written).await?;
        }
        let end = read?;
        // What was added there since its head was signed came as well.
        round.theirs.seq = round.theirs.seq.max(end);
        self.fetch_in_order(std::mem::take(&mut pulling.wanted)).await?;
        let deletions = std::mem::take(&mut pulling.deletions);
        self.store(deletions).await?;
        self.pulled_to(round, end);
        Ok(())
    }

    async fn read(&mut self, round: &Round, pulling: &mut Pulling) -> Result<u64, RoundError> {
        let inline = pulling.mode == Mode::Inline;
        self.report.requests = self.report.requests.saturating_add(1);
        let query = ChangesQuery {
            index_id: &round.theirs.index_id,
            since: pulling.last,
            contents: inline,
            filter: self.matcher.filter(),
            priorities: self.options.priority,
        };
        let mut lines = self.parties.client.changes(&query).await?;
        self.begin(&mut lines, &round.theirs).await?;
        let (most, most_bytes) = if inline { (BATCH, BATCH_BYTES) } else { (LIST, usize::MAX) };
        let (mut batch, mut batch_bytes, mut counted) = (Vec::new(), 0_usize, 0);
        loop {
            let Some(line) = lines.next_line().await? else {
                let reason = "its answer ends before its end".to_owned();
                return Err(ClientError::Unreachable(self.peer.to_string(), reason).into());
            };
            let size = line.len();
            let end = match read_line(line, &self.parties.limits)? {
                Line::Start(_) => return Err(RoundError::OtherFeed),
                Line::End(end) => Some(end),
                Line::Change(change) => {
                    if change.seq <= pulling.last {
                        return Err(RoundError::OtherFeed);
                    }
                    pulling.last = change.seq;
                    batch_bytes = batch_bytes.saturating_add(size);
                    batch.push(*change);
                    None
                }
            };
            if end.is_some() || batch.len() >= most || batch_bytes >= most_bytes {
                batch_bytes = 0;
                let came = lines.bytes().saturating_sub(counted);
                counted = lines.bytes();
                self.report.bytes_in = self.report.bytes_in.saturating_add(came);
                self.parties.rates.download.take(usize::try_from(came).unwrap_or(usize::MAX)).await;
                self.take(round, pulling, std::mem::take(&mut batch)).await?;
            }
            match end {
                Some(end) if end < pulling.last => return Err(RoundError::OtherFeed),
                Some(end) => return Ok(end),
                None => {}
            }
        }
    }

    async fn begin(&self, lines: &mut Lines, theirs: &Head) -> Result<(), RoundError> {
        let Some(line) = lines.next_line().await? else { return Err(RoundError::OtherFeed) };
        match read_line(line, &self.parties.limits)? {
            Line::Start(start) if start.index_id == theirs.index_id => Ok(()),
            _ => Err(RoundError::OtherFeed),
        }
    }

    /// Takes changes that came; of a list fetches the contents that are needed.
    async fn take(&mut self, round: &Round, pulling: &mut Pulling, batch: Vec<WireChange>) -> Result<(), RoundError> {
        let batch = feed::admitted(&**self.parties.lattice, &self.matcher, batch).await?;
        self.remember(&batch);
        let mut now = Vec::with_capacity(batch.len());
        for change in batch {
            if self.deletes(&change)? {
                pulling.deletions.push(change);
            } else {
                now.push(change);
            }
        }
        self.guard()?;
        if pulling.mode == Mode::Inline {
            self.write(round, pulling, now).await?;
            return Ok(());
        }
        let wanted = feed::wanted(&**self.parties.lattice, &now, self.parties.clock.now())?;
        let (gone, listed): (Vec<_>, Vec<_>) =
            now.into_iter().partition(|change| matches!(change.content, WireContent::Deleted(_)));
        self.store(gone).await?;
        let wanted: HashSet<NodeId> = wanted.into_iter().collect();
        let wanted = listed.into_iter().filter(|change| wanted.contains(&change.id));
        let mut wanted: Vec<(f64, NodeId)> = wanted.map(|change| (change.priority, change.id)).collect();
        pulling.wanted.append(&mut wanted);
        if self.options.priority && pulling.wanted.len() < REMEMBERED {
            return Ok(());
        }
        self.fetch_in_order(std::mem::take(&mut pulling.wanted)).await?;
        self.note_behind(round, pulling, pulling.last);
        Ok(())
    }

    /// Is this the deletion of a node that is here?
    fn deletes(&mut self, change: &WireChange) -> Result<bool, RoundError> {
        let WireContent::Deleted(_) = change.content else { return Ok(false) };
        let held = self.parties.lattice.entry(&change.id)?;
        let counts = held.is_some_and(|entry| {
            let held = Version { at: entry.updated_at, content: Some(entry.content_hash) };
            Version { at: change.at, content: None } > held
        });
        self.deletions = self.deletions.saturating_add(usize::from(counts));
        Ok(counts)
    }

    /// Stops before so much is deleted that it looks like an accident.
    fn guard(&self) -> Result<(), RoundError> {
        let many = self.deletions > FEW_DELETIONS && self.deletions.saturating_mul(4) > self.nodes;
        if many && !self.confirmed {
            return Err(RoundError::MassDelete { deletions: self.deletions, nodes: self.nodes });
        }
        Ok(())
    }

    /// Writes a batch while the next one is read.
    async fn write(&mut self, round: &Round, pulling: &mut Pulling, batch: Vec<WireChange>) -> Result<(), RoundError> {
        let (lattice, peer) = (Arc::clone(self.parties.lattice), self.peer.clone());
        let task = tokio::spawn(async move { Ok(feed::receive(&*lattice, peer.as_str(), batch).await?) });
        pulling.writing.push_back((task, pulling.last));
        while pulling.writing.len() > WRITING {
            let Some(written) = pulling.writing.pop_front() else { break };
            self.written(round, pulling, written).await?;
        }
        Ok(())
    }

    async fn written(
        &mut self,
        round: &Round,
        pulling: &Pulling,
        (task, seq): (JoinHandle<Result<Received, RoundError>>, u64),
    ) -> Result<(), RoundError> {
        let received = match task.await {
            Ok(received) => received?,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                // Nobody else stops it: the process ends.
                Err(_) => return Err(RoundError::Stopped),
            },
        };
        self.report.received.add(&received);
        self.note_behind(round, pulling, seq);
        Ok(())
    }

    /// Notes a position, but none behind a deletion that is still to be carried out.
    fn note_behind(&mut self, round: &Round, pulling: &Pulling, seq: u64) {
        let first = pulling.deletions.first().map(|change| change.seq.saturating_sub(1));
        let seq = first.map_or(seq, |first| first.min(seq));
        let mut positions = round.positions.clone();
        let known = positions.pulled.as_ref().filter(|it| it.index_id == round.theirs.index_id).map_or(0, |it| it.seq);
        if seq > known {
            positions.pulled = Some(Position { index_id: round.theirs.index_id.clone(), seq });
            (self.note)(&positions);
        }
    }

    fn pulled_to(&mut self, round: &mut Round, seq: u64) {
        round.positions.pulled = Some(Position { index_id: round.theirs.index_id.clone(), seq });
        (self.note)(&round.positions);
    }

    /// Fetches contents, those of the greatest priority first.
    async fn fetch_in_order(&mut self, mut wanted: Vec<(f64, NodeId)>) -> Result<(), RoundError> {
        if self.options.priority {
            wanted.sort_by(|(one, _), (other, _)| other.total_cmp(one));
        }
        let mut wanted: VecDeque<NodeId> = wanted.into_iter().map(|(_, id)| id).collect();
        while !wanted.is_empty() {
            let part: Vec<NodeId> = wanted.drain(..wanted.len().min(LIST)).collect();
            self.fetch(part).await?;
        }
        Ok(())
    }

    async fn fetch(&mut self, ids: Vec<NodeId>) -> Result<(), RoundError> {
        self.report.requests = self.report.requests.saturating_add(1);
        let mut lines = self.parties.client.nodes(&ids).await?;
        let asked: HashSet<NodeId> = ids.into_iter().collect();
        let (mut batch, mut bytes, mut counted) = (Vec::new(), 0_usize, 0);
        loop {
            let change = match lines.next_line().await?.map(|line| (line.len(), read_line(line, &self.parties.limits)))
            {
                None => None,
                Some((size, line)) => match line? {
                    Line::Change(change) if asked.contains(&change.id) => {
                        bytes = bytes.saturating_add(size);
                        Some(*change)
                    }
                    Line::End(_) => None,
                    Line::Change(_) | Line::Start(_) => return Err(RoundError::OtherFeed),
                },
            };
            let last = change.is_none();
            batch.extend(change);
            if last || batch.len() >= BATCH || bytes >= BATCH_BYTES {
                bytes = 0;
                let came = lines.bytes().saturating_sub(counted);
                counted = lines.bytes();
                self.report.bytes_in = self.report.bytes_in.saturating_add(came);
                self.parties.rates.download.take(usize::try_from(came).unwrap_or(usize::MAX)).await;
                let lattice = &**self.parties.lattice;
                let admitted = feed::admitted(lattice, &self.matcher, std::mem::take(&mut batch)).await?;
                self.remember(&admitted);
                self.store(admitted).await?;
            }
            if last {
                return Ok(());
            }
        }
    }

    async fn store(&mut self, batch: Vec<WireChange>) -> Result<(), RoundError> {
        for part in batch.chunks(BATCH) {
            let received = feed::receive(&**self.parties.lattice, self.peer.as_str(), part.to_vec()).await?;
            self.report.received.add(&received);
        }
        Ok(())
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
