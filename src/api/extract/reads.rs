//! Reads of whole documents, whose length is known, and counted as an answer, only once they are read.

use actix_web::http::Method;
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Documents that are read at a time, of each kind. Without a bound a thousand requests at once hold a thousand documents beside the
/// counted ones.
const READS_AT_ONCE: usize = 16;

/// The reads of whole documents that may be under way.
#[derive(Debug, Clone)]
pub struct DocumentReads {
    nodes: Arc<Semaphore>,
    /// From the registry, which may be slow.
    manifests: Arc<Semaphore>,
}

impl Default for DocumentReads {
    fn default() -> Self {
        let new = || Arc::new(Semaphore::new(READS_AT_ONCE));
        Self { nodes: new(), manifests: new() }
    }
}

impl DocumentReads {
    /// Waits until a document may be read for this request, where one is. Held until the answer is counted.
    pub(crate) async fn begin(&self, method: &Method, path: &str) -> Option<OwnedSemaphorePermit> {
        if !matches!(*method, Method::GET | Method::HEAD) {
            return None;
        }
        let reads = match path {
            _ if path.starts_with("/nodes/") || path.starts_with("/conflicts/") => &self.nodes,
            _ if path.starts_with("/manifest/") => &self.manifests,
            _ => return None,
        };
        // Nobody closes it.
        Arc::clone(reads).acquire_owned().await.ok()
    }
}
