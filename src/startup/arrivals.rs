//! Connections as they arrive: counted, and closed at once where their address has as many as it may.

use crate::{
    guard::{Certified, Connections, Holder, Payer},
    settings::{Settings, SettingsError},
    telemetry::Metrics,
    trust::{Refusal, TrustStore},
    types::ProxyNetworks,
};
use actix_tls::accept::rustls_0_23::TlsStream;
use actix_web::{dev::Extensions, rt::net::TcpStream};
use rustix::process::{Resource, getrlimit};
use serde_json::Map;
use std::{
    any::Any,
    net::{IpAddr, Shutdown},
    sync::Arc,
};

/// Refused connections that a worker may hold while they are closed.
const ON_THEIR_WAY: usize = 8;

/// How many descriptors this process may have.
fn descriptors() -> u64 {
    // No number: there is no limit.
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// What every connection passes.
pub(super) struct Arrivals {
    connections: Connections,
    proxies: ProxyNetworks,
    count_loopback: bool,
    metrics: Arc<Metrics>,
    trust: Arc<TrustStore>,
}

impl Arrivals {
    pub(super) fn new(
        settings: &Settings,
        metrics: &Arc<Metrics>,
        trust: &Arc<TrustStore>,
    ) -> Result<Self, SettingsError> {
        Ok(Self {
            connections: Connections::new(descriptors(), settings.limits.connections_per_address),
            proxies: settings.proxy_networks()?,
            count_loopback: settings.limits.count_loopback,
            metrics: Arc::clone(metrics),
            trust: Arc::clone(trust),
        })
    }

    /// How many connections one of `workers` may accept at a time: those beyond the bound are closed, and a few at once may be on their way.
    pub(super) fn most_of_worker(&self, workers: usize) -> usize {
        let most = usize::try_from(self.connections.most()).unwrap_or(usize::MAX);
        most.div_ceil(workers.max(1)).saturating_add(ON_THEIR_WAY)
    }

    /// Called once for each connection; what is put into `data` lives as long as the connection.
    pub(super) fn arrive(&self, io: &dyn Any, data: &mut Extensions) {
        data.insert(self.metrics.connection_opened());
        let tls = io.downcast_ref::<TlsStream<TcpStream>>().map(|tls| tls.get_ref());
        if tls.is_some_and(|(_, session)| session.peer_certificates().is_some()) {
            data.insert(Certified);
        }
        let tls = tls.map(|(stream, _)| stream);
        let Some(stream) = io.downcast_ref::<TcpStream>().or(tls) else { return };
        let Ok(peer) = stream.peer_addr() else { return };
        let address = peer.ip().to_canonical();
        let holder = match address {
            // A proxy of ours brings everybody's.
            proxy if self.proxies.contains(proxy) => Holder::Local,
            own if own.is_loopback() && !self.count_loopback => Holder::Known,
            address => Holder::Address(Payer::of(address)),
        };
        match self.connections.open(holder) {
            Ok(counted) => drop(data.insert(counted)),
            Err(_) => {
                self.metrics.limited("connections");
                self.refused(address);
                // Before a byte of it is read: the server then finds it closed.
                let _it_may_be_gone = socket2::SockRef::from(stream).shutdown(Shutdown::Both);
            }
        }
    }

    fn refused(&self, address: IpAddr) {
        let detail = Map::from_iter([("address".to_owned(), address.to_string().into())]);
        let account = Some(Payer::of(address).to_string());
        self.trust.refused(Refusal { code: "rate_limited", door: "connections", subject: None, account, detail });
    }
}
