//! The reason why a command failed: its message, its hint and its exit code.

use std::{borrow::Cow, fmt};

use cfgsync_spec::SpecError;

use super::exit::Exit;

/// The reason why a command failed.
#[derive(Debug)]
pub(crate) struct CommandError {
    exit: Exit,
    report: Report,
    hint: Option<Cow<'static, str>>,
}

/// The text that is printed for a failure.
#[derive(Debug)]
pub(crate) enum Report {
    /// A message in words.
    Message(String),
    /// Mistakes in a file, rendered with the text around them.
    Diagnostic(String),
    /// The output of clap: a mistake on the command line, or the help or version that was asked for.
    CommandLine(Box<clap::Error>),
    /// Nothing: the reader of standard output has gone, as `head` does.
    Nothing,
}

impl CommandError {
    /// An error with this exit code and message.
    pub(crate) fn new(exit: Exit, message: impl fmt::Display) -> Self {
        Self {
            exit,
            report: Report::Message(message.to_string()),
            hint: None,
        }
    }

    /// A command line that clap accepts but that makes no sense.
    pub(crate) fn usage(message: impl fmt::Display) -> Self {
        Self::new(Exit::Usage, message)
    }

    /// The output of clap instead of running a command.
    pub(super) fn command_line(error: clap::Error) -> Self {
        Self {
            exit: if error.use_stderr() {
                Exit::Usage
            } else {
                Exit::Done
            },
            report: Report::CommandLine(Box::new(error)),
            hint: None,
        }
    }

    /// No failure: the reader of standard output has gone.
    pub(super) fn reader_gone() -> Self {
        Self {
            exit: Exit::Done,
            report: Report::Nothing,
            hint: None,
        }
    }

    /// A mistake in a spec, a settings file or a nodes file.
    pub(super) fn diagnostic(error: &SpecError) -> Self {
        let rendered = error.to_string();
        // A file that cannot be read has no text to show: the one line says everything.
        if !rendered.contains('\n') {
            let message = rendered.strip_prefix("error: ").unwrap_or(&rendered);
            return Self::new(Exit::WrongSetting, message);
        }
        Self {
            exit: Exit::WrongSetting,
            report: Report::Diagnostic(rendered),
            hint: None,
        }
    }

    /// Adds a hint.
    pub(super) fn hint(mut self, hint: impl Into<Cow<'static, str>>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Adds a hint, if there is one.
    pub(super) fn maybe_hint(mut self, hint: Option<&'static str>) -> Self {
        self.hint = hint.map(Cow::Borrowed);
        self
    }

    /// The exit code of the process.
    pub(crate) fn exit(&self) -> Exit {
        self.exit
    }

    /// Returns the text to print.
    pub(crate) fn report(&self) -> &Report {
        &self.report
    }

    /// The way out, if the message does not say it.
    pub(crate) fn hint_text(&self) -> Option<&str> {
        self.hint.as_deref()
    }
}

impl fmt::Display for CommandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.report {
            Report::Message(text) | Report::Diagnostic(text) => f.write_str(text),
            Report::CommandLine(error) => error.fmt(f),
            Report::Nothing => f.write_str("standard output was closed"),
        }
    }
}
