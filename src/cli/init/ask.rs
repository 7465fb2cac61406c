//! Questions on a terminal, one line each, with what an empty answer means.

use super::wishes::{Wishes, value_of};
use crate::{cli::exit::Failure, settings::Settings, types::PeerId};
use std::io::{self, BufRead, Write};

/// Asks for everything that no option says. Nothing has been written yet.
pub(super) fn for_the_rest(wishes: &mut Wishes, defaults: &Settings) -> Result<(), Failure> {
    let (stdin, stderr) = (io::stdin().lock(), anstream::stderr());
    let mut asker = Asker { answers: stdin, screen: stderr };
    asker.all(wishes, defaults).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => Failure::local("stopped before the last answer; nothing was written"),
        _ => Failure::local(error),
    })
}

struct Asker<R, W> {
    answers: R,
    screen: W,
}

impl<R: BufRead, W: Write> Asker<R, W> {
    fn all(&mut self, wishes: &mut Wishes, defaults: &Settings) -> io::Result<()> {
        let default = |key: &str| value_of(defaults, key).unwrap_or_default();
        let id = |text: &str| PeerId::parse(text).map(drop).map_err(|error| error.to_string());
        let one_of = |text: &str| {
            ["local", "cloud", "pi"].contains(&text).then_some(()).ok_or_else(|| "local, cloud or pi".to_owned())
        };
        let any = |_: &str| Ok(());
        let port = |text: &str| text.parse::<u16>().map(drop).map_err(|_| "a number from 0 to 65535".to_owned());
        let redis = |text: &str| match text {
            _ if text.starts_with("redis://") || text.starts_with("rediss://") => Ok(()),
            _ => Err("it begins with redis:// or rediss://".to_owned()),
        };
        let ask = self;
        ask.fill(&mut wishes.node_id, "Id of this instance in its manifests", &default("instance.node_id"), id)?;
        ask.fill(
            &mut wishes.instance_type,
            "Where it runs: local, cloud or pi",
            &default("instance.instance_type"),
            one_of,
        )?;
        ask.fill(&mut wishes.host, "Address to listen on; 0.0.0.0 for other machines", &default("server.host"), any)?;
        if wishes.port.is_none() {
            let mut text = None;
            ask.fill(&mut text, "Port to listen on", &default("server.port"), port)?;
            wishes.port = text.and_then(|text| text.parse().ok());
        }
        ask.fill(&mut wishes.lattice, "Directory of nodes", &default("lattice.path"), any)?;
        ask.fill(&mut wishes.state, "Directory of keys, journal and registry", &default("state.path"), any)?;
        ask.fill(&mut wishes.redis_url, "URL of a Redis to share a registry; none: the embedded one", "", redis)?;
        if !wishes.admin_token {
            let yes_or_no = |text: &str| match text {
                "y" | "yes" | "n" | "no" => Ok(()),
                _ => Err("y or n".to_owned()),
            };
            let mut answer = None;
            ask.fill(&mut answer, "Make an operator's token, to change nodes over HTTP (y/n)", "n", yes_or_no)?;
            wishes.admin_token = answer.is_some_and(|answer| answer.starts_with('y'));
        }
        Ok(())
    }

    /// Asks until the answer is one. The default stays unsaid.
    fn fill(
        &mut self,
        wish: &mut Option<String>,
        question: &str,
        default: &str,
        check: impl Fn(&str) -> Result<(), String>,
    ) -> io::Result<()> {
        while wish.is_none() {
            write!(self.screen, "{question} [{default}]: ")?;
            self.screen.flush()?;
            let mut line = String::new();
            if self.answers.read_line(&mut line)? == 0 {
                writeln!(self.screen)?;
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            match line.trim() {
                "" => return Ok(()),
                answer if answer == default => return Ok(()),
                answer => match check(answer) {
                    Ok(()) => *wish = Some(answer.to_owned()),
                    Err(problem) => writeln!(self.screen, "  Not usable: {problem}")?,
                },
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(answers: &str) -> (io::Result<Wishes>, String) {
        let (mut wishes, mut screen) = (Wishes { state: Some("s".to_owned()), ..Wishes::default() }, Vec::new());
        let mut asker = Asker { answers: answers.as_bytes(), screen: &mut screen };
        let outcome = asker.all(&mut wishes, &Settings::default());
        (outcome.map(|()| wishes), String::from_utf8(screen).unwrap())
    }

    #[test]
    fn empty_answers_are_the_defaults_and_bad_ones_are_asked_for_again() {
        let (wishes, screen) = answered("ark-1\nmoon\npi\n\n99999\n9100\n./lattice_data\nhttp://x\n\ny\n");
        let wishes = wishes.unwrap();
        assert_eq!((wishes.node_id.as_deref(), wishes.instance_type.as_deref()), (Some("ark-1"), Some("pi")));
        assert_eq!((wishes.host, wishes.port, wishes.lattice), (None, Some(9100), None));
        assert_eq!((wishes.redis_url, wishes.admin_token), (None, true));
        assert_eq!(screen.matches("Not usable: ").count(), 3, "{screen}");
        assert!(screen.contains("Port to listen on [9001]: ") && !screen.contains("journal"), "{screen}");
    }

    #[test]
    fn an_end_of_the_answers_is_an_end_of_the_questions() {
        assert_eq!(answered("ark-1\n").0.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }
}
