//! Asks an address, before it is made a peer, which instance answers there.

use super::{Engine, clients::By};
use crate::{
    federation::{
        client::{Client, ClientError},
        originals::is_original,
        remote::Remote,
        run::RoundError,
    },
    types::{PeerId, PublicKey},
};
use std::time::Duration;
use tokio::time::timeout;

/// How long an address may take to answer, all requests together.
const PATIENCE: Duration = Duration::from_secs(3);

/// What answers at an address.
#[derive(Debug)]
pub enum Probed {
    /// An instance.
    Instance {
        /// Its id.
        peer: PeerId,
        /// Its key.
        key: PublicKey,
        /// The address at which it is a peer already; `None`: it is none, or only at this address.
        known_at: Option<String>,
    },
    /// A system that this program replaces: it answers by the wire of the seeds, without signatures.
    Original,
    /// Nothing answers, or something else.
    Failed(RoundError),
}

impl Engine {
    /// Asks the address.
    ///
    /// # Errors
    /// [`ClientError::Address`]: it cannot be asked.
    pub async fn probe(&self, url: &str) -> Result<Probed, ClientError> {
        let client = self.shared.client(url, By::Operator)?.with_membership(self.shared.membership());
        let client = client.with_patience(PATIENCE);
        let probed = timeout(PATIENCE, self.probe_with(&client, url)).await;
        Ok(probed.unwrap_or_else(|_| Probed::Failed(super::super::pace::silent(url).into())))
    }

    async fn probe_with(&self, client: &Client, url: &str) -> Probed {
        let options = &self.shared.options;
        let head = match client.head(&options.limits).await {
            Ok(head) => head,
            Err(ClientError::Refused { status: 404 | 405, .. } | ClientError::Protocol(..))
                if is_original(client).await =>
            {
                return Probed::Original;
            }
            Err(error) => return Probed::Failed(error.into()),
        };
        let (peer, key) = (head.get().node_id.clone(), head.public_key());
        if head.get().index_id == options.lattice.status().index_id
            || (peer == options.node_id && key == options.key.public_key())
        {
            return Probed::Failed(RoundError::Self_);
        }
        if peer == options.node_id {
            return Probed::Failed(RoundError::SameId(peer));
        }
        let known = options.peers.with_identity(peer.as_str(), &key.to_base64());
        let known_at = known.map(|known| known.url).filter(|known| known != url);
        Probed::Instance { peer, key, known_at }
    }
}
