//! Connections as they arrive: counted, and closed at once where their address has as many as it may.

use crate::{
    guard::{Certified, Connections, Payer, TooMany},
    settings::{Settings, SettingsError},
    telemetry::Metrics,
    trust::{Refusal, TrustStore},
    types::ProxyNetworks,
};
use actix_tls::accept::rustls_0_23::TlsStream;
use actix_web::{dev::Extensions, rt::net::TcpStream};
use serde_json::Map;
use std::{
    any::Any,
    net::{IpAddr, Shutdown},
    sync::Arc,
};

/// What every connection passes.
pub(super) struct Arrivals {
    connections: Arc<Connections>,
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
            connections: Connections::new(settings.limits.connections_per_address),
            proxies: settings.proxy_networks()?,
            count_loopback: settings.limits.count_loopback,
            metrics: Arc::clone(metrics),
            trust: Arc::clone(trust),
        })
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
        // A proxy of ours brings everybody's.
        if self.proxies.contains(address) || (address.is_loopback() && !self.count_loopback) {
            return;
        }
        match self.connections.open(address) {
            Ok(counted) => drop(counted.map(|counted| data.insert(counted))),
            Err(TooMany) => {
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
