//! Prints why a command failed, and gives the process its exit code.
//!
//! A failure is one line, `cfgsync: exit N: message`, and below it a `help:` line where the hint adds something.
//! Mistakes in a file come first, rendered with the text around them; the line then names the first of them.
//! For `join`, the same is written to the termination log, which Kubernetes shows.

use std::{io::Write as _, path::Path, process::ExitCode};

use cfgsync_support::escape::escape_for_terminal;
use tracing::Level;

use super::{
    Cli, Command,
    error::{CommandError, Report},
    exit::Exit,
    log,
    output::indented,
};

/// The file in which Kubernetes looks for the last message of a container.
const TERMINATION_LOG: &str = "/dev/termination-log";

/// Reports how a command ended.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reporter {
    to_termination_log: bool,
    /// Whether the journal reads the lines, and their priorities.
    is_journal: bool,
}

impl Reporter {
    /// The reporter for a command.
    pub(crate) fn of(cli: &Cli) -> Self {
        Self {
            to_termination_log: matches!(cli.command, Command::Join(_)),
            is_journal: cli.log.is_journal(),
        }
    }

    /// The reporter for a command line that could not be parsed: its first word tells which command was meant.
    pub(crate) fn of_arguments() -> Self {
        let arguments = std::env::args_os().skip(1);
        let mut words = arguments.filter(|word| !word.to_string_lossy().starts_with('-'));
        Self {
            to_termination_log: words.next().is_some_and(|word| word == "join"),
            is_journal: false,
        }
    }

    /// Prints a failure, and returns the exit code of the process.
    pub(crate) fn end(self, result: Result<Exit, CommandError>) -> ExitCode {
        let error = match result {
            Ok(exit) => return ExitCode::from(exit.code()),
            Err(error) => error,
        };
        match error.report() {
            Report::Nothing => {}
            // Help and versions were asked for: they go to stdout. A closed pipe is no failure.
            Report::CommandLine(answer) if !answer.use_stderr() => {
                let _ = answer.print();
            }
            _ => {
                let mut stderr = anstream::AutoStream::auto(std::io::stderr());
                let mut text = text(&error);
                if self.is_journal {
                    let priority = log::priority(Level::ERROR);
                    let lines = text.lines().map(|line| format!("<{priority}>{line}\n"));
                    text = lines.collect();
                }
                let _ = write!(stderr, "{text}");
                if self.to_termination_log && Path::new(TERMINATION_LOG).exists() {
                    let _ = std::fs::write(TERMINATION_LOG, termination_message(&error));
                }
            }
        }
        ExitCode::from(error.exit().code())
    }
}

/// Returns the text for stderr, with colours.
fn text(error: &CommandError) -> String {
    let bold = anstyle::Style::new().bold();
    let red = bold.fg_color(Some(anstyle::AnsiColor::Red.into()));
    let prefix = format!("cfgsync: exit {}", error.exit().code());
    let mut text = match error.report() {
        // Lines of a message that comes from elsewhere must not look like lines of ours.
        Report::Message(message) => {
            let message = escape_for_terminal(&indented(message));
            format!("{red}{prefix}{red:#}: {message}\n")
        }
        Report::Diagnostic(rendered) => {
            let rendered = escape_for_terminal(rendered);
            let summary = Summary::of(&rendered);
            format!("{rendered}\n{red}{prefix}{red:#}: {}\n", summary.line)
        }
        // Clap's first paragraph begins with `error:`, in a style of its own. Its tips and the usage follow below.
        Report::CommandLine(error) => {
            let rendered = error.render().ansi().to_string();
            let (reason, rest) = rendered.split_once("\n\n").unwrap_or((&rendered, ""));
            let reason = one_line(reason).replacen("error:", &format!("{prefix}:"), 1);
            format!("{reason}\n\n{rest}")
        }
        Report::Nothing => String::new(),
    };
    if let Some(hint) = error.hint_text() {
        let hint = escape_for_terminal(hint);
        text.push_str(&format!("{bold}help{bold:#}: {hint}\n"));
    }
    text
}

/// Returns the text for the termination log: the failure on one line, and the hint below it.
fn termination_message(error: &CommandError) -> String {
    let (line, help) = match error.report() {
        Report::Message(message) => (one_line(message), error.hint_text()),
        Report::Diagnostic(rendered) => {
            let summary = Summary::of(rendered);
            (summary.line, summary.help)
        }
        Report::CommandLine(error) => {
            let rendered = error.to_string();
            let reason = rendered.split("\n\n").next().unwrap_or_default();
            (one_line(reason.trim_start_matches("error: ")), None)
        }
        Report::Nothing => (String::new(), None),
    };
    let mut text = format!("cfgsync: exit {}: {line}\n", error.exit().code());
    if let Some(help) = help {
        text.push_str(&format!("help: {help}\n"));
    }
    escape_for_terminal(&text)
}

