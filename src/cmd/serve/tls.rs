//! TLS of `serve`: its key and certificate, their reload, and the join URL.

use std::{
    fs, io,
    net::SocketAddr,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use cfgsync_access::{AccessControl, AuditOutcome};
use cfgsync_server::{Tls, TlsError, TlsFiles};
use cfgsync_wire::{ReloadOutcome, ReloadPart, ReloadedPart};
use clap::{Args, ValueEnum};

use super::{blocking::read_blocking, local_address, publish};

/// How often the files are checked for changes.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// How long before its end a certificate causes a warning, in seconds: one week.
const EXPIRY_WARNING_SECONDS: i64 = 7 * 24 * 60 * 60;

/// The file in the state directory with the self-signed certificate and its key.
const SELF_SIGNED_FILE: &str = "tls-self-signed.pem";

/// TLS of the server.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "TLS")]
pub(super) struct TlsArgs {
    /// Use TLS with a key that the server makes; nodes recognize it by the pin in the join URL
    #[arg(long, env = "CFGSYNC_TLS", value_name = "HOW")]
    tls: Option<OwnKey>,
    /// Use TLS with the certificate in this PEM file, followed by those of its issuers; read again when it changes
    #[arg(
        long,
        env = "CFGSYNC_TLS_CERT",
        value_name = "FILE",
        conflicts_with = "tls"
    )]
    tls_cert: Option<PathBuf>,
    /// The file with the key of the certificate [default: the same file]
    #[arg(
        long,
        env = "CFGSYNC_TLS_KEY",
        value_name = "FILE",
        conflicts_with = "tls"
    )]
    tls_key: Option<PathBuf>,
    /// Require a client certificate that is signed by a certificate authority in this PEM file
    #[arg(long, env = "CFGSYNC_CLIENT_CA", value_name = "FILE")]
    client_ca: Option<PathBuf>,
    /// Write the join URL to this file once the server listens, and again after a key change
    #[arg(long, env = "CFGSYNC_JOIN_URL_FILE", value_name = "FILE")]
    join_url_file: Option<PathBuf>,
}

/// How the server gets a key of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum OwnKey {
    /// The server makes the key at its first start, and keeps it in the state directory
    SelfSigned,
}

/// The reason why TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TlsSetupError {
    /// Flags that contradict each other.
    #[error("{0}")]
    Usage(&'static str),
    /// A file cannot be used, or a key cannot be made.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The file for the join URL cannot be written.
    #[error("cannot write the join URL to {}: {error}", path.display())]
    JoinUrlFile {
        /// The file.
        path: PathBuf,
        /// The operating system's error.
        error: io::Error,
    },
}

impl TlsArgs {
    /// Whether every client needs a certificate.
    pub(super) fn authenticates(&self) -> bool {
        self.client_ca.is_some()
    }

    /// Reads or makes the key and certificate. `None` without TLS flags.
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
                    "--tls-key needs --tls-cert FILE, the certificate of that key",
                ));
            }
            (None, None, None) if self.client_ca.is_some() => {
                return Err(TlsSetupError::Usage(
                    "--client-ca needs TLS: add --tls-cert FILE, or --tls self-signed",
                ));
            }
            (None, None, None) if self.join_url_file.is_some() => {
                return Err(TlsSetupError::Usage(
                    "--join-url-file needs TLS: add --tls-cert FILE, or --tls self-signed",
                ));
            }
            (None, None, None) => return Ok(None),
            (None, Some(certificate), key) => KeySource::Files(TlsFiles {
                key: key.unwrap_or_else(|| certificate.clone()),
                certificate,
                client_authorities: self.client_ca,
            }),
            (Some(OwnKey::SelfSigned), None, None) => match state_directory {
                Some(directory) => {
                    let file = directory.join(SELF_SIGNED_FILE);
                    Tls::create_once(&names(addresses), &file)?;
                    KeySource::Files(TlsFiles {
                        certificate: file.clone(),
                        key: file,
                        client_authorities: self.client_ca,
                    })
                }
                None => KeySource::Memory(self.client_ca),
            },
        };
        let (tls, files, used) = match tls {
            KeySource::Files(files) => {
                // Taken before the files are read, so that a change in between is noticed.
                let stamps = stamps(&files);
                (Tls::read(&files)?, Some(files), stamps)
            }
            KeySource::Memory(client_ca) => {
                tracing::warn!(
                    "the TLS key is only in memory, so a restart of the server changes the join URL; keep the key with \
                     --state-dir"
                );
                (
                    Tls::self_signed(&names(addresses), client_ca.as_deref())?,
                    None,
                    vec![],
                )
            }
        };
        warn_of_expiry(&tls);
        Ok(Some(ServeTls {
            tls,
            files,
            used: Mutex::new(used),
            addresses: addresses.to_vec(),
            join_url_file: self.join_url_file,
        }))
    }
}

