//! What an error means: the state that Redis is in, how a connection goes on after it, and what the admin can do about it.

use crate::registry::{RegistryError, StoreFault, StoreState};
use deadpool::managed::{PoolError, TimeoutType};
use redis::{ErrorKind, RedisError, ServerErrorKind};

/// How calls go on after an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// Redis cannot be reached, or answers no call yet: no call is made until it does.
    Gone,
    /// Another server has taken over: connections are made anew.
    Elsewhere,
    /// It answers, but refuses this call in its present state.
    Refused,
    /// It answers something that this version cannot read.
    Unreadable,
}

/// Texts by which states are recognised, whatever error code comes with them: errors within scripts have the general code in some
/// versions. In this order.
const TEXTS: [(&str, StoreState); 20] = [
    ("max number of clients", StoreState::TooManyClients),
    ("can't write against a read only", StoreState::ReadOnly),
    ("MASTERDOWN", StoreState::ReadOnly),
    ("command not allowed when used memory", StoreState::OutOfMemory),
    ("MISCONF", StoreState::NotPersisting),
    ("NOREPLICAS", StoreState::TooFewReplicas),
    ("WRONGTYPE", StoreState::WrongType),
    ("WRONGPASS", StoreState::Authentication),
    ("NOAUTH", StoreState::Authentication),
    // A large command is refused before Redis looks at its name, with other words than NOAUTH.
    ("unauthenticated", StoreState::Authentication),
    ("The user executing the script can't", StoreState::Permission),
    ("ACL failure in script", StoreState::Permission),
    ("NOPERM", StoreState::Permission),
    ("is in protected mode", StoreState::Protected),
    ("cluster support disabled", StoreState::WrongShape),
    ("CROSSSLOT", StoreState::WrongShape),
    ("refused to switch database", StoreState::NoDatabase),
    ("unknown command", StoreState::NotRedis),
    ("Unknown Redis command called from script", StoreState::NotRedis),
    ("LOADING", StoreState::Loading),
];

/// Texts of TLS that fails.
const TLS_TEXTS: [&str; 9] = [
    "invalid peer certificate",
    "CertificateRequired",
    "certificate required",
    "HandshakeFailure",
    "UnknownCA",
    "DecryptError",
    "InvalidContentType",
    "CertificateUnknown",
    "BadCertificate",
];

/// The state that an error shows; `None`: it shows none.
pub(super) fn state(error: &RedisError) -> Option<StoreState> {
    let by_text = || {
        let text = error.to_string();
        TEXTS.iter().find(|(part, _)| text.contains(part)).map(|(_, state)| *state)
    };
    match error.kind() {
        ErrorKind::AuthenticationFailed => by_text().or(Some(StoreState::Authentication)),
        ErrorKind::Io | ErrorKind::ClusterConnectionNotFound => {
            let text = error.to_string();
            Some(if TLS_TEXTS.iter().any(|part| text.contains(part)) {
                StoreState::Tls
            } else if text.contains("Sentinel") {
                // What Sentinels answer is no state of the server that they watch, and has its own advice.
                StoreState::NoAnswer
            } else {
                by_text().unwrap_or(StoreState::NoAnswer)
            })
        }
        ErrorKind::Parse | ErrorKind::RESP3NotSupported => Some(StoreState::NotRedis),
        ErrorKind::Server(kind) => match kind {
            ServerErrorKind::BusyLoading => Some(StoreState::Loading),
            ServerErrorKind::ClusterDown => Some(StoreState::ClusterDown),
            ServerErrorKind::ReadOnly | ServerErrorKind::MasterDown => Some(StoreState::ReadOnly),
            ServerErrorKind::Moved | ServerErrorKind::Ask | ServerErrorKind::CrossSlot => Some(StoreState::WrongShape),
            ServerErrorKind::TryAgain => Some(StoreState::NoAnswer),
            ServerErrorKind::NoPerm => Some(StoreState::Permission),
            _ => by_text(),
        },
        ErrorKind::Extension => match error.code() {
            // A blocked WAIT is broken off when its server is demoted.
            Some("UNBLOCKED") => Some(StoreState::ReadOnly),
            Some("NOAUTH" | "WRONGPASS") => Some(StoreState::Authentication),
            Some("OOM") => Some(StoreState::OutOfMemory),
            Some("MISCONF") => Some(StoreState::NotPersisting),
            Some("BUSY") => Some(StoreState::Busy),
            Some("NOREPLICAS") => Some(StoreState::TooFewReplicas),
            Some("WRONGTYPE") => Some(StoreState::WrongType),
            Some("DENIED") => Some(StoreState::Protected),
            _ => by_text(),
        },
        _ => by_text(),
    }
}

