//! Instances that gave nodes to this one and may not any more.

use super::{Context, known_key::known_line, requests::named};
use crate::{
    lattice::{Lattice, LatticeError},
    registry::RegistryError,
    trust::Distrust,
    types::{NodeId, PeerId},
};
use std::{collections::BTreeSet, sync::Arc};
use tokio::task::spawn_blocking;

/// Nodes that are looked at together.
const STEP: usize = 1000;
/// So many instances are looked at; who gave nothing that is still here is none of them.
const MOST: usize = 1000;

/// Why they cannot be told.
#[derive(Debug, thiserror::Error)]
pub enum FormerWritersError {
    /// The index is being built, or the journal cannot be read.
    #[error(transparent)]
    Lattice(#[from] LatticeError),
    /// The registry, which knows the keys, does not answer.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// A thread was lost.
    #[error("the work was not done: {0}")]
    Worker(String),
}

/// Of the instances that gave nodes which are here: those whose changes are refused since nobody verified or named them, each with what
/// would be said to it. Looks at each node once, beside everything else.
///
/// # Errors
/// [`FormerWritersError`].
pub async fn former_writers(context: &Context) -> Result<Vec<Distrust>, FormerWritersError> {
    let lattice = Arc::clone(&context.lattice);
    let givers = spawn_blocking(move || givers(&*lattice)).await;
    let givers = givers.map_err(|error| FormerWritersError::Worker(error.to_string()))??;
    let mut refused = Vec::new();
    for peer in givers.iter().filter_map(|id| PeerId::parse(id).ok()) {
        let Some(bound) = context.registry.bound(&peer).await? else { continue };
        let line = known_line(context, &peer).await?;
        let key = line.map_or(bound.public_key, |line| line.public_key);
        let of_network = context.network.is_some();
        let may_push = context.trust.may_push(&peer, key, named(context, &peer, key, of_network));
        // Whoever was revoked or contradicted itself was decided on before.
        if let Err(distrust @ Distrust::NotVerified(..)) = may_push {
            refused.push(distrust);
        }
    }
    Ok(refused)
}

fn givers(lattice: &dyn Lattice) -> Result<BTreeSet<Box<str>>, LatticeError> {
    let snapshot = lattice.snapshot()?;
    let mut found = BTreeSet::new();
    let mut after: Option<NodeId> = None;
    loop {
        let ids: Vec<NodeId> = snapshot.iter_after(after.as_ref()).take(STEP).map(|entry| entry.id.clone()).collect();
        let Some(last) = ids.last() else { return Ok(found) };
        found.extend(lattice.givers(&ids.iter().collect::<Vec<_>>())?.into_iter().flatten());
        if found.len() >= MOST {
            return Ok(found);
        }
        after = Some(last.clone());
    }
}
