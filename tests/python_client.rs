//! The Python client and the snippets that scripts were written after, run by CPython against the live service.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a test that cannot go on should stop where it stands"
)]

#[path = "support/python.rs"]
mod python;
#[path = "support/service.rs"]
mod service;

use python::{REPOSITORY, Run, python, run_script};
use serde_json::{Value, json};
use service::{Place, Service, text, until};
use std::{
    collections::BTreeMap,
    fs,
    net::TcpListener,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::Duration,
};

/// Runs the client in `folder`.
fn client(folder: &Path, args: &[&str]) -> Run {
    let script = Path::new(REPOSITORY).join("clients/python/ark_lattice.py");
    Run::of(python().arg(script).args(args).current_dir(folder).output().unwrap())
}

#[tokio::test]
async fn a_member_of_a_network_is_let_in_and_nobody_else() {
    let place = sample_place().set("FEDERATION_NETWORK_KEY", "the key of a network, long enough");
    let service = place.serve().await;
    let (folder, url) = (tempfile::tempdir().unwrap(), service.url.as_str());
    let script = Path::new(REPOSITORY).join("clients/python/ark_lattice.py");
    let run = |key: &str, args: &[&str]| {
        let mut command = python();
        command.arg(&script).args(args).current_dir(folder.path()).env("FEDERATION_NETWORK_KEY", key);
        Run::of(command.output().unwrap())
    };
    client(folder.path(), &["keygen", "--out", "ark.key"]).ok();
    let lattice = place.lattice();
    let publish =
        ["publish", "--to", url, "--key", "ark.key", "--dir", lattice.to_str().unwrap(), "--node-id", "ark-python"];
    for wrong in ["", "the key of another network"] {
        let said = run(wrong, &publish).fails(3);
        assert!(said.contains("404 not_found"), "{said}");
    }
    let ours = "the key of a network, long enough";
    run(ours, &publish).ok();
    assert!(run(ours, &["discover", "--from", url]).ok().contains("ark-python"));
    run(ours, &["pull", "--from", url, "--dir", "copy"]).fails(1);
    fs::create_dir(folder.path().join("copy")).unwrap();
    run(ours, &["pull", "--from", url, "--dir", "copy"]).ok();
    assert_eq!(json_files(&folder.path().join("copy")), json_files(&lattice));
}

/// A place whose lattice holds the repository's samples.
fn sample_place() -> Place {
    let place = Place::new().with_default_trust();
    for entry in fs::read_dir(Path::new(REPOSITORY).join("lattice_data")).unwrap() {
        let entry = entry.unwrap();
        if entry.file_name() != "manifest.json" {
            fs::copy(entry.path(), place.lattice().join(entry.file_name())).unwrap();
        }
    }
    place
}

fn json_files(folder: &Path) -> Vec<String> {
    let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.filter(|name| name != "manifest.json" && !name.starts_with('.')).collect();
    names.sort();
    names
}

