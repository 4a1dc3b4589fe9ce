//! `--etcd-*`: how a server reaches etcd, and where the data of the cluster are there.

use std::{path::PathBuf, sync::Arc, time::Duration};

use cfgsync::app::{self, History};
use cfgsync_etcd::{Endpoint, EtcdConfig, EtcdError, EtcdErrorKind, Housekeeping};
use cfgsync_store::Store;
use clap::Args;
use tokio::runtime::Handle;

use super::{credentials, error::CommandError, exit::Exit, parsers::duration};

/// The shortest timeout. A shorter one would refuse changes that a healthy etcd confirms.
const TIMEOUT_MIN: Duration = Duration::from_secs(1);

#[derive(Debug, Args)]
#[expect(
    clippy::struct_field_names,
    reason = "clap makes the names of flags from those of fields"
)]
pub(crate) struct EtcdArgs {
    /// The members of etcd for `--store etcd`, separated by commas; repeatable
    ///
    /// The server uses one member at a time. After a failure it goes on with the next one.
    #[arg(
        long,
        env = "CFGSYNC_ETCD_ENDPOINTS",
        value_name = "URL",
        value_delimiter = ','
    )]
    etcd_endpoints: Vec<Endpoint>,
    /// The prefix of all keys in etcd. The keys of this cluster are below it, under the name of the cluster
    #[arg(
        long,
        env = "CFGSYNC_ETCD_PREFIX",
        value_name = "PREFIX",
        default_value = "/cfgsync",
        value_parser = prefix
    )]
    etcd_prefix: String,
    /// Trust the certificate authorities in this PEM file for etcd, in place of those of the public web
    #[arg(long, env = "CFGSYNC_ETCD_CA", value_name = "FILE")]
    etcd_ca: Option<PathBuf>,
    /// The certificate that this server presents to etcd, a PEM file
    #[arg(
        long,
        env = "CFGSYNC_ETCD_CERT",
        value_name = "FILE",
        requires = "etcd_key"
    )]
    etcd_cert: Option<PathBuf>,
    /// The private key of `--etcd-cert`, a PEM file
    #[arg(
        long,
        env = "CFGSYNC_ETCD_KEY",
        value_name = "FILE",
        requires = "etcd_cert"
    )]
    etcd_key: Option<PathBuf>,
    /// The name of the user in etcd
    #[arg(
        long,
        env = "CFGSYNC_ETCD_USER",
        value_name = "NAME",
        requires = "etcd_password_file"
    )]
    etcd_user: Option<String>,
    /// The file with the password of `--etcd-user`
    #[arg(
        long,
        env = "CFGSYNC_ETCD_PASSWORD_FILE",
        value_name = "FILE",
        requires = "etcd_user"
    )]
    etcd_password_file: Option<PathBuf>,
    /// How long the server tries to read its data in etcd when it starts
    #[arg(
        long,
        env = "CFGSYNC_ETCD_START_TIMEOUT",
        value_name = "DURATION",
        default_value = "10s",
        value_parser = timeout
    )]
    etcd_start_timeout: Duration,
    /// How long a change may wait for etcd. Then it is answered with status 503, and `join` tries again
    #[arg(
        long,
        env = "CFGSYNC_ETCD_WRITE_TIMEOUT",
        value_name = "DURATION",
        default_value = "5s",
        value_parser = timeout
    )]
    etcd_write_timeout: Duration,
}

impl EtcdArgs {
    /// Whether a member of etcd is named.
    pub(crate) fn is_given(&self) -> bool {
        !self.etcd_endpoints.is_empty()
    }

