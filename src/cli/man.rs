//! `man`: the manual, made from the same declarations as `--help`.

use super::{
    exit::Failure,
    output::{Output, count},
};
use crate::ops;
use clap::Command;
use clap_mangen::Man;
use serde_json::json;
use std::{
    fs,
    io::{self, Write},
    path::PathBuf,
};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  ark-lattice man | man -l -
  sudo ark-lattice man --dir /usr/local/share/man/man1

With --json and --dir; without --dir a member \"page\":
  {\"pages\": [\"ark-lattice.1\"], \"dir\": \"man1\"}")]
pub(super) struct Args {
    /// Write a page for every command into this directory, which is made where it does not exist; otherwise the main page goes to
    /// standard output.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

pub(super) fn run(args: &Args, output: &Output) -> Result<(), Failure> {
    // It would be a page that says what --help says.
    let mut command = super::command().disable_help_subcommand(true);
    command.build();
    let Some(dir) = &args.dir else {
        let page = page(&command)?;
        if output.json() {
            return Ok(output.line(json!({"page": String::from_utf8_lossy(&page)}))?);
        }
        return Ok(output.bytes(&page)?);
    };
    fs::create_dir_all(dir).map_err(|error| Failure::local(error).about(dir.display()))?;
    let mut pages = Vec::new();
    let mut waiting = vec![&command];
    while let Some(command) = waiting.pop() {
        waiting.extend(command.get_subcommands().filter(|command| !command.is_hide_set()));
        let name = Man::new(command.clone()).get_filename();
        ops::write_file(&dir.join(&name), &page(command)?)?;
        pages.push(name);
    }
    pages.sort();
    let text = || {
        format!(
            "{} in {}; read one with: man -l {}",
            count(pages.len(), "page"),
            dir.display(),
            dir.join("ark-lattice.1").display()
        )
    };
    Ok(output.answer(|| json!({"pages": pages, "dir": dir}), text)?)
}

fn page(command: &Command) -> Result<Vec<u8>, Failure> {
    let mut out = Vec::new();
    write_page(command, &mut out).map_err(Failure::local)?;
    Ok(out)
}

fn write_page(command: &Command, out: &mut Vec<u8>) -> io::Result<()> {
    let source = format!("{} {}", env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"));
    let man = Man::new(command.clone()).source(source).manual("ark-lattice manual");
    man.render_title(out)?;
    man.render_name_section(out)?;
    man.render_synopsis_section(out)?;
    man.render_description_section(out)?;
    man.render_options_section(out)?;
    if command.has_subcommands() {
        man.render_subcommands_section(out)?;
    }
    let after = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    write_after(&after, out)
}

/// Line by line as it stands there: filled text would run examples and tables together. A line such as `Examples:` is a heading.
fn write_after(text: &str, out: &mut Vec<u8>) -> io::Result<()> {
    let mut literal = false;
    for (number, line) in text.lines().enumerate() {
        let heading = line.strip_suffix(':').filter(|line| !line.starts_with(' '));
        if heading.is_some() || number == 0 {
            if literal {
                writeln!(out, ".fi")?;
            }
            writeln!(out, ".SH {}\n.nf", escaped(&heading.unwrap_or("Notes").to_uppercase()))?;
            literal = true;
        }
        if heading.is_none() {
            writeln!(out, "{}", escaped(line))?;
        }
    }
    if literal { writeln!(out, ".fi") } else { Ok(()) }
}

/// As the text that it is: no line of it is a request to the formatter, and what is to be copied stays in ASCII.
fn escaped(line: &str) -> String {
    let line = line
        .replace('\\', "\\e")
        .replace('-', "\\-")
        .replace('\'', "\\(aq")
        .replace('`', "\\(ga")
        .replace('^', "\\(ha")
        .replace('~', "\\(ti");
    if line.starts_with('.') { format!("\\&{line}") } else { line }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headings_are_headings_and_all_else_is_left_as_it_is() {
        let mut out = Vec::new();
        write_after("Does it.\n\nExamples:\n  a -b 'c' \\\n.d", &mut out).unwrap();
        let expected = ".SH NOTES\n.nf\nDoes it.\n\n.fi\n.SH EXAMPLES\n.nf\n  a \\-b \\(aqc\\(aq \\e\n\\&.d\n.fi\n";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }
}
