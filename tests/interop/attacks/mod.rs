//! One attack a folder: a real exchange with the running service, refused with the code that names the reason, and an entry in the
//! audit log.

mod bed;
mod burned_nonces;
mod challenge_repeated;
mod dns_rebinding;
mod endless_data;
mod equivocation_head;
mod equivocation_manifest;
mod fast_forward_head;
mod fast_forward_manifest;
mod filled_lattice;
mod flood_bad_signatures;
mod flood_new_ids;
mod flood_repeats;
mod flooded_inbox;
mod foreign_network;
mod forged_key_line;
mod freeze;
mod full_conflicts;
mod full_registry;
mod future_date;
mod guessed_invite;
mod hidden_name;
mod impostor_accepted;
mod impostor_revoked;
mod invited_impostor;
mod join_to_loopback;
mod key_substitution;
mod local_admin;
mod log_lines;
mod long_type;
mod malleated;
mod mass_deletes;
mod mix_and_match;
mod named_peer_squatted;
mod no_certificate;
mod own_id;
mod plain_http;
mod recorded_pairing;
mod removed_peer_returns;
mod replay;
mod replay_manifest;
mod replay_restart;
mod revoked_manifest;
mod revoked_pull;
mod revoked_push;
mod rollback_head;
mod rollback_manifest;
mod rotation_chain;
mod slow_loris;
mod slow_readers;
mod spent_invite;
mod squatting;
mod ssrf_address;
mod ssrf_name;
mod ssrf_redirect;
mod stalled_bodies;
mod stolen_key;
mod twin_journals;
mod unused_bindings;
mod voucher_second_key;

use std::{collections::BTreeSet, fs};

#[test]
fn every_folder_is_a_case_and_is_in_the_table_of_the_documents() {
    let root = env!("CARGO_MANIFEST_DIR");
    let folders = fs::read_dir(format!("{root}/tests/interop/attacks")).unwrap().map(|entry| entry.unwrap());
    let folders = folders.filter(|entry| entry.file_type().unwrap().is_dir());
    let folders: BTreeSet<String> = folders.map(|entry| entry.file_name().into_string().unwrap()).collect();
    let declared = include_str!("mod.rs").lines().filter_map(|line| line.strip_prefix("mod ")?.strip_suffix(';'));
    let declared: BTreeSet<String> = declared.filter(|name| *name != "bed").map(str::to_owned).collect();
    assert_eq!(folders, declared);
    let document = fs::read_to_string(format!("{root}/docs/SECURITY.md")).unwrap();
    for folder in folders {
        assert!(document.contains(&format!("`{folder}`")), "docs/SECURITY.md does not name {folder}");
    }
}
