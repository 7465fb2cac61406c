//! The kind of a failure, and the next step.

use crate::ops::{self, FailedAt, FailureContext, FailureKind};
use serde::Serialize;
use utoipa::ToSchema;

/// The kind of a failure, and the next step; both null where nothing failed, or an earlier version recorded it.
#[derive(Debug, Default, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = FederationFailure)]
pub(crate) struct FailureAnswer {
    /// The stable code of the failure. 0.1.0 does not have this member.
    #[schema(required = false, example = "connection_refused")]
    error_code: Option<&'static str>,
    /// What the admin does next, most often a command. 0.1.0 does not have this member.
    #[schema(required = false)]
    next: Option<String>,
}

impl FailureAnswer {
    /// Of a round with the peer at `url` that failed so.
    pub(super) fn new(context: &ops::Context, url: &str, failure: Option<FailureKind>, error: Option<&str>) -> Self {
        let Some(kind) = failure else { return Self::default() };
        let at = FailedAt::Peer { url, setting: ops::setting_of_peer(context, url) };
        let own_id = Some(context.identity.node_id.as_str());
        let next = kind.next(&FailureContext { at, own_id, text: error.unwrap_or_default() });
        Self { error_code: Some(kind.code()), next: Some(next) }
    }
}
