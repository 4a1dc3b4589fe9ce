//! The bodies of the routes of runs.

use bytes::Bytes;
use data_encoding::{BASE64, HEXLOWER_PERMISSIVE};
use serde::{Deserialize, Serialize};

use super::{Code, InvalidBody, request::read};
use cfgsync_model::{
    ClaimId, Fence, GenerationNumber, Identifier, PHASE_REASON_MAX_BYTES, RUN_OUTPUT_MAX_BYTES,
    Run, RunName, RunState,
};
use cfgsync_support::clock::Timestamp;

/// The number of runners that may fail or die, if a claim does not say.
const TRIES_DEFAULT: u32 = 3;

/// The reason in the response to a runner that another one has replaced.
pub const FENCED: &str = "fenced";

/// The body of `POST /v1/run-once/{run}/claim`, with which a process asks to run a program.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClaimBody {
    /// The node.
    pub identifier: Identifier,
    /// The process: 32 random hexadecimal digits. A repeated claim of the same process gets the same answer.
    pub claim: String,
    /// Whether the run is done once for each generation.
    #[serde(default)]
    pub per_generation: bool,
    /// The generation of the node. If it is absent, the newest one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<GenerationNumber>,
    /// The number of runners that may fail or die.
    #[serde(default = "tries_default")]
    pub tries: u32,
}

/// The body with which a runner renews its lease, or ends the run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunnerBody {
    /// The node.
    pub identifier: Identifier,
    /// The fence of the runner.
    pub fence: Fence,
    /// The output of the program, as base64, for `done`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<String>,
    /// The reason, for `failed`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// The body of the response to a claim, and to a renewal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunBody {
    /// The answer.
    pub state: RunAnswerState,
    /// The answer in one line.
    pub message: String,
    /// The code of the error, with `waiting` and `failed`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<Code>,
    /// The reason of the error, with `waiting` and `failed`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The fence of the runner, with `run` and `done`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fence: Option<Fence>,
    /// The length of the lease in milliseconds, with `run`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease_milliseconds: Option<u64>,
    /// The output of the program, as base64, with `done`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<String>,
}

/// The kind of answer to a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunAnswerState {
    /// The process may run the program. The status is 200.
    Run,
    /// The run has succeeded. The status is 200.
    Done,
    /// Another node runs the program. The status is 425.
    Waiting,
    /// All tries have failed. The status is 410.
    Failed,
}

/// A run in the list of `GET /v1/run-once`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunEntry {
    /// The name of the run.
    pub name: RunName,
    /// `running`, `failed` or `done`.
    pub state: String,
    /// The newest runner.
    pub runner: Identifier,
    /// Its fence.
    pub fence: Fence,
    /// The number of runners that failed or died.
    pub failures: u32,
    /// The reason of the newest failure.
    #[serde(default)]
    pub last_error: Option<String>,
    /// The generation, for a run that is done for each one.
    #[serde(default)]
    pub generation: Option<GenerationNumber>,
    /// The time of the newest change.
    pub at: Timestamp,
}

impl RunBody {
    /// Returns an answer without details.
    pub fn new(state: RunAnswerState, message: String) -> Self {
        let (code, reason) = match state {
            RunAnswerState::Run | RunAnswerState::Done => (None, None),
            RunAnswerState::Waiting => (Some(Code::NotReady), Some("run_waiting")),
            RunAnswerState::Failed => (Some(Code::Internal), Some("run_failed")),
        };
        Self {
            state,
            message,
            code,
            reason: reason.map(str::to_owned),
            fence: None,
            lease_milliseconds: None,
            output: None,
        }
    }

    /// Returns the output. `None` if there is none, or if it is not base64.
    pub fn output_bytes(&self) -> Option<Vec<u8>> {
        BASE64.decode(self.output.as_ref()?.as_bytes()).ok()
    }
}

impl RunEntry {
    /// Returns the entry of a run.
    pub fn of(name: &RunName, run: &Run) -> Self {
        let state = match &run.state {
            RunState::Running(_) => "running",
            RunState::Failed => "failed",
            RunState::Done(_) => "done",
        };
        Self {
            name: name.clone(),
            state: state.to_owned(),
            runner: run.runner.clone(),
            fence: run.fence,
            failures: run.failures,
            last_error: run.last_error.as_deref().map(str::to_owned),
            generation: (run.generation.0 > 0).then_some(run.generation),
            at: run.at,
        }
    }
}

/// Encodes the output of a program for a body.
pub fn encode_output(output: &[u8]) -> String {
    BASE64.encode(output)
}

/// Encodes the identity of a process for a claim.
pub fn encode_claim(claim: ClaimId) -> String {
    HEXLOWER_PERMISSIVE.encode(&claim.0)
}

/// Reads the body of a claim.
///
/// # Errors
/// Fails if the body is not a claim.
pub fn read_claim(body: &[u8]) -> Result<(ClaimBody, ClaimId), InvalidBody> {
    let claim: ClaimBody = read(body)?;
    let bytes = HEXLOWER_PERMISSIVE.decode(claim.claim.as_bytes()).ok();
    let Some(id) = bytes.and_then(|bytes| <[u8; 16]>::try_from(bytes).ok()) else {
        let problem = "expected 32 hexadecimal digits";
        return Err(InvalidBody::field("claim", problem));
    };
    if claim.tries == 0 {
        return Err(InvalidBody::field("tries", "it must be at least 1"));
    }
    Ok((claim, ClaimId(id)))
}

/// Reads the body of a runner, and the output in it.
///
/// # Errors
/// Fails if the body is not that of a runner, or if the output or the reason is too long.
pub fn read_runner(body: &[u8]) -> Result<(RunnerBody, Bytes), InvalidBody> {
    let runner: RunnerBody = read(body)?;
    let output = runner.output.as_deref().unwrap_or_default();
    let output = BASE64
        .decode(output.as_bytes())
        .map_err(|_| InvalidBody::field("output", "it is not base64"))?;
    if output.len() > RUN_OUTPUT_MAX_BYTES {
        let bytes = output.len();
        let problem = format!("it has {bytes} bytes; the limit is {RUN_OUTPUT_MAX_BYTES}");
        return Err(InvalidBody::field("output", problem));
    }
    let bytes = runner.reason.as_deref().map_or(0, str::len);
    if bytes > PHASE_REASON_MAX_BYTES {
        let problem = format!("it has {bytes} bytes; the limit is {PHASE_REASON_MAX_BYTES}");
        return Err(InvalidBody::field("reason", problem));
    }
    Ok((runner, output.into()))
}

fn tries_default() -> u32 {
    TRIES_DEFAULT
}
