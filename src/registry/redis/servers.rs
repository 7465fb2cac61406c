//! Where Redis is and who we are there, read from the settings: addresses, login, TLS.

use crate::{
    registry::redis::{RedisConfigError, tls},
    settings::{RegistrySettings, SettingsError},
};
use redis::{Client, ConnectionAddr, ConnectionInfo, IntoConnectionInfo, RedisConnectionInfo, TlsCertificates};
use secrecy::{ExposeSecret, SecretString};
use std::fmt;

/// The port of a Redis that names none.
const REDIS_PORT: u16 = 6379;
/// The port of a Sentinel that names none.
const SENTINEL_PORT: u16 = 26379;

/// A Redis, alone, behind Sentinels or as a Cluster, with login and certificates.
#[derive(Clone)]
pub struct Servers {
    pub(super) shape: Shape,
    /// User, password, database and protocol.
    pub(super) login: RedisConnectionInfo,
    /// `Some` is TLS, with what is given beside the public authorities; `None` is plain TCP.
    pub(super) tls: Option<TlsCertificates>,
}

/// How Redis is found.
#[derive(Clone)]
pub(super) enum Shape {
    Single(ConnectionAddr),
    Sentinel { sentinels: Vec<(String, u16)>, master: String, login: RedisConnectionInfo },
    Cluster { nodes: Vec<(String, u16)> },
}

impl fmt::Debug for Servers {
    /// Without the login.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Servers")
            .field("cluster", &self.is_cluster())
            .field("tls", &self.tls.is_some())
            .finish_non_exhaustive()
    }
}

impl Servers {
    /// One server, by its URL alone.
    ///
    /// # Errors
    /// [`RedisConfigError::Url`]: it cannot be read.
    pub fn at(url: &SecretString) -> Result<Self, RedisConfigError> {
        // The crate's own text may repeat parts of the URL, which may hold a password.
        let info = Client::open(url.expose_secret()).map_err(|_| RedisConfigError::Url)?.get_connection_info().clone();
        // `rediss://…#insecure` would take anybody's certificate.
        if matches!(info.addr(), ConnectionAddr::TcpTls { insecure: true, .. }) {
            return Err(RedisConfigError::Insecure);
        }
        let tls = matches!(info.addr(), ConnectionAddr::TcpTls { .. });
        Ok(Self {
            login: info.redis_settings().clone().set_skip_set_lib_name(),
            shape: Shape::Single(info.addr().clone()),
            tls: tls.then_some(TlsCertificates { client_tls: None, root_cert: None }),
        })
    }

    /// What the settings say; `None` where they name no Redis. Reads the files that they name.
    ///
    /// # Errors
    /// A value, a file or a combination that cannot be used, with its key named and without any secret.
    pub fn from_settings(section: &RegistrySettings) -> Result<Option<Self>, SettingsError> {
        let url = section.redis_url.as_ref().map(Self::at).transpose();
        let url = url.map_err(|error| bad("registry.redis_url", &error))?;
        let (sentinels, cluster) = (&section.redis_sentinels, &section.redis_cluster_nodes);
        let mut servers = match url {
            Some(servers) => servers,
            None if sentinels.is_empty() && cluster.is_empty() => return Ok(None),
            None => Self {
                shape: Shape::Cluster { nodes: Vec::new() },
                login: RedisConnectionInfo::default().set_skip_set_lib_name(),
                tls: None,
            },
        };
        let named = servers.shape.clone();
        if !sentinels.is_empty() {
            let sentinels = addresses("registry.redis_sentinels", sentinels, SENTINEL_PORT)?;
            one_of("registry.redis_sentinels", &named, &sentinels)?;
            let (master, login) = (section.redis_sentinel_master.clone(), sentinel_login(section));
            servers.shape = Shape::Sentinel { sentinels, master, login };
        } else if !cluster.is_empty() {
            let nodes = addresses("registry.redis_cluster_nodes", cluster, REDIS_PORT)?;
            one_of("registry.redis_cluster_nodes", &named, &nodes)?;
            if servers.login.db() != 0 {
                return Err(problem("registry.redis_url", "names a database, but a Redis Cluster has only number 0"));
            }
            servers.shape = Shape::Cluster { nodes };
        }
        servers.take_login(section)?;
        servers.take_certificates(section)?;
        Ok(Some(servers))
    }

    pub(super) fn is_cluster(&self) -> bool {
        matches!(self.shape, Shape::Cluster { .. })
    }

    /// How to reach a server of ours.
    pub(super) fn client(&self, host: &str, port: u16, login: &RedisConnectionInfo) -> redis::RedisResult<Client> {
        self.open(self.address(host, port), login)
    }

    /// The way to the only server.
    pub(super) fn single(&self, address: &ConnectionAddr) -> redis::RedisResult<Client> {
        self.open(address.clone(), &self.login)
    }