#[tokio::test]
async fn a_directory_is_announced_discovered_and_pulled() {
    let place = sample_place();
    let service = place.serve().await;
    let (folder, url) = (tempfile::tempdir().unwrap(), service.url.as_str());
    let run = |args: &[&str]| client(folder.path(), args);
    let lattice = place.lattice();
    let lattice = lattice.to_str().unwrap();
    let count = json_files(&place.lattice()).len();
    assert!(count >= 24, "{count} samples");

    // The key: for its owner alone, and never overwritten.
    let public = run(&["keygen", "--out", "ark.key"]).ok().trim().to_owned();
    let key_file = folder.path().join("ark.key");
    assert_eq!(fs::metadata(&key_file).unwrap().permissions().mode() & 0o7777, 0o600);
    let key = fs::read(&key_file).unwrap();
    let said = run(&["keygen", "--out", "ark.key"]).fails(1);
    assert!(said.contains("never overwritten"), "{said}");
    assert_eq!(fs::read(&key_file).unwrap(), key);

    // The steps one by one, then all at once.
    let manifest = run(&["build", lattice, "--node-id", "ark-python", "--instance-type", "pi"]).ok();
    fs::write(folder.path().join("manifest.json"), &manifest).unwrap();
    let envelope = run(&["sign", "manifest.json", "--key", "ark.key"]).ok();
    let answer = service::json_of(service.post("/manifest", envelope).await).await;
    assert_eq!((&answer["status"], &answer["node_id"]), (&json!("registered"), &json!("ark-python")));
    let hash_script = "import sys, json; sys.path.insert(0, sys.argv[1]); import ark_lattice; \
                       print(ark_lattice.manifest_hash(json.load(open(sys.argv[2]))['nodes']))";
    let clients = Path::new(REPOSITORY).join("clients/python");
    let manifest_file = folder.path().join("manifest.json");
    let own = run_script(hash_script, &[clients.to_str().unwrap(), manifest_file.to_str().unwrap()]).ok();
    assert_eq!(answer["manifest_hash"], own.trim());
    assert_eq!(service.set_hash().await, own.trim(), "the service's own hash of the same directory");
    let published =
        run(&["publish", "--to", url, "--key", "ark.key", "--dir", lattice, "--node-id", "ark-python", "--json"]);
    let published = published.ok_json();
    assert_eq!((&published["status"], &published["manifest_hash"]), (&json!("registered"), &json!(own.trim())));

    let discovered = run(&["discover", "--from", url, "--json"]).ok_json();
    let peer = &discovered["peers"][0];
    assert_eq!((&discovered["count"], &peer["node_id"]), (&json!(1), &json!("ark-python")));
    assert_eq!((&peer["node_count"], &peer["manifest_hash"]), (&json!(count), &json!(own.trim())));
    assert_eq!(peer["pubkey"], public);
    assert!(run(&["discover", "--from", url]).ok().ends_with("1 peer\n"));

    // The delta: all, nothing, and exactly what changed.
    let copy = folder.path().join("copy");
    fs::create_dir(&copy).unwrap();
    let pull = |more: &[&str]| run(&[&["pull", "--from", url, "--dir", "copy", "--json"], more].concat()).ok_json();
    let dry = pull(&["--dry-run"]);
    assert_eq!((dry["added"].as_array().unwrap().len(), &dry["delta_count"]), (count, &json!(count)));
    assert_eq!(json_files(&copy), Vec::<String>::new(), "a dry run writes nothing");
    let first = pull(&[]);
    assert_eq!((first["added"].as_array().unwrap().len(), &first["changed"]), (count, &json!([])));
    assert_eq!((&first["refused"], &first["broken"], &first["wanted"]), (&json!([]), &json!([]), &json!([])));
    assert_eq!(
        (&first["local_manifest_hash"], &first["remote_manifest_hash"]),
        (&json!(own.trim()), &json!(own.trim()))
    );
    assert_eq!(json_files(&copy), json_files(&place.lattice()));
    assert_eq!(pull(&[])["delta_count"], 0, "nothing differs");
    service.put("new_node", &json!({"id": "new_node", "text": "Grüß Gott 😀"})).await;
    service.put("css_grid_layout", &json!({"id": "css_grid_layout", "replaced": 1e16})).await;
    let then = pull(&[]);
    assert_eq!((&then["added"], &then["changed"]), (&json!(["new_node"]), &json!(["css_grid_layout"])));
    assert_eq!((&then["delta_count"], &pull(&[])["delta_count"]), (&json!(2), &json!(0)));
}

#[tokio::test]
async fn failures_end_with_the_documented_codes() {
    let place = Place::new().with_default_trust();
    place.write_node("a", &json!({"id": "a"}));
    let service = place.serve().await;
    let (folder, url) = (tempfile::tempdir().unwrap(), service.url.as_str());
    let run = |args: &[&str]| client(folder.path(), args);
    let lattice = place.lattice();
    let lattice = lattice.to_str().unwrap();
    run(&["keygen", "--out", "one.key"]).ok();
    run(&["keygen", "--out", "two.key"]).ok();
    let publish = |to: &str, key: &str| run(&["publish", "--to", to, "--key", key, "--dir", lattice, "--node-id", "p"]);
    publish(url, "one.key").ok();

    // 1: a mistake here.
    fs::write(folder.path().join("short.key"), "c2hvcnQ=").unwrap();
    fs::write(folder.path().join("bad.key"), "not base64!").unwrap();
    for (key, says) in [("short.key", "5 bytes"), ("bad.key", "not base64"), ("none.key", "cannot read")] {
        let said = publish(url, key).fails(1);
        assert!(said.contains(says), "{key}: {said}");
    }
    run(&["pull", "--from", url, "--dir", "no-such-folder"]).fails(1);
    // 2: wrong usage.
    run(&["pull", "--from", "ftp://example.org", "--dir", "."]).fails(2);
    // 3: the service refuses.
    let said = publish(url, "two.key").fails(3);
    assert!(said.contains("409 key_mismatch"), "{said}");
    // 4: nothing is there.
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let nobody = format!("http://{free}");
    publish(&nobody, "one.key").fails(4);
    run(&["discover", "--from", &nobody]).fails(4);
    run(&["pull", "--from", &nobody, "--dir", "."]).fails(4);
}

