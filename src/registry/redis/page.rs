//! Pages of live peers: from one index, or merged from the shares of a Cluster's.

use super::{
    CHUNK, MOST_PAGE_TIME, PAGE_TIME, RedisRegistry,
    keys::{self, SHARES},
    link::Ask,
    parsed,
};
use crate::{
    registry::{PeerCursor, PeerPage, PeerRecord, RegistryError},
    types::{PeerId, PublicKey, Timestamp},
};
use redis::Value;
use std::{cmp::Ordering, collections::HashSet, time::Duration, time::Instant};

/// A place in the index: score and member as they stand there. Others may have written it, so it need not be one of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    score: Vec<u8>,
    member: Vec<u8>,
}

impl Place {
    fn of(cursor: &PeerCursor) -> Self {
        Self { score: cursor.expires_at_ms.to_string().into_bytes(), member: cursor.peer.as_str().as_bytes().to_vec() }
    }

    /// `None` where another program's entry is there.
    fn cursor(&self) -> Option<PeerCursor> {
        Some(PeerCursor { expires_at_ms: self.expires_at_ms()?, peer: self.peer()? })
    }

    fn expires_at_ms(&self) -> Option<i64> {
        std::str::from_utf8(&self.score).ok()?.parse().ok()
    }

    fn peer(&self) -> Option<PeerId> {
        PeerId::parse(std::str::from_utf8(&self.member).ok()?).ok()
    }

    /// The index's own order: Redis keeps scores as doubles, and members of one score by their bytes.
    fn order(&self, other: &Self) -> Ordering {
        let score = |place: &Self| std::str::from_utf8(&place.score).ok().and_then(|text| text.parse::<f64>().ok());
        let (one, two) = (score(self).unwrap_or(f64::INFINITY), score(other).unwrap_or(f64::INFINITY));
        one.total_cmp(&two).then_with(|| self.member.cmp(&other.member))
    }
}

/// A part of a page.
struct Chunk {
    total: u64,
    peers: Vec<PeerRecord>,
    /// The last place looked at, where there is more.
    next: Option<Place>,
}

/// One run of the list script.
struct Run {
    total: u64,
    now_ms: i64,
    next: Option<Place>,
    rows: Vec<Vec<Option<Vec<u8>>>>,
}

/// As list.lua gives them.
const FIELDS: [&str; 5] = [keys::PUBKEY, keys::SUMMARY, keys::INSTANCE_TYPE, keys::LAST_SEEN, keys::ISSUED_AT];

impl RedisRegistry {
    /// A page may be shorter than `limit` with a cursor to go on, where it would take long.
    pub(super) async fn page(&self, after: Option<&PeerCursor>, limit: usize) -> Result<PeerPage, RegistryError> {
        let started = Instant::now();
        let first = self.chunk(after.map(Place::of).as_ref(), limit.min(CHUNK)).await?;
        let (mut page, mut next) = (PeerPage { peers: first.peers, total: first.total, next: None }, first.next);
        let mut shown: HashSet<PeerId> = HashSet::new();
        while let Some(place) = &next {
            let room = limit.saturating_sub(page.peers.len());
            page.next = place.cursor().or(page.next);
            // A page ends with a peer's place: no cursor can name another program's entry, so go on to the next.
            if limit == 0 || (page.next.is_some() && (room == 0 || started.elapsed() > PAGE_TIME)) {
                break;
            }
            if started.elapsed() > MOST_PAGE_TIME {
                self.warn_of_index(
                    "it holds too many entries of other programs in a row; peers after them are not listed",
                );
                return Ok(page);
            }
            if shown.is_empty() {
                shown.extend(page.peers.iter().map(|record| record.peer.clone()));
            }
            let chunk = self.chunk(Some(place), room.clamp(1, CHUNK)).await?;
            // A heartbeat between two chunks moves a peer to the end: once a page is enough.
            page.peers.extend(chunk.peers.into_iter().filter(|record| shown.insert(record.peer.clone())));
            if chunk.next.as_ref() == Some(place) {
                self.warn_of_index("it holds an entry that no page can pass; peers after it are not listed");
                return Ok(page);
            }
            (page.total, next) = (chunk.total, chunk.next);
        }
        if next.is_none() {
            page.next = None;
        }
        Ok(page)
    }

