//! Connections that all calls share: a call sends at once, behind those before it, and answers come in the order of the questions. So a
//! crowd waits for Redis, never for a free connection, and a call is one round trip.

use super::{
    faults::unavailable,
    link::CONNECT,
    topology::{Connection, Topology},
};
use crate::registry::RegistryError;
use deadpool::managed::{Manager, PoolError, TimeoutType};
use redis::RedisError;
use std::sync::{
    Mutex, MutexGuard, PoisonError,
    atomic::{AtomicU64, AtomicUsize, Ordering},
};
use tokio::time::timeout;

/// Enough to keep Redis' one thread busy; more would only be more buffers.
const MOST: usize = 4;

/// What the settings allow of them.
pub(super) struct Lines {
    lines: Vec<Line>,
    turn: AtomicUsize,
    /// Grows when one was found dead: those of before are as dead as that one.
    era: AtomicU64,
}

#[derive(Default)]
struct Line {
    state: Mutex<State>,
    /// One connects, the others wait for that.
    connecting: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct State {
    connection: Option<(Connection, u64)>,
    /// How often it was tried to make one.
    tries: u64,
}

impl Line {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One of them, for a call.
pub(super) struct Borrowed {
    pub(super) connection: Connection,
    era: u64,
    /// It was there before this call: it may have died unnoticed since it was used last.
    pub(super) is_used: bool,
}

/// Why there is none.
pub(super) enum NoLine {
    Refused(PoolError<RedisError>),
    /// Who was first has said why.
    AsBefore(RegistryError),
}

impl Lines {
    pub(super) fn new(most: usize) -> Self {
        let lines = (0..most.clamp(1, MOST)).map(|_| Line::default()).collect();
        Self { lines, turn: AtomicUsize::new(0), era: AtomicU64::new(0) }
    }

    pub(super) async fn borrow(&self, topology: &Topology) -> Result<Borrowed, NoLine> {
        let at = self.turn.fetch_add(1, Ordering::Relaxed).checked_rem(self.lines.len()).unwrap_or_default();
        let line = self.lines.get(at).ok_or_else(|| NoLine::AsBefore(unavailable("it has no connections")))?;
        let lend = |(connection, era): &(Connection, u64), is_used| Borrowed {
            connection: connection.share(),
            era: *era,
            is_used,
        };
        let tries = {
            let state = line.state();
            if let Some(connection) = &state.connection {
                return Ok(lend(connection, true));
            }
            state.tries
        };
        let _first = line.connecting.lock().await;
        {
            let state = line.state();
            if let Some(connection) = &state.connection {
                return Ok(lend(connection, false));
            }
            // Each of a crowd would wait for its own failure, one after the other.
            if state.tries != tries {
                return Err(NoLine::AsBefore(unavailable("Redis was not reachable a moment ago")));
            }
        }
        let era = self.era.load(Ordering::Acquire);
        let made = timeout(CONNECT, topology.create()).await;
        let mut state = line.state();
        state.tries = state.tries.wrapping_add(1);
        match made {
            Ok(Ok(connection)) => {
                let made = (connection, era);
                let lent = lend(&made, false);
                state.connection = Some(made);
                Ok(lent)
            }
            Ok(Err(error)) => Err(NoLine::Refused(PoolError::Backend(error))),
            Err(_) => Err(NoLine::Refused(PoolError::Timeout(TimeoutType::Create))),
        }
    }

    /// Lends nobody this connection any more, nor those that are as old.
    pub(super) fn lose(&self, borrowed: &Borrowed) {
        self.era.fetch_max(borrowed.era.saturating_add(1), Ordering::AcqRel);
        for line in &self.lines {
            let mut state = line.state();
            if state.connection.as_ref().is_some_and(|(_, era)| *era <= borrowed.era) {
                state.connection = None;
            }
        }
    }

    pub(super) fn lose_all(&self) {
        for line in &self.lines {
            line.state().connection = None;
        }
    }
}
