//! Asks an address who is there. The address may be that of anything: the question says nothing about us, and what comes back counts
//! only with a signature.

use crate::{
    federation::client::ClientError,
    manifest::{Head, Verified, verify_head},
    types::Limits,
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
    limits: Limits,
}

/// Who is there.
#[derive(Debug)]
pub(super) struct Present {
    pub(super) head: Verified<Head>,
    pub(super) instance_type: Option<&'static str>,
}

impl Prober {
    pub(super) fn new(limits: Limits) -> Result<Self, ClientError> {
        let http = reqwest::Client::builder()
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
        Ok(Self { http, limits })
    }

    /// Who is at `base`; `None`: nobody, or nobody who proves it.
    pub(super) async fn ask(&self, base: &str) -> Option<Present> {
        let head = verify_head(self.get(&format!("{base}/lattice/head")).await?, &self.limits).ok()?;
        Some(Present { head, instance_type: self.instance_type(base).await })
    }

    async fn instance_type(&self, base: &str) -> Option<&'static str> {
        #[derive(serde::Deserialize)]
        struct Info {
            #[serde(rename = "instanceType")]
            instance_type: String,
        }
        let body = self.get(&format!("{base}/federation/info")).await?;
        super::service::known_type(&serde_json::from_slice::<Info>(&body).ok()?.instance_type)
    }

    async fn get(&self, url: &str) -> Option<Bytes> {
        let mut response = self.http.get(url).send().await.ok()?;
        if response.status() != StatusCode::OK {
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
