//! `kind: exec`: a program makes the files.
//!
//! It gets one JSON document on its standard input, `{cluster, revision, nodes, values, once}`, and answers
//! with one on its standard output (see `answer`). Its standard error goes to the log. It runs in a process
//! group of its own, which is killed when it takes too long or prints too much; a child that leaves the
//! group (`setsid`) escapes that, but holds nothing up.

mod answer;
mod run;
#[cfg(test)]
mod tests;

use self::{
    answer::read_answer,
    run::{Ended, Run},
};
use tokio::sync::watch;

use super::{MaterializationResult, MaterializeError, Materializer};
use cfgsync_model::RegistrationSnapshot;
use cfgsync_spec::ExecSpec;

/// Runs a program for every render.
pub struct ExecMaterializer {
    spec: ExecSpec,
    /// Whether the server stops: no run may outlive it.
    stopping: watch::Sender<bool>,
}

impl ExecMaterializer {
    /// The program that `spec` names.
    pub fn new(spec: &ExecSpec) -> Self {
        Self {
            spec: spec.clone(),
            stopping: watch::Sender::new(false),
        }
    }

    fn failed(&self, problem: impl std::fmt::Display) -> MaterializeError {
        MaterializeError(format!("{}: {problem}", self.name()))
    }
}

impl Materializer for ExecMaterializer {
    fn name(&self) -> String {
        format!(
            "exec {}",
            self.spec.command.first().map_or("", String::as_str)
        )
    }

    fn materialize(
        &self,
        snapshot: &RegistrationSnapshot,
    ) -> Result<MaterializationResult, MaterializeError> {
        let input = serde_json::to_vec(snapshot)
            .map_err(|error| self.failed(format!("the snapshot is not JSON: {error}")))?;
        let run = Run {
            spec: &self.spec,
            name: &self.name(),
            stopping: self.stopping.subscribe(),
        };
        let output = match run.to_its_end(input).map_err(|error| self.failed(error))? {
            Ended {
                failure: Some(failure),
                ..
            } => return Err(self.failed(failure)),
            Ended { stdout, .. } => stdout,
        };
        read_answer(&output, snapshot, self.spec.secret).map_err(|problem| self.failed(problem))
    }

    fn stop(&self) {
        self.stopping.send_replace(true);
    }
}
