//! Which names a text may use, and the search for those it may not, branches that are never taken included.

use std::{collections::BTreeSet, ops::Range};

use cfgsync_support::nearest::did_you_mean;
use minijinja::machinery::ast::{CallArg, CallType, Expr, Stmt};

use super::{
    context::NODE_FIELDS,
    declared::{Declared, Way},
    draw::{DRAWS, misuse},
    error::JinjaError,
    network::NETWORK,
    syntax_tree::{Part, walk_expression, walk_statement},
};

/// Where a text stands, and so which names it may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// A file of one node, a `where`, a `source` path: node, nodes, values, once, cluster; fragment() in files.
    Node,
    /// A file of all: the same without `node`.
    Shared,
    /// A fragment: nodes, values, once, cluster; no `node`, no fragment().
    Fragment,
    /// The rule's `when`: nodes, values, once, cluster.
    When,
    /// A value of `once:`: nodes, values, cluster, the values of `once` drawn before it, random_*, now.
    Once,
}

/// All filters, sorted.
#[rustfmt::skip] // one word per line is no list to read
const FILTERS: &[&str] = &[
    "abs", "attr", "b64decode", "b64encode", "batch", "bool", "capitalize", "chain", "cidr_host",
    "count", "d", "default", "dictsort", "e", "escape", "first", "float", "format", "groupby",
    "hostport", "indent", "int", "items", "join", "last", "length", "lines", "list", "lower",
    "map", "max", "min", "ordinal", "reject", "rejectattr", "replace", "reverse", "round", "safe",
    "select", "selectattr", "sha256", "slice", "sort", "split", "string", "sum", "title",
    "tojson", "toyaml", "trim", "unique", "upper", "zip",
];

/// All tests that are names, sorted.
#[rustfmt::skip] // one word per line is no list to read
const TESTS: &[&str] = &[
    "boolean", "defined", "divisibleby", "endingwith", "eq", "equalto", "escaped", "even",
    "false", "filter", "float", "ge", "greaterthan", "gt", "in", "int", "integer", "iterable",
    "le", "lessthan", "lower", "lt", "mapping", "ne", "none", "number", "odd", "safe", "sameas",
    "sequence", "startingwith", "string", "test", "true", "undefined", "upper",
];

/// Tests that are operators, as `select` takes them.
const OPERATOR_TESTS: &[&str] = &["!=", "<", "<=", "==", ">", ">="];

/// The engine's functions that remain.
const FUNCTIONS: &[&str] = &["dict", "namespace", "range"];

/// Names that the language itself gives meaning to, where they stand rightly.
const LANGUAGE: &[&str] = &["caller", "loop", "self", "super"];

impl Scope {
    fn variables(self) -> &'static [&'static str] {
        match self {
            Self::Node => &["cluster", "node", "nodes", "once", "values"],
            Self::Shared | Self::Fragment | Self::When | Self::Once => {
                &["cluster", "nodes", "once", "values"]
            }
        }
    }

    fn functions<'a>(self) -> impl Iterator<Item = &'a str> {
        let own: &[&str] = match self {
            Self::Node | Self::Shared => &["fragment"],
            Self::Fragment | Self::When => &[],
            Self::Once => DRAWS,
        };
        [FUNCTIONS, NETWORK, own].into_iter().flatten().copied()
    }

    /// Why there is no `node`.
    fn without_node(self) -> (&'static str, &'static str) {
        match self {
            Self::Node => ("", ""),
            Self::Shared => (
                "`node` is not defined in a file with `shared: true`",
                "it is rendered once for all nodes: use `nodes`, or drop `shared: true`",
            ),
            Self::Fragment => (
                "`node` is not defined in a fragment",
                "it is rendered once for all nodes: use `nodes`, or write this part into the file",
            ),
            Self::When => (
                "`node` is not defined in `when`",
                "it judges the whole set: use `nodes`, or count the nodes that match with `groups`",
            ),
            Self::Once => (
                "`node` is not defined in `once`",
                "it is drawn once for all nodes: use `nodes`",
            ),
        }
    }
}

