//! The headers of a refusal for too many requests.

use crate::ops::{Class, Limited};
use actix_web::{
    HttpResponseBuilder,
    http::header::{HeaderName, RETRY_AFTER},
};
use std::time::Duration;

pub(crate) static RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
pub(crate) static RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

pub(crate) fn policy(class: Class, most: u32) -> String {
    format!("\"{}\";q={most};w=60", class.name())
}

/// Rounded up: whoever waits for so long has waited long enough.
pub(crate) fn whole_seconds(duration: Duration) -> u64 {
    duration.as_secs().saturating_add(u64::from(duration.subsec_nanos() > 0))
}

/// Says when there is something again, and of what.
pub(super) fn tell(response: &mut HttpResponseBuilder, limited: &Limited) {
    let seconds = whole_seconds(limited.wait).max(1);
    response
        .insert_header((RETRY_AFTER, seconds.to_string()))
        .append_header((RATE_LIMIT_POLICY.clone(), policy(limited.class, limited.most)))
        .append_header((RATE_LIMIT.clone(), format!("\"{}\";r=0;t={seconds}", limited.class.name())));
}
