//! Scopes: the variables and functions that each kind of text can use.

use super::functions::{BuiltinKind, exists, names_of};

/// The kind of a text. It decides which variables and functions the text can use.
///
/// `nodes`, `values`, `once` and `cluster` exist in every scope.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// A file of one node, a `where`, or the path in a `source`: also `node`, and in files `fragment`.
    Node,
    /// A file with `shared: true`: also `fragment`.
    Shared,
    /// A fragment, which has no `node`.
    Fragment,
    /// The `when` of the readiness rule.
    When,
    /// An entry of `once`: also the functions `random_hex`, `random_base64url` and `now`. The variable `once` has the
    /// entries above this one.
    Once,
}

impl Scope {
    /// Returns the names of all variables, sorted.
    pub(super) fn variables(self) -> &'static [&'static str] {
        match self {
            Self::Node => &["cluster", "node", "nodes", "once", "values"],
            Self::Shared | Self::Fragment | Self::When | Self::Once => {
                &["cluster", "nodes", "once", "values"]
            }
        }
    }

    /// Returns the names of all functions, sorted.
    pub(super) fn functions(self) -> Vec<&'static str> {
        names_of(self.function_kinds())
    }

    pub(super) fn has_function(self, name: &str) -> bool {
        exists(name, self.function_kinds())
    }

    fn function_kinds(self) -> &'static [BuiltinKind] {
        use BuiltinKind::{FileFunction, Function, FunctionAndFilter, OnceFunction, ValueFunction};
        match self {
            Self::Node | Self::Shared => {
                &[Function, FunctionAndFilter, FileFunction, ValueFunction]
            }
            Self::Fragment | Self::When => &[Function, FunctionAndFilter, ValueFunction],
            Self::Once => &[Function, FunctionAndFilter, OnceFunction],
        }
    }

    /// Returns the error message and help for a text that uses `node` in a scope without it.
    pub(super) fn without_node(self) -> Option<(&'static str, &'static str)> {
        match self {
            Self::Node => None,
            Self::Shared => Some((
                "`node` is not defined in a file with `shared: true`",
                "a shared file is rendered once for all nodes: use `nodes`, or remove `shared: true`",
            )),
            Self::Fragment => Some((
                "`node` is not defined in a fragment",
                "a fragment is rendered once for all nodes: use `nodes`, or move this part into the file",
            )),
            Self::When => Some((
                "`node` is not defined in `when`",
                "`when` is a condition on the whole set: use `nodes`, or count the matching nodes with `groups`",
            )),
            Self::Once => Some((
                "`node` is not defined in `once`",
                "`once` is evaluated once for all nodes: use `nodes`",
            )),
        }
    }
}
