//! The flags of `--probe`: what is checked, how often, and when it decides. [`super::prober`] does the checks.

use std::{str::FromStr, time::Duration};

use cfgsync_client::Endpoint;
use clap::Args;

use crate::cmd::parsers;

/// The shortest interval and timeout of the checks.
const INTERVAL_MIN: Duration = Duration::from_millis(100);

#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Following")]
pub(crate) struct ProbeArgs {
    /// Check the service of this node, and report the phases `started`, `healthy` and `failed`: a shell command,
    /// http://HOST:PORT/PATH or tcp://HOST:PORT
    #[arg(long, env = "CFGSYNC_PROBE", value_name = "COMMAND|URL")]
    probe: Option<Target>,
    /// Time from one check of --probe to the next
    #[arg(
        long,
        env = "CFGSYNC_PROBE_INTERVAL",
        value_name = "DURATION",
        default_value = "5s",
        value_parser = interval
    )]
    probe_interval: Duration,
    /// How long one check of --probe may take
    #[arg(
        long,
        env = "CFGSYNC_PROBE_TIMEOUT",
        value_name = "DURATION",
        default_value = "5s",
        value_parser = interval
    )]
    probe_timeout: Duration,
    /// After so many checks in a row with the same result, the node is healthy or has failed
    #[arg(
        long,
        env = "CFGSYNC_PROBE_THRESHOLD",
        value_name = "N",
        default_value = "3",
        value_parser = clap::value_parser!(u32).range(1..=1000)
    )]
    probe_threshold: u32,
    /// How long failed checks of --probe do not count after a start or a new generation, until one succeeds
    #[arg(
        long,
        env = "CFGSYNC_PROBE_START_PERIOD",
        value_name = "DURATION",
        default_value = "10s",
        value_parser = parsers::duration
    )]
    probe_start_period: Duration,
}

impl ProbeArgs {
    /// Returns whether `--probe` is given.
    pub(super) fn is_given(&self) -> bool {
        self.probe.is_some()
    }

    /// Returns `None` without `--probe`.
    pub(super) fn resolve(self) -> Option<ProbeSettings> {
        Some(ProbeSettings {
            target: self.probe?,
            interval: self.probe_interval,
            timeout: self.probe_timeout,
            threshold: self.probe_threshold,
            start_period: self.probe_start_period,
        })
    }
}

/// The checked flags.
#[derive(Debug, Clone)]
pub(super) struct ProbeSettings {
    pub(super) target: Target,
    pub(super) interval: Duration,
    pub(super) timeout: Duration,
    /// The number of equal results in a row that decides.
    pub(super) threshold: u32,
    /// How long failures do not count before the first success.
    pub(super) start_period: Duration,
}

/// The checked service.
#[derive(Debug, Clone)]
pub(super) enum Target {
    /// The exit code of a shell command.
    Command(String),
    /// A connection, or the status of an HTTP response.
    Endpoint(Endpoint),
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let is_scheme_byte = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
        let is_url = |scheme: &str| !scheme.is_empty() && scheme.bytes().all(is_scheme_byte);
        match text.split_once("://") {
            Some((scheme, _)) if is_url(scheme) => match text.parse() {
                Ok(endpoint) => Ok(Self::Endpoint(endpoint)),
                Err(error) => Err(format!("{error}")),
            },
            _ if text.trim().is_empty() => {
                Err("expected a shell command, http://HOST:PORT/PATH or tcp://HOST:PORT".to_owned())
            }
            _ => Ok(Self::Command(text.to_owned())),
        }
    }
}

fn interval(text: &str) -> Result<Duration, String> {
    match parsers::duration(text)? {
        duration if duration < INTERVAL_MIN => Err("expected at least 100ms".to_owned()),
        duration => Ok(duration),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn url_is_told_from_a_command() {
        for (text, is_command) in [
            ("curl -fsS https://localhost/", true),
            ("./check", true),
            ("http://localhost:80/", false),
            ("tcp://localhost:80", false),
        ] {
            let target: Target = text.parse().unwrap();
            assert_eq!(matches!(target, Target::Command(_)), is_command, "{text}");
        }
        for (text, expected) in [
            ("", "expected a shell command"),
            ("https://localhost/", "use a command in its place"),
            (
                "udp://localhost:1",
                "expected http://HOST:PORT/PATH or tcp://",
            ),
        ] {
            let error = text.parse::<Target>().unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }
}
