//! The comparisons and operations of transactions.

use crate::api::{Compare, DeleteRangeRequest, PutRequest, RequestOp, compare, request_op};

/// Returns the comparison that succeeds if `key` does not exist.
pub(crate) fn is_absent(key: Vec<u8>) -> Compare {
    Compare {
        result: compare::CompareResult::Equal.into(),
        target: compare::CompareTarget::Version.into(),
        key,
        target_union: Some(compare::TargetUnion::Version(0)),
    }
}

/// Returns the comparison that succeeds if `key` exists.
pub(crate) fn exists(key: Vec<u8>) -> Compare {
    Compare {
        result: compare::CompareResult::Greater.into(),
        ..is_absent(key)
    }
}

pub(crate) fn put_op(put: PutRequest) -> RequestOp {
    RequestOp {
        request: Some(request_op::Request::RequestPut(put)),
    }
}

/// Returns the operation that removes `key`.
pub(crate) fn delete_op(key: Vec<u8>) -> RequestOp {
    RequestOp {
        request: Some(request_op::Request::RequestDeleteRange(
            DeleteRangeRequest {
                key,
                range_end: vec![],
            },
        )),
    }
}

/// Returns the comparison that succeeds if `key` was last written at `revision`, or does not exist if that is zero.
pub(crate) fn is_at_revision(key: Vec<u8>, revision: i64) -> Compare {
    Compare {
        result: compare::CompareResult::Equal.into(),
        target: compare::CompareTarget::Mod.into(),
        key,
        target_union: Some(compare::TargetUnion::ModRevision(revision)),
    }
}
