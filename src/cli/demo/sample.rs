//! The nodes of the demo: those of `lattice_data/`, so that it works wherever the binary is.

/// The sample nodes' files.
pub(super) const NODES: &[&[u8]] = &[
    include_bytes!("../../../lattice_data/algorithm_binary_search.json"),
    include_bytes!("../../../lattice_data/algorithm_dijkstra.json"),
    include_bytes!("../../../lattice_data/bash_safe_script.json"),
    include_bytes!("../../../lattice_data/c_hello_world.json"),
    include_bytes!("../../../lattice_data/c_ring_buffer.json"),
    include_bytes!("../../../lattice_data/compiler_constant_folding.json"),
    include_bytes!("../../../lattice_data/css_grid_layout.json"),
    include_bytes!("../../../lattice_data/docker_compose_redis.json"),
    include_bytes!("../../../lattice_data/go_worker_pool.json"),
    include_bytes!("../../../lattice_data/graphql_schema_basic.json"),
    include_bytes!("../../../lattice_data/haskell_run_length.json"),
    include_bytes!("../../../lattice_data/html_accessible_form.json"),
    include_bytes!("../../../lattice_data/http_status_catalog.json"),
    include_bytes!("../../../lattice_data/javascript_debounce.json"),
    include_bytes!("../../../lattice_data/json_sorting_order.json"),
    include_bytes!("../../../lattice_data/lexer_arithmetic.json"),
    include_bytes!("../../../lattice_data/makefile_self_documenting.json"),
    include_bytes!("../../../lattice_data/math%2F%CF%80-approximations.json"),
    include_bytes!("../../../lattice_data/micropython_blink.json"),
    include_bytes!("../../../lattice_data/number_shapes.json"),
    include_bytes!("../../../lattice_data/parser_pratt.json"),
    include_bytes!("../../../lattice_data/physical_constants.json"),
    include_bytes!("../../../lattice_data/python_flask_basic.json"),
    include_bytes!("../../../lattice_data/python_lru_cache.json"),
    include_bytes!("../../../lattice_data/python_sign_manifest.json"),
    include_bytes!("../../../lattice_data/react_component_form.json"),
    include_bytes!("../../../lattice_data/rust_newtype_id.json"),
    include_bytes!("../../../lattice_data/rust_retry_backoff.json"),
    include_bytes!("../../../lattice_data/sql_recursive_tree.json"),
    include_bytes!("../../../lattice_data/systemd_service_unit.json"),
    include_bytes!("../../../lattice_data/unicode_greetings.json"),
    include_bytes!("../../../lattice_data/vm_stack_machine.json"),
];

#[cfg(test)]
mod tests {
    #[test]
    fn every_sample_node_is_there() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/lattice_data");
        let mut files: Vec<Vec<u8>> = std::fs::read_dir(folder)
            .unwrap()
            .map(|file| file.unwrap().path())
            .filter(|path| !path.ends_with("manifest.json"))
            .map(|path| std::fs::read(path).unwrap())
            .collect();
        let mut here: Vec<Vec<u8>> = super::NODES.iter().map(|node| node.to_vec()).collect();
        files.sort();
        here.sort();
        assert_eq!(files.len(), 32);
        assert!(files == here, "a file of lattice_data/ is not among the nodes of the demo, or differs");
    }
}
