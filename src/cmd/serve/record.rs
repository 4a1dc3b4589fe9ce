//! The file with the flight record, which `serve --record` writes when the server ends.

use std::path::{Path, PathBuf};

use cfgsync_cluster::Coordinator;
use cfgsync_support::replace_file;
use clap::Args;

use super::ServeError;
use crate::cmd::{
    error::CommandError,
    record::{self, RecordFormat},
};

/// The permission bits of the file, less the umask.
const MODE: u32 = 0o666;

/// Where the flight record is written.
#[derive(Debug, Args)]
pub(super) struct RecordArgs {
    /// Write the flight record of the newest generation to this file when the server ends, whatever ends it
    #[arg(long, env = "CFGSYNC_RECORD", value_name = "FILE")]
    record: Option<PathBuf>,
    /// Format of --record [default: by the extension of the file: .txt, .json, .xml for JUnit, .svg]
    #[arg(
        long,
        env = "CFGSYNC_RECORD_FORMAT",
        value_name = "FORMAT",
        requires = "record"
    )]
    record_format: Option<RecordFormat>,
}

/// A file that can be written.
#[derive(Debug, Clone)]
pub(super) struct RecordFile {
    path: PathBuf,
    format: RecordFormat,
}

impl RecordArgs {
    /// Checks that the file can be written.
    pub(super) fn check(&self) -> Result<Option<RecordFile>, CommandError> {
        let Some(path) = &self.record else {
            return Ok(None);
        };
        let format = self.record_format.or_else(|| RecordFormat::of_file(path));
        let format = format.ok_or_else(|| {
            CommandError::usage(format!(
                "the extension of {} is not .txt, .json, .xml or .svg: add --record-format",
                path.display()
            ))
        })?;
        replace_file::check(path).map_err(|error| ServeError::Record {
            path: path.clone(),
            error,
        })?;
        Ok(Some(RecordFile {
            path: path.clone(),
            format,
        }))
    }
}

impl RecordFile {
    /// Writes the record of the newest generation. A failure is logged, because the server has ended for another reason.
    pub(super) fn write(&self, coordinator: &Coordinator) {
        // The newest generation is always kept.
        let Some(body) = coordinator.record(None) else {
            return;
        };
        let document = record::document(&body, self.format);
        let path: &Path = &self.path;
        match replace_file::replace(path, document.as_bytes(), MODE) {
            Ok(()) => tracing::info!(
                event = "record_written",
                "wrote the flight record to {}: {}",
                path.display(),
                body.message
            ),
            Err(error) => tracing::error!(
                event = "record_not_written",
                reason = %error,
                "cannot write the flight record to {}: {error}",
                path.display()
            ),
        }
    }
}
