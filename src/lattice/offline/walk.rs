//! Every node with its content, one after the other.

use super::{OfflineDirectory, OfflineError};
use crate::{
    lattice::{
        BrokenFile, NodeDocument, file_name,
        reader::{self, Whole},
    },
    types::NodeId,
};
use std::collections::HashSet;

/// What a file turned out to be.
#[derive(Debug)]
pub enum Walked {
    /// A node, as it stands in its file.
    Node(NodeDocument),
    /// No node.
    Broken(BrokenFile),
}

impl OfflineDirectory {
    /// Reads every file once, in order of name, and holds one at a time. `visit` hears how many files there are.
    ///
    /// # Errors
    /// [`OfflineError::Io`] where the directory cannot be listed, and what `visit` fails with.
    pub fn walk<E: From<OfflineError>>(&self, mut visit: impl FnMut(Walked, usize) -> Result<(), E>) -> Result<(), E> {
        let mut broken = Vec::new();
        let names = self.names(&mut broken)?;
        let total = names.len();
        for broken in broken {
            visit(Walked::Broken(broken), total)?;
        }
        let mut seen: HashSet<NodeId> = HashSet::new();
        for name in names {
            let walked = match reader::examine_whole(&self.directory, &name, &self.limits) {
                Whole::Nothing => continue,
                Whole::Broken(reason, _) | Whole::Misnamed(_, reason, _) => {
                    Walked::Broken(BrokenFile { file: name, reason })
                }
                // The plain name sorts before the second one, and counts.
                Whole::Node(file, _) if !seen.insert(file.id.clone()) => {
                    let reason = format!("its node is in {} already", file_name::plain(&file.id));
                    Walked::Broken(BrokenFile { file: name, reason })
                }
                Whole::Node(_, node) => Walked::Node(node),
            };
            visit(walked, total)?;
        }
        Ok(())
    }
}
