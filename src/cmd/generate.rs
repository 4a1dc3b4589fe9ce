//! `cfgsync generate`, a hidden subcommand: writes the generated files of the source tree. They are committed, and a
//! test fails if they are stale.

mod page;
mod top_page;
mod spec_page;
mod production_page;

use std::{
    io,
    path::{Path, PathBuf},
};

use cfgsync_spec::Spec;
use clap::{Arg, Args, Command};
use clap_complete::{Shell, generate_to};
use clap_mangen::Man;

use super::{error::CommandError, exit::Exit, settings};
use page::Page;

/// Write the completions, the manual pages and the JSON Schema of the spec
#[derive(Debug, Args)]
pub(crate) struct GenerateArgs {
    /// The root of the source tree
    #[arg(default_value = ".")]
    root: PathBuf,
}

/// The reason why the files were not generated: one could not be written, or a source could not be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot generate below {}: {error}", root.display())]
pub(crate) struct GenerateError {
    root: PathBuf,
    error: io::Error,
}

pub(crate) fn run(args: &GenerateArgs) -> Result<Exit, CommandError> {
    write(args).map_err(|error| GenerateError {
        root: args.root.clone(),
        error,
    })?;
    Ok(Exit::Done)
}

fn write(args: &GenerateArgs) -> io::Result<()> {
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
    write_pages(&pages, "cfgsync", &top)?;
    let schema = Spec::json_schema();
    std::fs::write(pages.join("cfgsync-spec.5"), spec_page::render(&schema))?;
    let page = production_page(&args.root)?;
    std::fs::write(pages.join("cfgsync-production.7"), page)?;
    let mut text = serde_json::to_string_pretty(&schema)?;
    text.push('\n');
    std::fs::write(schemas.join("cfgsync-spec.schema.json"), text)
}

/// The page of the book whose section "In production" becomes cfgsync-production(7).
const OPERATING: &str = "docs/src/operating.md";

fn production_page(root: &Path) -> io::Result<String> {
    let markdown = std::fs::read_to_string(root.join(OPERATING))
        .map_err(|error| io::Error::new(error.kind(), format!("{OPERATING}: {error}")))?;
    production_page::render(&markdown)
        .ok_or_else(|| io::Error::other(format!("{OPERATING} has no section \"In production\"")))
}

/// Writes the pages of a command and of all commands below it, such as cfgsync-inspect-node(1).
fn write_pages(directory: &Path, name: &str, command: &Command) -> io::Result<()> {
    write_page(directory, name, command.clone())?;
    let mut shown = command
        .get_subcommands()
        .filter(|below| below.get_name() != "help");
    shown.try_for_each(|below| {
        write_pages(directory, &format!("{name}-{}", below.get_name()), below)
    })
}

/// Writes the page of a command. clap_mangen renders most sections. The exceptions are those that it would garble:
/// the text below the help has lines of its own, and the subcommands of a subcommand have operands.
fn write_page(directory: &Path, name: &str, command: Command) -> io::Result<()> {
    let is_top = name == "cfgsync";
    let mut rest = Page::default();
    if !is_top && command.has_subcommands() {
        rest.section("SUBCOMMANDS");
        for subcommand in command.get_subcommands() {
            let about = subcommand.get_about().map(ToString::to_string);
            let about = about.unwrap_or_default();
            rest.item_with(subcommand.get_name(), &operands(subcommand), &about);
        }
    }
    if let Some(text) = command.get_after_help() {
        rest.section("NOTES");
        rest.literal(&text.to_string());
    }
    if is_top {
        top_page::add(&mut rest);
    } else {
        rest.see_also(&[
            ("cfgsync", 1),
            ("cfgsync-spec", 5),
            ("cfgsync-production", 7),
        ]);
    }
    let man = Man::new(command.name(name.to_owned()).display_name(name.to_owned()))
        .title(name)
        .source(concat!("cfgsync ", env!("CARGO_PKG_VERSION")))
        .manual("cfgsync manual");
    let mut text = Vec::new();
    man.render_title(&mut text)?;
    man.render_name_section(&mut text)?;
    man.render_synopsis_section(&mut text)?;
    man.render_description_section(&mut text)?;
    man.render_options_section(&mut text)?;
    if is_top {
        man.render_subcommands_section(&mut text)?;
    }
    text.extend(rest.render().bytes());
    std::fs::write(directory.join(format!("{name}.1")), text)
}

/// The operands of a command, each after a space: ` ID [NUMBER]`.
fn operands(command: &Command) -> String {
    let operand = |arg: &Arg| {
        let names = arg.get_value_names().unwrap_or_default();
        let name = names.first().map_or(arg.get_id().as_str(), |name| name);
        if arg.is_required_set() {
            format!(" {name}")
        } else {
            format!(" [{name}]")
        }
    };
    command.get_positionals().map(operand).collect()
}

/// Returns the command without its hidden subcommands, which no completion should offer.
pub(super) fn visible(command: &Command) -> Command {
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
