//! `serve` over TLS: where its key comes from, when it is read again, and the URL that carries the trust in it.

use std::{
    fs, io,
    net::SocketAddr,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use cfgsync_access::{AccessControl, AuditOutcome};
use cfgsync_server::{Tls, TlsError, TlsFiles};
use clap::{Args, ValueEnum};
use tokio::sync::Notify;

use super::{beside::read_beside, place, write_whole};

/// How often it is looked whether files have changed.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// A certificate that expires within this is warned of, in seconds: a week.
const SOON_SECONDS: i64 = 7 * 24 * 60 * 60;

/// The key and certificate that a server made for itself, in its state directory.
const KEPT: &str = "tls-self-signed.pem";

/// TLS
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "TLS")]
pub(super) struct TlsArgs {
    /// Speak TLS with a key that the server makes for itself: nodes know it by the join URL
    #[arg(long, env = "CFGSYNC_TLS", value_name = "HOW")]
    tls: Option<Own>,
    /// Speak TLS with this certificate, followed by those of its issuers (PEM); read again when it changes
    #[arg(
        long,
        env = "CFGSYNC_TLS_CERT",
        value_name = "FILE",
        conflicts_with = "tls"
    )]
    tls_cert: Option<PathBuf>,
    /// Where its key is [default: in the same file]
    #[arg(
        long,
        env = "CFGSYNC_TLS_KEY",
        value_name = "FILE",
        conflicts_with = "tls"
    )]
    tls_key: Option<PathBuf>,
    /// Let in only clients with a certificate that an authority in this file has signed (PEM)
    #[arg(long, env = "CFGSYNC_CLIENT_CA", value_name = "FILE")]
    client_ca: Option<PathBuf>,
    /// Write the join URL to this file once the server listens, and again when the key changes
    #[arg(long, env = "CFGSYNC_JOIN_URL_FILE", value_name = "FILE")]
    join_url_file: Option<PathBuf>,
}

/// Where a key comes from that nobody provides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Own {
    /// Made at the first start, and kept in the state directory.
    SelfSigned,
}

/// Why a server does not begin to speak TLS.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TlsSetupError {
    /// Flags that make no sense together.
    #[error("{0}")]
    Usage(&'static str),
    /// A file that cannot be used, or a key that cannot be made.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The join URL's file cannot be written.
    #[error("cannot write the join URL's file {}: {error}", path.display())]
    JoinUrlFile {
        /// Which one.
        path: PathBuf,
        /// What the operating system said.
        error: io::Error,
    },
}

impl TlsArgs {
    /// Whether only clients with a certificate are let in.
    pub(super) fn authenticates(&self) -> bool {
        self.client_ca.is_some()
    }

    /// Reads or makes what TLS needs, if it is wanted.
    pub(super) fn prepare(
        self,
        addresses: &[SocketAddr],
        state_directory: Option<&Path>,
    ) -> Result<Option<ServeTls>, TlsSetupError> {
        let tls = match (self.tls, self.tls_cert, self.tls_key) {
            (Some(_), Some(_), _) | (Some(_), _, Some(_)) => {
                return Err(TlsSetupError::Usage(
                    "--tls self-signed makes its own certificate: leave out --tls-cert and --tls-key",
                ));
            }
            (None, None, Some(_)) => {
                return Err(TlsSetupError::Usage(
                    "--tls-key is the key of a certificate: add --tls-cert FILE",
                ));
            }
            (None, None, None) if self.client_ca.is_some() => {
                return Err(TlsSetupError::Usage(
                    "--client-ca needs TLS: add --tls-cert FILE, or --tls self-signed",
                ));
            }
            (None, None, None) if self.join_url_file.is_some() => {
                return Err(TlsSetupError::Usage(
                    "a join URL needs TLS: add --tls-cert FILE, or --tls self-signed",
                ));
            }
            (None, None, None) => return Ok(None),
            (None, Some(certificate), key) => From::Files(TlsFiles {
                key: key.unwrap_or_else(|| certificate.clone()),
                certificate,
                client_authorities: self.client_ca,
            }),
            (Some(Own::SelfSigned), None, None) => match state_directory {
                Some(directory) => {
                    let kept = directory.join(KEPT);
                    Tls::create_once(&names(addresses), &kept)?;
                    From::Files(TlsFiles {
                        certificate: kept.clone(),
                        key: kept,
                        client_authorities: self.client_ca,
                    })
                }
                None => From::Memory(self.client_ca),
            },
        };
        let (tls, files) = match tls {
            From::Files(files) => {
                // Before they are read: a change that comes between is seen.
                let stamps = stamps(&files);
                (Tls::read(&files)?, Some((files, stamps)))
            }
            From::Memory(client_ca) => {
                tracing::warn!(
                    "the TLS key was made for this start alone: the next one has another pin and another join URL; \
                     --state-dir keeps it"
                );
                (
                    Tls::self_signed(&names(addresses), client_ca.as_deref())?,
                    None,
                )
            }
        };
        warn_of_dates(&tls);
        Ok(Some(ServeTls {
            tls,
            files,
            addresses: addresses.to_vec(),
            join_url_file: self.join_url_file,
            hangup: Arc::default(),
        }))
    }
}

enum From {
    Files(TlsFiles),
    Memory(Option<PathBuf>),
}

/// TLS as this server does it.
pub(super) struct ServeTls {
    pub(super) tls: Tls,
    /// What is read again; a key in memory is not.
    files: Option<(TlsFiles, Vec<Stamp>)>,
    addresses: Vec<SocketAddr>,
    join_url_file: Option<PathBuf>,
    hangup: Arc<Notify>,
}

