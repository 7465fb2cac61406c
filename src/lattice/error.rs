//! Why the lattice did not do what was asked.

use crate::types::{ContentHash, NodeId};

/// Why the lattice did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum LatticeError {
    /// The index is still being built.
    #[error("the index is still being built")]
    Loading,
    /// The precondition does not hold. Nothing was changed.
    #[error("the node is not in the state that the precondition asks for")]
    PreconditionFailed {
        /// The current content hash; `None` where there is no such node.
        current: Option<ContentHash>,
    },
    /// The version is not taken: the one made here that it would replace could not be kept beside so many others. What replaces nothing that
    /// was made here is still taken, that of the same request included.
    #[error(
        "{kept} versions made here lost against those of {from} and are kept: what would add to them is not taken until they are settled, \
         everything else is. On this machine: ark-lattice conflicts list, then ark-lattice conflicts dismiss --all"
    )]
    Contested {
        /// Who sent the versions that won.
        from: Box<str>,
        /// How many lost against them.
        kept: u64,
    },
    /// Nothing was changed: the version that would be replaced could be kept only in the place of versions of others, and the sender is
    /// not verified. What replaces nothing is still taken, that of the same request included.
    #[error(
        "the history of replaced versions is full, and {from} is not verified: the version of the node {id:?} is not taken. On this \
         machine: ark-lattice federation accept {from}"
    )]
    HistoryFull {
        /// Who sent the version.
        from: Box<str>,
        /// The node.
        id: NodeId,
    },
    /// The node's file is broken or was there a moment ago: its content cannot be had or replaced now. A later attempt may succeed.
    #[error("the content of the node {0:?} cannot be had now: its file is broken, or is being written")]
    Unavailable(NodeId),
    /// Nothing was changed: a deletion would have to wait beside so many others.
    #[error(
        "as many deletions of instances that are not verified wait here as there are nodes, and none of them sent more than {from}: no \
         further one is taken from it. On this machine: ark-lattice federation deletions"
    )]
    WaitingFull {
        /// The instance that sent the deletion.
        from: Box<str>,
    },
    /// The lattice holds as much as it may: this write would add to it. Edits that add nothing, and deletions, are still carried out,
    /// those of the same request included.
    #[error(
        "{nodes} nodes of {bytes} bytes are held, and {setting} = {most} is reached: the node {id:?} adds to them and is not taken. Raise \
         {setting}, or delete nodes"
    )]
    BoundReached {
        /// The node that was not taken.
        id: NodeId,
        /// The setting that names the bound.
        setting: &'static str,
        /// Its value.
        most: u64,
        /// How many nodes are held.
        nodes: u64,
        /// How many bytes their files take.
        bytes: u64,
    },
    /// The data directory or the state directory is full (ENOSPC, EDQUOT). Nothing was acknowledged.
    #[error("the disk has no space left")]
    NoSpace,
    /// The data directory or the state directory cannot be written (EROFS, EACCES, EPERM). Nothing was acknowledged.
    #[error("the data directory cannot be written: {0}")]
    ReadOnly(String),
    /// Any other failure of a file or of the journal. Nothing was acknowledged.
    #[error("the data directory failed: {0}")]
    Io(String),
}

impl LatticeError {
    /// Is one change of a request not taken for this reason, while the others count?
    #[must_use]
    pub const fn leaves_out_one(&self) -> bool {
        matches!(
            self,
            Self::Contested { .. } | Self::BoundReached { .. } | Self::HistoryFull { .. } | Self::WaitingFull { .. }
        )
    }
}
