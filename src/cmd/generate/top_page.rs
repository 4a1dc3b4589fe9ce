//! The sections of cfgsync(1) that clap does not know: exit codes and settings files.

use super::page::Page;

/// Each exit code and its meaning.
const EXIT_CODES: [(&str, &str); 13] = [
    (
        "0",
        "The command succeeded. With `-- CMD`, the exit code is that of CMD.",
    ),
    (
        "1",
        "Unexpected failure. For `inspect health`: the server is not healthy.",
    ),
    ("2", "The command line is wrong."),
    (
        "3",
        "The answer is no: `plan --diff` or `inspect diff` found differences, `plan` found a set of nodes that is not \
         ready, or `inspect` was asked for something that does not exist.",
    ),
    (
        "65",
        "The server's answer could not be used (schema, digest, signature, limits, paths, or a route that matches \
         nothing), or a state directory is damaged.",
    ),
    (
        "69",
        "No server was reachable within the timeout. For commands of operators also: the server is busy (status 408, \
         425 or 429).",
    ),
    ("70", "The cluster failed. The message gives the reason."),
    ("73", "Files could not be written."),
    (
        "77",
        "The server refused the request, its spec does not accept the metadata, it serves another cluster, or the \
         client does not trust it.",
    ),
    ("78", "The spec or a setting is wrong."),
    (
        "124",
        "The cluster was not ready within the timeout. The message says what was missing.",
    ),
    ("126, 127", "CMD cannot be executed, or was not found."),
    (
        "129, 130, 131, 143",
        "SIGHUP, SIGINT, SIGQUIT or SIGTERM ended the command.",
    ),
];

/// Adds the sections to the page.
pub(super) fn add(page: &mut Page) {
    page.section("EXIT STATUS");
    for (code, meaning) in EXIT_CODES {
        page.item(code, meaning);
    }
    page.paragraph(
        "The line `cfgsync: exit N: message` on stderr says why a command failed. `join` also writes it to \
         /dev/termination-log, if that file exists.",
    );
    page.section("FILES");
    page.item(
        "$XDG_CONFIG_HOME/cfgsync/config.yaml, /etc/cfgsync/config.yaml",
        "Defaults for flags. A key is the name of a flag without its dashes. At the top level, it applies to \
         all subcommands. Below the name of a subcommand, it applies to that subcommand only:",
    );
    page.literal("server: http://boot:4400\nserve:\n  listen: [127.0.0.1:4400, \"[::1]:4400\"]\n");
    page.paragraph(
        "Flags override variables, variables override the user's file, and the user's file overrides the one in /etc.",
    );
    page.see_also(&[("cfgsync-spec", 5), ("cfgsync-production", 7)]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cmd::exit::Exit;

    #[test]
    fn page_explains_every_exit_code() {
        let explained: Vec<&str> = EXIT_CODES
            .iter()
            .flat_map(|(codes, _)| codes.split(", "))
            .collect();
        for exit in [
            Exit::Done,
            Exit::Unexpected,
            Exit::Usage,
            Exit::No,
            Exit::Unusable,
            Exit::Unreachable,
            Exit::ClusterFailed,
            Exit::NotWritten,
            Exit::NotAllowed,
            Exit::WrongSetting,
            Exit::NotReady,
            Exit::NotExecutable,
            Exit::NotFound,
            Exit::of_signal(2),
            Exit::of_signal(15),
        ] {
            let code = exit.code().to_string();
            assert!(explained.contains(&code.as_str()), "{code}");
        }
    }
}