/// Refuses the first name in `template` that does not exist in `scope`.
pub(super) fn check_template(
    template: &Stmt<'_>,
    source: &str,
    scope: Scope,
    declared: &Declared,
    fragments: &[String],
) -> Result<(), JinjaError> {
    let mut search = Search::new(source, scope, declared, fragments);
    walk_statement(template, &mut |part| search.prepare(&part));
    walk_statement(template, &mut |part| search.visit(&part));
    search.result()
}

/// Refuses the first name in `expression` that does not exist in `scope`.
pub(super) fn check_expression(
    expression: &Expr<'_>,
    source: &str,
    scope: Scope,
    declared: &Declared,
) -> Result<(), JinjaError> {
    let mut search = Search::new(source, scope, declared, &[]);
    walk_expression(expression, &mut |part| search.prepare(&part));
    walk_expression(expression, &mut |part| search.visit(&part));
    search.result()
}

/// The names that `expression` looks up.
pub(super) fn variables_of(expression: &Expr<'_>) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    walk_expression(expression, &mut |part| {
        if let Part::Expression(Expr::Var(variable)) = part {
            names.insert(variable.id.to_owned());
        }
    });
    names
}

struct Search<'a> {
    source: &'a str,
    scope: Scope,
    declared: &'a Declared,
    fragments: &'a [String],
    /// What `set`, loops and macros of the text define. Where exactly they are visible is left to the engine: a
    /// name used out of place is found when it runs.
    own: BTreeSet<String>,
    /// Of which the text itself asks whether they are there, or says what holds if not.
    asked: BTreeSet<Way>,
    first: Option<(usize, JinjaError)>,
}

impl<'a> Search<'a> {
    fn new(source: &'a str, scope: Scope, declared: &'a Declared, fragments: &'a [String]) -> Self {
        Self {
            source,
            scope,
            declared,
            fragments,
            own: BTreeSet::new(),
            asked: BTreeSet::new(),
            first: None,
        }
    }

    fn result(self) -> Result<(), JinjaError> {
        self.first.map_or(Ok(()), |(_, error)| Err(error))
    }

    /// Takes in what the whole text says about names, before any is judged.
    fn prepare(&mut self, part: &Part<'_, '_>) {
        match part {
            Part::Target(Expr::Var(variable)) => {
                self.own.insert(variable.id.to_owned());
            }
            Part::Statement(Stmt::Macro(definition)) => {
                self.own.insert(definition.name.to_owned());
            }
            Part::Expression(Expr::Test(test)) if matches!(test.name, "defined" | "undefined") => {
                self.asked.extend(Way::of(&test.expr));
            }
            Part::Expression(Expr::Filter(filter)) if matches!(filter.name, "d" | "default") => {
                self.asked.extend(filter.expr.as_ref().and_then(Way::of));
            }
            _ => {}
        }
    }

    fn visit(&mut self, part: &Part<'_, '_>) {
        match part {
            Part::Statement(statement) => self.statement(statement),
            Part::Expression(expression) => self.expression(expression),
            Part::Target(_) => {}
        }
    }

    fn statement(&mut self, statement: &Stmt<'_>) {
        let (span, tag, help) = match statement {
            Stmt::Extends(s) => (s.span(), "extends", "there is one template per file"),
            Stmt::Include(s) => (s.span(), "include", "share a text with `fragments`"),
            Stmt::Import(s) => (s.span(), "import", "define the macro where it is used"),
            Stmt::FromImport(s) => (s.span(), "from", "define the macro where it is used"),
            Stmt::AutoEscape(s) => (s.span(), "autoescape", "use the filter `escape`"),
            _ => return,
        };
        let range = span.start_offset as usize..span.end_offset as usize;
        self.found(
            range,
            format!("`{tag}` does not exist here"),
            Some(help.to_owned()),
        );
    }