    fn warn_of_index(&self, problem: &str) {
        if let Some(unsaid) = self.skipped.now() {
            tracing::warn!(
                registry.kind = "redis",
                key = self.keys.by_expiry(),
                problem,
                unsaid,
                "the index of peers in Redis is damaged"
            );
        }
    }

    /// An answer of Redis that has the text of an error, with the key that it is about.
    async fn read_index(&self, ask: Ask<'_>) -> Result<Value, RegistryError> {
        self.link.ask(ask).await.map_err(|error| match error {
            RegistryError::Corrupt(text) => RegistryError::Corrupt(format!("{}: {text}", self.keys.by_expiry())),
            error => error,
        })
    }

    pub(super) async fn count(&self) -> Result<u64, RegistryError> {
        Ok(self.chunk(None, 0).await?.total)
    }

    async fn chunk(&self, after: Option<&Place>, limit: usize) -> Result<Chunk, RegistryError> {
        if self.cluster { Box::pin(self.merged_chunk(after, limit)).await } else { self.one_chunk(after, limit).await }
    }

    pub(super) fn list_call(
        &self,
        index: &str,
        peers: &str,
        after: Option<&Place>,
        limit: usize,
    ) -> super::call::Call<'_> {
        let mut call = self.scripts.list.call(&[index]);
        call.arg(self.now_arg()).arg(limit).arg(peers);
        match after {
            Some(place) => call.arg(&place.score[..]).arg(&place.member[..]),
            None => call.arg("").arg(""),
        };
        call.arg(keys::MOST_ID_BYTES).arg(keys::MOST_FIELD_BYTES);
        call
    }

    async fn one_chunk(&self, after: Option<&Place>, limit: usize) -> Result<Chunk, RegistryError> {
        let call = self.list_call(self.keys.by_expiry(), self.keys.peer_prefix(), after, limit);
        let run = read_run(self.read_index(Ask::Read(&call)).await?)?;
        let peers = run.rows.into_iter().filter_map(|row| self.readable(row, run.now_ms)).collect();
        Ok(Chunk { total: run.total, peers, next: run.next })
    }

    /// Asks every share for a little more than its part, takes what surely comes first, and fetches those entries.
    async fn merged_chunk(&self, after: Option<&Place>, limit: usize) -> Result<Chunk, RegistryError> {
        // Shares are about even; what one holds beyond its part ends the chunk early, no more.
        let part = if limit == 0 {
            0
        } else {
            limit.min(limit.div_ceil(SHARES).saturating_mul(3).div_ceil(2).saturating_add(8))
        };
        let calls: Vec<_> = self.keys.shares().iter().map(|share| self.list_call(share, "", after, part)).collect();
        let answers: Vec<Value> = parsed(self.read_index(Ask::ReadAll(&calls)).await?)?;
        let runs = answers.into_iter().map(read_run).collect::<Result<Vec<_>, _>>()?;
        let total = runs.iter().map(|run| run.total).sum();
        // Beyond the place where a share with more of them stopped, its own next may come first.
        let bound = runs.iter().filter_map(|run| run.next.clone()).min_by(Place::order);
        let mut places: Vec<(Place, i64)> = Vec::new();
        for run in runs {
            for row in run.rows {
                let [Some(member), Some(score)] = <[_; 2]>::try_from(row).map_err(|_| unreadable_answer())? else {
                    return Err(unreadable_answer());
                };
                places.push((Place { score, member }, run.now_ms));
            }
        }
        places.retain(|(place, _)| bound.as_ref().is_none_or(|bound| place.order(bound).is_le()));
        places.sort_by(|(one, _), (two, _)| one.order(two));
        let more = bound.is_some() || places.len() > limit;
        places.truncate(limit);
        let next = places.last().filter(|_| more).map(|(place, _)| place.clone());
        Ok(Chunk { total, peers: self.entries(places).await?, next })
    }

    async fn entries(&self, places: Vec<(Place, i64)>) -> Result<Vec<PeerRecord>, RegistryError> {
        let peers: Vec<_> = places.iter().map(|(place, _)| place.peer()).collect();
        let read = |peer: &PeerId| {
            let mut call = self.scripts.read.call(&[&self.keys.peer(peer)]);
            call.arg(self.now_arg()).arg(keys::MOST_FIELD_BYTES).arg(&FIELDS[..]);
            call
        };
        let calls: Vec<_> = peers.iter().flatten().map(read).collect();
        let mut answers = if calls.is_empty() {
            Vec::new().into_iter()
        } else {
            parsed::<Vec<Vec<Option<Vec<u8>>>>>(self.link.ask(Ask::ReadAll(&calls)).await?)?.into_iter()
        };
        let mut records = Vec::with_capacity(places.len());
        for ((place, now_ms), peer) in places.into_iter().zip(peers) {
            let mut row = vec![Some(place.member), Some(place.score)];
            if peer.is_some() {
                let fields: Vec<_> = answers.next().unwrap_or_default().into_iter().skip(1).collect();
                // A key that Redis evicted, or that someone deleted, is no live peer; its next heartbeat brings it back.
                if fields.first().is_some_and(Option::is_none) {
                    continue;
                }
                row.extend(fields);
            }
            records.extend(self.readable(row, now_ms));
        }
        Ok(records)
    }

    /// An entry that another program wrote or damaged must not hide the others.
    fn readable(&self, row: Vec<Option<Vec<u8>>>, now_ms: i64) -> Option<PeerRecord> {
        let id = row.first().cloned().flatten().unwrap_or_default();
        match read_row(row, now_ms) {
            Ok(record) => Some(record),
            Err(what) => {
                if let Some(unsaid) = self.skipped.now() {
                    tracing::warn!(
                        registry.kind = "redis",
                        key = %format_args!("{}{}", self.keys.peer_prefix(), String::from_utf8_lossy(&id)),
                        what,
                        unsaid,
                        "an entry in Redis cannot be read and is left out; its peer's next manifest writes it anew"
                    );
                }
                None
            }
        }
    }
}

