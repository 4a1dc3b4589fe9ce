//! The body of every answer that is not a success.

use serde::{Deserialize, Serialize};

use cfgsync_model::{Failure, Progress};

/// The reason of a server that stops: another one may be asked at once.
pub const DRAINING: &str = "draining";

/// The three codes that clients in the field can decode. Finer distinctions are in `reason`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Code {
    /// There is nothing for this node, now or later. Status 404.
    MissingConfig,
    /// Not yet; ask again. Status 425.
    NotReady,
    /// Everything else.
    Internal,
}

/// The slug with which a server that speaks TLS answers plain HTTP.
pub const TLS_REQUIRED: &str = "tls_required";

/// An error as JSON.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ErrorBody {
    /// What old clients act on.
    pub code: Code,
    /// What happened and the way out, in words.
    pub message: String,
    /// A slug, finer than the code: `not_listed`, `too_large`, `deadline` …
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// With [`Code::NotReady`]: how far the set has come.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<ProgressBody>,
    /// When the cluster failed: why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
}

/// [`Progress`] as one node is told it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ProgressBody {
    /// The same for all.
    #[serde(flatten)]
    pub progress: Progress,
    /// Whether the node that asks is registered.
    #[serde(default)]
    pub self_registered: bool,
}

impl ErrorBody {
    /// An error with a message and a slug.
    pub fn new(code: Code, reason: &str, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            reason: Some(reason.to_owned()),
            progress: None,
            failure: None,
        }
    }

    /// The not-ready answer.
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

    /// The answer of a cluster that failed.
    pub fn failed(failure: &Failure) -> Self {
        let message = format!("the cluster failed: {}", failure.reason);
        Self {
            failure: Some(failure.clone()),
            ..Self::new(Code::Internal, &failure.kind.to_string(), message)
        }
    }

    /// As bytes.
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("an error body has no map keys but strings")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_clients_find_code_and_message() {
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
