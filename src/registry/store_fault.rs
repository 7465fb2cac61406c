//! The states in which a store does not do what the registry asks, each with a stable code, and what ends it.

use std::fmt;

macro_rules! states {
    ($($(#[doc = $doc:literal])* $variant:ident = $code:literal, $summary:literal, $remedy:literal;)*) => {
        /// A state of the store.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum StoreState { $($(#[doc = $doc])* $variant,)* }

        impl StoreState {
            /// Every state there is.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The stable code: `reason` in problems and in `/health`, `registry.state` in the log; `doctor` puts `registry_` before it.
            #[must_use]
            pub const fn code(self) -> &'static str {
                match self { $(Self::$variant => $code,)* }
            }

            /// What is wrong, in a fixed text without names of keys and addresses.
            #[must_use]
            pub const fn summary(self) -> &'static str {
                match self { $(Self::$variant => $summary,)* }
            }

            const fn fixed_remedy(self) -> &'static str {
                match self { $(Self::$variant => $remedy,)* }
            }
        }
    };
}

states! {
    /// Nothing answers, or not in time.
    NoAnswer = "no_answer", "the registry does not answer",
        "check that Redis runs, and REDIS_URL; by hand: redis-cli -u \"$REDIS_URL\" PING";
    /// `maxclients` is reached.
    TooManyClients = "too_many_clients", "Redis accepts no more clients",
        "end clients that are not needed, or raise the bound: redis-cli -u \"$REDIS_URL\" CONFIG SET maxclients 10000";
    /// It reads its data from disk after a start.
    Loading = "loading", "Redis is loading its data",
        "wait; how long it takes: redis-cli -u \"$REDIS_URL\" INFO persistence";
    /// The server is a replica, or no longer the master.
    ReadOnly = "read_only", "Redis is a replica and takes no writes",
        "name the master in REDIS_URL, or make this server the master: redis-cli -u \"$REDIS_URL\" REPLICAOF NO ONE";
    /// `maxmemory` is reached.
    OutOfMemory = "out_of_memory", "the memory of Redis is full",
        "raise maxmemory: redis-cli -u \"$REDIS_URL\" CONFIG SET maxmemory 512mb";
    /// `MISCONF`: its last snapshot or append to its log failed.
    NotPersisting = "not_persisting", "Redis cannot write to its disk and takes no writes",
        "check the disk and the rights of Redis' directory, then: redis-cli -u \"$REDIS_URL\" BGSAVE";
    /// Fewer replicas have a write, or are connected, than must.
    TooFewReplicas = "too_few_replicas", "too few replicas have the registration",
        "check the replicas (redis-cli -u \"$REDIS_URL\" INFO replication), registry.redis_min_replicas and min-replicas-to-write";
    /// Another client's script keeps it.
    Busy = "busy", "Redis runs a script that does not end",
        "wait, or end it: redis-cli -u \"$REDIS_URL\" SCRIPT KILL";
    /// A Cluster without all of its slots, or without a majority.
    ClusterDown = "cluster_down", "the Redis Cluster is down",
        "bring the missing nodes back: redis-cli -u \"$REDIS_URL\" CLUSTER INFO";
    /// No password, or a wrong one.
    Authentication = "authentication", "Redis does not accept the login",
        "check the user name and the password in registry.redis_url, redis_username and redis_password";
    /// Its user lacks a right.
    Permission = "permission", "the Redis user lacks a right that the registry needs",
        "its user may not do what the registry needs: the README has the ACL line under Redis";
    /// It accepts connections from its own machine only.
    Protected = "protected_mode", "Redis accepts connections from its own machine only",
        "on Redis' machine set a password: redis-cli CONFIG SET requirepass PASSWORD";
    /// TLS on one side only, or a certificate that is not accepted.
    Tls = "tls", "no TLS connection to Redis can be made",
        "check rediss:// against redis://, registry.redis_ca_file and the host name";
    /// A Cluster that the settings name as one server, or the other way around.
    WrongShape = "wrong_shape", "Redis is a Cluster and the settings name one server, or the other way around",
        "it is a Cluster: set registry.redis_cluster_nodes instead of redis_url";
    /// The URL names a database that it does not have.
    NoDatabase = "no_database", "Redis does not have the database that the URL names",
        "correct the number at the end of REDIS_URL, or raise databases in redis.conf";
    /// Something answers that is no Redis, or one without a command that is needed.
    NotRedis = "not_redis", "what answers is no Redis, or one without a command that the registry needs",
        "check host and port in REDIS_URL; Redis 6.2 or later is needed, with EVAL and EVALSHA under their own names";
    /// A key holds a value of another type than the registry writes there.
    WrongType = "wrong_type", "a key of the registry holds a value of another type",
        "find out which program wrote it, then delete it: redis-cli -u \"$REDIS_URL\" DEL";
    /// A key holds what this version cannot read.
    Unreadable = "unreadable", "a key of the registry holds what this version cannot read",
        "find out which program wrote it, then restore it or delete it: redis-cli -u \"$REDIS_URL\" DEL";
    /// The disk of an embedded registry is full.
    DiskFull = "disk_full", "its disk is full",
        "free space on the disk of the state directory (ARK_STATE_PATH)";
    /// The file of an embedded registry cannot be written.
    Unwritable = "unwritable", "its file cannot be written",
        "check the rights and the disk of the state directory (ARK_STATE_PATH)";
    /// The disk of an embedded registry takes longer than a call waits, or more registrations wait for it than may.
    SlowDisk = "slow_disk", "its disk does not answer in time",
        "find out what keeps the disk of the state directory (ARK_STATE_PATH) busy; instances register again by themselves";
    /// The file of an embedded registry holds what cannot be read.
    Damaged = "damaged", "its file holds what cannot be read",
        "stop the service and restore a copy of registry.redb and registry.redb.log in the state directory (ARK_STATE_PATH)";
    /// The registry of this process was closed.
    Closed = "closed", "it is closed: the service stops",
        "wait until the service runs again";
    /// A `maxmemory-policy` under which Redis deletes keys that must stay. Everything works.
    EvictionPolicy = "eviction_policy", "Redis may delete key bindings when its memory is full",
        "redis-cli -u \"$REDIS_URL\" CONFIG SET maxmemory-policy noeviction, and the same in redis.conf";
}