    /// Returns the settings of the store of `cluster`.
    pub(crate) fn config(
        &self,
        cluster: &str,
        history: History,
    ) -> Result<EtcdConfig, CommandError> {
        let user = match (&self.etcd_user, &self.etcd_password_file) {
            (Some(name), Some(file)) => Some((name.clone(), credentials::read_password(file)?)),
            _ => None,
        };
        Ok(EtcdConfig {
            endpoints: self.etcd_endpoints.clone(),
            prefix: self.etcd_prefix.clone(),
            cluster: cluster.to_owned(),
            authorities: self.etcd_ca.clone(),
            identity: self.etcd_cert.clone().zip(self.etcd_key.clone()),
            user,
            start_timeout: self.etcd_start_timeout,
            write_timeout: self.etcd_write_timeout,
            history: history.generations,
            event_bounds: history.events,
            housekeeping: Housekeeping::default(),
        })
    }
}

/// Opens the store. Blocks the calling thread, which is not one of the runtime's own.
pub(crate) fn open(config: EtcdConfig, restored: bool) -> Result<Arc<dyn Store>, CommandError> {
    let opened = Handle::current().block_on(app::open_etcd(config, restored));
    opened.map_err(failure)
}

/// Returns the failure of a command for an error of etcd.
#[expect(clippy::needless_pass_by_value, reason = "it is given to `map_err`")]
pub(crate) fn failure(error: EtcdError) -> CommandError {
    let (exit, hint) = advice(error.kind);
    CommandError::new(exit, format!("cannot use etcd: {error}")).hint(hint)
}

/// Returns the exit code for an error of etcd, and the way out.
fn advice(kind: EtcdErrorKind) -> (Exit, &'static str) {
    match kind {
        EtcdErrorKind::Unreachable | EtcdErrorKind::Ambiguous | EtcdErrorKind::Compacted => (
            Exit::Unreachable,
            "check that etcd runs and that --etcd-endpoints names its clients' addresses",
        ),
        EtcdErrorKind::NoSpace => (
            Exit::Unreachable,
            "the database of etcd is full: compact and defragment it, then `etcdctl alarm disarm`",
        ),
        EtcdErrorKind::NotPermitted | EtcdErrorKind::TokenExpired => (
            Exit::NotAllowed,
            "check --etcd-user and its password; the user needs to read and write the keys below --etcd-prefix",
        ),
        EtcdErrorKind::NotTrusted => (
            Exit::NotAllowed,
            "check --etcd-ca, --etcd-cert and --etcd-key, and the names in etcd's certificate",
        ),
        EtcdErrorKind::NotEtcd => (
            Exit::WrongSetting,
            "check --etcd-endpoints; an address that begins with http:// has no TLS",
        ),
        EtcdErrorKind::InUse => (Exit::WrongSetting, "stop all servers of the cluster first"),
        EtcdErrorKind::NotFound => (Exit::WrongSetting, "check --cluster and --etcd-prefix"),
        EtcdErrorKind::NotEmpty => (
            Exit::WrongSetting,
            "choose another --etcd-prefix, or delete these keys with etcdctl if the cluster is no longer needed",
        ),
        EtcdErrorKind::Moved => (
            Exit::WrongSetting,
            "use the store that the message names; run `cfgsync store copy` again if it was interrupted; `serve --restored` \
             continues moved data as a new instance",
        ),
        EtcdErrorKind::Replaced => (
            Exit::WrongSetting,
            "start one server with --restored: the nodes then register again with a new instance",
        ),
        EtcdErrorKind::TooLarge => (
            Exit::WrongSetting,
            "make the files of the spec smaller, or use a state directory",
        ),
        EtcdErrorKind::Malformed => (
            Exit::WrongSetting,
            "look at the keys below --etcd-prefix with etcdctl; another prefix begins a new cluster",
        ),
    }
}

/// Parses a prefix of keys. A slash at its end is left out.
fn prefix(text: &str) -> Result<String, String> {
    let prefix = text.trim_end_matches('/');
    if prefix
        .chars()
        .any(|char| char.is_whitespace() || char.is_control())
    {
        return Err("a prefix has no spaces".to_owned());
    }
    if prefix.is_empty() {
        return Err("a prefix has at least one character besides `/`".to_owned());
    }
    Ok(prefix.to_owned())
}

fn timeout(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        timeout if timeout >= TIMEOUT_MIN => Ok(timeout),
        _ => Err("the timeout is at least 1s".to_owned()),
    }
}