/// The files with key and certificate.
enum KeySource {
    Files(TlsFiles),
    Memory(Option<PathBuf>),
}

/// The TLS of a running server.
pub(super) struct ServeTls {
    pub(super) tls: Tls,
    /// The files to reload; `None` for a key in memory.
    files: Option<TlsFiles>,
    /// The versions of the files that are in use, or have a mistake.
    used: Mutex<Vec<Stamp>>,
    addresses: Vec<SocketAddr>,
    join_url_file: Option<PathBuf>,
}

impl ServeTls {
    /// Returns the URL for processes on this machine.
    pub(super) fn local_url(&self) -> String {
        self.url(&local_address(&self.addresses).to_string())
    }

    /// Returns the join URL, which contains the pin of the server's key. If the server listens on all addresses, the
    /// URL contains the host's name.
    fn join_url(&self) -> String {
        let address = self.addresses[0];
        match host_name() {
            Some(name) if address.ip().is_unspecified() => {
                self.url(&format!("{name}:{}", address.port()))
            }
            _ => self.local_url(),
        }
    }

    fn url(&self, authority: &str) -> String {
        format!("cfgsync://{authority}/?pin={}", self.tls.pin())
    }

    /// Logs the join URL, and writes it to its file.
    pub(super) fn announce(&self) -> Result<(), TlsSetupError> {
        let url = self.join_url();
        if let Some(path) = &self.join_url_file {
            let written = publish::check(path)
                .and_then(|()| publish::write_atomic(path, &format!("{url}\n")));
            written.map_err(|error| TlsSetupError::JoinUrlFile {
                path: path.clone(),
                error,
            })?;
        }
        tracing::info!("nodes join with {url}");
        Ok(())
    }

    /// Reads the files again.
    pub(super) async fn reload(&self, guard: &AccessControl) -> ReloadedPart {
        let Some(files) = &self.files else {
            let message = "the server made its certificate in memory";
            return ReloadedPart::new(ReloadPart::Certificates, ReloadOutcome::NotUsed, message);
        };
        let now = self.read_stamps(files).await;
        self.read_again(files, now, guard).await
    }

    /// Reads the files again when they change, and passes the result to `report`. Never completes. If the files have a
    /// mistake, the last good certificate stays in use.
    pub(super) async fn keep_fresh(&self, guard: &AccessControl, report: impl Fn(&ReloadedPart)) {
        let Some(files) = &self.files else {
            return std::future::pending().await;
        };
        // Certificate and key cannot be replaced at the same instant, so a change counts only once the files are the
        // same in two checks.
        let mut seen = self.used();
        loop {
            tokio::time::sleep(CHECK_INTERVAL).await;
            let now = self.read_stamps(files).await;
            let is_still = std::mem::replace(&mut seen, now.clone()) == now;
            if is_still && now != self.used() {
                report(&self.read_again(files, now, guard).await);
            }
        }
    }

