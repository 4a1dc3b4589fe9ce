//! `cfgsync values import`: gives a namespace the values of a file.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use cfgsync_client::{CallError, Client};
use cfgsync_codec::{Content, decode};
use cfgsync_model::{Codec, Namespace};
use cfgsync_support::bounded_file;
use cfgsync_wire::{
    EntryBody, ImportAnswer, ImportBody, ImportChange, ImportChangeKind, ImportEntry,
};
use clap::Args;

use super::{
    ValuesError,
    value_file::{FILE_MAX_BYTES, ValueFile},
};
use crate::cmd::{
    diff::unified_bytes,
    error::CommandError,
    exit::Exit,
    output::{Format, print_as, print_as_document},
    progress::counted,
};

/// Set the values of a namespace to those of a YAML file, all or none
///
/// All changes are made at one revision. A value with the same content keeps its version. If another client changes one
/// of the values at the same time, nothing is changed. `cfgsync values export` writes such a file.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  cfgsync values import production.yaml --dry-run   # the differences; exit code 3 if there are any
  cfgsync values import production.yaml
  cfgsync values import production.yaml --prune     # also delete the values that are not in the file
  cfgsync values import production.yaml --into staging")]
pub(super) struct ImportArgs {
    /// The file; `-` is standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The namespace [default: the `namespace` in the file]
    #[arg(long, env = "CFGSYNC_INTO", value_name = "NAMESPACE")]
    into: Option<Namespace>,
    /// Also delete the values of the namespace that are not in the file
    #[arg(long, env = "CFGSYNC_PRUNE")]
    prune: bool,
    /// Change nothing, and print the differences; exit code 3 if there are any
    #[arg(long, env = "CFGSYNC_DRY_RUN")]
    dry_run: bool,
    /// Output format of the changes [default: a diff with --dry-run, otherwise none]
    #[arg(short, long, env = "CFGSYNC_OUTPUT", value_name = "FORMAT")]
    output: Option<Format>,
}

pub(super) async fn run(client: &Client, args: ImportArgs) -> Result<Exit, CommandError> {
    let path = args.file.as_path();
    let path = if path.as_os_str() == "-" {
        Path::new("/dev/stdin")
    } else {
        path
    };
    let text = bounded_file::read_text(path, FILE_MAX_BYTES);
    let text = text.map_err(|problem| ValuesError::Read {
        path: args.file.clone(),
        problem,
    })?;
    let invalid = |problem| ValuesError::File {
        path: args.file.clone(),
        problem,
    };
    let file = ValueFile::parse(&text).map_err(invalid)?;
    let namespace = args.into.or(file.namespace).ok_or_else(|| {
        invalid("it names no namespace; add `namespace: NAME`, or use --into".to_owned())
    })?;
    let body = ImportBody {
        entries: file.entries,
        prune: args.prune,
        dry_run: args.dry_run,
    };
    let answer = match client.import_values(&namespace, &body).await {
        Ok(response) => response.value,
        Err(error) => return Err(of_import(error)),
    };
    if args.dry_run {
        let before = client
            .values_snapshot(&namespace, false)
            .await?
            .value
            .entries;
        let document =
            |answer: &ImportAnswer| document(&namespace, &answer.changes, &before, &body);
        print_as_document(args.output.unwrap_or(Format::Table), &answer, document)?;
        return Ok(if answer.changes.is_empty() {
            Exit::Done
        } else {
            Exit::No
        });
    }
    if let Some(format) = args.output.filter(|format| *format != Format::Table) {
        print_as(format, &answer, |_| "")?;
    }
    let count = |kind| {
        let changes = answer.changes.iter();
        changes.filter(|change| change.change == kind).count()
    };
    tracing::info!(
        "imported {namespace}: {} created, {} updated, {} deleted, {} unchanged",
        counted(count(ImportChangeKind::Create), "value"),
        count(ImportChangeKind::Update),
        count(ImportChangeKind::Delete),
        answer.unchanged
    );
    Ok(Exit::Done)
}

