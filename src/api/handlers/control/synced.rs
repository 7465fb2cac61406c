//! What rounds that were asked for did, all together.

use super::answers::{LatticeAnswer, RoundAnswer};
use crate::ops::{self, LatticeError, Outcome, Synced};
use serde::Serialize;
use utoipa::ToSchema;

/// What the rounds did.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = FederationSynced)]
pub(crate) struct SyncedAnswer {
    /// `synced`: every round came to its end. `differs`: every round did, but the sets of one peer at least differ, or deletions wait: see its
    /// `outcome`. `partial`: some rounds did. `failed`: none did.
    #[schema(example = "synced")]
    status: &'static str,
    /// One entry for each peer.
    result: Vec<RoundAnswer>,
    /// This instance's lattice after the rounds.
    lattice: LatticeAnswer,
}

impl SyncedAnswer {
    pub(super) fn new(context: &ops::Context, synced: Vec<Synced>) -> Result<Self, LatticeError> {
        let failed = synced.iter().filter(|synced| synced.error.is_some()).count();
        let status = match failed {
            0 if synced.iter().filter_map(|synced| synced.report.outcome).any(Outcome::needs_attention) => "differs",
            0 => "synced",
            failed if failed < synced.len() => "partial",
            _ => "failed",
        };
        let result = synced.into_iter().map(|synced| RoundAnswer::new(synced, context)).collect();
        Ok(Self { status, result, lattice: ops::stand(context)?.into() })
    }
}
