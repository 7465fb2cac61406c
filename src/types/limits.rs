//! Every bound on input in one place; all input passes through it.

/// Bounds on what a client may send. The defaults suit a lattice of up to 100,000 nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Largest body of `POST /manifest`, bytes. A manifest needs about 110 bytes a node.
    pub manifest_bytes: usize,
    /// Largest body of `POST /sync`, bytes. A caller needs about 85 bytes a node.
    pub sync_bytes: usize,
    /// Largest node, bytes of its JSON text.
    pub node_bytes: usize,
    /// Most nodes that one manifest may list.
    pub manifest_nodes: usize,
    /// Most bytes that a manifest's top-level fields other than `nodes` may take: each `/discover` answer repeats them.
    pub manifest_field_bytes: usize,
    /// Most nodes that clients and other instances may bring this lattice to: each costs some hundred bytes of memory. A peer that has
    /// more is not pulled from. Files that are put into the directory on this machine are not counted against it.
    pub lattice_nodes: usize,
    /// Most bytes that the nodes' files may take together, bounded in the same way.
    pub lattice_bytes: u64,
    /// Most versions made here that are kept as conflicts with one other instance; beyond it nothing of it replaces another one.
    pub peer_conflicts: u64,
    /// Deepest nesting of arrays and objects; `[]` has depth 1 (DESIGN 4.1).
    pub json_depth: usize,
    /// Most nodes in one answer of `POST /sync` and `GET /nodes`, most peers in one of `GET /discover`.
    pub page_items: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            manifest_bytes: 16 << 20,
            sync_bytes: 32 << 20,
            node_bytes: 4 << 20,
            manifest_nodes: 100_000,
            manifest_field_bytes: 16 << 10,
            lattice_nodes: 10_000_000,
            lattice_bytes: 1 << 40,
            peer_conflicts: 10_000,
            json_depth: 64,
            page_items: 100_000,
        }
    }
}
