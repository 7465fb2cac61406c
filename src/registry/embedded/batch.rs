//! What a batch of jobs may do, and what it leaves behind.

use super::{
    failure::{StoreError, unreadable},
    log::{MAX_FRAME_BYTES, NewRow},
    mirror::{Mirror, Pending},
    rows,
    tables::Tables,
    writer::{Binding, Job, Registration, Shared},
};
use crate::{
    registry::{
        Bound, PlaceLimits, RegistryError,
        places::{Place, Tallies},
    },
    trust::{KeyLine, Pin, Step},
    types::PeerId,
};
use std::{borrow::Cow, collections::HashMap};

/// An id's longest text and what a row's head takes beside it, with room to spare.
const LONGEST_ID_BYTES: usize = 2048;

/// Which ids of a batch need a new place among the live entries, and whether there is one.
pub(super) struct Seats {
    live: u64,
    limits: PlaceLimits,
    seated: HashMap<PeerId, Place>,
    tallies: Tallies,
}

impl Seats {
    pub(super) fn before(mirror: &mut Mirror, jobs: &[Job], now_ms: i64, limits: PlaceLimits) -> Self {
        let live = mirror.count(now_ms);
        let seat = |peer: &PeerId| mirror.place(peer, now_ms).map(|place| (peer.clone(), place));
        let seated: HashMap<_, _> = jobs.iter().map(Job::peer).filter_map(seat).collect();
        let tallies = mirror.tallies().part(jobs.iter().filter_map(Job::place).chain(seated.values()));
        Self { live, limits, seated, tallies }
    }

    /// May this follow what is known of its id, and is there a place for it?
    fn step(
        &mut self,
        registration: &Registration,
        newest: Option<&Pin>,
        line: Option<&KeyLine>,
    ) -> Result<Step, RegistryError> {
        let Registration { pin, binding, .. } = registration;
        let step = Pin::step_in_line(newest, line, pin, *binding)?;
        // The same again takes no more than it has.
        let takes_more = step != Step::Heartbeat || !self.seated.contains_key(&registration.peer);
        if takes_more {
            self.take(registration)?;
        }
        Ok(step)
    }

    /// Takes a place, or another one in that of the same id.
    fn take(&mut self, registration: &Registration) -> Result<(), RegistryError> {
        let Registration { peer, place, known_peers, .. } = registration;
        let before = self.seated.get(peer);
        self.tallies.check(place, before, self.limits, *known_peers)?;
        match before {
            Some(before) => self.tallies.subtract(before),
            None if self.live >= self.limits.max_peers => {
                return Err(RegistryError::Full { limit: self.limits.max_peers });
            }
            None => self.live += 1,
        }
        self.tallies.add(place);
        self.seated.insert(peer.clone(), place.clone());
        Ok(())
    }
}

/// What became of a job.
pub(super) enum Done {
    Registered(Step),
    /// Whether the id was still bound as it was judged; and whether its entry went.
    Bound {
        taken: bool,
        gone: bool,
    },
}

pub(super) type Outcome = Result<Done, RegistryError>;

/// What happened to entries since the file was written.
pub(super) fn write_pending(tables: &mut Tables<'_>, shared: &Shared, pending: &Pending) -> Result<(), StoreError> {
    for peer in &pending.gone {
        tables.remove(peer)?;
    }
    for (peer, last_seen) in &pending.renewed {
        tables.put_renewed(peer, *last_seen, last_seen.plus(shared.bounds.ttl))?;
    }
    Ok(())
}

pub(super) fn write_rows(
    tables: &mut Tables<'_>,
    shared: &Shared,
    pending: &Pending,
    jobs: &[Job],
    mut seats: Seats,
) -> Result<Vec<Outcome>, StoreError> {
    // Before the registrations: one of them may bring an expired id back.
    write_pending(tables, shared, pending)?;
    let mut outcomes = Vec::with_capacity(jobs.len());
    for job in jobs {
        let outcome = match job {
            Job::Register(registration, _) => {
                register(tables, registration, &mut seats).map(|done| done.map(Done::Registered))
            }
            Job::Bind(binding, _) => bind(tables, binding).map(Ok),
        };
        match outcome {
            Ok(outcome) => outcomes.push(outcome),
            // One broken binding is its owner's trouble, not that of the others in the batch.
            Err(StoreError::Corrupt(reason)) => outcomes.push(Err(RegistryError::Corrupt(reason))),
            Err(error) => return Err(error),
        }
    }
    Ok(outcomes)
}

