//! One instance of the demo: a service, its directory, its key.

use crate::{
    cli::exit::Failure,
    ops::{
        self, Canonicalization, Client, KeyPair, Listing, OfflineDirectory, OperatorClient, PullOptions, PullReport,
        Statement, Target,
    },
    settings::{InstanceType, Settings},
    types::{NodeId, PeerId, SetHash, SharedClock, Timestamp},
};
use bytes::Bytes;
use serde_json::Value;
use std::{fs, path::Path, time::Duration};

/// How often a service is asked whether it has seen a change, and how often at most.
const ASK_EVERY: Duration = Duration::from_millis(50);
const ASK_TIMES: usize = 600;

/// What an instance is before its service runs.
pub(super) struct Instance {
    pub(super) name: &'static str,
    pub(super) settings: Settings,
    pub(super) directory: OfflineDirectory,
    pub(super) key: KeyPair,
    clock: SharedClock,
}

impl Instance {
    /// Makes its directories and its key below `folder`.
    pub(super) fn new(
        name: &'static str,
        kind: InstanceType,
        folder: &Path,
        clock: SharedClock,
    ) -> Result<Self, Failure> {
        let mut settings = Settings::default();
        settings.instance.node_id = Some(name.to_owned());
        settings.instance.instance_type = kind;
        settings.server.port = 0;
        settings.server.workers = 1;
        settings.lattice.path = folder.join(name).join("lattice_data");
        settings.state.path = folder.join(name).join("ark_state");
        fs::create_dir_all(&settings.lattice.path)
            .map_err(|error| Failure::local(error).about(settings.lattice.path.display()))?;
        let key = ops::generate_key(&settings.state.path.join("identity.key"), None)?;
        let directory = OfflineDirectory::open(&settings.lattice.path, settings.limits())?;
        Ok(Self { name, settings, directory, key, clock })
    }

    /// Its nodes, as they are on the disk.
    pub(super) fn listing(&self) -> Result<Listing, Failure> {
        Ok(self.directory.list()?)
    }

    /// Writes a node.
    pub(super) fn edit(&self, text: Bytes) -> Result<(), Failure> {
        let node = ops::parse_node(text, None, &self.settings.limits())?;
        self.directory.put(node)?;
        Ok(())
    }

    /// Edits one field of a node, at `at`, as the node says from then on.
    pub(super) fn edit_field(&self, id: &NodeId, field: &str, value: &str, at: Timestamp) -> Result<(), Failure> {
        let node = self.directory.read(id)?.ok_or_else(|| Failure::local(format!("{id} is gone")))?;
        let mut node: serde_json::Map<String, Value> = serde_json::from_slice(&node.bytes).map_err(Failure::local)?;
        node.insert(field.to_owned(), Value::from(value));
        let seconds: serde_json::Number = at.to_seconds_text().parse().map_err(Failure::local)?;
        node.insert("updated_at".to_owned(), Value::from(seconds));
        self.edit(Bytes::from(Value::from(node).to_string()))
    }

    /// One field of a node.
    pub(super) fn field(&self, id: &NodeId, field: &str) -> Result<Option<String>, Failure> {
        let Some(node) = self.directory.read(id)? else { return Ok(None) };
        let node: Value = serde_json::from_slice(&node.bytes).map_err(Failure::local)?;
        Ok(node.get(field).and_then(Value::as_str).map(str::to_owned))
    }

    /// What it says that it holds, unsigned.
    pub(super) fn manifest(&self, seq: u64) -> Result<String, Failure> {
        let statement = Statement {
            node_id: PeerId::parse(self.name).map_err(Failure::local)?,
            instance_type: self.settings.instance.instance_type.as_str(),
            now: self.clock.now(),
            seq: Some(seq),
        };
        Ok(ops::build_manifest(&statement, &self.listing()?))
    }

    /// Signs a manifest with `key`.
    pub(super) fn sign(&self, manifest: &str, key: &KeyPair) -> Result<String, Failure> {
        let text = Bytes::copy_from_slice(manifest.as_bytes());
        Ok(ops::sign_manifest(text, Canonicalization::Jcs, key, None, &self.settings.limits())?)
    }

    /// Takes what differs from `other`, and waits until the own service has seen it.
    pub(super) async fn pull(&self, own: &Client, other: &Client) -> Result<PullReport, Failure> {
        let limits = self.settings.limits();
        let clock = SharedClock::clone(&self.clock);
        // An edit that the service has not seen yet would not be judged.
        self.seen(own).await?;
        let local = ops::local_service(std::slice::from_ref(&self.settings.state.path))?;
        let token = local.map(|service| service.token);
        let target = Target::Service(Box::new(OperatorClient::new(own.clone(), token)));
        let places = ((&self.directory, target), (other, "the other instance"));
        let report = ops::pull(places.0, places.1, limits, clock, PullOptions::default(), |_, _| {}).await?;
        self.seen(own).await?;
        Ok(report)
    }

    /// Waits until the own service has read its directory.
    pub(super) async fn ready(&self, own: &Client) -> Result<(), Failure> {
        for _ in 0..ASK_TIMES {
            if own.probe("ready").await?.status == 200 {
                return Ok(());
            }
            tokio::time::sleep(ASK_EVERY).await;
        }
        Err(Failure::local(format!("the service of {} does not get ready", self.name)))
    }

    /// Waits until the own service knows what the directory holds; its set hash.
    pub(super) async fn seen(&self, own: &Client) -> Result<SetHash, Failure> {
        let hash = self.listing()?.set_hash();
        let question = format!("{{\"manifest_hash\":\"{hash}\",\"nodes\":[],\"limit\":1}}");
        for _ in 0..ASK_TIMES {
            if own.sync(question.clone()).await?.set_hash == hash {
                return Ok(hash);
            }
            tokio::time::sleep(ASK_EVERY).await;
        }
        Err(Failure::local(format!("the service of {} does not see what is in its directory", self.name)))
    }
}
