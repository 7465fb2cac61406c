//! Work that several threads share.

use std::{
    ops::Range,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

/// Numbers below a count, of which each thread takes some at a time.
#[derive(Debug)]
pub(super) struct Turns {
    next: AtomicUsize,
    count: usize,
    turn: usize,
}

/// Answers for some numbers, and the first of these.
pub(super) type Part<T> = (usize, Vec<T>);

impl Turns {
    /// All numbers below `count`, `turn` at a time.
    pub(super) fn over(count: usize, turn: usize) -> Self {
        Self { next: AtomicUsize::new(0), count, turn: turn.max(1) }
    }

    /// As many threads as the machine has cores.
    pub(super) fn threads() -> usize {
        thread::available_parallelism().map_or(1, usize::from)
    }

    /// Some numbers that nobody took.
    pub(super) fn take(&self) -> Option<Range<usize>> {
        let from = self.next.fetch_add(self.turn, Ordering::Relaxed);
        (from < self.count).then(|| from..self.count.min(from.saturating_add(self.turn)))
    }

    /// Does `work` for numbers that nobody took, as long as there are any.
    pub(super) fn work<T>(&self, work: impl Fn(usize) -> T) -> Vec<Part<T>> {
        let turns = std::iter::from_fn(|| self.take());
        turns.map(|turn| (turn.start, turn.map(&work).collect())).collect()
    }

    /// The same with up to `threads` threads, this one among them.
    pub(super) fn share_out<T: Send>(&self, threads: usize, work: impl Fn(usize) -> T + Sync) -> Vec<Part<T>> {
        let threads = threads.min(self.count / self.turn);
        thread::scope(|scope| {
            // `Scope::spawn` panics where the machine gives no more threads; this one does the work alone then.
            let help = |_| thread::Builder::new().spawn_scoped(scope, || self.work(&work)).ok();
            let helpers: Vec<_> = (1..threads).filter_map(help).collect();
            let mut done = self.work(&work);
            for helper in helpers {
                match helper.join() {
                    Ok(more) => done.extend(more),
                    Err(panic) => std::panic::resume_unwind(panic),
                }
            }
            done
        })
    }

    /// Does `work` for each number, with as many threads as the machine has cores. The answers in order.
    pub(super) fn all<T: Send>(&self, work: impl Fn(usize) -> T + Sync) -> Vec<T> {
        Self::in_order(self.share_out(Self::threads(), work))
    }

    /// What was answered for each number, where all parts are there.
    fn in_order<T>(mut parts: Vec<Part<T>>) -> Vec<T> {
        parts.sort_unstable_by_key(|(from, _)| *from);
        parts.into_iter().flat_map(|(_, answers)| answers).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn each_number_is_worked_on_once(count in 0_usize..200, turn in 1_usize..20, threads in 0_usize..5) {
            let turns = Turns::over(count, turn);
            let done = thread::scope(|scope| {
                let beside = scope.spawn(|| turns.work(|number| number));
                let mut done = turns.share_out(threads, |number| number);
                done.extend(beside.join().unwrap());
                done
            });
            proptest::prop_assert_eq!(Turns::in_order(done), (0..count).collect::<Vec<_>>());
        }
    }
}