pub(super) fn fault(error: &RedisError) -> Fault {
    let moved = matches!(
        error.kind(),
        ErrorKind::Server(ServerErrorKind::Moved | ServerErrorKind::Ask | ServerErrorKind::TryAgain)
    );
    match state(error) {
        None => Fault::Unreadable,
        Some(StoreState::ReadOnly) => Fault::Elsewhere,
        Some(_) if moved => Fault::Elsewhere,
        Some(
            StoreState::NoAnswer
            | StoreState::TooManyClients
            | StoreState::Loading
            | StoreState::ClusterDown
            | StoreState::Authentication
            | StoreState::Protected
            | StoreState::Tls
            | StoreState::NoDatabase,
        ) => Fault::Gone,
        // The stream of answers cannot be read any further.
        Some(StoreState::NotRedis) if error.kind() == ErrorKind::Parse => Fault::Gone,
        Some(_) => Fault::Refused,
    }
}

pub(super) fn registry_error(error: &RedisError) -> RegistryError {
    match store_fault(error) {
        Some(fault) => fault.into(),
        None => RegistryError::Corrupt(error.to_string()),
    }
}

/// What happened and what the admin can do about it; `None`: the error shows no state. Redis never repeats a password.
pub(super) fn store_fault(error: &RedisError) -> Option<StoreFault> {
    let state = state(error)?;
    let mut fault = StoreFault::new(state, error.to_string());
    if let Some(advice) = special_advice(state, &fault.answer) {
        fault.advice = advice.to_owned();
    }
    Some(fault)
}

/// Where one state has several causes, the advice for this one.
fn special_advice(state: StoreState, text: &str) -> Option<&'static str> {
    let says = |words: &[&str]| words.iter().any(|word| text.contains(word));
    match state {
        StoreState::Authentication if says(&["NOAUTH", "unauthenticated", "Authentication required"]) => {
            Some("it asks for a password: set registry.redis_username and redis_password_file")
        }
        StoreState::Authentication if says(&["without any password configured"]) => {
            Some("its default user has no password: leave it out in registry.redis_url and redis_password")
        }
        StoreState::Tls if says(&["invalid peer certificate"]) => {
            Some("its certificate is not trusted for this name: check registry.redis_ca_file and the host name")
        }
        StoreState::Tls if says(&["InvalidContentType"]) => {
            Some("its port speaks plain TCP: write redis:// instead of rediss:// in registry.redis_url")
        }
        StoreState::Tls => {
            Some("it does not take our certificate: set registry.redis_client_certificate and redis_client_key")
        }
        StoreState::WrongShape if says(&["cluster support disabled"]) => {
            Some("it is no Cluster: set registry.redis_url instead of redis_cluster_nodes")
        }
        _ => None,
    }
}

pub(super) fn means_gone(error: &PoolError<RedisError>) -> bool {
    // Waiting in vain for a free connection means load, not an outage: those who hold the connections find that out.
    match error {
        PoolError::Timeout(kind) => !matches!(kind, TimeoutType::Wait),
        PoolError::Backend(_) => true,
        _ => false,
    }
}

