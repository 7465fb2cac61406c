//! Listening to what happens.

use super::{Context, FederationError};
use crate::types::EventKind;

pub use crate::federation::events::{Event, Heard, Listening};

/// Listens to events of these kinds (none named: all) from now on, or from behind the event `last`.
///
/// # Errors
/// [`FederationError::NoKey`], [`FederationError::Listeners`].
pub fn listen(context: &Context, last: Option<u64>, kinds: Vec<EventKind>) -> Result<Listening, FederationError> {
    let engine = context.engine.as_ref().ok_or(FederationError::NoKey)?;
    Ok(engine.events().listen(last, kinds)?)
}
