//! What an answer may hold, measured by what its sender signed and said before: pure.

use super::wire::{Start, WireChange, WireContent};
use crate::manifest::{Head, MAX_SEQ};

/// What is wrong with a head that nobody's lattice can have.
#[must_use]
pub fn impossible(head: &Head) -> Option<&'static str> {
    if head.seq > MAX_SEQ {
        return Some("its position is beyond every journal");
    }
    if head.floor > head.seq {
        return Some("it forgot deletions that it has not come to yet");
    }
    (head.count > head.seq).then_some("it has more nodes than changes")
}

/// How much of a feed is still to come at most.
#[derive(Debug)]
pub struct Promise {
    last: u64,
    end: u64,
    puts: u64,
}

impl Promise {
    /// A feed that was asked for after `since` of the journal with this head, and that begins so.
    ///
    /// # Errors
    /// What does not fit.
    pub fn new(head: &Head, since: u64, start: &Start) -> Result<Self, &'static str> {
        if start.index_id != head.index_id || start.since != since {
            return Err("it begins as another one");
        }
        if start.seq > MAX_SEQ {
            return Err("it goes beyond every journal");
        }
        // What was added since the head was signed comes as well.
        let Some(added) = start.seq.checked_sub(head.seq) else { return Err("it ends before the signed position") };
        Ok(Self { last: since, end: start.seq, puts: head.count.saturating_add(added) })
    }

    /// Takes the next change.
    ///
    /// # Errors
    /// What does not fit.
    pub fn change(&mut self, change: &WireChange) -> Result<(), &'static str> {
        if change.seq <= self.last {
            return Err("its positions do not ascend");
        }
        if change.seq > self.end {
            return Err("it goes on beyond its own end");
        }
        self.last = change.seq;
        if let WireContent::Put { .. } | WireContent::Unavailable { .. } = change.content {
            self.puts = self.puts.checked_sub(1).ok_or("it has more nodes than were signed for")?;
        }
        Ok(())
    }

    /// Takes the last line.
    ///
    /// # Errors
    /// What does not fit.
    pub fn end(&self, end: u64) -> Result<(), &'static str> {
        if end == self.end { Ok(()) } else { Err("it ends elsewhere than it said") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        lattice::Ancestry,
        types::{ContentHash, NodeId, PeerId, SetHash, Timestamp},
    };

    fn head(seq: u64, floor: u64, count: u64) -> Head {
        Head {
            node_id: PeerId::parse("p").unwrap(),
            index_id: "a".to_owned(),
            seq,
            floor,
            manifest_hash: SetHash::of(b""),
            count,
            issued_at: Timestamp::EPOCH,
            expires: Timestamp::EPOCH,
            epoch: None,
        }
    }

    fn start(since: u64, seq: u64) -> Start {
        Start { index_id: "a".to_owned(), since, seq, floor: 0, epoch: None }
    }

    fn unavailable(seq: u64) -> WireChange {
        WireChange {
            content: WireContent::Unavailable { content_hash: ContentHash::of(b""), node_type: None, too_large: None },
            ..put(seq)
        }
    }

    fn put(seq: u64) -> WireChange {
        let content_hash = ContentHash::of(b"");
        let content = WireContent::Put { content_hash, node_type: None, size_bytes: 0, node: None };
        let id = NodeId::parse("n").unwrap();
        WireChange { seq, id, at: Timestamp::EPOCH, ancestry: Ancestry::default(), priority: 0.0, content }
    }

    #[test]
    fn a_head_that_nobody_can_have_is_told_from_one_that_somebody_has() {
        assert_eq!([impossible(&head(0, 0, 0)), impossible(&head(MAX_SEQ, MAX_SEQ, 7))], [None, None]);
        for bad in [head(MAX_SEQ + 1, 0, 0), head(u64::MAX, 0, 0), head(5, 6, 0), head(5, 0, 6)] {
            assert!(impossible(&bad).is_some(), "{bad:?}");
        }
    }

    #[test]
    fn a_feed_holds_no_more_than_was_signed_for() {
        let head = head(9, 0, 2);
        assert!(Promise::new(&head, 0, &start(1, 9)).is_err() && Promise::new(&head, 0, &start(0, 8)).is_err());
        assert!(Promise::new(&head, 0, &start(0, u64::MAX)).is_err());
        let mut promise = Promise::new(&head, 0, &start(0, 10)).unwrap();
        assert!(
            promise.change(&put(3)).is_ok() && promise.change(&put(3)).is_err() && promise.change(&put(11)).is_err()
        );
        assert!(
            promise.change(&put(4)).is_ok()
                && promise.change(&unavailable(5)).is_ok()
                && promise.change(&put(6)).is_err()
        );
        assert!(promise.end(10).is_ok() && promise.end(9).is_err() && promise.end(11).is_err());
    }
}