pub(super) fn pool_error(error: PoolError<RedisError>) -> RegistryError {
    match error {
        PoolError::Timeout(TimeoutType::Wait) => unavailable("every connection to Redis is in use"),
        PoolError::Timeout(_) => unavailable("Redis does not accept a connection in time"),
        // Whatever goes wrong while connecting says nothing about what is stored.
        PoolError::Backend(error) => {
            store_fault(&error).unwrap_or_else(|| StoreFault::new(StoreState::NoAnswer, error.to_string())).into()
        }
        PoolError::Closed => unavailable("it is closed"),
        other => RegistryError::no_answer(other.to_string()),
    }
}

pub(super) fn unavailable(reason: &str) -> RegistryError {
    RegistryError::no_answer(reason)
}

#[cfg(test)]
mod tests {
    use super::*;
    use redis::{Value, parse_redis_value};

    fn answered(line: &str) -> RedisError {
        let answer = parse_redis_value(format!("-{line}\r\n").as_bytes()).and_then(Value::extract_error);
        answer.unwrap_err()
    }

    #[test]
    fn every_refusal_of_redis_shows_its_state_in_all_versions() {
        use StoreState as S;
        for (line, expected, fault_of) in [
            ("ERR max number of clients reached", S::TooManyClients, Fault::Gone),
            ("ERR max number of clients + cluster connections reached", S::TooManyClients, Fault::Gone),
            ("LOADING Redis is loading the dataset in memory", S::Loading, Fault::Gone),
            ("READONLY You can't write against a read only replica.", S::ReadOnly, Fault::Elsewhere),
            (
                "ERR Error running script (call to f_1): @user_script:1: -READONLY You can't write against a read only replica.",
                S::ReadOnly,
                Fault::Elsewhere,
            ),
            (
                "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
                S::ReadOnly,
                Fault::Elsewhere,
            ),
            ("OOM command not allowed when used memory > 'maxmemory'.", S::OutOfMemory, Fault::Refused),
            (
                "ERR Error running script (call to f_1): @user_script:1: -OOM command not allowed when used memory > 'maxmemory'.",
                S::OutOfMemory,
                Fault::Refused,
            ),
            (
                "MISCONF Redis is configured to save RDB snapshots, but it's currently unable",
                S::NotPersisting,
                Fault::Refused,
            ),
            ("NOREPLICAS Not enough good replicas to write.", S::TooFewReplicas, Fault::Refused),
            ("BUSY Redis is busy running a script.", S::Busy, Fault::Refused),
            (
                "WRONGTYPE Operation against a key holding the wrong kind of value script: 1",
                S::WrongType,
                Fault::Refused,
            ),
            ("WRONGPASS invalid username-password pair or user is disabled.", S::Authentication, Fault::Gone),
            ("NOAUTH Authentication required.", S::Authentication, Fault::Gone),
            ("ERR Protocol error: unauthenticated multibulk length", S::Authentication, Fault::Gone),
            ("NOPERM this user has no permissions to run the 'hset' command", S::Permission, Fault::Refused),
            ("ERR The user executing the script can't run this command or subcommand", S::Permission, Fault::Refused),
            ("DENIED Redis is running in protected mode because", S::Protected, Fault::Gone),
            ("CLUSTERDOWN Hash slot not served", S::ClusterDown, Fault::Gone),
            ("CROSSSLOT Keys in request don't hash to the same slot", S::WrongShape, Fault::Refused),
            ("MOVED 3999 127.0.0.1:6381", S::WrongShape, Fault::Elsewhere),
            ("ERR unknown command 'EVALSHA', with args beginning with: ", S::NotRedis, Fault::Refused),
        ] {
            let error = answered(line);
            assert_eq!(state(&error), Some(expected), "{line}");
            assert_eq!(fault(&error), fault_of, "{line}");
            assert!(matches!(registry_error(&error), RegistryError::Unavailable(_)), "{line}");
        }
        assert_eq!(state(&answered("ERR something else")), None);
    }
}
