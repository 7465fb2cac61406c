//! Manifests: what an instance says its lattice holds, signed; and heads, which say in one line where it stands.

mod envelope;
mod head;
pub mod lineage;
mod model;
mod own_members;
mod set_hash;
mod short_hash;

#[cfg(test)]
pub(crate) use envelope::verified_for_test;
pub use envelope::{
    Canonicalization, EnvelopeError, PAYLOAD_TYPE, Verified, sign, sign_head, verify, verify_head, with_issued_at,
};
pub use head::{HEAD_PAYLOAD_TYPE, Head};
pub use lineage::{Epoch, EpochStart, HeadEpoch, Lineage, Position, Void};
pub use model::{MAX_SEQ, Manifest, ManifestError};
pub use set_hash::{BUCKETS, SetHasher, bucket_hash, bucket_name, bucket_of};

#[cfg(test)]
mod tests;