    fn expression(&mut self, expression: &Expr<'_>) {
        match expression {
            Expr::Var(variable) => self.variable(variable.id, range_of(expression)),
            Expr::GetAttr(access) => {
                self.field(&access.expr, access.name, range_of(expression).end);
                self.way(expression);
            }
            Expr::GetItem(_) => self.way(expression),
            Expr::Filter(filter) => {
                self.filter(filter.name, range_of(expression));
                self.named_in_arguments(filter.name, &filter.args);
            }
            Expr::Test(test) => self.test(test.name, range_of(expression)),
            Expr::Call(call) => {
                if let CallType::Function(name) = call.identify_call() {
                    self.function(name, range_of(expression));
                    self.draw(name, &call.args, range_of(expression));
                    if name == "fragment" {
                        self.fragment(&call.args);
                    }
                }
            }
            _ => {}
        }
    }

    /// The fields of `node` are known; what nodes bring is not.
    fn field(&mut self, base: &Expr<'_>, name: &str, end: usize) {
        let is_node = matches!(base, Expr::Var(variable) if variable.id == "node");
        if !is_node || self.own.contains("node") || NODE_FIELDS.contains(&name) {
            return;
        }
        let help = did_you_mean(name, NODE_FIELDS.iter().copied()).unwrap_or_else(|| {
            format!("what nodes bring is `node.metadata`: `node.metadata.{name}`")
        });
        let range = range_of(base).start..end;
        self.found(range, format!("a node has no field `{name}`"), Some(help));
    }

    /// What the spec declares is known.
    fn way(&mut self, expression: &Expr<'_>) {
        let Some(way) = Way::of(expression) else {
            return;
        };
        if self.own.contains(&way.root) || self.asked.contains(&way) {
            return;
        }
        if let Some((message, help)) = self.declared.fault(&way) {
            self.found(range_from_base(expression), message, Some(help));
        }
    }

    fn variable(&mut self, name: &str, range: Range<usize>) {
        let variables = self.scope.variables();
        if variables.contains(&name) || LANGUAGE.contains(&name) || self.own.contains(name) {
            return;
        }
        if name == "node" {
            let (message, help) = self.scope.without_node();
            return self.found(range, message.to_owned(), Some(help.to_owned()));
        }
        let message = format!("unknown variable `{name}`");
        if self.scope.functions().any(|function| function == name) {
            return self.found(
                range,
                message,
                Some(format!("a function is called: `{name}(…)`")),
            );
        }
        let own: Vec<String> = self.own.iter().cloned().collect();
        let known = variables
            .iter()
            .copied()
            .chain(own.iter().map(String::as_str));
        let help = did_you_mean(name, known)
            .unwrap_or_else(|| format!("here are `{}`", variables.join("`, `")));
        self.found(range, message, Some(help));
    }

    fn function(&mut self, name: &str, range: Range<usize>) {
        if self.scope.functions().any(|function| function == name)
            || LANGUAGE.contains(&name)
            || self.own.contains(name)
        {
            return;
        }
        if DRAWS.contains(&name) {
            let help = "draw it under `once:` and use it as `once.NAME`";
            let message = format!("`{name}` exists only in `once`");
            return self.found(range, message, Some(help.to_owned()));
        }
        if name == "fragment" {
            let help = "include it where a file of this materializer is written";
            let message = "`fragment` exists only in files".to_owned();
            return self.found(range, message, Some(help.to_owned()));
        }
        let help = if FILTERS.contains(&name) {
            Some(format!("it is a filter: `VALUE | {name}`"))
        } else {
            let own: Vec<String> = self.own.iter().cloned().collect();
            did_you_mean(
                name,
                self.scope.functions().chain(own.iter().map(String::as_str)),
            )
        };
        self.found(range, format!("unknown function `{name}`"), help);
    }