    /// An address with this Redis' scheme.
    pub(super) fn info(&self, host: &str, port: u16) -> redis::RedisResult<ConnectionInfo> {
        Ok(self.address(host, port).into_connection_info()?.set_redis_settings(self.login.clone()))
    }

    fn address(&self, host: &str, port: u16) -> ConnectionAddr {
        match self.tls {
            Some(_) => ConnectionAddr::TcpTls { host: host.to_owned(), port, insecure: false, tls_params: None },
            None => ConnectionAddr::Tcp(host.to_owned(), port),
        }
    }

    fn open(&self, address: ConnectionAddr, login: &RedisConnectionInfo) -> redis::RedisResult<Client> {
        let info = address.into_connection_info()?.set_redis_settings(login.clone());
        match &self.tls {
            Some(certificates) => Client::build_with_tls(info, certificates.clone()),
            None => Client::open(info),
        }
    }

    fn take_login(&mut self, section: &RegistrySettings) -> Result<(), SettingsError> {
        if let Some(name) = &section.redis_username {
            if self.login.username().is_some_and(|other| other != name) {
                return Err(problem("registry.redis_username", "is not the user of registry.redis_url: leave one out"));
            }
            self.login = self.login.clone().set_username(name);
        }
        let Some(password) = &section.redis_password else {
            if self.login.username().is_some() && self.login.password().is_none() {
                return Err(problem("registry.redis_username", "has no password: set registry.redis_password_file"));
            }
            return Ok(());
        };
        let key = match section.redis_password_file {
            Some(_) => "registry.redis_password_file",
            None => "registry.redis_password",
        };
        if self.login.password().is_some_and(|other| other != password.expose_secret()) {
            return Err(problem(key, "is not the password of registry.redis_url: leave one out"));
        }
        self.login = self.login.clone().set_password(password.expose_secret());
        Ok(())
    }

    fn take_certificates(&mut self, section: &RegistrySettings) -> Result<(), SettingsError> {
        let given = [
            ("registry.redis_ca_file", &section.redis_ca_file),
            ("registry.redis_client_certificate", &section.redis_client_certificate),
        ];
        // Never taken as a wish that is forgotten: who gives an authority expects an encrypted connection.
        if self.tls.is_none()
            && let Some((key, _)) = given.into_iter().find(|(_, path)| path.is_some())
        {
            return Err(problem(key, "is for TLS: write registry.redis_url with rediss://"));
        }
        if self.tls.is_some() {
            let client = section.redis_client_certificate.as_deref().zip(section.redis_client_key.as_deref());
            self.tls = Some(tls::certificates(section.redis_ca_file.as_deref(), client)?);
        }
        Ok(())
    }
}

fn sentinel_login(section: &RegistrySettings) -> RedisConnectionInfo {
    let mut login = RedisConnectionInfo::default().set_skip_set_lib_name();
    if let Some(name) = &section.redis_sentinel_username {
        login = login.set_username(name);
    }
    if let Some(password) = &section.redis_sentinel_password {
        login = login.set_password(password.expose_secret());
    }
    login
}

/// A URL beside a list must not name another place: which of the two was meant?
fn one_of(key: &'static str, named: &Shape, list: &[(String, u16)]) -> Result<(), SettingsError> {
    let Shape::Single(address) = named else { return Ok(()) };
    match address {
        ConnectionAddr::Tcp(host, _) | ConnectionAddr::TcpTls { host, .. }
            if list.iter().any(|(one, _)| one == host) =>
        {
            Ok(())
        }
        _ => Err(problem(
            "registry.redis_url",
            &format!("names a host that is not in {key}: name one of those, or leave one out"),
        )),
    }
}

fn addresses(key: &'static str, list: &[String], default_port: u16) -> Result<Vec<(String, u16)>, SettingsError> {
    let read = |text: &String| {
        address(text.trim(), default_port)
            .ok_or_else(|| problem(key, &format!("{text:?} is not host:port (without a scheme; [::1]:port for IPv6)")))
    };
    list.iter().map(read).collect()
}

fn address(text: &str, default_port: u16) -> Option<(String, u16)> {
    let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, rest)) => (host, rest.strip_prefix(':').map(str::parse)),
        None => match text.split_once(':') {
            Some((host, port)) => (host, Some(port.parse())),
            None => (text, None),
        },
    };
    let unfit = |byte: u8| byte.is_ascii_whitespace() || b"/@?#[]".contains(&byte);
    if host.is_empty() || host.bytes().any(unfit) {
        return None;
    }
    Some((host.to_owned(), port.transpose().ok()?.unwrap_or(default_port)))
}

pub(super) fn problem(key: &'static str, problem: &str) -> SettingsError {
    SettingsError::Value { key, problem: problem.to_owned() }
}

fn bad(key: &'static str, error: &RedisConfigError) -> SettingsError {
    problem(key, &error.to_string())
}
