//! The names that a spec declares under `values`, `once` and `for`, and the check of paths into them.

use minijinja::machinery::ast::Expr;
use serde_json::{Map, Value};

use cfgsync_support::nearest::did_you_mean;

/// Maximum number of names in a help text.
const LISTED_MAX: usize = 8;

/// The entries of `values` and `once` in a spec, and the variable of a file's `for`. If `values` or `once` is not given,
/// its entries are not checked.
#[derive(Clone, Default)]
pub struct Declarations {
    once: Option<OnceEntries>,
    values: Option<Map<String, Value>>,
    item: Option<String>,
}

#[derive(Clone)]
struct OnceEntries {
    /// All names, in the order of the spec.
    names: Vec<String>,
    /// The number of names that already have results where the text is evaluated.
    evaluated: usize,
}

impl Declarations {
    /// Adds the names of all `once` entries, in the order of the spec.
    #[must_use]
    pub fn with_once(mut self, names: Vec<String>) -> Self {
        let evaluated = names.len();
        self.once = Some(OnceEntries { names, evaluated });
        self
    }

    /// Adds the constants under `values`.
    #[must_use]
    pub fn with_values(mut self, values: Map<String, Value>) -> Self {
        self.values = Some(values);
        self
    }

    /// Adds the variable of a file's `for`.
    #[must_use]
    pub fn with_item(mut self, variable: &str) -> Self {
        self.item = Some(variable.to_owned());
        self
    }

    /// Returns the variable of the file's `for`.
    pub(super) fn item(&self) -> Option<&str> {
        self.item.as_deref()
    }

    /// Returns the declarations that the `once` entry `name` can use: of `once`, only the entries above it.
    #[must_use]
    pub fn for_once_entry(mut self, name: &str) -> Self {
        if let Some(once) = &mut self.once {
            let position = once.names.iter().position(|other| other == name);
            once.evaluated = position.unwrap_or(once.names.len());
        }
        self
    }

    /// Returns an error message and a help text if the spec does not declare `path`.
    pub(super) fn check(&self, path: &DeclaredPath) -> Option<(String, String)> {
        let (last, parents) = path.steps.split_last()?;
        if path.root == "once" {
            return self.check_once(last, parents);
        }
        let mut object = self.values.as_ref()?;
        for step in parents {
            object = object.get(step)?.as_object()?;
        }
        if object.contains_key(last) {
            return None;
        }
        let container = [std::slice::from_ref(&path.root), parents]
            .concat()
            .join(".");
        let names = object.keys().map(String::as_str);
        Some(unknown_entry(&container, last, names))
    }

    fn check_once(&self, name: &str, parents: &[String]) -> Option<(String, String)> {
        let once = self.once.as_ref()?;
        if !parents.is_empty() {
            // The content of a result is not known before it is evaluated.
            return None;
        }
        match once.names.iter().position(|other| other == name) {
            Some(position) if position < once.evaluated => None,
            Some(_) => Some((
                format!("`once.{name}` is not evaluated yet"),
                format!("`once` is evaluated from top to bottom: move `{name}` above this entry"),
            )),
            None => {
                let names = once.names[..once.evaluated].iter().map(String::as_str);
                Some(unknown_entry("once", name, names))
            }
        }
    }
}

fn unknown_entry<'a>(
    container: &str,
    name: &str,
    names: impl Iterator<Item = &'a str> + Clone,
) -> (String, String) {
    let help = did_you_mean(name, names.clone()).unwrap_or_else(|| {
        let listed: Vec<&str> = names.take(LISTED_MAX + 1).collect();
        match listed.len() {
            1..=LISTED_MAX => format!("it has `{}`", listed.join("`, `")),
            _ => format!("declare it under `{container}:` in the spec"),
        }
    });
    (format!("`{container}` has no entry `{name}`"), help)
}

/// A path into `once` or `values` whose names are all in the text, such as `values.limits["max"]`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct DeclaredPath {
    /// The variable at its beginning: `once` or `values`.
    pub(super) root: String,
    pub(super) steps: Vec<String>,
}

impl DeclaredPath {
    /// Returns the path that `expression` is, if it is one.
    pub(super) fn of(expression: &Expr<'_>) -> Option<Self> {
        let (base, step) = match expression {
            Expr::Var(variable) if matches!(variable.id, "once" | "values") => {
                let root = variable.id.to_owned();
                return Some(Self {
                    root,
                    steps: Vec::new(),
                });
            }
            Expr::GetAttr(access) => (&access.expr, access.name.to_owned()),
            Expr::GetItem(access) => {
                let key = access.subscript_expr.as_const()?;
                (&access.expr, key.as_str()?.to_owned())
            }
            _ => return None,
        };
        let mut path = Self::of(base)?;
        path.steps.push(step);
        Some(path)
    }
}
