//! Checking signatures, with the points of the keys that came last at hand: finding the point that a key's 32 bytes stand for takes a
//! tenth of a check.

use super::PublicKey;
use ed25519_dalek::{Signature, Verifier, VerifyingKey};
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

/// The encodings of the eight points of small order (RFC 8032 section 5.1.2), as little-endian numbers with the sign of x on top.
const SMALL_ORDER: [[u8; 32]; 8] = {
    const fn bytes(first: u8, middle: u8, last: u8) -> [u8; 32] {
        let mut bytes = [middle; 32];
        (bytes[0], bytes[31]) = (first, last);
        bytes
    }
    const EIGHTH: [u8; 32] = *b"\x26\xe8\x95\x8f\xc2\xb2\x27\xb0\x45\xc3\xf4\x89\xf2\xef\x98\xf0\
        \xd5\xdf\xac\x05\xd3\xc6\x33\x39\xb1\x38\x02\x88\x6d\x53\xfc\x05";
    const OTHER_EIGHTH: [u8; 32] = *b"\xc7\x17\x6a\x70\x3d\x4d\xd8\x4f\xba\x3c\x0b\x76\x0d\x10\x67\x0f\
        \x2a\x20\x53\xfa\x2c\x39\xcc\xc6\x4e\xc7\xfd\x77\x92\xac\x03\x7a";
    const fn with_sign(mut bytes: [u8; 32]) -> [u8; 32] {
        bytes[31] |= 0x80;
        bytes
    }
    [
        bytes(1, 0, 0),
        bytes(0xec, 0xff, 0x7f),
        bytes(0, 0, 0),
        bytes(0, 0, 0x80),
        EIGHTH,
        with_sign(EIGHTH),
        OTHER_EIGHTH,
        with_sign(OTHER_EIGHTH),
    ]
};

/// What `verify_strict` says, of a key that it took before, for a fifth less.
///
/// Both compute the point that R must be, and compare its encoding with R's bytes. `verify_strict` also decodes these, only to see
/// whether they are a point of small order, and looks at the key's order: that is known here. Bytes that are equal to an encoding are
/// that encoding, of which each point has one, so a look at them says the same.
#[expect(
    clippy::disallowed_methods,
    reason = "what verify_strict asks for beside this is asked for here, or was before"
)]
fn has_signed_again(point: &VerifyingKey, message: &[u8], signature: &Signature) -> bool {
    !SMALL_ORDER.contains(signature.r_bytes()) && point.verify(message, signature).is_ok()
}

impl PublicKey {
    /// Did the holder of this key sign these bytes (RFC 8032, pure Ed25519)? Strictly: keys and signatures of small order are refused,
    /// and so is every form of a point or a signature but the canonical one.
    #[must_use]
    pub fn has_signed(&self, message: &[u8], signature: &[u8; 64]) -> bool {
        let signature = Signature::from_bytes(signature);
        let kept = points().get(self).copied();
        if let Some(point) = kept {
            return has_signed_again(&point, message, &signature);
        }
        let Ok(point) = VerifyingKey::from_bytes(self.as_bytes()) else { return false };
        let fits = point.verify_strict(message, &signature).is_ok();
        if fits {
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
    use curve25519_dalek::{EdwardsPoint, Scalar, constants::EIGHT_TORSION};
    use ed25519_dalek::{Signer, SigningKey};
    use sha2::{Digest, Sha512};

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

    /// Signatures of `secret`, whose key is moved by a point of small order, with any `R`: right by the equation of RFC 8032, where that
    /// can be.
    fn with_r(secret: &Scalar, key: &VerifyingKey, message: &[u8], r: &Scalar, point: &EdwardsPoint) -> Signature {
        let r_bytes = point.compress().to_bytes();
        let hashed = Sha512::new().chain_update(r_bytes).chain_update(key.as_bytes()).chain_update(message).finalize();
        let s = r + Scalar::from_bytes_mod_order_wide(&hashed.into()) * secret;
        Signature::from_components(r_bytes, s.to_bytes())
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "what it takes beyond verify_strict must be among what is tried")]
    fn a_kept_point_takes_what_verify_strict_takes_and_nothing_else() {
        let secret = SigningKey::from_bytes(&[3; 32]).to_scalar();
        let r = Scalar::from_bytes_mod_order([5; 32]);
        let (mut taken, mut refused_here_alone) = (0, 0);
        for moved_by in EIGHT_TORSION {
            let key = VerifyingKey::from(EdwardsPoint::mul_base(&secret) + moved_by);
            for number in 0..64_u8 {
                let message = [number];
                let honest = with_r(&secret, &key, &message, &r, &EdwardsPoint::mul_base(&r));
                let moved =
                    EIGHT_TORSION.map(|by| with_r(&secret, &key, &message, &r, &(EdwardsPoint::mul_base(&r) + by)));
                let small = EIGHT_TORSION.map(|point| with_r(&secret, &key, &message, &Scalar::ZERO, &point));
                for signature in [honest].iter().chain(&moved).chain(&small) {
                    let strict = key.verify_strict(&message, signature).is_ok();
                    assert_eq!(has_signed_again(&key, &message, signature), strict, "{signature:?} of {key:?}");
                    taken += u32::from(strict);
                    refused_here_alone += u32::from(!strict && key.verify(&message, signature).is_ok());
                }
            }
        }
        assert!(taken > 0 && refused_here_alone > 0, "{taken} and {refused_here_alone}: neither way was taken");
    }

    #[test]
    fn the_points_of_small_order_are_these_eight() {
        let mut expected = EIGHT_TORSION.map(|point| point.compress().to_bytes());
        let mut listed = SMALL_ORDER;
        expected.sort_unstable();
        listed.sort_unstable();
        assert_eq!(listed, expected);
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