fn unreadable_answer() -> RegistryError {
    RegistryError::Corrupt("the list script's answer".to_owned())
}

fn read_run(value: Value) -> Result<Run, RegistryError> {
    let (total, now_ms, more, score, member, rows): (u64, i64, u8, Vec<u8>, Vec<u8>, _) = parsed(value)?;
    Ok(Run { total, now_ms, next: (more == 1).then_some(Place { score, member }), rows })
}

/// How many live ones the list script counted.
pub(super) fn total(value: Value) -> Result<u64, RegistryError> {
    Ok(read_run(value)?.total)
}

fn read_row(row: Vec<Option<Vec<u8>>>, now_ms: i64) -> Result<PeerRecord, &'static str> {
    let mut fields = row.into_iter();
    let mut next = || fields.next().flatten();
    let place = Place { member: next().unwrap_or_default(), score: next().unwrap_or_default() };
    let text = |bytes: Option<Vec<u8>>| bytes.and_then(|bytes| String::from_utf8(bytes).ok());
    let peer = place.peer().ok_or("the id")?;
    let expires_at_ms = place.expires_at_ms().ok_or("the expiry")?;
    let public_key = text(next()).and_then(|key| PublicKey::parse(&key).ok()).ok_or("pubkey")?;
    let summary = next().ok_or("summary")?;
    let instance_type = next().map(|kind| text(Some(kind)).ok_or("ark_instance_type")).transpose()?;
    let last_seen = text(next()).and_then(|seconds| seconds.parse::<i64>().ok());
    let last_seen = last_seen.filter(|seconds| (0..=now_ms / 1000 + 1).contains(seconds)).ok_or("last_seen")?;
    let issued_at =
        next().map(|micros| text(Some(micros)).and_then(|micros| micros.parse().ok()).ok_or("ark_issued_at"));
    Ok(PeerRecord {
        peer,
        public_key,
        issued_at: issued_at.transpose()?.map(Timestamp::from_micros),
        instance_type: instance_type.map(String::into_boxed_str),
        summary: summary.into(),
        last_seen: Timestamp::from_seconds(last_seen),
        expires_in: Duration::from_millis(u64::try_from(expires_at_ms.saturating_sub(now_ms)).unwrap_or(0)),
        expires_at_ms,
    })
}
