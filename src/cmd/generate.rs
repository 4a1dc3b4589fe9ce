//! `cfgsync generate`, hidden: writes what is generated from the code and committed.

mod spec_page;

use std::path::PathBuf;

use cfgsync::spec::Spec;
use clap::{Args, Command};
use clap_complete::{Shell, generate_to};
use clap_mangen::Man;

use super::{report::Exit, settings};

/// Write completions, manual pages and the spec's JSON Schema
#[derive(Debug, Args)]
pub(crate) struct GenerateArgs {
    /// The root of the source tree
    #[arg(default_value = ".")]
    root: PathBuf,
}

/// A generated file that could not be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot write below {}: {error}", root.display())]
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
    let command = visible(settings::documented());
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
    let mut text = serde_json::to_string_pretty(&schema)?;
    text.push('\n');
    std::fs::write(schemas.join("cfgsync-spec.schema.json"), text)
}

fn write_page(directory: &std::path::Path, name: &str, command: Command) -> std::io::Result<()> {
    let mut page = Vec::new();
    let source = concat!("cfgsync ", env!("CARGO_PKG_VERSION"));
    let man = Man::new(command.name(name.to_owned()).display_name(name.to_owned()))
        .title(name)
        .source(source)
        .manual("cfgsync manual");
    man.render(&mut page)?;
    std::fs::write(directory.join(format!("{name}.1")), page)
}

/// Without what is hidden: nobody should complete to it.
fn visible(command: Command) -> Command {
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
    shown.subcommands(subcommands.filter(|subcommand| {
        !hidden.iter().any(|name| name == subcommand.get_name())
    }))
}
