//! Which node a file of the directory holds.

use super::{OfflineDirectory, OfflineError};
use crate::{
    lattice::{
        file_name,
        reader::{self, Found},
    },
    types::NodeId,
};

impl OfflineDirectory {
    /// The id of the node in the file of this name (not a path); `None`: there is no such file, or it is one that never holds a node.
    ///
    /// # Errors
    /// [`OfflineError::Broken`].
    pub fn id_in(&self, name: &str) -> Result<Option<NodeId>, OfflineError> {
        if !file_name::is_candidate(name) {
            return Ok(None);
        }
        match reader::examine(&self.directory, name, &self.limits) {
            Found::Node(file) => Ok(Some(file.id)),
            Found::Nothing => Ok(None),
            Found::Broken(reason, _) | Found::Misnamed(_, reason, _) => {
                Err(OfflineError::Broken { file: name.to_owned(), reason })
            }
        }
    }
}
