//! Asks many addresses, so many at a time and so many in a second.

use super::probe::{Present, Prober};
use crate::types::PeerId;
use futures_util::{StreamExt, stream};
use std::time::Duration;
use tokio::time::{MissedTickBehavior, interval};

/// Most addresses that are waited for at the same time.
pub(super) const MAX_UNDER_WAY: usize = 64;
/// One more is asked each so often: 250 in a second, which no switch takes for an attack and no small router's table is full of.
const PAUSE: Duration = Duration::from_millis(4);

/// Asks all of them, with the id of whoever is expected there; `seen` gets who is there as soon as he answers.
pub(super) async fn ask_all(
    prober: &Prober,
    urls: impl IntoIterator<Item = (String, Option<PeerId>)>,
    seen: impl Fn(String, Present),
) {
    let seen = &seen;
    let ask = |(url, id): (String, Option<PeerId>)| async move {
        if let Some(present) = prober.ask(&url, id.as_ref()).await {
            seen(url, present);
        }
    };
    each(urls, ask).await;
}

async fn each<T, F: Future<Output = ()>>(urls: impl IntoIterator<Item = T>, ask: impl Fn(T) -> F) {
    let mut pace = interval(PAUSE);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let paced = stream::unfold((pace, urls.into_iter()), |(mut pace, mut urls)| async move {
        let url = urls.next()?;
        pace.tick().await;
        Some((url, (pace, urls)))
    });
    paced.map(ask).buffer_unordered(MAX_UNDER_WAY).for_each(|()| async {}).await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use tokio::sync::Semaphore;

    #[tokio::test]
    async fn no_more_are_waited_for_than_there_are_places() {
        let (answers, now, most, asked) =
            (Semaphore::new(0), AtomicUsize::new(0), AtomicUsize::new(0), AtomicUsize::new(0));
        let ask = |_: String| async {
            asked.fetch_add(1, Ordering::SeqCst);
            most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            // Nobody answers before all places are taken.
            if now.load(Ordering::SeqCst) == MAX_UNDER_WAY {
                answers.add_permits(1000);
            }
            answers.acquire().await.unwrap().forget();
            now.fetch_sub(1, Ordering::SeqCst);
        };
        each((0..200).map(|nth| nth.to_string()), ask).await;
        assert_eq!((most.into_inner(), asked.into_inner()), (MAX_UNDER_WAY, 200));
    }
}
