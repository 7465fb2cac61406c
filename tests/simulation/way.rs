//! The way from one instance to another, which loses, cuts, repeats, delays and replays.

use crate::{
    brittle::Process,
    world::{Delayed, World},
};
use ark_lattice::{
    federation::{
        client::ClientError,
        exchange::Signer,
        feed::{self, FeedError, FeedOptions, LineStream},
        filter::Filter,
        lines::Lines,
        reconcile::{Answer, item::ItemId},
        remote::{ChangesQuery, Knowing, OfferAnswer, PushAnswer, ReceiverBounds, Remote},
        waiting,
    },
    manifest::{Head, Lineage, Verified, sign_head, verify_head},
    types::{Limits, NodeId, PeerId, decode_hex, encode_hex},
};
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use std::{collections::HashMap, future::pending, sync::Arc};

const MAX_LINE: usize = 8 << 20;
/// Old answers that may come again.
const REMEMBERED: usize = 6;

/// Answers that were given before, by what they answer.
#[derive(Debug, Default)]
pub(crate) struct Before(HashMap<(usize, &'static str), Vec<Vec<u8>>>);

impl Before {
    fn note(&mut self, to: usize, kind: &'static str, answer: &[u8]) {
        let answers = self.0.entry((to, kind)).or_default();
        if answers.len() == REMEMBERED {
            answers.remove(0);
        }
        answers.push(answer.to_owned());
    }
}

pub(crate) struct Way<'a> {
    pub(crate) world: &'a World,
    pub(crate) from: usize,
    pub(crate) to: usize,
    pub(crate) depth: usize,
    pub(crate) process: Arc<Process>,
}

impl Way<'_> {
    fn broken(&self, what: &str) -> ClientError {
        ClientError::Unreachable(format!("s{}", self.to), what.into())
    }

    fn refused(error: &FeedError) -> ClientError {
        let detail = error.to_string();
        match error {
            FeedError::Lattice(_) => {
                ClientError::Server { status: 503, code: "unavailable".to_owned(), detail, retry_after: None }
            }
            _ => ClientError::Refused { status: 409, code: "refused".to_owned(), detail, retry_after: None },
        }
    }

    /// Before the request arrives: what else happens, and whether it does.
    async fn go(&self, what: &str) -> Result<(), ClientError> {
        self.world.meanwhile(self.from, self.to, self.depth).await;
        self.may_die(what).await;
        if !self.world.is_open(self.from, self.to) {
            return Err(self.broken("no way"));
        }
        if self.world.fault() {
            self.world.say(|| format!("    {what}: lost on the way there"));
            return Err(self.broken("lost on the way there"));
        }
        Ok(())
    }

    /// The asking process may end here, before or after the other side did something.
    async fn may_die(&self, what: &str) {
        if self.world.may_kill(self.from) {
            self.world.say(|| format!("    {what}: s{} is killed", self.from));
            self.process.kill();
            pending::<()>().await;
        }
    }

    /// The answer may be lost after everything was done.
    async fn back(&self, what: &str) -> Result<(), ClientError> {
        self.may_die(what).await;
        if self.world.fault() {
            self.world.say(|| format!("    {what}: the answer is lost"));
            return Err(self.broken("the answer is lost"));
        }
        Ok(())
    }

    /// One that was given before, now and then.
    fn answer(&self, kind: &'static str, fresh: Vec<u8>) -> Vec<u8> {
        let mut before = self.world.before.lock().unwrap();
        let old = before.0.get(&(self.to, kind)).filter(|_| self.world.fault()).map(|old| self.world.pick(old));
        before.note(self.to, kind, &fresh);
        if old.is_some() {
            self.world.say(|| format!("    {kind}: an old answer comes again"));
            self.world.replayed();
        }
        old.unwrap_or(fresh)
    }

    /// An instance of before leaves out what is unavailable.
    fn options(&self, contents: bool) -> FeedOptions {
        FeedOptions { contents, unavailable: !self.world.sites[self.to].is_old, ..FeedOptions::default() }
    }

    async fn lines(&self, kind: &'static str, stream: LineStream) -> Result<Lines, ClientError> {
        let parts: Vec<Bytes> = stream.map(|part| part.unwrap()).collect().await;
        let whole = self.answer(kind, parts.concat());
        let broken = || Err(self.broken("broke off"));
        let cut = self.world.fault().then(|| self.world.below(whole.len() + 1));
        let mut parts: Vec<Result<Bytes, ClientError>> = Vec::new();
        let mut rest = Bytes::from(whole).slice(..);
        if let Some(cut) = cut {
            self.world.say(|| format!("    {kind}: cut after {cut} bytes"));
            rest.truncate(cut);
        }
        while !rest.is_empty() {
            let part = if self.world.fault() { 1 + self.world.below(rest.len()) } else { rest.len() };
            parts.push(Ok(rest.split_to(part)));
        }
        // Told as an error, or as an end like any other.
        if cut.is_some() && self.world.below(2) == 0 {
            parts.push(broken());
        }
        Ok(Lines::new(format!("s{}", self.to), stream::iter(parts).boxed(), MAX_LINE))
    }
}