/// The outer error ends the batch, the inner one answers the job.
fn register(
    tables: &mut Tables<'_>,
    registration: &Registration,
    seats: &mut Seats,
) -> Result<Result<Step, RegistryError>, StoreError> {
    let Registration { peer, pin, .. } = registration;
    let (newest, line) = (tables.pin(peer)?, tables.line(peer)?);
    let step = match seats.step(registration, newest.as_ref(), line.as_ref()) {
        Ok(step) => step,
        Err(refusal) => return Ok(Err(refusal)),
    };
    if line.is_some_and(|line| line.public_key != pin.public_key) {
        tables.drop_line(peer)?;
    }
    let (_, row) = pinned(registration, newest.as_ref(), step)?;
    tables.put_encoded(peer, &row)?;
    Ok(Ok(step))
}

/// What is pinned after a registration, and its row with that pin: the row was made before it was known what it follows.
fn pinned<'a>(
    registration: &'a Registration,
    newest: Option<&Pin>,
    step: Step,
) -> Result<(Pin, Cow<'a, [u8]>), StoreError> {
    let Registration { peer, pin, row, .. } = registration;
    let after = Pin::after(newest, pin, step);
    if after == *pin {
        return Ok((after, Cow::Borrowed(row)));
    }
    let row = rows::with_pin(peer.as_str(), row, &after).ok_or_else(|| unreadable(peer))?;
    Ok((after, Cow::Owned(row)))
}

/// Checks a batch and appends what may be registered to the log. `None` for what the log cannot say: statements of keys, a key in the
/// place of one that has some, more than a frame holds.
pub(super) fn append_rows(shared: &Shared, jobs: &[Job], mut seats: Seats) -> Result<Option<Vec<Outcome>>, StoreError> {
    let mut bytes = 0_usize;
    let mut outcomes = Vec::with_capacity(jobs.len());
    // Of this batch: later ones of an id follow them.
    let mut rows: Vec<NewRow<'_>> = Vec::with_capacity(jobs.len());
    let mut newest: HashMap<&PeerId, Pin> = HashMap::with_capacity(jobs.len());
    let is_checked = shared.store.view(|view| {
        for job in jobs {
            let Job::Register(registration, _) = job else { return Ok(false) };
            let Registration { peer, pin, .. } = &**registration;
            let known = match newest.get(peer) {
                Some(pin) => Ok(Some(pin.clone())),
                None => view.pin(peer),
            };
            let (known, line) = match known.and_then(|known| Ok((known, view.line(peer)?))) {
                Ok(known) => known,
                // One broken binding is its owner's trouble, not that of the others in the batch.
                Err(StoreError::Corrupt(reason)) => {
                    outcomes.push(Err(RegistryError::Corrupt(reason)));
                    continue;
                }
                Err(error) => return Err(error),
            };
            let step = seats.step(registration, known.as_ref(), line.as_ref());
            if let Ok(step) = step {
                let (after, row) = pinned(registration, known.as_ref(), step)?;
                bytes = bytes.saturating_add(row.len()).saturating_add(LONGEST_ID_BYTES);
                if bytes > MAX_FRAME_BYTES || line.is_some_and(|line| line.public_key != pin.public_key) {
                    return Ok(false);
                }
                newest.insert(peer, after.clone());
                rows.push(NewRow { peer, pin: after, row });
            }
            outcomes.push(step.map(Done::Registered));
        }
        Ok(true)
    })?;
    if !is_checked {
        return Ok(None);
    }
    if !rows.is_empty() {
        shared.store.append(&rows)?;
    }
    Ok(Some(outcomes))
}

fn bind(tables: &mut Tables<'_>, binding: &Binding) -> Result<Done, StoreError> {
    let Binding { peer, before, public_key, line } = binding;
    let pin = tables.pin(peer)?;
    let bound = match &pin {
        Some(pin) => Some(Bound { public_key: pin.public_key, line: tables.line(peer)? }),
        None => None,
    };
    if bound != *before {
        return Ok(Done::Bound { taken: false, gone: false });
    }
    if let Some(line) = line {
        tables.put_line(peer, line)?;
    }
    let same_key = bound.is_some_and(|bound| bound.public_key == *public_key);
    let gone = !same_key || line.as_ref().is_some_and(|line| line.revoked);
    if !same_key {
        tables.put_pin(peer, &Pin::fresh(*public_key))?;
    } else if gone {
        tables.remove(peer)?;
    }
    Ok(Done::Bound { taken: true, gone })
}
