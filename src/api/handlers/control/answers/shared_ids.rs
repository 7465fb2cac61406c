//! Ids that two machines use.

use crate::{
    api::handlers::nodes::seconds,
    ops::{self, SharedId},
};
use serde::Serialize;
use serde_json::Number;
use utoipa::ToSchema;

/// An id that two machines use: listed for a day after that was last seen.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = FederationSharedId)]
pub(crate) struct SharedIdAnswer {
    /// The id.
    #[schema(example = "pi")]
    node_id: String,
    /// It is the id of this instance.
    own: bool,
    /// `other_key`: each machine has a key of its own; `copied_key`: both have one key.
    #[schema(example = "other_key")]
    sharing: &'static str,
    /// The key of the other machine, base64, where it is known.
    #[schema(required = true)]
    other_key: Option<String>,
    /// Where it was last seen: the address of the other machine, or that of the peer that refuses one of the two.
    #[schema(required = true, example = "192.0.2.7")]
    seen_at: Option<String>,
    /// When it was first seen, epoch seconds.
    #[schema(value_type = f64)]
    first_seen: Number,
    /// When it was last seen, epoch seconds.
    #[schema(value_type = f64)]
    last_seen: Number,
    /// What happens.
    text: String,
    /// What to do.
    next: String,
}

impl From<SharedId> for SharedIdAnswer {
    fn from(shared: SharedId) -> Self {
        Self {
            text: shared.text(),
            next: shared.next(),
            node_id: shared.id,
            own: shared.is_own,
            sharing: shared.sharing.as_str(),
            other_key: shared.other_key,
            seen_at: shared.seen_at,
            first_seen: seconds(shared.first),
            last_seen: seconds(shared.last),
        }
    }
}

/// All of them.
pub(in crate::api) fn shared_ids(context: &ops::Context) -> Vec<SharedIdAnswer> {
    ops::shared_ids(context).into_iter().map(Into::into).collect()
}