/// "Generate Ed25519 Keys", as scripts have it.
const GENERATE_KEYS: &str = r#"
from nacl.signing import SigningKey
import base64

# Generate keypair
signing_key = SigningKey.generate()
verify_key = signing_key.verify_key

print("Private Key:", base64.b64encode(bytes(signing_key)).decode())
print("Public Key:", base64.b64encode(bytes(verify_key)).decode())
"#;

/// "Signature Generation", as scripts have it.
const SIGN_MANIFEST: &str = r#"
import json, base64
from nacl.signing import SigningKey

# Load or generate signing key
signing_key = SigningKey.from_seed(base64.b64decode(private_key_b64))

# Create manifest
manifest = {
    "node_id": "ark-1",
    "nodes": [...]
}

# Sign manifest
payload = json.dumps(manifest, sort_keys=True).encode()
signed = signing_key.sign(payload)
signature = base64.b64encode(signed.signature).decode()

# Send to federation
data = {
    "manifest": manifest,
    "signature": signature,
    "pubkey": base64.b64encode(bytes(signing_key.verify_key)).decode()
}
"#;

/// What stands around the snippet: a key, a node in place of the dots, the request, and the constructor that the snippet names
/// (PyNaCl has it for encryption keys only; a signing key is made of its seed by `SigningKey(seed)`).
const BEFORE: &str = r#"
import json, sys, nacl.signing
nacl.signing.SigningKey.from_seed = classmethod(lambda kind, seed: kind(seed))
url, private_key_b64 = sys.argv[1:]
node = {"id": "python_flask_basic", "type": "framework_node", "hash": "sha256:abc123", "updated_at": 1699564700}
json.JSONEncoder.default = lambda self, dots: node
"#;
const AFTER: &str = r#"
import urllib.request
request = urllib.request.Request(url + "/manifest", json.dumps(data).encode(), {"Content-Type": "application/json"})
print(urllib.request.urlopen(request).read().decode())
"#;

#[tokio::test]
async fn the_documented_snippets_run_unchanged() {
    let place = Place::new().with_default_trust();
    let service = place.serve().await;
    let printed = run_script(GENERATE_KEYS, &[]).ok();
    let (private, public) = printed.trim().split_once('\n').unwrap();
    let private = private.strip_prefix("Private Key: ").unwrap();
    let public = public.strip_prefix("Public Key: ").unwrap();

    let script = [BEFORE, SIGN_MANIFEST, AFTER].concat();
    let answer = run_script(&script, &[&service.url, private]).ok_json();
    assert_eq!((&answer["status"], &answer["node_id"]), (&json!("registered"), &json!("ark-1")));
    let peers = service.get_json("/discover").await;
    assert_eq!((&peers["count"], &peers["peers"][0]["node_id"]), (&json!(1), &json!("ark-1")));
    assert_eq!((&peers["peers"][0]["node_count"], &peers["peers"][0]["pubkey"]), (&json!(1), &json!(public)));

    // The service itself takes the printed pair, as its environment.
    let owner = Place::new().with_default_trust().set("ARK_FED_PRIVKEY", private).set("ARK_FED_PUBKEY", public);
    assert!(owner.serve().await.terminate().await.success());
}

/// The 300 nodes that the project was given, or as many of the same shape.
fn three_hundred(place: &Place) -> PathBuf {
    let given = Path::new(REPOSITORY).join("../shared/data/code-lattice-complete-nodes.json");
    if given.exists() {
        eprintln!("importing the given nodes");
        return given;
    }
    let node = |topic: usize, number: usize| {
        json!({"id": format!("topic_{topic}_node_{number}"), "type": "template_node", "value": format!("Number {number}"),
            "content": "#include <stdio.h>\nint main(){printf(\"Héllo\\n\");return 0;}"})
    };
    let topics = (0..20).map(|topic| {
        let nodes: Vec<Value> = (0..15).map(|number| node(topic, number)).collect();
        json!({"name": format!("Topic_{topic}"), "description": "Made for a test", "nodes": nodes})
    });
    let made = place.path("nodes.json");
    fs::write(&made, json!({"meta": {"total_nodes": 300}, "topics": topics.collect::<Vec<_>>()}).to_string()).unwrap();
    made
}

