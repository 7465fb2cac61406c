//! One suite for every adapter: what the port promises, case by case.

pub(super) mod bounds;
pub(super) mod keys;
pub(super) mod pages;
mod statement;
pub(super) mod versions;

pub(super) use keys::line;
pub(super) use statement::{Statement, is_full, is_key_mismatch, no_place};

use super::{PlaceLimits, Registry};
use crate::types::Timestamp;
use async_trait::async_trait;
use std::time::Duration;

/// Every harness's time to live.
pub(super) const TTL: Duration = Duration::from_secs(120);
/// Where every harness's clock starts.
pub(super) const START: Timestamp = Timestamp::from_seconds(1_763_696_494);
/// Every harness's `max_peers`.
pub(super) const MAX_PEERS: u64 = 400;
/// What every harness is bounded by.
pub(super) const LIMITS: PlaceLimits = PlaceLimits { max_peers: MAX_PEERS, stranger_bytes: 40_000_000 };
/// How long every harness keeps a binding of a stranger.
pub(super) const UNUSED_TTL: Duration = Duration::from_secs(90 * 86_400);

/// An adapter under test, with a clock that the test moves.
#[async_trait]
pub(super) trait Harness: Send + Sync {
    /// An empty registry with [`TTL`], [`LIMITS`] and [`UNUSED_TTL`], at [`START`].
    async fn start() -> Self;
    /// The adapter.
    fn registry(&self) -> &dyn Registry;
    /// Whether it has a way to renew that is cheaper than to register.
    fn renews(&self) -> bool {
        true
    }
    /// Lets time pass.
    fn advance(&self, by: Duration);
    /// Closes it and removes what it left.
    async fn finish(self);
}

/// Makes one test of each case for a harness; with `in_turn`, one function that goes through them on servers that are too dear
/// to be started for each.
macro_rules! conformance_tests {
    ($harness:ty) => {
        $crate::registry::conformance::conformance_tests! { @list each $harness }
    };
    (in_turn $harness:ty) => {
        $crate::registry::conformance::conformance_tests! { @list in_turn $harness }
    };
    (@list $how:ident $harness:ty) => {
        $crate::registry::conformance::conformance_tests! { @$how $harness,
            versions: first_registration_is_seen_everywhere, heartbeat_renews_and_changes_nothing_else,
                only_the_newest_statement_of_a_live_entry_is_renewed, many_are_renewed_at_once,
                newer_statement_replaces_the_older, rollback_by_last_updated_is_refused, rollback_by_seq_is_refused,
                leaving_a_version_out_is_a_rollback, a_seq_that_jumps_too_far_is_refused, equal_seq_with_other_content_is_equivocation,
                equal_last_updated_alone_is_newer, seq_is_judged_before_last_updated, another_key_is_refused,
                bindings_outlive_expiry, any_key_takes_over_and_starts_a_new_history, bindings_are_known_and_counted,
                an_expired_statement_comes_back_as_a_heartbeat, one_winner_of_concurrent_first_keys,
                concurrent_versions_leave_the_newest, versions_to_the_last_digit_are_told_apart,
                random_histories_are_judged_as_by_the_rules, a_superseded_statement_of_the_same_date_is_refused,
                a_statement_that_is_signed_anew_takes_the_place_of_the_older, an_unclaimed_id_is_claimed_once;
            pages: expiry_hides_an_entry_everywhere, pages_come_in_order_of_expiry_then_id,
                three_hundred_peers_in_pages_of_seven, a_heartbeat_between_pages_hides_nobody,
                a_cursor_whose_peer_is_gone_goes_on, a_page_of_nothing_still_counts, odd_ids_are_kept_apart;
            keys: statements_bind_an_id_to_another_key, a_binding_that_changed_meanwhile_is_left,
                a_revoked_or_replaced_key_speaks_in_no_mode, a_binding_can_begin_with_statements;
            bounds: envelopes_come_back_byte_for_byte, manifest_fields_cannot_stand_in_for_ours,
                instance_type_is_shown_where_it_is_text, many_fields_are_taken, a_full_registry_refuses_new_ids_only,
                room_comes_back_with_expiry, strangers_leave_places_to_known_peers,
                a_key_and_an_address_have_a_share_of_the_places, a_stranger_that_becomes_known_leaves_their_places, a_closed_registry_answers_unavailable
        }
    };
    (@each $harness:ty, $($module:ident: $($case:ident),+);+) => {
        $($(
            #[tokio::test]
            async fn $case() {
                let harness = <$harness as $crate::registry::conformance::Harness>::start().await;
                $crate::registry::conformance::$module::$case(&harness).await;
                $crate::registry::conformance::Harness::finish(harness).await;
            }
        )+)+
    };
    (@in_turn $harness:ty, $($module:ident: $($case:ident),+);+) => {
        pub(super) async fn every_case() {
            $($(
                eprintln!("{}", stringify!($case));
                let harness = <$harness as $crate::registry::conformance::Harness>::start().await;
                $crate::registry::conformance::$module::$case(&harness).await;
                $crate::registry::conformance::Harness::finish(harness).await;
            )+)+
        }
    };
}
pub(super) use conformance_tests;