impl ServeTls {
    /// How a process on this machine finds and trusts the server.
    pub(super) fn local_url(&self) -> String {
        self.url(&place(&self.addresses).to_string())
    }

    /// The URL that carries the trust in this server's key. Where it listens on all addresses, other machines know
    /// it by its host's name.
    fn join_url(&self) -> String {
        let address = self.addresses[0];
        match host_name() {
            Some(name) if address.ip().is_unspecified() => {
                self.url(&format!("{name}:{}", address.port()))
            }
            _ => self.local_url(),
        }
    }

    fn url(&self, place: &str) -> String {
        format!("cfgsync://{place}/?pin={}", self.tls.pin())
    }

    /// Tells whoever starts nodes how they join.
    pub(super) fn tell(&self) -> Result<(), TlsSetupError> {
        let url = self.join_url();
        if let Some(path) = &self.join_url_file {
            let written = write_whole(path, &format!("{url}\n"));
            written.map_err(|error| TlsSetupError::JoinUrlFile {
                path: path.clone(),
                error,
            })?;
        }
        tracing::info!("nodes join with {url}");
        Ok(())
    }

    /// Has the files read again now.
    pub(super) fn hangup(&self) {
        self.hangup.notify_one();
    }

    /// Reads the files again when they have changed, or at [`Self::hangup`]; for ever. What is there stays in use
    /// when they have a fault.
    pub(super) async fn keep_fresh(&self, guard: &AccessControl) {
        let Some((files, first)) = &self.files else {
            return std::future::pending().await;
        };
        let mut used = first.clone();
        // Two files are not replaced in one instant: a change counts once nothing has moved from one look to the
        // next.
        let mut seen = used.clone();
        loop {
            let told = tokio::select! {
                () = self.hangup.notified() => true,
                () = tokio::time::sleep(LOOK_EVERY) => false,
            };
            let these = files.clone();
            let looked = read_beside(move || stamps(&these)).await;
            let now = looked.unwrap_or_default();
            let is_still = std::mem::replace(&mut seen, now.clone()) == now;
            if told || (is_still && now != used) {
                // What only the audit log did not take is tried again at the next look.
                if self.read_again(files, guard).await {
                    used = now;
                }
            }
        }
    }

    /// Whether that is settled: taken, or refused for what stands in the files.
    async fn read_again(&self, files: &TlsFiles, guard: &AccessControl) -> bool {
        let files = files.clone();
        let read = read_beside(move || Tls::read(&files)).await;
        let (reason, problem) = match read {
            Ok(Ok(new)) => {
                let line = guard.server_line("certificate");
                let line = line.with_hash("key", new.pin().digest());
                match guard.announce(&line).await {
                    Ok(()) => {
                        self.take(&new);
                        guard.record(line);
                        return true;
                    }
                    Err(error) => ("audit", error.to_string()),
                }
            }
            Ok(Err(error)) => ("mistake", error.to_string()),
            Err(problem) => ("mistake", problem),
        };
        tracing::error!("the last good TLS certificate stays in use: {problem}");
        let line = guard.server_line("certificate");
        guard.record(line.with_outcome(AuditOutcome::Refused, Some(reason)));
        reason != "audit"
    }

    fn take(&self, new: &Tls) {
        let before = self.tls.pin();
        self.tls.replace(new);
        tracing::info!("the TLS certificate was read again");
        warn_of_dates(&self.tls);
        if self.tls.pin() != before {
            tracing::warn!(
                "its key is another: nodes that know the server by the pin {before} no longer trust it"
            );
            if let Err(error) = self.tell() {
                tracing::error!("{error}");
            }
        }
    }
}

/// Says so when a certificate is not valid, or soon will not be.
fn warn_of_dates(tls: &Tls) {
    let (now, dates) = (jiff::Timestamp::now().as_second(), tls.dates());
    let shown = |seconds: &i64| match jiff::Timestamp::from_second(*seconds) {
        Ok(moment) => moment.to_string(),
        Err(_) => format!("{seconds} s after 1970"),
    };
    let (from, until) = (shown(dates.start()), shown(dates.end()));
    if now < *dates.start() {
        tracing::warn!(
            "the TLS certificate is valid from {from} only; is this machine's clock wrong?"
        );
    } else if now > *dates.end() {
        tracing::warn!(
            "the TLS certificate expired at {until}: only nodes that pin its key trust it"
        );
    } else if dates.end() - now < SOON_SECONDS {
        tracing::warn!("the TLS certificate expires at {until}");
    }
}

/// What tells one state of a file from another: device, inode, size, and when it was changed.
type Stamp = Option<(u64, u64, u64, i64, i64)>;

fn stamps(files: &TlsFiles) -> Vec<Stamp> {
    let stamp = |path: &PathBuf| {
        let file = fs::metadata(path).ok()?;
        let changed = (file.ctime(), file.ctime_nsec());
        Some((file.dev(), file.ino(), file.size(), changed.0, changed.1))
    };
    let pair = [&files.certificate, &files.key].into_iter();
    pair.chain(&files.client_authorities).map(stamp).collect()
}

/// What a certificate of the server's own making is for: it is known by its key, and these help who looks closer.
fn names(addresses: &[SocketAddr]) -> Vec<String> {
    let mut names = vec!["localhost".to_owned()];
    names.extend(host_name());
    let given = addresses.iter().map(SocketAddr::ip);
    names.extend(
        given
            .filter(|address| !address.is_unspecified())
            .map(|address| address.to_string()),
    );
    names
}

/// What this machine is called, if that can be a host's name.
fn host_name() -> Option<String> {
    let name = rustix::system::uname();
    let name = name.nodename().to_string_lossy();
    let is_name = cfgsync::Identifier::new(&name).is_ok();
    is_name.then(|| name.into_owned())
}