    /// Returns the versions of the files that are in use, or have a mistake.
    fn used(&self) -> Vec<Stamp> {
        self.used
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    async fn read_stamps(&self, files: &TlsFiles) -> Vec<Stamp> {
        let files = files.clone();
        let checked = read_blocking(move || stamps(&files)).await;
        checked.unwrap_or_default()
    }

    /// Reads the files, whose versions are `now`. A reload that only the audit log refused is tried again at the next
    /// check.
    async fn read_again(
        &self,
        files: &TlsFiles,
        now: Vec<Stamp>,
        guard: &AccessControl,
    ) -> ReloadedPart {
        let part = |outcome, message: String| {
            ReloadedPart::new(ReloadPart::Certificates, outcome, message)
        };
        let these = files.clone();
        let read = read_blocking(move || Tls::read(&these)).await;
        let (reason, problem) = match read {
            Ok(Ok(new)) => {
                let line = guard.server_line("certificate");
                let line = line.with_hash("key", new.pin().digest());
                match guard.announce(&line).await {
                    Ok(()) => {
                        self.use_certificate(&new);
                        guard.record(line);
                        *self.used.lock().unwrap_or_else(PoisonError::into_inner) = now;
                        let message = format!("read {} again", files.certificate.display());
                        return part(ReloadOutcome::Reloaded, message);
                    }
                    Err(error) => ("audit", error.to_string()),
                }
            }
            Ok(Err(error)) => ("mistake", error.to_string()),
            Err(problem) => ("mistake", problem),
        };
        tracing::error!(
            event = "reload_refused",
            reason = problem,
            "the TLS certificate was not reloaded, and the last good one stays in use: {problem}"
        );
        let line = guard.server_line("certificate");
        guard.record(line.with_outcome(AuditOutcome::Refused, Some(reason)));
        if reason != "audit" {
            *self.used.lock().unwrap_or_else(PoisonError::into_inner) = now;
        }
        part(ReloadOutcome::Refused, problem)
    }

    fn use_certificate(&self, new: &Tls) {
        let before = self.tls.pin();
        self.tls.replace(new);
        tracing::info!(event = "reloaded", "the TLS certificate was read again");
        warn_of_expiry(&self.tls);
        if self.tls.pin() != before {
            tracing::warn!(
                event = "certificate_key_changed",
                "the certificate has another key: nodes that trust the server by the pin {before} no longer trust it"
            );
            if let Err(error) = self.announce() {
                tracing::error!("{error}");
            }
        }
    }
}

/// Warns if the certificate is not valid now, or expires soon.
fn warn_of_expiry(tls: &Tls) {
    let (now, dates) = (jiff::Timestamp::now().as_second(), tls.dates());
    let shown = |seconds: &i64| match jiff::Timestamp::from_second(*seconds) {
        Ok(moment) => moment.to_string(),
        Err(_) => format!("{seconds} s after 1970"),
    };
    let (from, until) = (shown(dates.start()), shown(dates.end()));
    if now < *dates.start() {
        tracing::warn!(
            "the TLS certificate is not valid before {from}; check the clock of this machine"
        );
    } else if now > *dates.end() {
        tracing::warn!(
            event = "certificate_expires",
            "the TLS certificate expired at {until}; only nodes that pin its key still trust it"
        );
    } else if dates.end() - now < EXPIRY_WARNING_SECONDS {
        tracing::warn!(
            event = "certificate_expires",
            "the TLS certificate expires at {until}"
        );
    }
}

/// Identifies a version of a file: device, inode, size and the time of its last change.
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

/// Returns the names in a self-signed certificate. Nodes trust its pin, so they are for people only.
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

/// Returns the name of this machine, if it is a valid host name.
fn host_name() -> Option<String> {
    let name = rustix::system::uname();
    let name = name.nodename().to_string_lossy();
    let is_name = cfgsync::Identifier::new(&name).is_ok();
    is_name.then(|| name.into_owned())
}
