//! The words of the domain as types: private fields, one constructor each, no IO.

mod base_path;
mod clock;
mod event_kind;
mod glob;
mod has_signed;
mod hash;
mod hex;
mod ids;
mod limits;
mod percent;
mod printable;
mod proxy_networks;
mod public_key;
mod scan_subnets;
mod shell_word;
mod timestamp;
mod web_origins;
mod webhook_secret;

pub use base_path::{BasePath, BasePathError};
pub use clock::{Clock, SharedClock, SystemClock, TestClock};
pub use event_kind::{EventKind, UnknownEvent};
pub use glob::Glob;
pub use hash::{ContentHash, HashError, SetHash, Sha256Digest, content_digest};
pub use hex::{decode_hex, encode_hex, hex_pair, is_lower_hex};
pub use ids::{IdError, MAX_ID_CHARS, NodeId, PeerId, UNSIGNED_PREFIX};
pub use limits::Limits;
pub use percent::{percent_decode, percent_encode};
pub use printable::{is_unprintable, printable};
pub use proxy_networks::ProxyNetworks;
pub use public_key::{PublicKey, PublicKeyError};
pub use scan_subnets::{MAX_SCAN_ADDRESSES, ScanSubnetError, ScanSubnets, is_private};
pub use shell_word::ShellWord;
pub use timestamp::Timestamp;
pub use web_origins::WebOrigins;
pub use webhook_secret::{WebhookSecret, WebhookSecretError};