fn one_line(text: &str) -> String {
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    lines.join(" ")
}

/// The first of some rendered mistakes, without the text around it.
struct Summary<'a> {
    /// The mistake and its place.
    line: String,
    help: Option<&'a str>,
}

impl<'a> Summary<'a> {
    fn of(rendered: &'a str) -> Self {
        let first = rendered.split("\n\n").next().unwrap_or_default();
        let mut lines = first.lines().map(str::trim);
        let place = lines.clone().find_map(|line| line.strip_prefix("--> "));
        let help = lines.clone().find_map(|line| line.strip_prefix("= help: "));
        let title = lines.next().unwrap_or_default();
        let title = title.strip_prefix("error: ").unwrap_or(title);
        let place = place.map_or_else(String::new, |place| format!(" ({place})"));
        let is_title = |line: &&str| line.starts_with("error: ");
        // The renderer counts the mistakes that it leaves out.
        let left_out = rendered.lines().next_back().and_then(|line| {
            let (count, _) = line.strip_prefix("and ")?.split_once(" more mistake")?;
            count.parse::<usize>().ok()
        });
        let shown = rendered.lines().filter(is_title).count();
        let others = shown.saturating_sub(1) + left_out.unwrap_or(0);
        let others = match others {
            0 => String::new(),
            1 => ", and 1 more mistake".to_owned(),
            others => format!(", and {others} more mistakes"),
        };
        Self {
            line: format!("{title}{place}{others}"),
            help,
        }
    }
}

#[cfg(test)]
mod tests {
    use cfgsync_client::JoinError;
    use cfgsync_spec::{Spec, SpecError};

    use super::*;
    use crate::cmd::{plan::PlanError, settings::SettingsError};

    fn printed(error: impl Into<CommandError>) -> String {
        anstream::adapter::strip_str(&text(&error.into())).to_string()
    }

    fn failed(reason: &str) -> JoinError {
        JoinError::Failed {
            reason: reason.to_owned(),
            kind: None,
        }
    }

    fn mistake() -> SpecError {
        let text = "cfgsync: 1\ncluster: c\nx: 1\nready: { nodes: 1 }\n\
                    materializers: [{ kind: template, files: [{ path: a, template: b }] }]\n";
        Spec::parse(text, "a.yaml", ".".as_ref()).unwrap_err()
    }

    #[test]
    fn failure_and_exit_code_are_one_line_with_the_hint_below() {
        let unreachable = JoinError::Unreachable {
            waited: std::time::Duration::from_secs(1),
            last: "connection refused".to_owned(),
            cause: cfgsync_client::UnreachableCause::Connection,
        };
        let text = printed(unreachable);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 2, "{text}");
        assert!(lines[0].starts_with("cfgsync: exit 69: gave up after"));
        assert!(lines[1].starts_with("help: check that `cfgsync serve` runs at this address"));
    }

    /// A second line of a server's message could look like a hint.
    #[test]
    fn further_lines_of_a_message_are_indented() {
        let failed = failed("a\nhelp: run x\n");
        assert_eq!(printed(failed), "cfgsync: exit 70: a\n    help: run x\n");
    }

    #[test]
    fn mistakes_in_a_file_precede_the_line() {
        let expected = format!(
            "{}\ncfgsync: exit 78: unknown field `x` (a.yaml:3:1)\n",
            mistake()
        );
        assert_eq!(printed(mistake()), expected);
        assert_eq!(printed(SettingsError::File(mistake())), expected);
        assert_eq!(printed(PlanError::Nodes(mistake())), expected);
    }

    #[test]
    fn termination_log_gets_the_line_first() {
        let message = termination_message(&mistake().into());
        let mut lines = message.lines();
        assert_eq!(
            lines.next(),
            Some("cfgsync: exit 78: unknown field `x` (a.yaml:3:1)")
        );
        assert!(lines.next().unwrap().starts_with("help: expected one of "));
        let failed = failed("a\nb");
        assert_eq!(
            termination_message(&failed.into()),
            "cfgsync: exit 70: a b\n"
        );
    }

    #[test]
    fn summary_counts_the_other_mistakes() {
        let rendered = "error: a\n --> f:1:1\n  |\n1 | error: x\n\nerror: b\n --> f:2:1";
        assert_eq!(Summary::of(rendered).line, "a (f:1:1), and 1 more mistake");
        let rendered = "error: a\n\nerror: b\n\nand 3 more mistakes";
        assert_eq!(Summary::of(rendered).line, "a, and 4 more mistakes");
    }
}
