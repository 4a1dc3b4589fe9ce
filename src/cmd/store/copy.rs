//! `cfgsync store copy`: the steps of a copy, in the order that leaves at most one of the two stores usable.

use std::{
    convert::Infallible,
    fs,
    path::{Path, PathBuf},
    str::FromStr,
};

use cfgsync::app::History;
use cfgsync_etcd::{EtcdSource, EtcdTarget};
use cfgsync_model::Instance;
use cfgsync_store::{DirectorySource, DirectoryTarget, StateCopy};
use clap::Args;

use crate::cmd::{
    error::CommandError,
    etcd::{self, EtcdArgs},
    exit::Exit,
    server::block_on,
};

/// Copy the state of a cluster to another store, while no server runs
///
/// The copy keeps the instance, and revisions go on above those of the source. Nodes and clients that follow events notice
/// nothing. The target must not have data. The copy is read back and compared. Then the source is marked as moved, and
/// servers refuse it. If the command is interrupted, run it again: until then, at most the source can be used.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  cfgsync store copy --from /var/lib/cfgsync --to etcd --etcd-endpoints http://127.0.0.1:2379"
)]
pub(super) struct CopyArgs {
    /// The state directory to copy, or `etcd`
    #[arg(long, env = "CFGSYNC_FROM", value_name = "DIR|etcd")]
    from: Place,
    /// The directory to copy into, or `etcd`
    #[arg(long, env = "CFGSYNC_TO", value_name = "DIR|etcd")]
    to: Place,
    /// The name of the cluster, to copy it from etcd
    #[arg(long, env = "CFGSYNC_CLUSTER", value_name = "NAME")]
    cluster: Option<String>,
    #[command(flatten)]
    etcd: EtcdArgs,
}

/// The name of a store on the command line. A directory with the name `etcd` is `./etcd`.
#[derive(Debug, Clone)]
enum Place {
    Etcd,
    Directory(PathBuf),
}

impl FromStr for Place {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(match text {
            "etcd" => Self::Etcd,
            directory => Self::Directory(directory.into()),
        })
    }
}

pub(super) fn run(args: &CopyArgs) -> Result<Exit, CommandError> {
    if !args.etcd.is_given() {
        return Err(CommandError::usage(
            "`store copy` needs --etcd-endpoints http://HOST:2379",
        ));
    }
    match (&args.from, &args.to) {
        (Place::Directory(from), Place::Etcd) => block_on(to_etcd(args, from)),
        (Place::Etcd, Place::Directory(to)) => block_on(to_directory(args, to)),
        _ => Err(CommandError::usage(
            "one of --from and --to is a directory, and the other one is `etcd`",
        )),
    }
}

async fn to_etcd(args: &CopyArgs, from: &Path) -> Result<Exit, CommandError> {
    let source = DirectorySource::open(from)?;
    let copy = source.copy();
    if let Some(cluster) = args.cluster.as_deref().filter(|it| *it != copy.cluster) {
        return Err(CommandError::new(
            Exit::WrongSetting,
            format!(
                "{} holds the state of cluster {}, not of {cluster}",
                from.display(),
                copy.cluster
            ),
        ));
    }
    let config = args.etcd.config(&copy.cluster, History::default())?;
    let mut target = EtcdTarget::open(config).await.map_err(etcd::failure)?;
    let name = target.name();
    check_resumption(source.moved_to(), &name, target.incoming(), copy.instance)?;
    let written = target.write(copy, &directory_name(from)?).await;
    written.map_err(etcd::failure)?;
    compare(copy, &target.read_back().await.map_err(etcd::failure)?)?;
    source.mark_moved(&name)?;
    target.complete(copy).await.map_err(etcd::failure)?;
    report(copy, &name);
    Ok(Exit::Done)
}

async fn to_directory(args: &CopyArgs, to: &Path) -> Result<Exit, CommandError> {
    let cluster = args.cluster.as_deref().ok_or_else(|| {
        CommandError::usage("a copy from etcd needs --cluster NAME, the name in the spec")
    })?;
    let config = args.etcd.config(cluster, History::default())?;
    let source = EtcdSource::open(config).await.map_err(etcd::failure)?;
    let copy = source.copy();
    let target = DirectoryTarget::open(to)?;
    let name = directory_name(to)?;
    check_resumption(source.moved_to(), &name, target.incoming(), copy.instance)?;
    target.write(copy, &source.name())?;
    compare(copy, &target.read_back()?)?;
    source.mark_moved(&name).await.map_err(etcd::failure)?;
    target.complete()?;
    report(copy, &name);
    Ok(Exit::Done)
}

/// Fails if the source was moved, unless an earlier copy to the same target was interrupted after that.
fn check_resumption(
    moved_to: Option<&str>,
    target: &str,
    incoming: Option<Instance>,
    instance: Instance,
) -> Result<(), CommandError> {
    if let Some(other) = incoming.filter(|incoming| *incoming != instance) {
        return Err(CommandError::new(
            Exit::WrongSetting,
            format!("{target} has an incomplete copy of another instance, {other}"),
        )
        .hint("complete that copy, or choose another target"));
    }
    match moved_to {
        Some(moved_to) if moved_to != target || incoming.is_none() => Err(CommandError::new(
            Exit::WrongSetting,
            format!("the source was moved to {moved_to}, and the cluster continues there"),
        )
        .hint("copy from there")),
        _ => Ok(()),
    }
}

fn compare(copy: &StateCopy, read_back: &StateCopy) -> Result<(), CommandError> {
    match copy.difference(read_back) {
        None => Ok(()),
        Some(part) => Err(CommandError::new(
            Exit::Unexpected,
            format!("the copy differs from the source: {part}; the source can still be used"),
        )),
    }
}

/// Returns the name of a directory that exists, for marks and messages.
fn directory_name(directory: &Path) -> Result<String, CommandError> {
    let path = fs::canonicalize(directory).map_err(|error| {
        let path = directory.display();
        CommandError::new(
            Exit::WrongSetting,
            format!("cannot find the path of {path}: {error}"),
        )
    })?;
    Ok(path.display().to_string())
}

fn report(copy: &StateCopy, target: &str) {
    tracing::info!(
        "copied instance {} of cluster {} to {target}: revision {}; registrations: {}, generations: {}",
        copy.instance,
        copy.cluster,
        copy.state.revision,
        copy.state.registrations.len(),
        copy.state.generations.len()
    );
}
