//! What a round left out: nodes whose files are broken, and nodes that one side does not take for their size.

use crate::ops::LeftOut;
use serde::Serialize;
use utoipa::ToSchema;

/// Nodes that a round left out because their files are broken.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = FederationUnavailable)]
pub(crate) struct LeftOutAnswer {
    /// Of this instance.
    here: u64,
    /// Of the peer.
    there: u64,
}

impl LeftOutAnswer {
    pub(super) fn of(left_out: LeftOut) -> Option<Self> {
        (!left_out.is_nothing()).then_some(Self { here: left_out.here, there: left_out.there })
    }
}

/// Nodes that a round left out because they are larger than one side takes (`limits.node_bytes`).
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = FederationTooLarge)]
pub(crate) struct TooLargeAnswer {
    /// Nodes of the peer that are too large for this instance.
    here: u64,
    /// Nodes of this instance that are too large for the peer.
    there: u64,
}

impl TooLargeAnswer {
    pub(super) fn of(left_out: LeftOut) -> Option<Self> {
        (!left_out.is_nothing()).then_some(Self { here: left_out.here, there: left_out.there })
    }
}
