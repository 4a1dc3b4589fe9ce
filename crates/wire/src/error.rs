//! The body of error responses.

use serde::{Deserialize, Serialize};

use cfgsync_model::{Failure, Progress};

/// The reason in the response of a server that is stopping. The client may try another server at once.
pub const DRAINING: &str = "draining";

/// The code of an error. Existing clients decode only these three, so finer distinctions are in `reason`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Code {
    /// The server has no files for this node and will have none. The status is 404.
    MissingConfig,
    /// The files are not ready yet. The client asks again. The status is 425.
    NotReady,
    /// Any other error; the status and `reason` say which.
    Internal,
}

/// The reason in the response of a TLS server to plain HTTP.
pub const TLS_REQUIRED: &str = "tls_required";

/// The body of an error response.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ErrorBody {
    /// The code, on which existing clients act.
    pub code: Code,
    /// The message: what happened, and what to do.
    pub message: String,
    /// The reason, such as `not_listed`, `too_large` or `deadline`. It is finer than the code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The progress of the set of nodes, with [`Code::NotReady`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<ProgressBody>,
    /// The failure, if the cluster has failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
}

/// The [`Progress`] in a response to one node.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ProgressBody {
    /// The progress, which is the same for all nodes.
    #[serde(flatten)]
    pub progress: Progress,
    /// Whether the node that sent the request is registered.
    #[serde(default)]
    pub self_registered: bool,
}

impl ErrorBody {
    /// Returns an error with a reason and a message.
    pub fn new(code: Code, reason: &str, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            reason: Some(reason.to_owned()),
            progress: None,
            failure: None,
        }
    }

    /// Returns the response for files that are not ready.
    pub fn not_ready(progress: &Progress, self_registered: bool) -> Self {
        let message = if self_registered {
            format!("not ready: {progress}")
        } else {
            format!("not ready: this node is not registered ({progress})")
        };
        let progress = Some(ProgressBody {
            progress: progress.clone(),
            self_registered,
        });
        Self {
            progress,
            ..Self::new(Code::NotReady, "waiting", message)
        }
    }

    /// Returns the response of a cluster that has failed.
    pub fn failed(failure: &Failure) -> Self {
        let message = format!("the cluster failed: {}", failure.reason);
        Self {
            failure: Some(failure.clone()),
            ..Self::new(Code::Internal, &failure.kind.to_string(), message)
        }
    }

    /// Returns the body as JSON.
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("an error body has no map keys but strings")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encodes_code_and_message_for_existing_clients() {
        let progress = Progress {
            registered: 1,
            needed: 2,
            missing: vec!["b".parse().unwrap()],
            missing_count: 1,
            unmet: vec![],
        };
        let json = String::from_utf8(ErrorBody::not_ready(&progress, true).to_json()).unwrap();
        assert_eq!(
            json,
            r#"{"code":"not_ready","message":"not ready: 1/2, missing b","reason":"waiting","progress":{"registered":1,"needed":2,"missing":["b"],"missing_count":1,"unmet":[],"self_registered":true}}"#
        );
    }
}
