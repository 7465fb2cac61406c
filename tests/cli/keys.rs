//! The life of a key, as its owner types it.

use crate::{
    bed::{Bed, Service, get},
    terminals::Terminal,
};
use serde_json::Value;
use std::{
    fs,
    io::Write,
    os::unix::fs::PermissionsExt,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

const PASSPHRASE: &str = "correct horse battery";
const KEY_FILE: &str = "ark_state/identity.key";

fn shown(bed: &Bed) -> Value {
    bed.run(&["key", "show", "--json"]).ok_json()
}

/// Waits until the running service says that this is its key.
fn speaks_with(service: &Service, key: &Value) {
    let started = Instant::now();
    while !get(service.port, "/").contains(key.as_str().unwrap()) {
        assert!(started.elapsed() < Duration::from_secs(20), "the service did not take its new key");
        thread::park_timeout(Duration::from_millis(20));
    }
}

#[test]
fn a_running_service_takes_a_rotated_key_and_others_are_told() {
    let (bed, other) = (Bed::new(), Bed::new().set("ARK_NODE_ID", "other"));
    bed.run(&["keygen"]).ok();
    let (service, hears) = (bed.serve(), other.serve());
    let first = shown(&bed);
    let stands = (first["status"].as_str(), first["encrypted"].as_bool(), first["statements"].as_u64());
    assert_eq!(stands, (Some("current"), Some(false), Some(0)));
    speaks_with(&service, &first["public_key"]);
    bed.run(&["manifest", "publish", "--to", &hears.url]).ok();

    let said = bed.run(&["key", "rotate", "--to", &hears.url, "--json"]).ok_json();
    assert_eq!(said["told"][0].as_str(), Some(hears.url.as_str()));
    assert_ne!(said["public_key"], first["public_key"]);
    let now = shown(&bed);
    assert_eq!((&now["public_key"], now["statements"].as_u64()), (&said["public_key"], Some(2)));
    speaks_with(&service, &said["public_key"]);
    bed.run(&["manifest", "publish", "--to", &hears.url]).ok();
    assert_eq!(fs::metadata(bed.path(KEY_FILE)).unwrap().permissions().mode() & 0o777, 0o600);

    let said = bed.run(&["key", "revoke", "--reason", "stolen", "--to", &hears.url, "--json"]).ok_json();
    assert_eq!(said["status"].as_str(), Some("revoked"));
    assert!(bed.run(&["manifest", "publish", "--to", &hears.url]).fails(3).contains("peer_revoked"));
    assert!(bed.run(&["key", "rotate"]).fails(1).contains("key recover"));
    assert_eq!(shown(&bed)["status"].as_str(), Some("revoked"));
}

#[test]
fn what_was_changed_here_stays_where_nobody_can_be_told() {
    let bed = Bed::new();
    bed.run(&["keygen"]).ok();
    let run = bed.run(&["key", "rotate", "--quiet", "--to", "http://127.0.0.1:1"]);
    assert!(run.fails(4).contains("the key was changed here"));
    assert_eq!(shown(&bed)["statements"].as_u64(), Some(2));
}

#[test]
fn an_encrypted_key_starts_the_service_with_its_passphrase_only() {
    let bed = Bed::new();
    let pass = bed.file("pass", &format!("{PASSPHRASE}\n"));
    bed.run(&["keygen", "--encrypt", "--passphrase-file", &pass]).ok();
    let text = bed.read(KEY_FILE);
    assert!(text.contains("argon2id") && text.contains("xchacha20-poly1305"), "{text}");
    assert_eq!(shown(&bed)["encrypted"].as_bool(), Some(true));
    assert!(bed.run(&["serve", "--port", "0"]).fails(1).contains("ARK_KEY_PASSPHRASE_FILE"));
    assert!(bed.run(&["key", "rotate"]).fails(1).contains("ARK_KEY_PASSPHRASE"));

    let wrong = Bed::new().set("ARK_KEY_PASSPHRASE", "another passphrase");
    fs::create_dir(wrong.path("ark_state")).unwrap();
    fs::copy(bed.path(KEY_FILE), wrong.path(KEY_FILE)).unwrap();
    assert!(wrong.run(&["serve", "--port", "0"]).fails(1).contains("passphrase does not open"));

    let bed = bed.set("ARK_KEY_PASSPHRASE_FILE", &pass);
    let service = bed.serve();
    let said = bed.run(&["key", "rotate", "--json"]).ok_json();
    speaks_with(&service, &said["public_key"]);
    assert!(bed.read(KEY_FILE).contains("argon2id"), "it stays encrypted");
    drop(service);
    bed.run(&["key", "decrypt"]).ok();
    assert_eq!(bed.read(KEY_FILE).trim().len(), 44, "as scripts read it");
    assert_eq!(shown(&bed)["public_key"], said["public_key"]);
    bed.run(&["key", "encrypt", "--passphrase-file", &bed.file("short", "1234567")]).fails(1);
    bed.run(&["key", "encrypt"]).ok();
    let now = shown(&bed);
    assert_eq!((now["encrypted"].as_bool(), &now["public_key"]), (Some(true), &said["public_key"]));
    let both = bed.set("ARK_KEY_PASSPHRASE", PASSPHRASE);
    assert!(both.run(&["serve", "--port", "0"]).fails(1).contains("instance.key_passphrase_file"));
}

#[test]
fn init_puts_the_key_under_a_passphrase_where_it_is_asked_to() {
    let bed = Bed::new();
    let pass = bed.file("pass", PASSPHRASE);
    let init = ["init", "--dir", "site", "--yes", "--encrypt", "--passphrase-file", &pass, "--json"];
    let first = bed.run(&init).ok_json();
    assert!(bed.read("site/ark_state/identity.key").contains("argon2id"));
    // A second run needs no passphrase to see that everything is there.
    let again = bed.run(&["init", "--dir", "site", "--yes", "--json"]).ok_json();
    assert_eq!(first["public_key"], again["public_key"]);
    bed.run(&["keygen", "--passphrase-file", &pass]).fails(2);
}

#[test]
fn words_bring_back_what_is_lost_and_others_do_not() {
    let bed = Bed::new();
    bed.run(&["keygen"]).ok();
    let other = Bed::new().set("ARK_NODE_ID", "other");
    let hears = other.serve();
    let publish = ["manifest", "publish", "--to", &hears.url];
    bed.run(&publish).ok();
    // They would stay in a pipe: nothing is made.
    for args in [&["key", "words"][..], &["key", "words", "--json"], &["key", "rotate", "--words"]] {
        let refused = bed.run(args);
        assert!(
            refused.code == 2 && refused.stdout.is_empty() && refused.stderr.contains("--print-secret"),
            "{refused:?}"
        );
    }
    let made = bed.run(&["key", "words", "--print-secret", "--to", &hears.url, "--json"]).ok_json();
    let words = bed.file("words", made["words"].as_str().unwrap());
    assert_eq!(made["words"].as_str().unwrap().split(' ').count(), 24);
    assert_eq!(shown(&bed)["recovery_key"], made["recovery_key"]);
    bed.run(&["key", "words", "--check", "--words-file", &words]).ok();
    bed.run(&["key", "words", "--print-secret"]).fails(1);
    let strangers = bed.file("strangers", &("abandon ".repeat(23) + "art"));
    assert!(bed.run(&["key", "words", "--check", "--words-file", &strangers]).fails(5).contains("not those"));
    assert!(bed.run(&["key", "recover", "--words-file", &strangers]).fails(1).contains("not the recovery words"));
    let torn = bed.file("torn", "abandon art");
    assert!(bed.run(&["key", "recover", "--words-file", &torn]).fails(1).contains("2 words"));

    // Everything is gone but the paper.
    fs::remove_dir_all(bed.path("ark_state")).unwrap();
    let recover = ["key", "recover", "--words-file", &words, "--to", &hears.url, "--json"];
    let said = bed.run(&[&recover[..], &["--new-words", "--print-secret"]].concat()).ok_json();
    assert_eq!(said["told"][0].as_str(), Some(hears.url.as_str()));
    let newer = bed.file("newer", said["words"].as_str().unwrap());
    bed.run(&publish).ok();
    assert!(bed.run(&recover[..4]).fails(1).contains("not the recovery words"));
    // The words are lost: the key can still be rotated.
    bed.run(&["key", "rotate", "--to", &hears.url]).ok();
    bed.run(&["key", "revoke", "--with-words", "--words-file", &newer, "--to", &hears.url]).ok();
    assert!(bed.run(&publish).fails(3).contains("peer_revoked"));
    bed.run(&["key", "recover", "--words-file", &newer, "--to", &hears.url]).ok();
    bed.run(&publish).ok();
    // A key that is gone while its statements are there is not replaced by another identity.
    fs::remove_file(bed.path(KEY_FILE)).unwrap();
    assert!(bed.run(&["serve", "--port", "0"]).fails(1).contains("key recover"));
}

#[test]
fn a_key_that_came_with_the_settings_is_changed_there() {
    let bed = Bed::new().set("ARK_FED_PRIVKEY", "nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A=");
    for command in ["show", "rotate", "decrypt"] {
        assert!(bed.run(&["key", command]).fails(1).contains("instance.key_file"));
    }
}

/// Kills `key rotate` at different moments of its work; whatever it leaves must be one key, with statements that fit it.
#[test]
fn a_rotation_that_is_killed_leaves_a_key_that_works() {
    let bed = Bed::new();
    bed.run(&["keygen"]).ok();
    let begun = Instant::now();
    bed.run(&["key", "rotate"]).ok();
    let whole = begun.elapsed();
    let mut before = shown(&bed);
    let (mut killed, mut moved) = (0, 0);
    for part in 0..40_u32 {
        let mut process = Command::new(env!("CARGO_BIN_EXE_ark-lattice"))
            .args(["key", "rotate"])
            .current_dir(bed.path(""))
            .env_clear()
            .env("ARK_NODE_ID", "ark-bed")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        thread::park_timeout(whole * part / 30);
        let _already_ended = process.kill();
        killed += u32::from(!process.wait().unwrap().success());
        let after = shown(&bed);
        let steps = after["statements"].as_u64().unwrap() - before["statements"].as_u64().unwrap();
        // Either nothing happened, or all of it.
        assert_eq!(u64::from(before["public_key"] != after["public_key"]), steps, "{after}");
        moved += steps;
        before = after;
    }
    eprintln!("{killed} of 40 were killed, {moved} rotated");
    // What was left half done is no hindrance.
    let said = bed.run(&["key", "rotate", "--json"]).ok_json();
    let service = bed.serve();
    speaks_with(&service, &said["public_key"]);
    assert!(!bed.path("ark_state/identity.key.next").exists());
}

#[test]
fn a_terminal_asks_for_the_passphrase_and_does_not_show_it() {
    let bed = Bed::new();
    bed.run(&["keygen"]).ok();
    let line = "ark-lattice key encrypt && ark-lattice key rotate";
    let mut terminal = Terminal::start(&bed, line, &[("ARK_NODE_ID", "ark-bed")]);
    let mut shown_so_far = String::new();
    for question in ["New passphrase: ", "Again: ", "identity.key: "] {
        shown_so_far += &terminal.until(question);
        // Two slips, which are taken back.
        writeln!(terminal.input(), "ü\u{7f}slip\u{15}{PASSPHRASE}").unwrap();
    }
    shown_so_far += &terminal.until("The key is now ");
    assert!(!shown_so_far.contains(PASSPHRASE) && !shown_so_far.contains("slip"), "{shown_so_far}");
    drop(terminal);
    assert_eq!(shown(&bed)["statements"].as_u64(), Some(2));
}

#[test]
fn who_thinks_better_of_it_gets_his_terminal_back() {
    let bed = Bed::new();
    bed.run(&["keygen"]).ok();
    let mut terminal = Terminal::start(&bed, "ark-lattice key encrypt; stty --all", &[]);
    terminal.until("New passphrase: ");
    terminal.input().write_all(b"corr\x03").unwrap();
    let rest = terminal.rest();
    assert!(rest.contains("interrupted"), "{rest}");
    let words: Vec<&str> = rest.split_whitespace().collect();
    assert!(["echo", "icanon", "isig"].iter().all(|mode| words.contains(mode)), "{rest}");
    assert_eq!(shown(&bed)["encrypted"].as_bool(), Some(false));
}
