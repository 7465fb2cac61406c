//! What shells and manual readers make of what is generated.

use crate::bed::Bed;
use std::process::{Command, Stdio};

/// What bash offers for the last of `words`.
fn completed(script: &str, words: &[&str]) -> Vec<String> {
    let quoted: Vec<String> = words.iter().map(|word| format!("'{word}'")).collect();
    let (last, before) = (words.len() - 1, words.len().saturating_sub(2));
    let program = format!(
        "source '{script}'\nCOMP_WORDS=({}); COMP_CWORD={last}; COMP_LINE='{}'; COMP_POINT=${{#COMP_LINE}}\n\
         read -r _ _ function _ <<< \"$(complete -p ark-lattice | sed 's/.*-F /- - /')\"\n\
         \"$function\" ark-lattice '{}' '{}'\nprintf '%s\\n' \"${{COMPREPLY[@]}}\"",
        quoted.join(" "),
        words.join(" "),
        words[last],
        words[before],
    );
    let output = Command::new("bash").args(["--noprofile", "--norc", "-c", &program]).output().unwrap();
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn bash_completes_commands_flags_and_values() {
    let bed = Bed::new();
    let script = bed.file("completion.bash", &bed.run(&["completions", "bash"]).ok());
    assert_eq!(completed(&script, &["ark-lattice", "exp"]), ["export"]);
    assert_eq!(completed(&script, &["ark-lattice", "node", "ver"]), ["verify"]);
    assert_eq!(completed(&script, &["ark-lattice", "key", "rec"]), ["recover"]);
    assert_eq!(completed(&script, &["ark-lattice", "pull", "--dr"]), ["--dry-run"]);
    assert_eq!(completed(&script, &["ark-lattice", "federation", "auto"]), ["auto-sync"]);
    assert_eq!(completed(&script, &["ark-lattice", "federation", "add-peer", "--direction", "pus"]), ["push"]);
    assert_eq!(completed(&script, &["ark-lattice", "conflicts", "res"]), ["restore"]);
    assert_eq!(completed(&script, &["ark-lattice", "manifest", "sign", "--form", "j"]), ["jcs"]);
    let flags = completed(&script, &["ark-lattice", "import", "--"]);
    assert!(["--exact", "--dry-run", "--lattice", "--json"].iter().all(|flag| flags.contains(&(*flag).to_owned())));
}

#[test]
fn every_shell_has_its_script() {
    let bed = Bed::new();
    for (shell, mark) in [
        ("bash", "complete -F"),
        ("zsh", "#compdef ark-lattice"),
        ("fish", "complete -c ark-lattice"),
        ("elvish", "edit:completion:arg-completer[ark-lattice]"),
        ("powershell", "Register-ArgumentCompleter"),
    ] {
        let script = bed.run(&["completions", shell]).ok();
        assert!(script.contains(mark) && script.contains("export"), "{shell}");
        let json = bed.run(&["completions", shell, "--json"]).ok_json();
        assert_eq!((&json["shell"], json["script"].as_str()), (&shell.into(), Some(script.as_str())));
    }
    bed.run(&["completions", "cmd"]).fails(2);
}

#[test]
fn the_manual_has_a_page_for_every_command() {
    let bed = Bed::new();
    let said = bed.run(&["man", "--dir", "man1", "--json"]).ok_json();
    let pages: Vec<&str> = said["pages"].as_array().unwrap().iter().map(|page| page.as_str().unwrap()).collect();
    for name in [
        "ark-lattice.1",
        "ark-lattice-export.1",
        "ark-lattice-node-verify.1",
        "ark-lattice-key-rotate.1",
        "ark-lattice-federation-add-peer.1",
        "ark-lattice-man.1",
    ] {
        assert!(pages.contains(&name), "{name} is not in {pages:?}");
    }
    assert_eq!(bed.run(&["man"]).ok(), bed.read("man1/ark-lattice.1"));
    for name in pages {
        let page = bed.read(&format!("man1/{name}"));
        for section in [".SH NAME", ".SH SYNOPSIS", ".SH DESCRIPTION"] {
            assert!(page.contains(section), "{name} has no {section}");
        }
        assert_eq!(page.matches("\n.nf").count(), page.matches("\n.fi").count(), "{name}");
        // Where a formatter is at hand it has the last word.
        let path = bed.path(&format!("man1/{name}"));
        let groff =
            Command::new("groff").args(["-man", "-ww", "-z", "-K", "utf8"]).arg(path).stdin(Stdio::null()).output();
        if let Ok(formatted) = groff {
            assert!(formatted.status.success() && formatted.stderr.is_empty(), "{name}: {formatted:?}");
        }
    }
    let page = bed.read("man1/ark-lattice-export.1");
    assert!(page.contains(".SH EXAMPLES") && page.contains("ark\\-lattice export \\-\\-out backup.ndjson"), "{page}");
}
