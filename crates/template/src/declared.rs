//! What a spec declares for its texts, `once` and `values`, and the ways into it that lead nowhere.

use minijinja::machinery::ast::Expr;
use serde_json::{Map, Value};

use cfgsync_support::nearest::did_you_mean;

/// Most names that a message lists.
const LISTED_MAX: usize = 8;

/// What a spec declares. Of what is not told, any name may be there.
#[derive(Clone, Default)]
pub struct Declared {
    once: Option<Once>,
    values: Option<Map<String, Value>>,
}

#[derive(Clone)]
struct Once {
    names: Vec<String>,
    /// How many of them are drawn when the text is looked at.
    drawn: usize,
}

impl Declared {
    /// What `once` draws, in the order of the spec.
    #[must_use]
    pub fn with_once(mut self, names: Vec<String>) -> Self {
        let drawn = names.len();
        self.once = Some(Once { names, drawn });
        self
    }

    /// The constants.
    #[must_use]
    pub fn with_values(mut self, values: Map<String, Value>) -> Self {
        self.values = Some(values);
        self
    }

    /// The same while `name` of `once` is drawn: what stands above it is there.
    #[must_use]
    pub fn before(mut self, name: &str) -> Self {
        if let Some(once) = &mut self.once {
            let at = once.names.iter().position(|other| other == name);
            once.drawn = at.unwrap_or(once.names.len());
        }
        self
    }

    /// What is wrong with `way`, and the way out, if it is known that nothing is there.
    pub(super) fn fault(&self, way: &Way) -> Option<(String, String)> {
        let (last, before) = way.steps.split_last()?;
        if way.root == "once" {
            let once = self.once.as_ref()?;
            let at = once.names.iter().position(|name| name == last);
            return match at {
                // What is inside is known once it is drawn.
                _ if !before.is_empty() => None,
                Some(at) if at < once.drawn => None,
                Some(_) => Some((
                    format!("`once.{last}` is not drawn yet"),
                    format!("`once` is drawn from top to bottom: put `{last}` above"),
                )),
                None => {
                    let drawn = once.names[..once.drawn].iter().map(String::as_str);
                    Some(unknown("once", last, drawn))
                }
            };
        }
        let mut inner = self.values.as_ref()?;
        for step in before {
            inner = inner.get(step)?.as_object()?;
        }
        let place = [std::slice::from_ref(&way.root), before].concat().join(".");
        let is_there = inner.contains_key(last);
        (!is_there).then(|| unknown(&place, last, inner.keys().map(String::as_str)))
    }
}

fn unknown<'a>(
    place: &str,
    wanted: &str,
    names: impl Iterator<Item = &'a str> + Clone,
) -> (String, String) {
    let help = did_you_mean(wanted, names.clone()).unwrap_or_else(|| {
        let listed: Vec<&str> = names.take(LISTED_MAX + 1).collect();
        match listed.len() {
            1..=LISTED_MAX => format!("there are `{}`", listed.join("`, `")),
            _ => format!("declare it under `{place}:` of the spec"),
        }
    });
    (format!("nothing in `{place}` is called `{wanted}`"), help)
}

/// From `once` or `values` by names that stand in the text: `values.limits["max"]`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Way {
    pub(super) root: String,
    pub(super) steps: Vec<String>,
}

impl Way {
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
        let mut way = Self::of(base)?;
        way.steps.push(step);
        Some(way)
    }
}
