//! The problems that routes have in common, as lists for the table of routes.

use crate::api::codes::Code;

/// The gate's refusals, of every route that takes a body.
pub(super) const GATE: &[Code] = &[
    Code::JsonSyntax,
    Code::JsonEmpty,
    Code::JsonNotUtf8,
    Code::JsonBom,
    Code::JsonTooDeep,
    Code::JsonDuplicateKey,
    Code::JsonNotFinite,
    Code::JsonLoneSurrogate,
    Code::JsonTrailingData,
    Code::InvalidHeader,
    Code::RequestTimeout,
    Code::BodyTooSlow,
    Code::BodyTooLarge,
    Code::UnsupportedMediaType,
    Code::UnsupportedContentEncoding,
];
/// The refusals of a body that is no text.
pub(super) const MESSAGE: &[Code] = &[
    Code::InvalidHeader,
    Code::RequestTimeout,
    Code::BodyTooSlow,
    Code::BodyTooLarge,
    Code::UnsupportedMediaType,
    Code::UnsupportedContentEncoding,
];
pub(super) const ENVELOPE: &[Code] = &[
    Code::InvalidEnvelope,
    Code::UnknownCanonicalization,
    Code::InvalidEncoding,
    Code::JcsIntegerRange,
    Code::InvalidManifest,
    Code::ManifestTooLarge,
    Code::BadSignature,
    Code::ClockSkew,
    Code::StaleStatement,
    Code::NotListed,
    Code::IdQuota,
    Code::PeerRevoked,
    Code::KeyMismatch,
    Code::Rollback,
    Code::Equivocation,
    Code::FastForward,
];
/// Of statements about keys.
pub(super) const STATEMENT: &[Code] = &[
    Code::InvalidStatement,
    Code::BadSignature,
    Code::ClockSkew,
    Code::PeerNotFound,
    Code::KeyMismatch,
    Code::Rollback,
    Code::Equivocation,
    Code::PeerRevoked,
];
pub(super) const REGISTRY: &[Code] = &[Code::RegistryUnavailable];
pub(super) const REGISTRY_WRITE: &[Code] = &[Code::RegistryUnavailable, Code::RegistryFull, Code::NoSpace];
pub(super) const LATTICE: &[Code] = &[Code::LatticeLoading, Code::LatticeUnavailable];
pub(super) const LATTICE_WRITE: &[Code] =
    &[Code::LatticeLoading, Code::LatticeUnavailable, Code::NodeUnavailable, Code::NoSpace, Code::ReadOnly, FULL];
pub(super) const FULL: Code = Code::LatticeFull;
pub(super) const OPERATOR: &[Code] =
    &[Code::OperatorTokenRequired, Code::OperatorDisabled, Code::NotLocal, Code::PreconditionFailed];
/// Of requests that another instance signs.
pub(super) const SIGNED: &[Code] = &[
    Code::RequestSignature,
    Code::SignedBeforeStart,
    Code::NotTrusted,
    Code::PeerRevoked,
    Code::Quarantined,
    Code::Replayed,
    Code::Busy,
    Code::ReadOnly,
];
/// Of administrative requests.
pub(super) const OPERATES: &[Code] = &[Code::OperatorTokenRequired, Code::OperatorDisabled, Code::NotLocal];
/// Of the federation's controls.
pub(super) const CONTROLS: &[Code] =
    &[Code::OperatorTokenRequired, Code::OperatorDisabled, Code::NotLocal, Code::NoKey];
pub(super) const CONTROLS_WRITE: &[Code] = &[Code::InvalidFederationRequest, Code::StateUnavailable];
/// Of decisions on keys.
pub(super) const DECISION: &[Code] =
    &[Code::InvalidFederationRequest, Code::KeyMismatch, Code::PeerRevoked, Code::TooManyPeers, Code::StateUnavailable];
/// Of requests in which keys are proved.
pub(super) const PROVES: &[Code] =
    &[Code::RequestSignature, Code::PeerRevoked, Code::InvalidFederationRequest, Code::NoKey, Code::StateUnavailable];
/// Of what is said of a round.
pub(super) const TELLS: &[Code] = &[
    Code::RequestSignature,
    Code::SignedBeforeStart,
    Code::NotTrusted,
    Code::PeerRevoked,
    Code::Replayed,
    Code::Busy,
    Code::InvalidFederationRequest,
];
/// Of changes that are sent.
pub(super) const SENDS: &[Code] = &[Code::InvalidChange, Code::InvalidQuery, Code::OtherIndex];
/// Of what is for peers.
pub(super) const DOOR: &[Code] = &[Code::FederationStopped, Code::ClientCertificate];
/// Of streams that are listened to.
pub(super) const LISTEN: &[Code] = &[Code::TooManyListeners];
/// Of every route.
pub(super) const ALWAYS: &[Code] = &[Code::MethodNotAllowed, Code::RateLimited, Code::Overloaded, Code::Internal];
/// Of invites.
pub(super) const INVITE: &[Code] = &[Code::InvalidInvite, Code::InvalidPeer];
/// Of instances that wait.
pub(super) const PENDING: &[Code] = &[Code::KeyUnknown, Code::InvalidPath];

pub(super) const ADD_PEER: &[Code] =
    &[Code::InvalidPeer, Code::OwnAddress, Code::NotAnInstance, Code::PlainHttp, Code::TooManyPeers, Code::HubOnly];