/// Returns the error of an import, with what to do about it.
fn of_import(error: CallError) -> CommandError {
    let hint = match &error {
        CallError::Refused { status, .. } if status.as_u16() == 413 => {
            "divide the file, and import the parts one after another without --prune"
        }
        CallError::Refused { body, .. } => match body.reason.as_deref() {
            Some("invalid_value") if body.message.contains("has no content") => {
                "nothing was changed; export the file with --reveal to include the contents of secrets"
            }
            Some("invalid_value") => "nothing was changed; correct the value in the file",
            Some("other_version") => "nothing was changed; import again",
            _ => return error.into(),
        },
        _ => return error.into(),
    };
    CommandError::from(error).hint(hint)
}

/// Returns the differences for people. Those of secrets show no content.
fn document(
    namespace: &Namespace,
    changes: &[ImportChange],
    before: &[EntryBody],
    import: &ImportBody,
) -> String {
    let before: BTreeMap<_, _> = before.iter().map(|entry| (&entry.key, entry)).collect();
    let after: BTreeMap<_, _> = (import.entries.iter())
        .map(|entry| (&entry.key, entry))
        .collect();
    let difference = |change: &ImportChange| {
        let name = format!("{namespace}/{}", change.key);
        let old = before.get(&change.key).copied();
        let new = after.get(&change.key).copied();
        let new = new.filter(|_| change.change != ImportChangeKind::Delete);
        difference(&name, old, new)
    };
    changes.iter().map(difference).collect()
}

/// Returns the difference of one value.
fn difference(name: &str, old: Option<&EntryBody>, new: Option<&ImportEntry>) -> String {
    let is_secret =
        old.is_some_and(EntryBody::is_secret) || new.is_some_and(ImportEntry::is_secret);
    let mut text = String::new();
    let old_codec = old.map(|old| old.codec.to_string());
    let new_codec = new.map(|new| codec_of(new).to_string());
    if let (Some(old), Some(new)) = (&old_codec, &new_codec)
        && old != new
    {
        text.push_str(&format!("codec of {name}: {old} → {new}\n"));
    }
    let expiry = |at: Option<_>| at.map_or_else(|| "never".to_owned(), |at| format!("{at}"));
    let old_expiry = old.map(|old| expiry(old.expires_at));
    let new_expiry = new.map(|new| expiry(new.expires_at));
    if let (Some(old), Some(new)) = (old_expiry, new_expiry)
        && old != new
    {
        text.push_str(&format!("expiry of {name}: {old} → {new}\n"));
    }
    if is_secret {
        let verb = match (old, new) {
            (None, _) => "create",
            (Some(_), None) => "delete",
            (Some(_), Some(_)) => "update",
        };
        text.push_str(&format!("secret {name}: {verb}\n"));
        return text;
    }
    let old = old.and_then(|old| Some(lines_of(&old.codec, old.bytes()?)));
    let new = new.and_then(|new| Some(lines_of(&codec_of(new), new.value.clone()?.0)));
    text.push_str(&unified_bytes(name, old.as_deref(), name, new.as_deref()));
    text
}

/// Returns the codec of a value of the file.
fn codec_of(entry: &ImportEntry) -> Codec {
    let default = || cfgsync_codec::DEFAULT_CODEC.parse().expect("a valid name");
    entry.codec.clone().unwrap_or_else(default)
}

/// Returns content for a diff. JSON gets one line for each member, as its form does not count.
fn lines_of(codec: &Codec, bytes: Vec<u8>) -> Vec<u8> {
    match decode(codec, &bytes) {
        Ok(Content::Json(content)) if codec.as_str() == cfgsync_codec::DEFAULT_CODEC => {
            let mut lines = serde_json::to_vec_pretty(&content).expect("map keys are strings");
            lines.push(b'\n');
            lines
        }
        _ => bytes,
    }
}