    fn draw(&mut self, name: &str, args: &[CallArg<'_>], range: Range<usize>) {
        if self.scope == Scope::Once
            && let Some((message, help)) = misuse(name, args)
        {
            self.found(range, message, Some(help));
        }
    }

    fn filter(&mut self, name: &str, range: Range<usize>) {
        if FILTERS.contains(&name) {
            return;
        }
        let help = if self.scope.functions().any(|function| function == name) {
            Some(format!("it is a function: `{name}(…)`"))
        } else {
            did_you_mean(name, FILTERS.iter().copied())
        };
        self.found(range, format!("unknown filter `{name}`"), help);
    }

    fn test(&mut self, name: &str, range: Range<usize>) {
        if !TESTS.contains(&name) && !OPERATOR_TESTS.contains(&name) {
            let help = did_you_mean(name, TESTS.iter().copied());
            self.found(range, format!("unknown test `{name}`"), help);
        }
    }

    /// `map("filter")`, `select("test")` and their like name filters and tests in texts.
    fn named_in_arguments(&mut self, filter: &str, args: &[CallArg<'_>]) {
        let literal = |at: usize| match args.get(at) {
            Some(CallArg::Pos(expression)) => {
                let value = expression.as_const()?;
                Some((value.as_str()?.to_owned(), range_of(expression)))
            }
            _ => None,
        };
        match filter {
            "map" => {
                if let Some((name, range)) = literal(0) {
                    self.filter(&name, range);
                }
            }
            "select" | "reject" => {
                if let Some((name, range)) = literal(0) {
                    self.test(&name, range);
                }
            }
            "selectattr" | "rejectattr" => {
                if let Some((name, range)) = literal(1) {
                    self.test(&name, range);
                }
            }
            _ => {}
        }
    }

    fn fragment(&mut self, args: &[CallArg<'_>]) {
        let Some(CallArg::Pos(expression)) = args.first() else {
            return;
        };
        let Some(value) = expression.as_const() else {
            return;
        };
        let Some(name) = value.as_str() else {
            return;
        };
        if self.fragments.iter().any(|fragment| fragment == name) {
            return;
        }
        let help =
            did_you_mean(name, self.fragments.iter().map(String::as_str)).unwrap_or_else(|| {
                match self.fragments {
                    [] => "define it under `fragments:`".to_owned(),
                    some => format!("there are `{}`", some.join("`, `")),
                }
            });
        self.found(
            range_of(expression),
            format!("unknown fragment `{name}`"),
            Some(help),
        );
    }

    /// Keeps the error that stands first in the text.
    fn found(&mut self, range: Range<usize>, message: String, help: Option<String>) {
        if self
            .first
            .as_ref()
            .is_some_and(|(start, _)| *start <= range.start)
        {
            return;
        }
        let start = range.start;
        self.first = Some((
            start,
            JinjaError::at(self.source, range, message).with_help(help),
        ));
    }
}

fn range_of(expression: &Expr<'_>) -> Range<usize> {
    let span = expression.span();
    span.start_offset as usize..span.end_offset as usize
}

/// The engine says where the last step stands; this begins where the way does.
fn range_from_base(expression: &Expr<'_>) -> Range<usize> {
    let end = range_of(expression).end;
    let mut base = expression;
    loop {
        base = match base {
            Expr::GetAttr(access) => &access.expr,
            Expr::GetItem(access) => &access.expr,
            _ => return range_of(base).start..end,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::ENVIRONMENT;

    #[test]
    fn every_name_that_is_allowed_exists_in_the_engine() {
        let exists = |expression: &str| {
            let found = ENVIRONMENT
                .compile_expression(expression)
                .unwrap()
                .eval(())
                .unwrap();
            assert!(found.is_true(), "{expression}");
        };
        for name in FILTERS {
            exists(&format!("'{name}' is filter"));
        }
        for name in TESTS.iter().chain(OPERATOR_TESTS) {
            exists(&format!("'{name}' is test"));
        }
        for name in FUNCTIONS.iter().chain(NETWORK) {
            exists(&format!("{name} is defined"));
        }
        exists("'pprint' is not filter");
        exists("debug is not defined");
    }
}
