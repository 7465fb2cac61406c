//! What only one side has is found, fetched and sent.

use super::{BATCH, BATCH_BYTES, Known, LIST, RoundError, Run, pull::Pulling, stage::Stage};
use crate::{
    federation::{
        reconcile::{
            Answer, changes_at, digest,
            item::{ItemId, NodePart, node_part},
        },
        round::{Mode, Positions, Reset, Round},
        wire::Line,
    },
    lattice::Change,
    manifest::MAX_SEQ,
    types::NodeId,
};
use std::collections::HashSet;

/// What the messages may cost both ways: less than a list of everything, which comes instead. So few are always worth trying,
const LEAST_BYTES: u64 = 64 << 10;
/// and so many for each node of either side: its id in a message each way.
const BYTES_A_NODE: u64 = 64;
/// Messages that are always worth sending, and one more for so many nodes.
const LEAST_MESSAGES: u64 = 64;
const NODES_A_MESSAGE: u64 = 1024;

/// What only one side has.
#[derive(Debug, Default)]
pub(super) struct Differences {
    /// Positions in our journal.
    pub(super) have: Vec<u64>,
    /// Versions of nodes that we know nothing of.
    new: Vec<ItemId>,
    /// Other versions than ours.
    pub(super) other: Vec<ItemId>,
    /// They changed since their head was signed.
    pub(super) moved: bool,
}

/// How the search for differences ended.
pub(super) enum Search {
    Found(Differences),
    /// The other side cannot, or it costs more than a list.
    InVain,
    /// The round's time is over.
    Over,
}

