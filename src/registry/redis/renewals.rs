//! Heartbeats. Those that come while Redis is asked about others are the next question, all of them one: a crowd costs a fraction of a
//! call each, and who comes alone waits for nobody.

use super::{
    TimeSource,
    call::Script,
    faults::unavailable,
    keys::Keys,
    link::{Ask, Link},
    milliseconds, parsed,
};
use crate::{
    registry::RegistryError,
    trust::Pin,
    types::{PeerId, SetHash},
};
use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::sync::oneshot;

/// Most in one call: Redis serves nobody else meanwhile. Also what Lua can pass to one command, two values each.
const MOST: usize = 256;

/// One that waits.
struct Heartbeat {
    peer: PeerId,
    pin: Pin,
    /// Whether it was renewed.
    answer: oneshot::Sender<Result<bool, RegistryError>>,
}

#[derive(Default)]
struct Queue {
    waiting: Vec<Heartbeat>,
    /// A task asks for those that wait, one call after the other.
    is_served: bool,
}

/// Renews entries, several with one call.
pub(super) struct Renewals {
    link: Arc<Link>,
    keys: Keys,
    ttl: Duration,
    unused_ttl: Duration,
    time: TimeSource,
    script: Script,
    queue: Mutex<Queue>,
}

impl Renewals {
    pub(super) fn new(link: Arc<Link>, keys: Keys, (ttl, unused_ttl): (Duration, Duration), time: TimeSource) -> Self {
        let script = Script::new(include_str!("renew.lua"));
        Self { link, keys, ttl, unused_ttl, time, script, queue: Mutex::default() }
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Renews a live entry whose newest statement is this one; `false`, and nothing changed, where it is not that.
    pub(super) async fn renew(self: &Arc<Self>, peer: &PeerId, pin: Pin) -> Result<bool, RegistryError> {
        let (answer, answered) = oneshot::channel();
        let is_first = {
            let mut queue = self.queue();
            queue.waiting.push(Heartbeat { peer: peer.clone(), pin, answer });
            !std::mem::replace(&mut queue.is_served, true)
        };
        if is_first {
            // Behind the other requests that this thread has ready: theirs go along. And it goes on where this one is given up.
            tokio::spawn(Service { renewals: Arc::clone(self), is_over: false }.until_none_waits());
        }
        answered.await.unwrap_or_else(|_| Err(unavailable("it is closed")))
    }

    async fn ask(&self, batch: &[Heartbeat]) -> Result<Vec<u8>, RegistryError> {
        let mut call = self.script.call(&[self.keys.by_expiry(), &self.keys.strangers()]);
        call.arg(self.time.arg()).arg(u64::try_from(self.ttl.as_millis()).unwrap_or(u64::MAX));
        call.arg(self.keys.peer_prefix()).arg(self.keys.pin_prefix()).arg(self.keys.key_places_prefix());
        call.arg(milliseconds(self.unused_ttl));
        for Heartbeat { peer, pin, .. } in batch {
            let digest = SetHash::from_digest(pin.digest).hex_bytes();
            call.arg(peer.as_str()).arg(pin.public_key.to_base64()).arg(&digest[..]);
            call.arg(pin.issued_at.map_or_else(String::new, |at| at.micros().to_string()));
        }
        let (_ok, renewed): (String, Vec<u8>) = parsed(self.link.ask(Ask::Write(&call)).await?)?;
        if renewed.len() != batch.len() {
            return Err(RegistryError::Corrupt("the script's answer".to_owned()));
        }
        Ok(renewed)
    }
}

/// The task's hold on the queue: with its runtime ending under it, those that wait are told, and the next one begins anew.
struct Service {
    renewals: Arc<Renewals>,
    is_over: bool,
}

impl Service {
    /// The next ones; `None`, and another task is wanted for whoever comes then, where there are none.
    fn next(&mut self) -> Option<Vec<Heartbeat>> {
        let mut queue = self.renewals.queue();
        if queue.waiting.is_empty() {
            (queue.is_served, self.is_over) = (false, true);
            return None;
        }
        let most = queue.waiting.len().min(MOST);
        Some(queue.waiting.drain(..most).collect())
    }

    async fn until_none_waits(mut self) {
        while let Some(batch) = self.next() {
            let outcome = self.renewals.ask(&batch).await;
            for (at, heartbeat) in batch.into_iter().enumerate() {
                let renewed = match &outcome {
                    Ok(renewed) => Ok(renewed.get(at) == Some(&b'1')),
                    Err(error) => Err(error.clone()),
                };
                // A caller that went away needs no answer.
                drop(heartbeat.answer.send(renewed));
            }
        }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        if !self.is_over {
            let mut queue = self.renewals.queue();
            queue.is_served = false;
            queue.waiting.clear();
        }
    }
}
