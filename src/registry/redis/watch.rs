//! One task for each link: while Redis cannot be used it asks whether that is over; while Redis is in some state it checks whether that
//! has ended; and from time to time it looks whether Redis takes writes, and what it does with bindings when its memory is full. So a state is
//! known also while nothing is registered.

use super::{
    eviction,
    faults::{registry_error, state},
    link::{Ask, CALL, Shared},
};
use crate::registry::{RegistryError, StoreFault, StoreState};
use std::{collections::HashSet, sync::Arc, time::Duration};
use tokio::time::{Instant, sleep, sleep_until, timeout};

/// How often Redis is asked whether it is back, or a state is over; recovery takes this and one round trip.
const PROBE_EVERY: Duration = Duration::from_millis(500);
/// How often it is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(30);
/// As above, while they endanger bindings: the admin waits to see that they are mended.
const LOOK_AGAIN: Duration = Duration::from_secs(2);

/// Watches until the link is closed.
pub(super) async fn watch(shared: Arc<Shared>) {
    let work = async {
        let (mut write_at, mut look_at) = (Instant::now(), Instant::now());
        let mut readable = true;
        loop {
            if shared.is_open() {
                shared.recover().await;
                (write_at, look_at, readable) = (Instant::now(), Instant::now(), true);
            }
            shared.check_conditions().await;
            let refuses =
                || shared.is_open() || shared.conditions.now().iter().any(|known| known.fault.state.refuses());
            if Instant::now() >= write_at && !refuses() {
                // What it meets begins with it.
                let _known_by_its_state = timeout(CALL, shared.write_probe("")).await;
                write_at = Instant::now() + LOOK_EVERY;
            }
            if readable && Instant::now() >= look_at && !shared.is_open() {
                readable = shared.look_at_settings().await;
                let endangered = shared.conditions.now().iter().any(|known| !known.fault.state.refuses());
                look_at = Instant::now() + if endangered { LOOK_AGAIN } else { LOOK_EVERY };
            }
            let next = match (shared.conditions.any(), readable) {
                (true, _) => Instant::now() + PROBE_EVERY,
                (false, true) => look_at.min(write_at),
                (false, false) => write_at,
            };
            tokio::select! {
                () = sleep_until(next) => {}
                () = shared.woken.notified() => {
                    // Not at once again: many calls may wake it.
                    if !shared.is_open() { sleep(PROBE_EVERY).await; }
                }
            }
        }
    };
    // Cancel safe: a connection in use goes back to the pool or is closed.
    let _ = shared.stop.clone().run_until_cancelled(work).await;
}

impl Shared {
    /// Asks again and again, until Redis can be used.
    async fn recover(&self) {
        loop {
            match timeout(CALL, self.prove()).await {
                Ok(Ok(())) => return self.close_breaker(),
                // The state may have changed, as when a server has restarted and loads its data.
                Ok(Err(error)) => error.fault().into_iter().for_each(|fault| self.log_outage(fault)),
                Err(_) => {}
            }
            sleep(PROBE_EVERY).await;
        }
    }

    /// Ends the states that are over.
    async fn check_conditions(&self) {
        for known in self.conditions.now() {
            if self.is_open() {
                return;
            }
            if !known.may_end() || !known.fault.state.refuses() {
                continue;
            }
            let over = match &known.fault.key {
                Some(key) => timeout(CALL, self.fits_again(key)).await,
                None => timeout(CALL, self.writes_again(&known.slot, known.fault.state)).await,
            };
            if matches!(over, Ok(true)) {
                self.conditions.end(&known.fault);
            }
        }
    }

    async fn fits_again(&self, key: &str) -> bool {
        let Ok(mut held) = self.connection(false).await else { return false };
        matches!(self.judge_key(held.connection(), key).await, Ok(None))
    }

    /// Is this state over? Another one that shows instead begins.
    async fn writes_again(&self, slot: &str, before: StoreState) -> bool {
        match self.write_probe(slot).await {
            Ok(()) => true,
            // The attempt itself has begun the state that it met.
            Err(error) => {
                error.fault().is_some_and(|fault| fault.state != before && fault.state != StoreState::NoAnswer)
            }
        }
    }

    /// Writes keys of its own beside `slot`, and deletes them.
    async fn write_probe(&self, slot: &str) -> Result<(), RegistryError> {
        let keys = self.keys.probes(slot);
        let call = self.probe.call(&keys.each_ref().map(String::as_str));
        self.try_ask(Ask::Write(&call)).await.map(drop)
    }

    /// Looks at the eviction policy. Answers whether this user may read it.
    async fn look_at_settings(&self) -> bool {
        match timeout(CALL, self.eviction()).await {
            Ok(Ok(found)) => {
                let known = self.conditions.now();
                let old = known.into_iter().map(|known| known.fault).filter(|known| !known.state.refuses());
                for fault in old.filter(|old| found.as_ref().is_none_or(|found| found.answer != old.answer)) {
                    self.conditions.end(&fault);
                }
                if let Some(fault) = found {
                    self.conditions.begin(&fault, "");
                }
                true
            }
            // Not reached: it is looked at when it is back.
            Ok(Err(error)) => {
                error.fault().is_none_or(|fault| !matches!(fault.state, StoreState::Permission | StoreState::NotRedis))
            }
            Err(_) => true,
        }
    }

    /// Whether Redis may delete bindings, where this user may read its settings.
    ///
    /// # Errors
    /// They cannot be read.
    async fn eviction(&self) -> Result<Option<StoreFault>, RegistryError> {
        let mut held = self.connection(false).await?;
        let mut refusal = None;
        for question in eviction::questions() {
            match held.connection().send_to_masters(&question).await {
                Ok(answer) => return Ok(eviction::judge(&answer)),
                Err(error) => {
                    let is_refused = matches!(state(&error), Some(StoreState::Permission | StoreState::NotRedis));
                    refusal = Some(registry_error(&error));
                    if !is_refused {
                        break;
                    }
                }
            }
        }
        Err(refusal.unwrap_or_else(|| RegistryError::no_answer("it was asked nothing")))
    }

    /// Every state that shows without a registration, for `doctor`.
    pub(super) async fn examine(&self, shared_keys: &[String]) -> Result<Vec<StoreFault>, RegistryError> {
        self.in_time(self.prove()).await?;
        if let Err(error) = self.in_time(self.write_probe("")).await {
            // Where the state is none of those that are kept, it is the answer.
            if error.fault().is_none() || self.is_open() {
                return Err(error);
            }
        }
        for key in shared_keys {
            let judged = async {
                let mut held = self.connection(false).await?;
                self.judge_key(held.connection(), key).await.map_err(|error| registry_error(&error))
            };
            if let Ok(Some(state)) = self.in_time(judged).await {
                self.meet(&StoreFault::of_key(state, state.summary(), key.clone()), key);
            }
        }
        if let Ok(Some(fault)) = self.in_time(self.eviction()).await {
            self.conditions.begin(&fault, "");
        }
        let mut seen = HashSet::new();
        let faults = self.conditions.now().into_iter().map(|known| known.fault);
        Ok(faults.filter(|fault| seen.insert((fault.state, fault.key.clone()))).collect())
    }
}
