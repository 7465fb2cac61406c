//! In what two sets differ between which changes go one way only.

use crate::ops::Differences;
use serde::Serialize;
use utoipa::ToSchema;

/// Nodes in which the sets differ after a round that goes one way only, as this instance sees it.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = FederationDifferences)]
pub(crate) struct DifferencesAnswer {
    /// Both hold them, and the version there is newer.
    newer_there: u64,
    /// Both hold them, and the version here is newer.
    newer_here: u64,
    /// They were deleted there, and are here still.
    deleted_there: u64,
    /// They were deleted here, and are there still.
    deleted_here: u64,
    /// Only the peer holds them.
    only_there: u64,
    /// Only this instance holds them.
    only_here: u64,
}

impl DifferencesAnswer {
    pub(super) fn of(differences: Differences) -> Option<Self> {
        let Differences { newer_there, newer_here, deleted_there, deleted_here, only_there, only_here } = differences;
        let answer = Self { newer_there, newer_here, deleted_there, deleted_here, only_there, only_here };
        (!differences.is_nothing()).then_some(answer)
    }
}
