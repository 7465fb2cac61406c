//! The one place where an error becomes an answer: an exhaustive map to a [`Code`], and problem+json (RFC 9457).

pub(super) mod limited;
mod request_id;

use super::codes::Code;
use crate::{
    identity::StatementError,
    json::{JsonError, JsonErrorKind},
    lattice::{LatticeError, NodeError},
    manifest::{EnvelopeError, ManifestError},
    ops,
    registry::{RegistryError, StoreFault, StoreState},
    trust::{DecisionError, Distrust, FreshnessError, KeyLineError, ReplayError, TrustError, VersionError},
};
use actix_web::{
    HttpResponse, HttpResponseBuilder, ResponseError,
    http::{StatusCode, header},
};
pub(super) use request_id::RequestId;
use serde::Serialize;
use std::time::Duration;
use utoipa::ToSchema;

tokio::task_local! {
    /// The id of the request that is being answered; set by the outermost middleware.
    pub(crate) static REQUEST_ID: RequestId;
}

/// The most characters of a `detail`: it may repeat what the client sent, which may be much.
const DETAIL_CHARS: usize = 600;

/// Hint of how long to wait before the next try.
const RETRY_AFTER_SECONDS: u32 = 2;
/// As above, where somebody has to do something first.
const STOPPED_RETRY_AFTER_SECONDS: u32 = 60;

/// An error as every route answers it, `application/problem+json` (RFC 9457).
#[derive(Debug, Serialize, ToSchema)]
pub struct Problem {
    /// `urn:ark-lattice:problem:` + `code`.
    #[serde(rename = "type")]
    pub problem_type: String,
    /// The same text for every occurrence of this problem.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// Stable; what programs should look at.
    pub code: String,
    /// What is wrong this time, for people.
    pub detail: String,
    /// Stands in the service's log and in the `X-Request-Id` header.
    pub request_id: String,
    /// With `registry_unavailable`: the state that the registry is in, a stable code. 0.1.0 does not have this member.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false, example = "too_many_clients")]
    pub reason: Option<&'static str>,
}

