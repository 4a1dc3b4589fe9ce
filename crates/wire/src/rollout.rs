//! The state of a roll-out, as an operator sees it.

use serde::{Deserialize, Serialize};

use cfgsync_model::{GenerationNumber, Identifier, Phase};

/// The body of `GET /v1/rollout`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RolloutBody {
    /// The generation that is rolled out, or was rolled out last. `None` if there was no roll-out since the server started.
    pub generation: Option<GenerationNumber>,
    /// How far it is.
    pub state: RolloutState,
    /// Why it does not go on, if it is stopped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The phase that is waited for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait_for: Option<Phase>,
    /// The nodes that have got the generation and have not reported the phase.
    #[serde(default)]
    pub in_progress: Vec<Identifier>,
    /// The nodes that still get an older generation, in the order in which they follow.
    #[serde(default)]
    pub held_back: Vec<Identifier>,
    /// The nodes that were not waited for: they do not follow changes, or had failed when an operator resumed.
    #[serde(default)]
    pub skipped: Vec<Identifier>,
    /// The number of nodes that have reported the phase.
    #[serde(default)]
    pub done: usize,
}

impl RolloutBody {
    /// Returns the state of a server without a roll-out.
    pub fn none() -> Self {
        Self {
            generation: None,
            state: RolloutState::None,
            reason: None,
            wait_for: None,
            in_progress: vec![],
            held_back: vec![],
            skipped: vec![],
            done: 0,
        }
    }
}

/// How far a roll-out is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RolloutState {
    /// There is none.
    None,
    /// Nodes are handed the generation one after the other.
    Running,
    /// No further node is handed it.
    Stopped,
    /// All nodes have been handed it.
    Done,
}
