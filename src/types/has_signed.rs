//! Checking signatures, with the points of the keys that came last at hand: finding the point that a key's 32 bytes stand for takes a
//! tenth of a check.

use super::PublicKey;
use ed25519_dalek::{Signature, VerifyingKey};
use std::{
    collections::HashMap,
    sync::{LazyLock, Mutex, MutexGuard, PoisonError},
};

/// Two megabytes; one more begins anew.
const MAX_KEPT: usize = 8192;

/// Only of keys that signed something: others cost whoever makes them nothing. A key's bytes have one point, so nothing here grows old.
static POINTS: LazyLock<Mutex<HashMap<PublicKey, VerifyingKey>>> = LazyLock::new(Mutex::default);

fn points() -> MutexGuard<'static, HashMap<PublicKey, VerifyingKey>> {
    POINTS.lock().unwrap_or_else(PoisonError::into_inner)
}

impl PublicKey {
    /// Did the holder of this key sign these bytes (RFC 8032, pure Ed25519)? Strictly: keys and signatures of small order are refused,
    /// and so is every form of a point or a signature but the canonical one.
    #[must_use]
    pub fn has_signed(&self, message: &[u8], signature: &[u8; 64]) -> bool {
        let kept = points().get(self).copied();
        let Some(point) = kept.or_else(|| VerifyingKey::from_bytes(self.as_bytes()).ok()) else { return false };
        let fits = point.verify_strict(message, &Signature::from_bytes(signature)).is_ok();
        if fits && kept.is_none() {
            let mut points = points();
            if points.len() >= MAX_KEPT {
                points.clear();
            }
            points.insert(*self, point);
        }
        fits
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ed25519_dalek::{Signer, SigningKey};

    #[test]
    fn a_kept_point_is_as_strict_as_a_new_one() {
        let signing = SigningKey::from_bytes(&[7; 32]);
        let key = PublicKey::from_bytes(signing.verifying_key().to_bytes());
        let right = signing.sign(b"a").to_bytes();
        for _ in 0..3 {
            assert!(!key.has_signed(b"b", &right), "also before it is kept");
            assert!(key.has_signed(b"a", &right));
            for at in 0..64 {
                let mut wrong = right;
                wrong[at] ^= 1;
                assert!(!key.has_signed(b"a", &wrong), "byte {at}");
            }
        }
        let other = PublicKey::from_bytes(SigningKey::from_bytes(&[8; 32]).verifying_key().to_bytes());
        assert!(!other.has_signed(b"a", &right));
    }

    #[test]
    fn what_is_no_point_or_of_small_order_has_signed_nothing_and_is_not_kept() {
        let identity = {
            let mut bytes = [0; 32];
            bytes[0] = 1;
            bytes
        };
        for bytes in [identity, [0; 32], [2; 32], [0xff; 32]] {
            let key = PublicKey::from_bytes(bytes);
            let mut signature = [0; 64];
            signature[..32].copy_from_slice(&bytes);
            assert!(!key.has_signed(b"", &signature) && !key.has_signed(b"", &[0; 64]));
            assert!(!points().contains_key(&key));
        }
    }

    #[test]
    fn what_is_kept_is_bounded() {
        for number in 0..MAX_KEPT + 10 {
            let mut seed = [9; 32];
            seed[..8].copy_from_slice(&number.to_le_bytes());
            let signing = SigningKey::from_bytes(&seed);
            let key = PublicKey::from_bytes(signing.verifying_key().to_bytes());
            assert!(key.has_signed(b"a", &signing.sign(b"a").to_bytes()));
            assert!(points().len() <= MAX_KEPT);
        }
    }
}
