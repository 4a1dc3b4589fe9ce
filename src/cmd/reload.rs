//! `cfgsync reload`: makes the server read its files again, and shows the result.

use cfgsync_client::escape_for_terminal;
use cfgsync_wire::{ReloadOutcome, ReloadPart, ReloadResult, ReloadedPart};
use clap::{Args, ValueEnum};

use super::{
    error::CommandError,
    exit::Exit,
    output::print,
    server::{ServerArgs, block_on},
};

/// Make the server read its files again: spec, tokens and certificates
///
/// It does the same as SIGHUP, and shows the result of each part. If a file has a mistake, the last good one stays in
/// force, and the exit code is 78. A changed signing key takes effect when the server restarts.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  cfgsync reload
  cfgsync reload --only tokens     # after a token was revoked")]
pub(crate) struct ReloadArgs {
    /// Read only this part again
    #[arg(long, env = "CFGSYNC_ONLY", value_name = "PART")]
    only: Option<Only>,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Only {
    /// The spec, and the files that it names
    Spec,
    /// The tokens file
    Tokens,
    /// The certificate, its key, and the authorities of client certificates
    Certificates,
}

/// Parts of which the server kept the last good files.
#[derive(Debug, thiserror::Error)]
#[error("the server did not reload {0}, and keeps what it has")]
pub(crate) struct NotReloaded(String);

pub(crate) fn run(args: ReloadArgs) -> Result<Exit, CommandError> {
    let only = args.only.map(|only| match only {
        Only::Spec => ReloadPart::Spec,
        Only::Tokens => ReloadPart::Tokens,
        Only::Certificates => ReloadPart::Certificates,
    });
    let client = args.server.client()?;
    block_on(async move {
        let result = client.reload(only).await?.value;
        print(to_text(&result))?;
        let refused: Vec<&str> = (result.parts.iter())
            .filter(|part| part.outcome == ReloadOutcome::Refused)
            .map(|part| words(part.part))
            .collect();
        if refused.is_empty() {
            return Ok(Exit::Done);
        }
        Err(NotReloaded(refused.join(" and ")).into())
    })
}

fn words(part: ReloadPart) -> &'static str {
    match part {
        ReloadPart::Spec => "the spec",
        ReloadPart::Tokens => "the tokens",
        ReloadPart::Certificates => "the certificates",
        ReloadPart::SignKey => "the signing key",
    }
}

/// Returns a paragraph for each part. Lines after the first are indented.
fn to_text(result: &ReloadResult) -> String {
    let mut text = String::new();
    for ReloadedPart {
        part,
        outcome,
        message,
    } in &result.parts
    {
        let outcome = match outcome {
            ReloadOutcome::Reloaded => "reloaded",
            ReloadOutcome::Refused => "not reloaded",
            ReloadOutcome::NotUsed => "not used",
            ReloadOutcome::NeedsRestart => "needs a restart",
        };
        let lines: Vec<String> = message.lines().map(escape_for_terminal).collect();
        let separator = if lines.len() > 1 { "\n    " } else { " " };
        text.push_str(&format!(
            "{}: {outcome}:{separator}{}\n",
            part.name(),
            lines.join("\n    ")
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mistakes_of_several_lines_are_indented_and_escaped() {
        let result = ReloadResult {
            parts: vec![
                ReloadedPart::new(ReloadPart::Tokens, ReloadOutcome::Reloaded, "3 tokens"),
                ReloadedPart::new(
                    ReloadPart::Spec,
                    ReloadOutcome::Refused,
                    "error: a\n  \u{1b}[2J",
                ),
            ],
        };
        assert_eq!(
            to_text(&result),
            "tokens: reloaded: 3 tokens\nspec: not reloaded:\n    error: a\n      \\u{1b}[2J\n"
        );
    }
}
