//! What we have goes.

use super::{
    BATCH_BYTES, Held, LIST, RoundError, Run, SKEW,
    too_large::{count_lines, first_lines, is_size_refusal},
    unavailable::is_available,
};
use crate::{
    federation::{
        client::ClientError,
        feed::{self, FeedOptions, Walk, WrittenLines},
        remote::{Knowing, PushAnswer},
        round::{Mode, Position, Positions, Round},
        waiting,
    },
    lattice::Change,
    manifest::EpochStart,
    types::{NodeId, Timestamp},
};
use bytes::{Buf, Bytes};
use std::collections::HashSet;

impl<N: FnMut(&Positions) + Send> Run<'_, N> {
    /// Sends our changes after `since`. With `by_priority` all of them are offered before the first content goes, so that the most
    /// important ones of the whole round go first; the position is noted at the end then.
    ///
    /// Answers whether it came to the end; otherwise the round's time is over.
    pub(super) async fn push(&mut self, round: &mut Round, since: u64, mode: Mode) -> Result<bool, RoundError> {
        let mut walk = self.walk(since, round.ours.seq, mode == Mode::Inline);
        let mut later = Vec::new();
        let waiting = self.waiting_here()?;
        loop {
            let mut batch = walk.next_batch()?;
            if batch.is_empty() {
                break;
            }
            self.retain_wanted(round, &mut batch, &waiting);
            if !batch.is_empty() {
                match mode {
                    Mode::Inline => self.send_part(round, batch).await?,
                    Mode::List => later.append(&mut self.offer(round, batch).await?),
                }
            }
            if mode == Mode::List && !self.by_priority() {
                self.send_contents(round, std::mem::take(&mut later)).await?;
            }
            self.hold_refused(since);
            if !self.by_priority() {
                self.pushed_to(round, walk.position());
            }
            if self.is_over() {
                return Ok(false);
            }
        }
        if self.by_priority() {
            self.sort(&mut later).await?;
        }
        self.send_contents(round, later).await?;
        self.hold_refused(since);
        self.pushed_to(round, walk.position());
        Ok(true)
    }

    /// Nodes of which a deletion by the peer waits here: they do not go back to it before the admin decides.
    pub(super) fn waiting_here(&self) -> Result<HashSet<NodeId>, RoundError> {
        Ok(waiting::waiting_ids(&**self.parties.lattice, self.peer.as_str())?.into_iter().collect())
    }

    /// Keeps the changes that are to go to the peer, and notes those that it will not believe yet.
    pub(super) fn retain_wanted(&mut self, round: &Round, changes: &mut Vec<Change>, waiting: &HashSet<NodeId>) {
        let lattice = &**self.parties.lattice;
        changes.retain(|change| {
            let waits = matches!(change, Change::Put { id, .. } if waiting.contains(id));
            let is_held = self.is_remembered(change) || self.forgotten.is_deleted_there(change);
            !is_held && !waits && is_available(lattice, change)
        });
        // Their clock, as they signed it.
        let clock = round.theirs.issued_at;
        for change in changes {
            let at = time(change);
            Held::hold(&mut self.held.pushed, feed::position(change), at, clock);
            self.refused.there |= at > clock.plus(SKEW);
        }
    }

    fn pushed_to(&mut self, round: &mut Round, seq: u64) {
        round.sent(Position::new(round.ours.current_epoch(), seq));
        self.tell(&round.positions);
    }

    /// What the peer refused for its conflicts goes again in the next round: those may be settled by then.
    fn hold_refused(&mut self, since: u64) {
        if matches!(self.conflicts_full, Some(RoundError::Client(_))) {
            Held::before(&mut self.held.pushed, since.saturating_add(1));
        }
    }

    fn by_priority(&self) -> bool {
        self.options.priority
    }

    pub(super) fn walk(&self, since: u64, end: u64, contents: bool) -> Walk {
        let (matcher, max_bytes) = (self.matcher.clone(), self.too_large.bounds().node_bytes);
        let options = FeedOptions { contents, matcher, max_bytes, ..FeedOptions::default() };
        Walk::new(self.parties.lattice, since, end, options)
    }

    /// The greater priority first; what is equal stays in its order.
    async fn sort(&self, changes: &mut Vec<Change>) -> Result<(), RoundError> {
        let mut keyed = Vec::with_capacity(changes.len());
        for part in std::mem::take(changes).chunks(LIST) {
            keyed.append(&mut feed::with_priorities(&**self.parties.lattice, part).await?);
        }
        keyed.sort_by(|(one, _), (other, _)| other.total_cmp(one));
        changes.extend(keyed.into_iter().map(|(_, change)| change));
        Ok(())
    }

    /// Sends a list; answers the deletions, and the changes whose contents are wanted.
    pub(super) async fn offer(&mut self, round: &mut Round, batch: Vec<Change>) -> Result<Vec<Change>, RoundError> {
        let mut goes = Vec::new();
        for part in batch.chunks(LIST) {
            let WrittenLines { text, unread, .. } = self.walk(0, 0, false).lines(part).await?;
            self.unavailable.hold_unread(&mut self.held.pushed, unread);
            let wanted = self.offer_lines(round, Bytes::from(text)).await?;
            goes.extend(
                part.iter()
                    .filter(|change| match change {
                        Change::Put { id, .. } => wanted.contains(id),
                        Change::Deleted(..) => true,
                    })
                    .cloned(),
            );
        }
        Ok(goes)
    }

    /// Offers these lines, in as many requests as the size of a body there asks for. Answers the nodes that are wanted.
    async fn offer_lines(&mut self, round: &mut Round, mut rest: Bytes) -> Result<HashSet<NodeId>, RoundError> {
        let mut wanted = HashSet::new();
        while !rest.is_empty() {
            let body = first_lines(&rest, self.too_large.most_body());
            let seen = seen(round);
            let knowing = Knowing { seen: seen.as_ref(), ..Knowing::default() };
            self.count_out(body.len()).await;
            let offered = self.parties.client.offer(&self.signer(), knowing, body.clone()).await;
            let offered = match offered.map_err(RoundError::from) {
                Err(error) if is_size_refusal(&error) && count_lines(&body) > 1 => {
                    self.too_large.halve_body(body.len());
                    continue;
                }
                offered => offered?,
            };
            if let Some(stood) = offered.stood {
                they_stood(round, stood.start, stood.seq)?;
            }
            self.too_large.learn(offered.bounds);
            wanted.extend(offered.wanted);
            rest.advance(body.len());
        }
        Ok(wanted)
    }

    pub(super) async fn send_contents(&mut self, round: &mut Round, changes: Vec<Change>) -> Result<(), RoundError> {
        let (mut part, mut bytes) = (Vec::new(), 0_u64);
        for change in changes {
            if let Change::Put { size_bytes, .. } = &change {
                bytes = bytes.saturating_add(*size_bytes);
            }
            part.push(change);
            if usize::try_from(bytes).unwrap_or(usize::MAX) >= BATCH_BYTES || part.len() >= LIST {
                bytes = 0;
                self.send_part(round, std::mem::take(&mut part)).await?;
            }
        }
        self.send_part(round, part).await
    }

    async fn send_part(&mut self, round: &mut Round, part: Vec<Change>) -> Result<(), RoundError> {
        if part.is_empty() {
            return Ok(());
        }
        let lines = self.walk(0, 0, true).lines(&part).await?;
        self.send(round, lines).await
    }

    /// Sends these lines, in as many requests as the size of a body there asks for. A node that is too large there is left out.
    pub(super) async fn send(&mut self, round: &mut Round, lines: WrittenLines) -> Result<(), RoundError> {
        let WrittenLines { text, unread, too_large, .. } = lines;
        self.unavailable.hold_unread(&mut self.held.pushed, unread);
        for node in &too_large {
            self.leave_out_there(node, None);
        }
        let mut rest = Bytes::from(text);
        while !rest.is_empty() {
            let body = first_lines(&rest, self.too_large.most_body());
            if self.too_large.exceeds_body(body.len()) && count_lines(&body) == 1 {
                self.leave_out_line(&body, None)?;
            } else {
                match self.send_body(round, &body).await {
                    Err(error) if is_size_refusal(&error) && count_lines(&body) > 1 => {
                        self.too_large.halve_body(body.len());
                        continue;
                    }
                    Err(error) if is_size_refusal(&error) => self.leave_out_line(&body, Some(error))?,
                    // The peer took all the others of this body, and takes what follows.
                    Err(error) if is_conflict_refusal(&error) => {
                        self.report.sent = self.report.sent.saturating_add(count_lines(&body));
                        self.refused.there = true;
                        self.conflicts_full.get_or_insert(error);
                    }
                    sent => sent?,
                }
            }
            rest.advance(body.len());
        }
        Ok(())
    }

    async fn send_body(&mut self, round: &mut Round, body: &Bytes) -> Result<(), RoundError> {
        let count = count_lines(body);
        self.count_out(body.len()).await;
        let filter = self.matcher.filter();
        let seen = seen(round);
        let holds = self.forgotten.held().or(round.positions.pulled.as_ref()).cloned().filter(|_| seen.is_some());
        let stands = seen.is_some().then(|| round.ours.position());
        let knowing = Knowing { seen: seen.as_ref(), holds: holds.as_ref(), stands: stands.as_ref() };
        let PushAnswer { mut received, moved, epoch, has_twin, too_large, bounds } =
            self.parties.client.push(&self.signer(), knowing, filter, body.clone()).await?;
        self.too_large.learn(bounds);
        let left_out = self.leave_out_lines(body, too_large)?;
        received.taken = received.taken.min(count);
        self.refused.there |= received.ahead > 0;
        self.report.has_twin |= has_twin;
        match epoch {
            Some(start) => they_stood(round, start, moved.end)?,
            // Of release 0.1.0.
            None => they_stood(round, EpochStart { epoch: round.theirs.current_epoch(), since: 0 }, moved.end)?,
        }
        self.report.waiting_there = Some(received.there.map_or(0, |there| there.deletions));
        // What they took from us need not come back, if nothing else came between.
        let taken = u64::try_from(received.taken).unwrap_or(u64::MAX);
        if let Some(pulled) = &mut round.positions.pulled
            && pulled.seq == moved.start
            && moved.end.saturating_sub(moved.start) == taken
        {
            *pulled = Position::new(round.theirs.current_epoch(), moved.end);
            round.positions.pulled_into = Some(round.ours.position());
            round.theirs.seq = round.theirs.seq.max(moved.end);
        }
        self.report.sent = self.report.sent.saturating_add(count.saturating_sub(left_out));
        self.report.sent_taken = self.report.sent_taken.saturating_add(received.taken);
        Ok(())
    }

    pub(super) async fn count_out(&mut self, bytes: usize) {
        self.report.requests = self.report.requests.saturating_add(1);
        self.report.bytes_out = self.report.bytes_out.saturating_add(u64::try_from(bytes).unwrap_or(u64::MAX));
        self.parties.rates.upload.take(bytes).await;
    }
}

/// Does the peer hold as many conflicts with this instance as it may?
fn is_conflict_refusal(error: &RoundError) -> bool {
    matches!(error, RoundError::Client(ClientError::Refused { code, .. }) if code == "conflicts_full")
}

/// The position that is acted on, where their journal has epochs.
pub(super) fn seen(round: &Round) -> Option<Position> {
    round.theirs.epoch.as_ref().map(|_| round.theirs.position())
}

/// Notes where their journal stands now.
///
/// # Errors
/// [`RoundError::OtherFeed`]: it does not continue from the head that is acted on.
pub(super) fn they_stood(round: &mut Round, start: EpochStart, seq: u64) -> Result<(), RoundError> {
    let continues = round.they_stood(start, seq);
    if continues { Ok(()) } else { Err(RoundError::OtherFeed("its journal was restored meanwhile")) }
}

pub(super) fn time(change: &Change) -> Timestamp {
    match change {
        Change::Put { updated_at, .. } => *updated_at,
        Change::Deleted(tombstone, _) => tombstone.deleted_at,
    }
}
