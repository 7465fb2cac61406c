//! Which versions were made here and are dated ahead.

use super::{Journal, JournalError, LINEAGE, TOMBSTONES, node_id, rows::Lineage};
use crate::types::{NodeId, Timestamp};
use redb::{ReadableDatabase, ReadableTable};

impl Journal {
    /// Those of the nodes `live`, and of those that were deleted later than `latest`, whose version was made here.
    ///
    /// # Errors
    /// [`JournalError`].
    pub(in crate::lattice) fn made_ahead(
        &self,
        latest: Timestamp,
        live: Vec<NodeId>,
    ) -> Result<Vec<NodeId>, JournalError> {
        self.with(|database| {
            let transaction = database.begin_read()?;
            let lineages = transaction.open_table(LINEAGE)?;
            let mut ahead = live;
            for row in transaction.open_table(TOMBSTONES)?.iter()? {
                let (id, value) = row?;
                if value.value().0 > latest.micros() {
                    ahead.push(node_id(id.value())?);
                }
            }
            let mut made_here = Vec::with_capacity(ahead.len());
            for id in ahead {
                let lineage = lineages.get(id.as_str())?.map(|bytes| Lineage::from_bytes(bytes.value()));
                if lineage.unwrap_or_default().made_here {
                    made_here.push(id);
                }
            }
            Ok(made_here)
        })
    }
}