impl<N: FnMut(&Positions) + Send> Run<'_, N> {
    /// Answers whether the round goes on; otherwise its time is over. Nothing is noted before both ways are done: a round that is cut
    /// off begins this again, and finds less.
    pub(super) async fn reconcile(
        &mut self,
        round: &mut Round,
        known: &Known,
        reset: Reset,
    ) -> Result<bool, RoundError> {
        let begun = round.ours.position();
        let begin = self.parties.lattice.status().seq;
        let ours = self.parties.lattice.snapshot()?;
        let Differences { have, new, other, moved } = match self.search(round).await? {
            Search::Found(differences) => differences,
            Search::InVain => {
                round.reconciles = None;
                return Ok(true);
            }
            Search::Over => return Ok(false),
        };
        self.report.reset = self.report.reset.or(Some(reset));
        let mut pulling = Pulling::new(Mode::Inline, 0);
        let mut lacking = Vec::new();
        // Where they changed meanwhile, which set it is cannot be told.
        if !self.unstaged && !moved {
            pulling.stage = Some(Stage::new(Some((ours, begin))));
            for change in changes_at(&**self.parties.lattice, &have)? {
                if let Change::Put { id, .. } = change {
                    lacking.push(id);
                }
            }
        }
        let mut fetched = self.fetch_versions(round, &mut pulling, &new, &other).await;
        if let Ok(true) = fetched {
            fetched = self.settle_versions(round, &mut pulling, known, &lacking).await.map(|()| true);
        }
        self.drain(round, &mut pulling).await?;
        if !fetched? {
            return Ok(false);
        }
        self.finish(pulling).await?;
        round.pulled(self.stand()?);
        if round.directions.push && !self.send_versions(round, &have).await? {
            return Ok(false);
        }
        if round.directions.push {
            round.sent(begun);
        }
        self.tell(&round.positions);
        Ok(true)
    }

    /// Exchanges messages until everything is said.
    pub(super) async fn search(&mut self, round: &Round) -> Result<Search, RoundError> {
        let (sets, lattice) = (self.parties.sets, self.parties.lattice);
        let nodes = round.theirs.count.saturating_add(round.ours.count);
        let mut bytes_left = LEAST_BYTES.saturating_add(nodes.saturating_mul(BYTES_A_NODE));
        let mut messages_left = LEAST_MESSAGES.saturating_add(nodes / NODES_A_MESSAGE);
        let mut found = Differences::default();
        let mut message = sets.open(lattice).await?;
        loop {
            if self.is_over() {
                return Ok(Search::Over);
            }
            self.count_out(message.len()).await;
            let Some(answer) = self.parties.client.reconcile(&message).await? else { return Ok(Search::InVain) };
            check(round, &message, &answer)?;
            self.report.messages = self.report.messages.saturating_add(2);
            let came = answer.message.len();
            let cost = |bytes: usize| u64::try_from(bytes).unwrap_or(u64::MAX);
            self.report.bytes_in = self.report.bytes_in.saturating_add(cost(came));
            self.parties.rates.download.take(came).await;
            let seq = answer.seq;
            found.moved |= seq != round.theirs.seq;
            let mut more = sets.go_on(lattice, answer.message).await?;
            found.have.append(&mut more.have);
            found.new.append(&mut more.new);
            found.other.append(&mut more.other);
            // Each of its positions has one version.
            if found.new.len().saturating_add(found.other.len()) > usize::try_from(seq).unwrap_or(usize::MAX) {
                return Err(RoundError::OtherFeed("it names more versions than its journal has positions"));
            }
            bytes_left = bytes_left.saturating_sub(cost(came.saturating_add(message.len())));
            messages_left = messages_left.saturating_sub(1);
            match more.next {
                None => return Ok(Search::Found(found.once())),
                Some(_) if bytes_left == 0 || messages_left == 0 => return Ok(Search::InVain),
                Some(next) => message = next,
            }
        }
    }

    /// Fetches what they have and we lack. Of nodes that we have as well, and of all where they wait to be compared, as a list first.
    async fn fetch_versions(
        &mut self,
        round: &Round,
        pulling: &mut Pulling,
        new: &[ItemId],
        other: &[ItemId],
    ) -> Result<bool, RoundError> {
        for (mode, items) in [(Mode::Inline, new), (Mode::List, other)] {
            pulling.mode = if pulling.stage.is_some() { Mode::List } else { mode };
            for part in items.chunks(LIST) {
                if !self.read_versions(round, pulling, part).await? {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    async fn read_versions(
        &mut self,
        round: &Round,
        pulling: &mut Pulling,
        items: &[ItemId],
    ) -> Result<bool, RoundError> {
        self.report.requests = self.report.requests.saturating_add(1);
        let mut lines = self.parties.client.versions(items, pulling.mode == Mode::Inline).await?;
        let asked: HashSet<NodePart> = items.iter().map(ItemId::node_part).collect();
        let mut came: HashSet<NodeId> = HashSet::new();
        let (mut batch, mut bytes, mut counted) = (Vec::new(), 0_usize, 0);
        loop {
            let (line, size) = self.next_line(&mut lines).await?;
            bytes = bytes.saturating_add(size);
            let last = match line {
                // Each once: the answer is no longer than what was asked for.
                Line::Change(change) if asked.contains(&node_part(&change.id)) && came.insert(change.id.clone()) => {
                    batch.push(*change);
                    false
                }
                Line::End(_) => true,
                Line::Change(_) => return Err(RoundError::OtherFeed("it has versions that were not asked for")),
                Line::Start(_) => return Err(RoundError::OtherFeed("it begins as another one")),
            };
            let over = self.is_over();
            if last || over || batch.len() >= BATCH || bytes >= BATCH_BYTES {
                self.count_in(lines.bytes(), &mut counted).await;
                let (batch, bytes) = (std::mem::take(&mut batch), std::mem::take(&mut bytes));
                self.stage_or_take(round, pulling, batch, bytes).await?;
            }
            if last {
                return Ok(true);
            }
            if over {
                return pulling.ended_early().map(|()| false);
            }
        }
    }

    /// Sends what stands at these positions of our journal; what it became meanwhile stands further behind and goes from there.
    async fn send_versions(&mut self, round: &mut Round, positions: &[u64]) -> Result<bool, RoundError> {
        let waiting = self.waiting_here()?;
        for part in positions.chunks(LIST) {
            let mut changes = changes_at(&**self.parties.lattice, part)?;
            self.retain_wanted(round, &mut changes, &waiting);
            let any = !changes.is_empty();
            self.send_contents(round, changes).await?;
            round.stale |= any;
            if self.is_over() {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

impl Differences {
    /// Each once: ranges that were cut off at the end of a message come again.
    fn once(mut self) -> Self {
        self.have.sort_unstable();
        self.have.dedup();
        for items in [&mut self.new, &mut self.other] {
            items.sort_unstable();
            items.dedup();
        }
        self
    }
}

/// Is it an answer to this message, of what the head was signed for?
fn check(round: &Round, message: &[u8], answer: &Answer) -> Result<(), RoundError> {
    if answer.answers != digest(message) {
        return Err(RoundError::OtherFeed("it answers another message"));
    }
    if answer.index_id != round.theirs.index_id {
        return Err(RoundError::OtherFeed("it answers for another journal"));
    }
    if answer.seq < round.theirs.seq || answer.seq > MAX_SEQ {
        return Err(RoundError::OtherFeed("it answers for another position than the signed one"));
    }
    Ok(())
}
