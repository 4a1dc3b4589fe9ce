//! `cfgsync generate`, hidden: writes the committed files that come from the code and from the book.

mod roff;
mod spec_page;
mod production_page;

use std::path::{Path, PathBuf};

use cfgsync_spec::Spec;
use clap::{Args, Command};
use clap_complete::{Shell, generate_to};
use clap_mangen::Man;

use super::{exit::Exit, settings};

/// Write completions, manual pages and the spec's JSON Schema
#[derive(Debug, Args)]
pub(crate) struct GenerateArgs {
    /// The root of the source tree
    #[arg(default_value = ".")]
    root: PathBuf,
}

/// A generated file that could not be written, or what it comes from could not be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot generate below {}: {error}", root.display())]
pub(crate) struct GenerateError {
    root: PathBuf,
    error: std::io::Error,
}

pub(crate) fn run(args: &GenerateArgs) -> anyhow::Result<Exit> {
    write(args).map_err(|error| GenerateError {
        root: args.root.clone(),
        error,
    })?;
    Ok(Exit::Done)
}

fn write(args: &GenerateArgs) -> std::io::Result<()> {
    let completions = args.root.join("completions");
    let pages = args.root.join("man");
    let schemas = args.root.join("schema");
    for directory in [&completions, &pages, &schemas] {
        std::fs::create_dir_all(directory)?;
    }
    let command = visible(&settings::documented());
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        generate_to(shell, &mut command.clone(), "cfgsync", &completions)?;
    }
    let mut top = command.clone().disable_help_subcommand(true);
    top.build();
    write_page(&pages, "cfgsync", top.clone())?;
    for subcommand in top.get_subcommands() {
        let name = format!("cfgsync-{}", subcommand.get_name());
        write_page(&pages, &name, subcommand.clone())?;
    }
    let schema = Spec::json_schema();
    std::fs::write(pages.join("cfgsync-spec.5"), spec_page::render(&schema))?;
    let operating = std::fs::read_to_string(args.root.join(OPERATING))
        .map_err(|error| std::io::Error::new(error.kind(), format!("{OPERATING}: {error}")))?;
    let page = production_page::render(&operating).ok_or_else(|| {
        std::io::Error::other(format!("{OPERATING} has no section \"In production\""))
    })?;
    std::fs::write(pages.join("cfgsync-production.7"), page)?;
    let mut text = serde_json::to_string_pretty(&schema)?;
    text.push('\n');
    std::fs::write(schemas.join("cfgsync-spec.schema.json"), text)
}

/// One page. Its parts are clap_mangen's, but for those that it would garble: what stands below the help is a
/// text with lines of its own, and the subcommands of a subcommand have no pages.
fn write_page(directory: &Path, name: &str, command: Command) -> std::io::Result<()> {
    let mut page = Vec::new();
    let is_top = name == "cfgsync";
    let below: String = command.get_subcommands().map(subcommand_entry).collect();
    let after_help = command.get_after_help().map(ToString::to_string);
    let man = Man::new(command.name(name.to_owned()).display_name(name.to_owned()))
        .title(name)
        .source(concat!("cfgsync ", env!("CARGO_PKG_VERSION")))
        .manual("cfgsync manual");
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    if is_top {
        man.render_subcommands_section(&mut page)?;
    } else if !below.is_empty() {
        page.extend(format!(".SH SUBCOMMANDS\n{below}").bytes());
    }
    if let Some(text) = after_help {
        page.extend(format!(".SH NOTES\n.nf\n{}\n.fi\n", roff::lines(&text)).bytes());
    }
    if is_top {
        page.extend(EXIT_STATUS.bytes());
    } else {
        page.extend(b".SH SEE ALSO\n.BR cfgsync (1),\n.BR cfgsync\\-spec (5),\n.BR cfgsync\\-production (7)\n");
    }
    std::fs::write(directory.join(format!("{name}.1")), page)
}

/// `node ID`, and what it does.
fn subcommand_entry(command: &Command) -> String {
    let operands: String = command
        .get_positionals()
        .map(|arg| {
            let names = arg.get_value_names().unwrap_or_default();
            let name = names
                .first()
                .map_or(arg.get_id().as_str(), |name| name.as_str());
            match arg.is_required_set() {
                true => format!(" {name}"),
                false => format!(" [{name}]"),
            }
        })
        .collect();
    let about = command
        .get_about()
        .map(ToString::to_string)
        .unwrap_or_default();
    format!(
        ".TP\n\\fB{}\\fR{}\n{}\n",
        command.get_name(),
        roff::lines(&operands),
        roff::paragraph(&about)
    )
}

/// The page of the book whose section "In production" becomes cfgsync-production(7).
const OPERATING: &str = "docs/src/operating.md";

const EXIT_STATUS: &str = include_str!("generate/exit_status.roff");

/// Without what is hidden: nobody should complete to it.
fn visible(command: &Command) -> Command {
    let hidden: Vec<String> = command
        .get_subcommands()
        .filter(|subcommand| subcommand.is_hide_set())
        .map(|subcommand| subcommand.get_name().to_owned())
        .collect();
    let mut shown = Command::new("cfgsync")
        .version(env!("CARGO_PKG_VERSION"))
        .args(command.get_arguments().cloned())
        .disable_help_subcommand(true)
        .subcommand_required(true);
    if let Some(about) = command.get_about() {
        shown = shown.about(about.clone());
    }
    if let Some(about) = command.get_long_about() {
        shown = shown.long_about(about.clone());
    }
    if let Some(help) = command.get_after_help() {
        shown = shown.after_help(help.clone());
    }
    let subcommands = command.get_subcommands().cloned();
    shown.subcommands(
        subcommands.filter(|subcommand| !hidden.iter().any(|name| name == subcommand.get_name())),
    )
}
