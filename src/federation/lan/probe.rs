//! Asks an address who is there. The address may be that of anything: the question says nothing about us, and what comes back counts
//! only with a signature.

use crate::{
    federation::{client::ClientError, membership::Membership, resolver::Resolver},
    guard::{NetworkKey, Reach},
    manifest::{Head, Verified, verify_head},
    types::{Limits, PeerId, SharedClock},
};
use bytes::{Bytes, BytesMut};
use reqwest::{StatusCode, redirect::Policy};
use std::time::Duration;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// From the first byte that is sent to the last one that comes.
const TIMEOUT: Duration = Duration::from_secs(2);
const MAX_ANSWER_BYTES: usize = 16 << 10;

/// Asks, with one client for all addresses.
#[derive(Debug)]
pub(super) struct Prober {
    http: reqwest::Client,
    resolver: Resolver,
    limits: Limits,
    network: Option<(NetworkKey, SharedClock)>,
}

/// Who is there.
#[derive(Debug)]
pub(super) struct Present {
    pub(super) head: Verified<Head>,
    pub(super) instance_type: Option<&'static str>,
}

impl Prober {
    pub(super) fn new(limits: Limits, network: Option<(NetworkKey, SharedClock)>) -> Result<Self, ClientError> {
        // Neighbours, who are within; only their addresses come here, no names.
        let resolver = Resolver::new(Reach::of_operator());
        let http = reqwest::Client::builder()
            .dns_resolver(resolver.clone())
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(TIMEOUT)
            // An address that was allowed leads to no other.
            .redirect(Policy::none())
            // Only settings read the environment.
            .no_proxy()
            .pool_max_idle_per_host(0)
            .user_agent(concat!("ark-lattice/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| ClientError::Address(String::new(), error.to_string()))?;
        Ok(Self { http, resolver, limits, network })
    }

    /// Who is at `base`, where `expected` is said to be; `None`: nobody, or nobody who proves it.
    pub(super) async fn ask(&self, base: &str, expected: Option<&PeerId>) -> Option<Present> {
        let head = self.get(base, "/lattice/head", expected.map(PeerId::as_str)).await?;
        let head = verify_head(head, &self.limits).ok()?;
        let instance_type = self.instance_type(base, head.get().node_id.as_str()).await;
        Some(Present { head, instance_type })
    }

    async fn instance_type(&self, base: &str, id: &str) -> Option<&'static str> {
        #[derive(serde::Deserialize)]
        struct Info {
            #[serde(rename = "instanceType")]
            instance_type: String,
        }
        let body = self.get(base, "/federation/info", Some(id)).await?;
        super::service::known_type(&serde_json::from_slice::<Info>(&body).ok()?.instance_type)
    }

    async fn get(&self, base: &str, path: &str, id: Option<&str>) -> Option<Bytes> {
        let mut request = self.http.get(format!("{base}{path}")).build().ok()?;
        self.resolver.check(request.url()).ok()?;
        let membership = self.network.clone().map(|(key, clock)| Membership::of(key, clock, id));
        let shown = match &membership {
            Some(membership) => Some((membership, membership.show(&mut request, path).ok()?)),
            None => None,
        };
        let mut response = self.http.execute(request).await.ok()?;
        let of_us = shown.is_none_or(|(membership, shown)| membership.is_of_us(&shown, response.headers()));
        if response.status() != StatusCode::OK || !of_us {
            return None;
        }
        let mut body = BytesMut::new();
        while let Some(chunk) = response.chunk().await.ok()? {
            if body.len().saturating_add(chunk.len()) > MAX_ANSWER_BYTES {
                return None;
            }
            body.extend_from_slice(&chunk);
        }
        Some(body.freeze())
    }
}
