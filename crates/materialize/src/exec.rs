//! The kind `exec`: a program makes the files.
//!
//! The program reads one JSON document from its standard input, `{cluster, revision, nodes, values, once}`, with the
//! operators' values that it declares to read as `operator_values`. It writes one to its standard output (see `answer`). Its standard error goes to the log.
//!
//! The program runs in its own process group. The group is killed if the program takes too long or prints too much. A
//! child that leaves the group (`setsid`) is not killed, but the server does not wait for it.

mod answer;
mod input;
mod run;
#[cfg(test)]
mod tests;

use tokio::sync::watch;

use self::{
    answer::read_answer,
    input::json_of,
    run::{Finished, Run},
};
use cfgsync_model::RegistrationSnapshot;
use cfgsync_spec::{
    ExecSpec, MaterializationResult, MaterializeError, Materializer, ReadableValues,
};

/// Runs a program at each render.
pub(super) struct ExecMaterializer {
    spec: ExecSpec,
    /// Whether the server is stopping. Then a program that runs is killed, so that it does not outlive the server.
    stopping: watch::Sender<bool>,
}

impl ExecMaterializer {
    /// Returns a materializer that runs the program of `spec`.
    pub(super) fn new(spec: &ExecSpec) -> Self {
        Self {
            spec: spec.clone(),
            stopping: watch::Sender::new(false),
        }
    }

    fn failed(&self, problem: impl std::fmt::Display) -> MaterializeError {
        MaterializeError::new(format!("{}: {problem}", self.name()))
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
        let (input, has_secrets) =
            json_of(snapshot, &self.spec.reads).map_err(|error| self.failed(error))?;
        let hides_output = self.spec.secret || has_secrets;
        let run = Run {
            spec: &self.spec,
            name: &self.name(),
            hides_output,
            stopping: self.stopping.subscribe(),
        };
        let Finished { failure, stdout } = run
            .run_to_completion(input)
            .map_err(|error| self.failed(error))?;
        if let Some(failure) = failure {
            return Err(self.failed(failure));
        }
        read_answer(&stdout, snapshot, self.spec.secret, hides_output)
            .map_err(|problem| self.failed(problem))
    }

    fn reads(&self) -> ReadableValues {
        ReadableValues::Declared(self.spec.reads.clone())
    }

    fn stop(&self) {
        self.stopping.send_replace(true);
    }
}
