//! How a command ends: the exit codes, and errors as one line.

use super::{output::Output, version};
use crate::{
    ops::{
        ClientError, EditError, EnvelopeError, FailedAt, FailureClass, FailureContext, FailureKind, ImportError,
        KeyChangeError, KeyError, KeyFileError, LocalError, OfflineError, PullError, RemoteError, WordsError,
    },
    settings::SettingsError,
    startup::StartupError,
    types::printable,
};
use std::{fmt, io, process::ExitCode};

macro_rules! exits {
    ($($(#[doc = $doc:literal])* $name:ident = $code:literal, $meaning:literal;)*) => {
        /// The exit codes. They are stable: scripts may rely on them.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Exit { $($(#[doc = $doc])* $name,)* }

        impl Exit {
            /// All of them.
            const ALL: &[Self] = &[$(Self::$name,)*];

            /// The number.
            #[must_use]
            pub const fn code(self) -> u8 {
                match self { $(Self::$name => $code,)* }
            }

            /// What it means, as `--help`, the manual and the README say it.
            const fn meaning(self) -> &'static str {
                match self { $(Self::$name => $meaning,)* }
            }
        }
    };
}

exits! {
    /// Done.
    Ok = 0, "done";
    /// Failed here.
    Local = 1, "failed here: a file, a setting, a key, the data directory";
    /// Wrong usage.
    Usage = 2, "wrong usage";
    /// Refused by the other side, or it does not speak the protocol.
    Refused = 3, "refused by the other side (HTTP 4xx), or it is no ark-lattice service";
    /// The other side cannot be reached or failed.
    Unavailable = 4, "the other side cannot be reached or failed (HTTP 5xx): may be tried again";
    /// Something differs or does not verify.
    Differs = 5, "something differs or does not verify";
    /// SIGINT came.
    Interrupted = 130, "stopped by Ctrl-C (SIGINT)";
    /// SIGTERM came.
    Terminated = 143, "stopped by SIGTERM";
}

/// The table of [`Exit`], as `--help` prints it.
pub(super) fn table() -> String {
    let rows = Exit::ALL.iter().map(|exit| format!("\n  {:<3}  {}", exit.code(), exit.meaning()));
    format!("Exit codes:{}", rows.collect::<String>())
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// Why a command did not do what was asked.
#[derive(Debug)]
pub(super) struct Failure {
    exit: Exit,
    /// The code that the other side gave.
    code: Option<String>,
    /// `None`: nothing to say, because nobody reads.
    message: Option<String>,
}

impl Failure {
    pub(super) fn new(exit: Exit, message: impl fmt::Display) -> Self {
        Self { exit, code: None, message: Some(message.to_string()) }
    }

    pub(super) fn local(message: impl fmt::Display) -> Self {
        Self::new(Exit::Local, message)
    }

    pub(super) fn differs(message: impl fmt::Display) -> Self {
        Self::new(Exit::Differs, message)
    }

    /// Ends with this code.
    pub(super) fn exiting(self, exit: Exit) -> Self {
        Self { exit, ..self }
    }

    /// With nothing to say: nobody reads.
    pub(super) fn unsaid(self) -> Self {
        Self { message: None, ..self }
    }

    /// With this stable code.
    pub(super) fn with_code(self, code: Option<&str>) -> Self {
        Self { code: code.map(str::to_owned), ..self }
    }

    /// Puts what the failure is about before it.
    pub(super) fn about(mut self, what: impl fmt::Display) -> Self {
        self.message = self.message.map(|message| format!("{what}: {message}"));
        self
    }

    /// Puts what it comes from behind it.
    pub(super) fn because(mut self, why: impl fmt::Display) -> Self {
        self.message = self.message.map(|message| format!("{message}; {why}"));
        self
    }

    /// The code that the other side gave.
    pub(super) fn code(&self) -> Option<&str> {
        self.code.as_deref()
    }

    /// What it says, on one line.
    pub(super) fn text(&self) -> String {
        one_line(self.message.as_deref().unwrap_or_default())
    }

    /// Says it on standard error.
    pub(super) fn report(self, output: &Output) -> Exit {
        if let Some(message) = &self.message {
            output.error(self.exit, self.code.as_deref(), &one_line(message));
        }
        self.exit
    }
}

fn one_line(text: &str) -> String {
    let words: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    printable(&words.join(" ")).into_owned()
}

/// Reports clap's errors: help and version as they are, everything else as one line, in the form that `output` asks for.
pub(super) fn usage(error: &clap::Error, output: &Output) -> ExitCode {
    use clap::error::ErrorKind;
    let message = match error.kind() {
        ErrorKind::DisplayVersion if output.json() => {
            // A reader that is gone is no failure.
            let _ = output.line(version::json());
            return Exit::Ok.into();
        }
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand if output.json() => "a command is missing".to_owned(),
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
        _ => {
            let text = error.render().to_string();
            let parts = text.split("\n\n").map(one_line);
            let parts =
                parts.filter(|part| !part.is_empty() && !part.starts_with("Usage:") && !part.starts_with("For more"));
            parts.collect::<Vec<_>>().join("; ").trim_start_matches("error: ").to_owned()
        }
    };
    Failure::new(Exit::Usage, format!("{message}; see --help")).report(output).into()
}

impl From<io::Error> for Failure {
    /// Of standard output: a reader that went away has what it wanted.
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Self { exit: Exit::Ok, code: None, message: None };
        }
        Self::local(format!("standard output: {error}"))
    }
}