#[async_trait]
impl Remote for Way<'_> {
    async fn head(&self, limits: &Limits) -> Result<Verified<Head>, ClientError> {
        self.go("head").await?;
        let site = &self.world.sites[self.to];
        let mut head = feed::stand(&*site.lattice(), &site.node_id, site.now())
            .map_err(|error| Self::refused(&FeedError::Lattice(error)))?;
        // An instance of before, which has no epochs.
        head.epoch = head.epoch.filter(|_| !site.is_old);
        let signed = sign_head(&head, site.key.public_key(), |bytes| site.key.sign(bytes));
        let answer = self.answer("head", signed.into_bytes());
        self.back("head").await?;
        Ok(verify_head(Bytes::from(answer), limits).unwrap())
    }

    async fn lineage(&self, head: &Verified<Head>) -> Result<Lineage, ClientError> {
        self.go("lineage").await?;
        let site = &self.world.sites[self.to];
        let (lineage, head) = (site.lattice().epochs().lineage, head.get());
        self.back("lineage").await?;
        let Some(stated) = &head.epoch else { return Ok(head.newest_epoch()) };
        let signed = lineage.up_to(&stated.epoch).filter(|lineage| *lineage.hash() == stated.lineage_hash);
        signed.ok_or_else(|| ClientError::Protocol(format!("s{}", self.to), "another lineage".to_owned()))
    }

    async fn changes(&self, query: &ChangesQuery<'_>) -> Result<Lines, ClientError> {
        self.go("changes").await?;
        let lattice = self.world.sites[self.to].lattice();
        let options = FeedOptions {
            contents: query.contents,
            matcher: query.filter.matcher(),
            priorities: query.priorities,
            unavailable: query.seen.is_some(),
            max_bytes: None,
        };
        let stream = feed::feed(&lattice, Some(query.index_id), query.since, options, query.seen)
            .map_err(|error| Self::refused(&error))?;
        let kind = if query.contents { "changes" } else { "list" };
        let lines = self.lines(kind, stream).await?;
        self.back(kind).await?;
        Ok(lines)
    }

    async fn nodes(&self, ids: &[NodeId]) -> Result<Lines, ClientError> {
        self.go("nodes").await?;
        let lattice = self.world.sites[self.to].lattice();
        let stream = feed::contents(&lattice, ids.to_vec(), self.options(true))
            .map_err(|error| Self::refused(&FeedError::Lattice(error)))?;
        let lines = self.lines("nodes", stream).await?;
        self.back("nodes").await?;
        Ok(lines)
    }

    async fn reconcile(&self, message: &[u8]) -> Result<Option<Answer>, ClientError> {
        self.go("reconcile").await?;
        let site = &self.world.sites[self.to];
        // An instance of before, which does not know of it.
        if site.is_old {
            return Ok(None);
        }
        let (sets, message) = (site.sets(), Bytes::copy_from_slice(message));
        let answer = sets.respond(&site.lattice(), message).await.map_err(|error| Self::refused(&error))?;
        let head = format!("{} {} {}\n", answer.index_id, answer.seq, encode_hex(&answer.answers));
        let whole = self.answer("reconcile", [head.as_bytes(), &answer.message].concat());
        self.back("reconcile").await?;
        let end = whole.iter().position(|byte| *byte == b'\n').unwrap();
        let head = String::from_utf8(whole[..end].to_vec()).unwrap();
        let [index_id, seq, answers] = head.split(' ').collect::<Vec<_>>().try_into().unwrap();
        Ok(Some(Answer {
            index_id: index_id.to_owned(),
            seq: seq.parse().unwrap(),
            answers: decode_hex(answers).unwrap(),
            message: Bytes::from(whole).slice(end + 1..),
        }))
    }

    async fn versions(&self, items: &[ItemId], contents: bool) -> Result<Lines, ClientError> {
        self.go("versions").await?;
        let site = &self.world.sites[self.to];
        let (lattice, sets) = (site.lattice(), site.sets());
        let changes = sets.changes_of(&lattice, items.to_vec()).await;
        let changes = changes.map_err(|error| Self::refused(&FeedError::Lattice(error)))?;
        let stream = feed::lines_of(&lattice, changes, lattice.status().seq, self.options(contents));
        let lines = self.lines("versions", stream).await?;
        self.back("versions").await?;
        Ok(lines)
    }

    async fn unavailable(&self) -> Result<Option<Lines>, ClientError> {
        self.go("unavailable").await?;
        let site = &self.world.sites[self.to];
        // An instance of before, which does not know of it.
        if site.is_old {
            return Ok(None);
        }
        let stream = feed::unavailable(&site.lattice(), 10_000);
        let stream = stream.map_err(|error| Self::refused(&FeedError::Lattice(error)))?;
        let lines = self.lines("unavailable", stream).await?;
        self.back("unavailable").await?;
        Ok(Some(lines))
    }

    async fn offer(&self, _: &Signer<'_>, knowing: Knowing<'_>, lines: Bytes) -> Result<OfferAnswer, ClientError> {
        self.go("offer").await?;
        let site = &self.world.sites[self.to];
        feed::continues(&*site.lattice(), knowing.seen).map_err(|error| Self::refused(&error))?;
        let stood = (!site.is_old).then(|| feed::here(&*site.lattice()));
        let changes = feed::read_changes(&lines, &Limits::default()).map_err(|error| Self::refused(&error))?;
        let from = PeerId::parse(&format!("s{}", self.from)).unwrap();
        let ended = waiting::end_where_held(&*site.lattice(), &from, &changes).await;
        ended.map_err(|error| Self::refused(&FeedError::Lattice(error)))?;
        let wanted = feed::wanted(&*site.lattice(), &changes, site.now()).map_err(|error| Self::refused(&error))?;
        self.back("offer").await?;
        Ok(OfferAnswer { wanted, stood, bounds: ReceiverBounds::default() })
    }

    async fn push(
        &self,
        _: &Signer<'_>,
        knowing: Knowing<'_>,
        filter: &Filter,
        lines: Bytes,
    ) -> Result<PushAnswer, ClientError> {
        let holds = knowing.holds.cloned();
        let delayed = Delayed { from: self.from, to: self.to, filter: filter.clone(), lines, holds };
        if self.world.fault() {
            self.world.say(|| format!("    push s{} -> s{}: a copy is on its way", self.from, self.to));
            self.world.delay(delayed.clone());
        }
        self.go("push").await?;
        let site = &self.world.sites[self.to];
        feed::continues(&*site.lattice(), knowing.seen).map_err(|error| Self::refused(&error))?;
        let mut answer = self.world.receive(&delayed).await.map_err(|error| Self::refused(&error))?;
        if self.world.fault() {
            self.world.say(|| format!("    push s{} -> s{}: it comes twice", self.from, self.to));
            let second = self.world.receive(&delayed).await.map_err(|error| Self::refused(&error))?;
            if self.world.below(2) == 0 {
                answer = second;
            }
        }
        self.back("push").await?;
        Ok(answer)
    }
}
