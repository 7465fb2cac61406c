//! Asks many addresses, so many at a time and so many in a second.

use super::probe::{Present, Prober};
use futures_util::{StreamExt, stream};
use std::time::Duration;
use tokio::time::{MissedTickBehavior, interval};

/// Most addresses that are waited for at the same time.
pub(super) const MAX_UNDER_WAY: usize = 64;
/// One more is asked each so often: 250 in a second, which no switch takes for an attack and no small router's table is full of.
const PAUSE: Duration = Duration::from_millis(4);

/// Asks all of them; `seen` gets who is there as soon as he answers.
pub(super) async fn ask_all(prober: &Prober, urls: impl IntoIterator<Item = String>, seen: impl Fn(String, Present)) {
    let mut pace = interval(PAUSE);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let paced = stream::unfold((pace, urls.into_iter()), |(mut pace, mut urls)| async move {
        let url = urls.next()?;
        pace.tick().await;
        Some((url, (pace, urls)))
    });
    let seen = &seen;
    let asked = paced.map(|url| async move {
        if let Some(present) = prober.ask(&url).await {
            seen(url, present);
        }
    });
    asked.buffer_unordered(MAX_UNDER_WAY).for_each(|()| async {}).await;
}