impl StoreState {
    /// The state of a code.
    #[must_use]
    pub fn of_code(code: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|state| state.code() == code)
    }

    /// Does the registry refuse calls in this state?
    #[must_use]
    pub const fn refuses(self) -> bool {
        !matches!(self, Self::EvictionPolicy)
    }

    /// What ends it: what to check and what to type.
    #[must_use]
    pub fn remedy(self, key: Option<&str>) -> String {
        match (self, key) {
            (Self::WrongType | Self::Unreadable, Some(key)) => format!("{} {}", self.fixed_remedy(), quoted(key)),
            _ => self.fixed_remedy().to_owned(),
        }
    }
}

/// A key as a shell takes it: one word.
fn quoted(key: &str) -> String {
    format!("'{}'", key.replace('\'', "'\\''"))
}

/// One store in one state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreFault {
    /// What it is.
    pub state: StoreState,
    /// What the store answered, for the log. Never sent to clients.
    pub answer: String,
    /// What to do.
    pub advice: String,
    /// The key that it is about.
    pub key: Option<String>,
}

impl StoreFault {
    /// A fault of the whole store, with the state's own advice.
    #[must_use]
    pub fn new(state: StoreState, answer: impl Into<String>) -> Self {
        Self { state, answer: answer.into(), advice: state.remedy(None), key: None }
    }

    /// A fault of one key.
    #[must_use]
    pub fn of_key(state: StoreState, answer: impl Into<String>, key: String) -> Self {
        Self { state, answer: answer.into(), advice: state.remedy(Some(&key)), key: Some(key) }
    }

    /// The fixed text of its state, with the key.
    #[must_use]
    pub fn public_text(&self) -> String {
        match &self.key {
            Some(key) => format!("{}: {key}", self.state.summary()),
            None => self.state.summary().to_owned(),
        }
    }
}

impl fmt::Display for StoreFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.answer)?;
        if let Some(key) = &self.key {
            write!(f, " (key {key})")?;
        }
        // Where nothing answers, the answer itself says what was tried.
        if self.state == StoreState::NoAnswer { Ok(()) } else { write!(f, "; {}", self.advice) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn codes_are_unique_and_lead_back_to_their_states() {
        let codes: HashSet<&str> = StoreState::ALL.iter().map(|state| state.code()).collect();
        assert_eq!(codes.len(), StoreState::ALL.len());
        for state in StoreState::ALL {
            assert_eq!(StoreState::of_code(state.code()), Some(*state));
        }
        assert_eq!(StoreState::of_code("unknown"), None);
    }

    #[test]
    fn the_command_for_a_key_is_one_that_a_shell_takes() {
        let remedy = StoreState::WrongType.remedy(Some("pin:it's a $(rm)"));
        assert!(remedy.ends_with(r"DEL 'pin:it'\''s a $(rm)'"), "{remedy}");
    }
}
