//! What a crash, a disk or a peer may do to the log.

use super::*;
use crate::{registry::embedded::rows::encode_row, types::PublicKey};
use std::fs;
use tempfile::TempDir;

const MARK: Mark = Mark { generation: 3, salt: 7 };

fn peer(number: usize) -> PeerId {
    PeerId::parse(&format!("peer {number}")).unwrap()
}

fn pin(seq: u64) -> Pin {
    Pin { seq: Some(seq), digest: [2; 32], ..Pin::fresh(PublicKey::from_bytes([1; 32])) }
}

fn row(peer: &PeerId, pin: &Pin) -> Vec<u8> {
    let mut row = Vec::new();
    encode_row(&mut row, peer.as_str(), pin, None);
    row
}

struct Bed {
    folder: TempDir,
}

impl Bed {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    fn path(&self) -> std::path::PathBuf {
        self.folder.path().join("r.log")
    }

    fn open(&self, mark: Mark) -> Result<Log, LogError> {
        Log::open(&self.path(), mark, false)
    }

    fn bytes(&self) -> Vec<u8> {
        fs::read(self.path()).unwrap()
    }

    fn put(&self, bytes: &[u8]) {
        fs::File::create(self.path()).and_then(|mut file| io::Write::write_all(&mut file, bytes)).unwrap();
    }
}

/// One frame with these peers at this `seq`.
fn append(log: &Log, peers: std::ops::Range<usize>, seq: u64) {
    let (pin, peers) = (pin(seq), peers.map(peer).collect::<Vec<_>>());
    let made: Vec<_> = peers.iter().map(|peer| row(peer, &pin)).collect();
    let rows: Vec<_> =
        peers.iter().zip(&made).map(|(peer, row)| NewRow { peer, pin: pin.clone(), row: row.into() }).collect();
    log.append(&rows).unwrap();
}

fn seqs(log: &Log) -> Vec<(String, Option<u64>)> {
    let mut all = Vec::new();
    log.each_newest(|peer, row| {
        let pin = decode_pin_of(peer.as_str(), row).unwrap();
        assert_eq!(log.pin(peer), Some(pin.clone()));
        assert_eq!(log.row(peer).unwrap().as_deref(), Some(row));
        all.push((peer.as_str().to_owned(), pin.seq));
        io::Result::Ok(())
    })
    .unwrap();
    all
}

fn expected(seqs: &[u64]) -> Vec<(String, Option<u64>)> {
    seqs.iter().enumerate().map(|(number, seq)| (peer(number).as_str().to_owned(), Some(*seq))).collect()
}

#[test]
fn the_newest_row_of_each_id_is_found_again() {
    let bed = Bed::new();
    let log = bed.open(MARK).unwrap();
    append(&log, 0..3, 1);
    append(&log, 1..2, 2);
    for log in [log, bed.open(MARK).unwrap()] {
        assert_eq!(seqs(&log), expected(&[1, 2, 1]));
    }
    let log = bed.open(MARK).unwrap();
    append(&log, 2..4, 5);
    assert_eq!(seqs(&bed.open(MARK).unwrap()), expected(&[1, 2, 5, 5]));
    assert_eq!(seqs(&bed.open(Mark { generation: 4, ..MARK }).unwrap()), [], "what is in the file counts no more");
    assert!(matches!(bed.open(Mark { generation: 2, ..MARK }), Err(LogError::Later)));
    assert_eq!(seqs(&bed.open(Mark { salt: 8, ..MARK }).unwrap()), [], "of another file");
}

#[test]
fn a_log_that_begins_anew_overwrites_the_old_one() {
    let bed = Bed::new();
    let log = bed.open(MARK).unwrap();
    for seq in 1..20 {
        append(&log, 0..9, seq);
    }
    let long = bed.bytes().len();
    log.restart();
    assert!(log.is_empty());
    for seq in 20..25 {
        append(&log, 0..2, seq);
        // An old frame may begin where the new one ends, or in the middle of it.
        assert_eq!(seqs(&bed.open(Mark { generation: 4, ..MARK }).unwrap()), expected(&[seq, seq]));
    }
    assert_eq!(bed.bytes().len(), long);
}

#[test]
fn a_torn_end_was_never_acknowledged() {
    let bed = Bed::new();
    let log = bed.open(MARK).unwrap();
    append(&log, 0..2, 1);
    let first = bed.bytes().len();
    append(&log, 0..2, 2);
    let whole = bed.bytes();
    // The last byte is a zero.
    for end in first..whole.len() - 1 {
        for tail in [0, 40] {
            // Cut, or of its length already and not yet filled.
            let torn = [&whole[..end], &vec![0; tail]].concat();
            bed.put(&torn);
            let log = bed.open(MARK).unwrap();
            assert_eq!(seqs(&log), expected(&[1, 1]), "{end} of {}", whole.len());
            append(&log, 0..1, 3);
            assert_eq!(seqs(&bed.open(MARK).unwrap()), expected(&[3, 1]), "{end} of {}", whole.len());
        }
    }
}

#[test]
fn damage_before_the_end_is_noticed_wherever_it_is() {
    let bed = Bed::new();
    let log = bed.open(MARK).unwrap();
    append(&log, 0..2, 1);
    append(&log, 0..2, 2);
    let last = bed.bytes().len();
    append(&log, 0..2, 3);
    let whole = bed.bytes();
    for at in 0..last {
        let mut damaged = whole.clone();
        damaged[at] ^= 0x10;
        bed.put(&damaged);
        assert!(matches!(bed.open(MARK), Err(LogError::Damaged(_))), "byte {at}");
        assert_eq!(bed.bytes(), damaged, "it was changed");
    }
}

#[test]
fn a_frame_that_a_peer_sends_is_none() {
    let bed = Bed::new();
    let other = Bed::new();
    // What he can make: a frame of the right generation and a later number, with a salt that he guesses.
    let forger = other.open(Mark { salt: 8, ..MARK }).unwrap();
    for seq in 0..4 {
        append(&forger, 0..2, seq);
    }
    let log = bed.open(MARK).unwrap();
    let (peer, pin) = (peer(0), pin(1));
    let sent = [row(&peer, &pin), other.bytes()].concat();
    log.append(&[NewRow { peer: &peer, pin: pin.clone(), row: sent.as_slice().into() }]).unwrap();
    let whole = bed.bytes();
    bed.put(&whole[..whole.len() - 1]);
    assert!(bed.open(MARK).unwrap().is_empty(), "the end is torn, not damaged");
    bed.put(&whole);
    assert_eq!(bed.open(MARK).unwrap().row(&peer).unwrap(), Some(sent));
}

#[test]
fn a_log_is_long_when_its_rows_are_old_or_too_many() {
    let bed = Bed::new();
    let log = bed.open(MARK).unwrap();
    let (pin, big) = (pin(1), |peer: &PeerId| [row(peer, &pin(1)), vec![0; 1 << 20]].concat());
    for number in 0..5 {
        let peer = peer(number);
        log.append(&[NewRow { peer: &peer, pin: pin.clone(), row: big(&peer).into() }]).unwrap();
    }
    assert!(!log.is_long(), "all of it is new: it costs the same later");
    let zero = peer(0);
    for _ in 0..36 {
        log.append(&[NewRow { peer: &zero, pin: pin.clone(), row: big(&zero).into() }]).unwrap();
    }
    assert!(log.is_long());
    log.restart();
    assert!(!log.is_long());
    log.trim();
    assert_eq!(bed.bytes().len(), usize::try_from(KEPT_BYTES).unwrap());
    append(&log, 0..MOST_IDS, 1);
    assert!(log.is_long());
}