/// Everything that a handler can fail with.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// From the strict gate.
    #[error(transparent)]
    Json(#[from] JsonError),
    /// From an operation on manifests.
    #[error(transparent)]
    Register(#[from] ops::RegisterError),
    /// The client has used up its allowance.
    #[error(transparent)]
    Limited(#[from] ops::Limited),
    /// From the registry.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// From `POST /sync`.
    #[error(transparent)]
    Sync(#[from] ops::SyncError),
    /// From the lattice.
    #[error(transparent)]
    Lattice(#[from] LatticeError),
    /// From the changes feed.
    #[error(transparent)]
    Feed(#[from] ops::FeedError),
    /// From statements about keys.
    #[error(transparent)]
    Follow(#[from] ops::FollowError),
    /// From the controls of the federation.
    #[error(transparent)]
    Federation(#[from] ops::FederationError),
    /// Trust that is not established or taken away.
    #[error(transparent)]
    Trust(#[from] ops::TrustOpError),
    /// Pairing that did not succeed.
    #[error(transparent)]
    Pairing(#[from] ops::PairingError),
    /// Others that are not looked for.
    #[error(transparent)]
    Look(#[from] ops::LookError),
    /// From `POST /federation/sync`.
    #[error(transparent)]
    Push(#[from] ops::PushError),
    /// A signed request that does not count.
    #[error(transparent)]
    Signed(#[from] ops::RequestError),
    /// The body is not a node.
    #[error(transparent)]
    Node(#[from] NodeError),
    /// What the request itself gets wrong: code and detail.
    #[error("{1}")]
    Request(Code, String),
    /// The route does not take this method.
    #[error("this path takes {allow}")]
    Method {
        /// The value of the `Allow` header.
        allow: &'static str,
    },
    /// A fault of this service; the text is for the log.
    #[error("{0}")]
    Internal(String),
}

/// Codes of [`JsonError`]s.
fn json_code(error: &JsonError) -> Code {
    match error.kind {
        JsonErrorKind::Empty => Code::JsonEmpty,
        JsonErrorKind::NotUtf8 => Code::JsonNotUtf8,
        JsonErrorKind::Bom => Code::JsonBom,
        JsonErrorKind::TooLarge { .. } => Code::BodyTooLarge,
        JsonErrorKind::TooDeep { .. } => Code::JsonTooDeep,
        JsonErrorKind::DuplicateKey { .. } => Code::JsonDuplicateKey,
        JsonErrorKind::NotFinite => Code::JsonNotFinite,
        JsonErrorKind::LoneSurrogate => Code::JsonLoneSurrogate,
        JsonErrorKind::TrailingData => Code::JsonTrailingData,
        JsonErrorKind::Truncated { .. }
        | JsonErrorKind::Unexpected { .. }
        | JsonErrorKind::TrailingComma
        | JsonErrorKind::Comment
        | JsonErrorKind::ControlCharacter(_)
        | JsonErrorKind::BadEscape
        | JsonErrorKind::LeadingZero
        | JsonErrorKind::BadNumber { .. } => Code::JsonSyntax,
    }
}

fn manifest_code(error: &ManifestError) -> Code {
    match error {
        ManifestError::NotAnObject
        | ManifestError::Field { .. }
        | ManifestError::Node { .. }
        | ManifestError::DuplicateNode { .. } => Code::InvalidManifest,
        ManifestError::TooManyNodes { .. } | ManifestError::FieldsTooLarge { .. } => Code::ManifestTooLarge,
    }
}

fn envelope_code(error: &EnvelopeError) -> Code {
    match error {
        EnvelopeError::Json(error) | EnvelopeError::Payload(error) => json_code(error),
        EnvelopeError::Field { .. }
        | EnvelopeError::NotAnObject
        | EnvelopeError::PayloadType { .. }
        | EnvelopeError::Head { .. } => Code::InvalidEnvelope,
        EnvelopeError::UnknownCanonicalization(_) => Code::UnknownCanonicalization,
        EnvelopeError::Encoding { .. } => Code::InvalidEncoding,
        EnvelopeError::JcsInteger(_) => Code::JcsIntegerRange,
        EnvelopeError::BadSignature => Code::BadSignature,
        EnvelopeError::Manifest(error) => manifest_code(error),
    }
}

fn registry_code(error: &RegistryError) -> Code {
    match error {
        RegistryError::Refused(VersionError::KeyMismatch) => Code::KeyMismatch,
        RegistryError::Refused(VersionError::Revoked) => Code::PeerRevoked,
        RegistryError::Refused(VersionError::Rollback { .. } | VersionError::Superseded) => Code::Rollback,
        RegistryError::Refused(VersionError::Equivocation) => Code::Equivocation,
        RegistryError::Refused(VersionError::FastForward) => Code::FastForward,
        RegistryError::Full { .. } | RegistryError::NoPlace(_) => Code::RegistryFull,
        RegistryError::Unavailable(_) => Code::RegistryUnavailable,
        RegistryError::NoSpace => Code::NoSpace,
        RegistryError::Corrupt(_) => Code::Internal,
    }
}

fn lattice_code(error: &LatticeError) -> Code {
    match error {
        LatticeError::Loading => Code::LatticeLoading,
        LatticeError::Unavailable(_) => Code::NodeUnavailable,
        LatticeError::PreconditionFailed { .. } => Code::PreconditionFailed,
        LatticeError::NoSpace => Code::NoSpace,
        LatticeError::BoundReached { .. } => Code::LatticeFull,
        LatticeError::Contested { .. } | LatticeError::HistoryFull { .. } => Code::ConflictsFull,
        LatticeError::WaitingFull { .. } => Code::MassDelete,
        LatticeError::ReadOnly(_) | LatticeError::Io(_) => Code::LatticeUnavailable,
    }
}

fn feed_code(error: &ops::FeedError) -> Code {
    match error {
        ops::FeedError::Lattice(error) => lattice_code(error),
        ops::FeedError::NoKey => Code::NoKey,
        ops::FeedError::Revoked => Code::PeerRevoked,
        ops::FeedError::OtherIndex { .. } | ops::FeedError::OtherHistory(_) => Code::OtherIndex,
        ops::FeedError::BelowFloor { .. } => Code::PositionLost,
        ops::FeedError::Message(_) => Code::InvalidReconciliation,
        ops::FeedError::Line { .. } | ops::FeedError::NoContent(_) => Code::InvalidChange,
    }
}

fn add_code(error: &ops::AddError) -> Code {
    use ops::{AddError, OutOfReach};
    match error {
        AddError::Address(ops::ClientError::OutOfReach(_, OutOfReach::PlainHttp(..))) => Code::PlainHttp,
        AddError::Address(_) | AddError::Filter(_) => Code::InvalidPeer,
        AddError::Peers(error) => peers_code(error),
    }
}

fn peers_code(error: &ops::PeersError) -> Code {
    use ops::PeersError;
    match error {
        PeersError::Full => Code::TooManyPeers,
        PeersError::HubOnly { .. } => Code::HubOnly,
        PeersError::OfSettings { .. } => Code::PeerOfSettings,
        PeersError::Unreadable { .. } | PeersError::Unwritable(_) => Code::StateUnavailable,
    }
}

fn federation_code(error: &ops::FederationError) -> Code {
    use ops::FederationError;
    match error {
        FederationError::NoKey => Code::NoKey,
        FederationError::Stopped => Code::FederationStopped,
        FederationError::NoPeer(_) => Code::PeerNotFound,
        FederationError::NothingWaits(_) => Code::NoDeletionsWait,
        FederationError::Listeners(_) => Code::TooManyListeners,
        FederationError::Interval => Code::InvalidFederationRequest,
        FederationError::Add(error) => add_code(error),
        FederationError::NoPeerThere { error: ops::RoundError::Self_, .. } => Code::OwnAddress,
        FederationError::NoPeerThere { .. } | FederationError::IsOriginal(_) => Code::NotAnInstance,
        FederationError::Signs(_) => Code::InvalidPeer,
        FederationError::OtherKeyThere { .. } => Code::KeyMismatch,
        FederationError::Peers(error) => peers_code(error),
        FederationError::Invites(_) | FederationError::Control(_) => Code::StateUnavailable,
        FederationError::Lan(ops::LanError::Subnet(_)) => Code::InvalidFederationRequest,
        FederationError::Lan(ops::LanError::Busy) => Code::DiscoveryBusy,
        FederationError::Lan(ops::LanError::Client(_)) => Code::Internal,
        FederationError::Lattice(error) => lattice_code(error),
    }
}

fn distrust_code(distrust: &Distrust) -> Code {
    match distrust {
        Distrust::Revoked(_) => Code::PeerRevoked,
        Distrust::Quarantined(_) => Code::Quarantined,
        Distrust::OtherKey(..) | Distrust::NotVerified(..) => Code::NotTrusted,
        Distrust::Freshness(FreshnessError::Rollback { .. }) => Code::Rollback,
        Distrust::Freshness(FreshnessError::Equivocation) => Code::Equivocation,
        Distrust::Freshness(FreshnessError::FastForward(_)) => Code::FastForward,
        Distrust::Freshness(FreshnessError::Unkept(_)) => Code::StateUnavailable,
    }
}

fn push_code(error: &ops::PushError) -> Code {
    match error {
        ops::PushError::Json(error) => json_code(error),
        ops::PushError::Shape(_) => Code::InvalidFederationRequest,
        ops::PushError::Lattice(error) => lattice_code(error),
    }
}

fn signed_code(error: &ops::RequestError) -> Code {
    match error {
        ops::RequestError::Message(_) | ops::RequestError::Header(_) | ops::RequestError::Audience(_) => {
            Code::RequestSignature
        }
        ops::RequestError::Replay(ReplayError::Replayed) => Code::Replayed,
        ops::RequestError::Replay(ReplayError::BeforeStart { .. }) => Code::SignedBeforeStart,
        ops::RequestError::Replay(ReplayError::KeyShare | ReplayError::AddressShare) => Code::RateLimited,
        ops::RequestError::Replay(ReplayError::Full) => Code::Busy,
        ops::RequestError::NotTrusted { .. } => Code::NotTrusted,
        ops::RequestError::Limited(_) => Code::RateLimited,
        ops::RequestError::Of { error, .. } => signed_code(error),
        ops::RequestError::Distrust(distrust) => distrust_code(distrust),
        ops::RequestError::Registry(error) => registry_code(error),
    }
}

fn trust_code(error: &ops::TrustOpError) -> Code {
    use ops::{OutOfReach, TrustOpError};
    match error {
        TrustOpError::NoKey => Code::NoKey,
        TrustOpError::Shape(_) | TrustOpError::Itself => Code::InvalidFederationRequest,
        TrustOpError::Peer(ops::ClientError::OutOfReach(_, OutOfReach::PlainHttp(..))) => Code::PlainHttp,
        TrustOpError::Peer(ops::ClientError::Address(..)) => Code::InvalidPeer,
        TrustOpError::NoAuthority
        | TrustOpError::Peer(_)
        | TrustOpError::Certificate(_)
        | TrustOpError::Key { .. }
        | TrustOpError::Words => Code::TrustNotEstablished,
        TrustOpError::Unknown(_) => Code::KeyUnknown,
        TrustOpError::Several { .. } => Code::SeveralKeys,
        TrustOpError::Decision(
            DecisionError::OtherKey { .. }
            | DecisionError::OtherPeer { .. }
            | DecisionError::NotItsKey(_)
            | DecisionError::Listed(_),
        ) => Code::KeyMismatch,
        TrustOpError::OwnKeyRevoked | TrustOpError::Decision(DecisionError::Withdrawn) => Code::PeerRevoked,
        TrustOpError::Decision(DecisionError::Full) => Code::TooManyPeers,
        TrustOpError::Decision(DecisionError::Unkept(_)) => Code::StateUnavailable,
        TrustOpError::Registry(error) => registry_code(error),
        TrustOpError::Request(error) => signed_code(error),
        TrustOpError::Json(error) => json_code(error),
        TrustOpError::Worker(_) => Code::Internal,
        TrustOpError::Of { error, .. } => trust_code(error),
    }
}

fn pairing_code(error: &ops::PairingError) -> Code {
    use ops::{InvitesError, PairingError};
    match error {
        PairingError::Line(_) | PairingError::Expired(_) | PairingError::Wish(_) => Code::InvalidInvite,
        PairingError::Add(error) => add_code(error),
        PairingError::Unreachable(_) => Code::PeerUnreachable,
        PairingError::RefusedThere(_) => Code::TrustNotEstablished,
        PairingError::Trust(error) => trust_code(error),
        PairingError::Refused { .. } => Code::InviteRefused,
        PairingError::OtherKey { .. } => Code::KeyMismatch,
        PairingError::Invites(InvitesError::Unknown(_)) => Code::InviteNotFound,
        PairingError::Invites(InvitesError::Full) => Code::TooManyInvites,
        PairingError::Invites(InvitesError::Ended(_)) => Code::InviteUsed,
        PairingError::Invites(InvitesError::Unreadable { .. } | InvitesError::Unwritable(_)) => Code::StateUnavailable,
    }
}

fn follow_code(error: &ops::FollowError) -> Code {
    match error {
        ops::FollowError::Unknown => Code::PeerNotFound,
        ops::FollowError::Line(error) => match error {
            KeyLineError::Statement(StatementError::Signature { .. }) => Code::BadSignature,
            KeyLineError::Statement(StatementError::Shape { .. } | StatementError::List(_))
            | KeyLineError::Empty
            | KeyLineError::OtherId(_)
            | KeyLineError::Gap
            | KeyLineError::NotAllowed { .. } => Code::InvalidStatement,
            KeyLineError::OtherKey => Code::KeyMismatch,
            KeyLineError::Rollback => Code::Rollback,
            KeyLineError::Fork => Code::Equivocation,
            KeyLineError::ClockSkew { .. } => Code::ClockSkew,
        },
        ops::FollowError::Distrust(error) => distrust_code(error),
        ops::FollowError::TooMany(_) => Code::RateLimited,
        ops::FollowError::Registry(error) => registry_code(error),
    }
}

impl ApiError {
    /// The code that this error is answered with.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::Json(error) => json_code(error),
            Self::Register(ops::RegisterError::Envelope(error)) => envelope_code(error),
            Self::Register(ops::RegisterError::Trust(TrustError::ClockSkew { .. })) => Code::ClockSkew,
            Self::Register(ops::RegisterError::Trust(TrustError::Stale { .. })) => Code::StaleStatement,
            Self::Register(ops::RegisterError::Trust(TrustError::NotListed { .. })) => Code::NotListed,
            Self::Limited(_)
            | Self::Register(ops::RegisterError::Limited(_) | ops::RegisterError::NewId(ops::NewIdError::Limited(_))) => {
                Code::RateLimited
            }
            Self::Register(ops::RegisterError::NewId(ops::NewIdError::Quota(_))) => Code::IdQuota,
            Self::Register(ops::RegisterError::NewId(ops::NewIdError::Registry(error))) => registry_code(error),
            Self::Register(ops::RegisterError::Trust(TrustError::OtherKey { .. })) => Code::KeyMismatch,
            Self::Register(ops::RegisterError::Trust(TrustError::Revoked { .. })) => Code::PeerRevoked,
            Self::Register(ops::RegisterError::Registry(error)) | Self::Registry(error) => registry_code(error),
            Self::Sync(ops::SyncError::Json(error)) => json_code(error),
            Self::Sync(ops::SyncError::Shape { .. }) => Code::InvalidSyncRequest,
            Self::Sync(ops::SyncError::Lattice(error)) | Self::Lattice(error) => lattice_code(error),
            Self::Feed(error) => feed_code(error),
            Self::Federation(error) => federation_code(error),
            Self::Follow(error) => follow_code(error),
            Self::Push(error) => push_code(error),
            Self::Signed(error) => signed_code(error),
            Self::Trust(error) => trust_code(error),
            Self::Pairing(error) => pairing_code(error),
            Self::Look(ops::LookError::Off(_)) => Code::DiscoveryOff,
            Self::Look(ops::LookError::Lan(_)) => Code::Busy,
            Self::Look(ops::LookError::Registry(error)) => registry_code(error),
            Self::Node(NodeError::Json(error)) => json_code(error),
            Self::Node(NodeError::NotAnObject | NodeError::NoId | NodeError::BadId(_)) => Code::InvalidNode,
            Self::Request(code, _) => *code,
            Self::Method { .. } => Code::MethodNotAllowed,
            Self::Internal(_) => Code::Internal,
        }
    }

    /// The state of the registry, where it could not be used.
    fn store_fault(&self) -> Option<&StoreFault> {
        let error = match self {
            Self::Registry(error)
            | Self::Register(
                ops::RegisterError::Registry(error) | ops::RegisterError::NewId(ops::NewIdError::Registry(error)),
            )
            | Self::Follow(ops::FollowError::Registry(error))
            | Self::Look(ops::LookError::Registry(error))
            | Self::Trust(ops::TrustOpError::Registry(error)) => error,
            Self::Signed(error)
            | Self::Trust(ops::TrustOpError::Request(error))
            | Self::Pairing(ops::PairingError::Trust(ops::TrustOpError::Request(error))) => error.registry()?,
            Self::Pairing(ops::PairingError::Trust(ops::TrustOpError::Registry(error))) => error,
            _ => return None,
        };
        error.fault()
    }

    fn limited(&self) -> Option<&ops::Limited> {
        match self {
            Self::Limited(limited)
            | Self::Register(
                ops::RegisterError::Limited(limited) | ops::RegisterError::NewId(ops::NewIdError::Limited(limited)),
            )
            | Self::Signed(ops::RequestError::Limited(limited)) => Some(limited),
            _ => None,
        }
    }

    /// What clients may read: of a 5xx only a fixed text, never what the machine said.
    fn detail(&self, code: Code) -> String {
        match code {
            Code::Internal => "The service failed. Its log says more under this request id.".to_owned(),
            Code::RegistryUnavailable => {
                let state = self.store_fault().map_or(StoreState::NoAnswer, |fault| fault.state);
                format!(
                    "The registry cannot be used at the moment: {}. Everything that needs no registry goes on; try again shortly.",
                    state.summary()
                )
            }
            Code::NoSpace => {
                "The disk is full. Nothing was written; reading goes on, and writing as soon as there is room."
                    .to_owned()
            }
            Code::StateUnavailable => "The state directory cannot be written at the moment. Nothing was changed; the \
                                       service's log says more."
                .to_owned(),
            Code::LatticeUnavailable => "The data directory cannot be used at the moment: it is read-only or failed. \
                                         Nothing was written; the service's log says more."
                .to_owned(),
            _ => self.to_string(),
        }
    }

    /// The problem, with the id of the request that is being answered.
    #[must_use]
    pub fn problem(&self) -> Problem {
        let code = self.code();
        Problem {
            problem_type: format!("urn:ark-lattice:problem:{}", code.text()),
            title: code.title().to_owned(),
            status: code.status().as_u16(),
            code: code.text().to_owned(),
            detail: clip(self.detail(code)),
            request_id: REQUEST_ID.try_with(ToString::to_string).unwrap_or_default(),
            reason: self.store_fault().map(|fault| fault.state.code()),
        }
    }
}

impl ResponseError for ApiError {
    fn status_code(&self) -> StatusCode {
        self.code().status()
    }

    fn error_response(&self) -> HttpResponse {
        let code = self.code();
        match code.status() {
            _ if code == Code::StateUnavailable => tracing::warn!(error = %self, "what is known of peers is not kept"),
            // While a part is away every request says so: its going and coming are logged once, where they are noticed.
            StatusCode::SERVICE_UNAVAILABLE => tracing::debug!(error = %self, code = code.text(), "not served for now"),
            status if status.is_server_error() => {
                tracing::warn!(error = %self, code = code.text(), "a request could not be served");
            }
            _ => {}
        }
        let mut response = HttpResponseBuilder::new(code.status());
        response.insert_header((header::CONTENT_TYPE, "application/problem+json"));
        response.insert_header((header::CACHE_CONTROL, "no-store"));
        if code.status() == StatusCode::SERVICE_UNAVAILABLE {
            let seconds =
                if code == Code::FederationStopped { STOPPED_RETRY_AFTER_SECONDS } else { RETRY_AFTER_SECONDS };
            response.insert_header((header::RETRY_AFTER, seconds.to_string()));
        }
        if let Some(limited) = self.limited() {
            limited::tell(&mut response, limited);
        }
        match self {
            Self::Method { allow } => response.insert_header((header::ALLOW, *allow)),
            Self::Signed(error) | Self::Trust(ops::TrustOpError::Request(error)) => match error.sign_from() {
                Some(earliest) => response.insert_header((ops::SIGN_FROM_HEADER, earliest.seconds().to_string())),
                None => &mut response,
            },
            _ if code == Code::OperatorTokenRequired => {
                response.insert_header((header::WWW_AUTHENTICATE, "Bearer realm=\"ark-lattice operator\""))
            }
            _ if code == Code::UnsupportedContentEncoding => {
                response.insert_header((header::ACCEPT_ENCODING, "identity"))
            }
            _ => &mut response,
        };
        response.json(self.problem())
    }
}

fn clip(mut text: String) -> String {
    if let Some((end, _)) = text.char_indices().nth(DETAIL_CHARS) {
        text.truncate(end);
        text.push('…');
    }
    text
}

/// A request's own fault.
pub(crate) fn refuse(code: Code, detail: impl Into<String>) -> ApiError {
    ApiError::Request(code, detail.into())
}

/// Nothing is at this path. `prefix`: what the client sees before it.
pub(crate) fn nothing_here(prefix: &str, path: &str) -> ApiError {
    refuse(Code::NotFound, format!("there is no {prefix}{path}; GET {prefix}/ lists what there is"))
}

/// The text for a body that comes at too low a rate.
pub(crate) fn below_rate(least: usize, window: Duration) -> ApiError {
    let seconds = window.as_secs();
    refuse(Code::BodyTooSlow, format!("less than {least} bytes of the body came within {seconds} s; send it again"))
}

/// The text for a body that comes too slowly.
pub(crate) fn too_slow(limit: Duration) -> ApiError {
    refuse(Code::RequestTimeout, format!("the body did not come within {} s", limit.as_secs()))
}