/// Posts what a caller holds; the ids that come back, sorted, and what is wanted.
async fn delta(service: &Service, held: &BTreeMap<String, String>) -> (Vec<String>, Value) {
    let nodes: Vec<Value> = held.iter().map(|(id, hash)| json!({"id": id, "hash": hash})).collect();
    let answer = service.post_json("/sync", &json!({"nodes": nodes})).await;
    let mut ids: Vec<String> = answer["nodes"].as_array().unwrap().iter().map(|node| text(&node["id"])).collect();
    ids.sort();
    assert_eq!(answer["delta_count"], ids.len());
    (ids, answer["wanted"].clone())
}

#[tokio::test]
async fn three_hundred_nodes_from_import_to_delta() {
    let place = Place::new().with_default_trust();
    let service = place.serve().await;
    let file = three_hundred(&place);
    let import = || Run::of(place.command(&["import", file.to_str().unwrap(), "--json"]).output().unwrap()).ok_json();
    let first = import();
    assert_eq!((&first["added"], &first["refused"]), (&json!(300), &json!(0)), "{first}");
    let again = import();
    assert_eq!((&again["unchanged"], &again["added"], &again["changed"]), (&json!(300), &json!(0), &json!(0)));
    // The service was running all the while and sees what another process wrote.
    let limit = Duration::from_secs(10);
    let seen = until("the nodes are seen", limit, async || service.nodes().await.len() == 300).await;
    eprintln!("300 imported nodes were seen after {seen:?}");

    let folder = tempfile::tempdir().unwrap();
    client(folder.path(), &["keygen", "--out", "k"]).ok();
    let lattice = place.lattice();
    let lattice = lattice.to_str().unwrap();
    let args = ["publish", "--to", &service.url, "--key", "k", "--dir", lattice, "--node-id", "ark-300", "--json"];
    let published = client(folder.path(), &args).ok_json();
    assert_eq!(published["manifest_hash"], service.set_hash().await);
    let peers = service.get_json("/discover").await;
    assert_eq!((&peers["peers"][0]["node_id"], &peers["peers"][0]["node_count"]), (&json!("ark-300"), &json!(300)));

    let nothing = (Vec::new(), json!([]));
    let held: BTreeMap<String, String> = service.nodes().await.into_iter().collect();
    assert_eq!(held.len(), 300);
    assert_eq!(delta(&service, &held).await, nothing);
    let bare = held.iter().map(|(id, hash)| (id.clone(), hash.replace("sha256:", ""))).collect();
    assert_eq!(delta(&service, &bare).await, nothing);
    // What the old service's compute_hash gave: the SHA-256 of the file.
    let compute_hash = "import hashlib, json, os, sys\n\
        names = [name for name in os.listdir(sys.argv[1]) if name != 'manifest.json' and not name.startswith('.')]\n\
        read = lambda name: open(os.path.join(sys.argv[1], name), 'rb').read()\n\
        print(json.dumps({name[:-5]: hashlib.sha256(read(name)).hexdigest() for name in names}))";
    let of_files = run_script(compute_hash, &[lattice]).ok();
    assert_eq!(delta(&service, &serde_json::from_str(&of_files).unwrap()).await, nothing);

    let ids: Vec<&String> = held.keys().collect();
    for id in [ids[0], ids[150], ids[299]] {
        let written = service.put(id, &json!({"id": id, "changed": true})).await;
        assert_eq!(written.status(), 200);
    }
    assert_eq!(service.delete(ids[77]).await.status(), 200);
    assert_eq!(service.put("an-added-node", &json!({"id": "an-added-node"})).await.status(), 201);
    let mut expected: Vec<String> = [ids[0], ids[150], ids[299]].into_iter().cloned().collect();
    expected.push("an-added-node".to_owned());
    expected.sort();
    // Deleted here, so it is not asked for.
    assert_eq!(delta(&service, &held).await, (expected, json!([])));
    // What the caller alone has is.
    let mut more: BTreeMap<String, String> = service.nodes().await.into_iter().collect();
    assert_eq!(more.len(), 300);
    more.insert("only-mine".to_owned(), "sha256:abc".to_owned());
    assert_eq!(delta(&service, &more).await, (Vec::new(), json!(["only-mine"])));
}
