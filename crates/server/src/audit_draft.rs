//! The audit entry of a request, collected while the request is served.

use std::collections::BTreeMap;

use hyper::StatusCode;

use cfgsync_access::AuditOutcome;
use cfgsync_model::{Digest, GenerationNumber, Identifier};

/// The facts that handlers add.
#[derive(Debug, Default)]
pub(super) struct AuditDraft {
    /// The principal's name; `None` until it is authenticated.
    pub(super) principal: Option<String>,
    /// The node that the request is about.
    pub(super) node: Option<Identifier>,
    /// The value or the alias that the request is about.
    pub(super) value: Option<String>,
    /// The value of `once` that the request is about.
    pub(super) once: Option<String>,
    /// The hashes of the contents that the request brings or shows.
    pub(super) sha256: BTreeMap<String, String>,
    /// The generation of a payload that a node receives for the first time, or whose secrets an operator reads.
    pub(super) generation: Option<GenerationNumber>,
    /// The request asked for a state that existed already.
    pub(super) is_unchanged: bool,
    /// The request reads secret content.
    pub(super) reveals: bool,
    /// The response is a refusal, although it was built as a normal one.
    pub(super) refusal: Option<&'static str>,
    /// The client has been denied so often that this denial is not logged.
    pub(super) is_suppressed: bool,
}

impl AuditDraft {
    /// Adds the hash of the content named `part`.
    pub(super) fn add_hash(&mut self, part: impl Into<String>, hash: Digest) {
        self.sha256.insert(part.into(), hash.to_string());
    }

    /// Returns the outcome to log for a response with `status`; `None` if the request does not belong into the log.
    /// `is_change` says whether the request's action changes the cluster, `refusal` why it was refused.
    pub(super) fn outcome(
        &self,
        is_change: bool,
        status: StatusCode,
        refusal: Option<&'static str>,
    ) -> Option<AuditOutcome> {
        if refusal.is_some() {
            // These are counted in metrics instead, because any client could fill the log with them.
            if status == StatusCode::TOO_MANY_REQUESTS || self.is_suppressed {
                return None;
            }
            let is_denied = [StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN].contains(&status);
            let is_logged = is_change || is_denied || self.refusal.is_some();
            return is_logged.then_some(AuditOutcome::Refused);
        }
        if self.reveals {
            Some(AuditOutcome::Revealed)
        } else if self.generation.is_some() {
            Some(AuditOutcome::Delivered)
        } else if !is_change {
            None
        } else if self.is_unchanged {
            Some(AuditOutcome::Unchanged)
        } else {
            Some(AuditOutcome::Changed)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcome_follows_from_action_status_and_facts() {
        use AuditOutcome::{Changed, Delivered, Refused, Revealed, Unchanged};
        let draft = |edit: fn(&mut AuditDraft)| {
            let mut draft = AuditDraft::default();
            edit(&mut draft);
            draft
        };
        let nothing = || draft(|_| {});
        let delivery = || draft(|draft| draft.generation = Some(GenerationNumber(1)));
        let slug = Some("slug");
        for (draft, is_change, status, refusal, expected) in [
            (nothing(), true, 202, None, Some(Changed)),
            (
                draft(|d| d.is_unchanged = true),
                true,
                202,
                None,
                Some(Unchanged),
            ),
            (nothing(), false, 200, None, None),
            (delivery(), false, 200, None, Some(Delivered)),
            (
                draft(|d| d.reveals = true),
                false,
                200,
                None,
                Some(Revealed),
            ),
            (nothing(), true, 409, slug, Some(Refused)),
            (nothing(), false, 400, slug, None),
            (nothing(), false, 401, slug, Some(Refused)),
            (nothing(), false, 403, slug, Some(Refused)),
            (
                draft(|d| d.refusal = Some("slug")),
                false,
                404,
                slug,
                Some(Refused),
            ),
            (nothing(), true, 429, slug, None),
            (draft(|d| d.is_suppressed = true), true, 403, slug, None),
        ] {
            let status = StatusCode::from_u16(status).unwrap();
            let outcome = draft.outcome(is_change, status, refusal);
            assert_eq!(
                outcome, expected,
                "{draft:?} {is_change} {status} {refusal:?}"
            );
        }
    }
}