macro_rules! local {
    ($($error:ty),* $(,)?) => { $(impl From<$error> for Failure {
        fn from(error: $error) -> Self {
            Self::local(error)
        }
    })* };
}
local!(
    StartupError,
    OfflineError,
    EditError,
    KeyChangeError,
    KeyError,
    KeyFileError,
    WordsError,
    LocalError,
    ImportError
);

impl From<SettingsError> for Failure {
    fn from(error: SettingsError) -> Self {
        Self::local(StartupError::from(error))
    }
}

impl From<EnvelopeError> for Failure {
    fn from(error: EnvelopeError) -> Self {
        Self::local(error)
    }
}

impl From<FailureClass> for Exit {
    fn from(class: FailureClass) -> Self {
        match class {
            FailureClass::Unavailable => Self::Unavailable,
            FailureClass::Refused => Self::Refused,
            FailureClass::Differs => Self::Differs,
            FailureClass::Local => Self::Local,
        }
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        let (kind, text) = (error.kind(), error.to_string());
        let failure = |exit, code: &str, text| Self { code: Some(code.to_owned()), ..Self::new(exit, text) };
        let next = |url: &str| kind.next(&FailureContext { at: FailedAt::Command(url), own_id: None, text: &text });
        let exit = kind.class().into();
        match &error {
            ClientError::Address(..) => Self::new(Exit::Usage, text),
            ClientError::Authorities(_) => Self::local(text),
            // The text itself names what to do.
            ClientError::OutOfReach(..) => failure(exit, kind.code(), text),
            ClientError::Unreachable(url, _)
            | ClientError::Redirected(url, _)
            | ClientError::OtherNetwork(url)
            | ClientError::Protocol(url, _) => {
                failure(exit, kind.code(), format!("{text}; {}", next(url.trim_end_matches('/'))))
            }
            ClientError::Refused { code, .. } if kind.is_about_the_way() => {
                let code = if code.is_empty() { kind.code() } else { code };
                failure(exit, code, format!("{text}; {}", next("the address of the service")))
            }
            ClientError::Refused { code, .. } => failure(exit, code, text),
            ClientError::Distrusted { code, .. } => failure(Exit::Refused, code, text),
            ClientError::Server { code, .. } if kind == FailureKind::StoppedThere => failure(exit, code, text),
            ClientError::Server { code, retry_after: Some(wait), .. } => {
                failure(exit, code, format!("{text}; try again in {} s", wait.as_secs()))
            }
            ClientError::Server { code, .. } => failure(exit, code, format!("{text}; try again")),
        }
    }
}

impl From<RemoteError> for Failure {
    fn from(error: RemoteError) -> Self {
        match error {
            RemoteError::Client(error) => error.into(),
            RemoteError::Answer(_) => Self::new(Exit::Refused, error),
        }
    }
}

impl From<PullError> for Failure {
    fn from(error: PullError) -> Self {
        match error {
            PullError::Client(error) => error.into(),
            PullError::Directory(error) => error.into(),
            PullError::Take(error) => error.into(),
            PullError::Worker(_) => Self::local(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_help_lists_every_exit_code() {
        for exit in Exit::ALL {
            assert!(table().contains(&format!("\n  {:<3}  {}", exit.code(), exit.meaning())), "{exit:?}");
        }
    }

    #[test]
    fn messages_are_one_harmless_line() {
        assert_eq!(one_line("a\n  | b\n\n\u{1b}[2Jc"), "a | b \\u{1b}[2Jc");
    }
}
