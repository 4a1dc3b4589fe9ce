//! The check of all names in a text when it is compiled, including those in branches that are never taken.

use std::{collections::BTreeSet, ops::Range};

use minijinja::machinery::ast::{CallArg, CallType, Expr, Stmt};

use super::{
    declarations::{Declarations, DeclaredPath},
    error::JinjaError,
    functions::{BuiltinKind, exists, names_of, once::check_call},
    node_value::NODE_FIELDS,
    scope::Scope,
    syntax_tree::{SyntaxNode, walk_expression, walk_statement},
};
use cfgsync_support::nearest::did_you_mean;

const FILTERS: &[BuiltinKind] = &[BuiltinKind::Filter, BuiltinKind::FunctionAndFilter];
const TESTS: &[BuiltinKind] = &[BuiltinKind::Test];
const TESTS_AND_OPERATORS: &[BuiltinKind] = &[BuiltinKind::Test, BuiltinKind::OperatorTest];

/// Names that the language itself defines in some places. The engine checks whether they are used there.
pub(super) const LANGUAGE_NAMES: &[&str] = &["caller", "loop", "self", "super"];

/// Fails with the first name in `template` that does not exist in `scope`.
pub(super) fn check_template(
    template: &Stmt<'_>,
    source: &str,
    scope: Scope,
    declarations: &Declarations,
    fragments: &[String],
) -> Result<(), JinjaError> {
    let mut check = NameCheck::new(source, scope, declarations, fragments);
    walk_statement(template, &mut |node| check.collect(&node));
    walk_statement(template, &mut |node| check.check(&node));
    check.result()
}

/// Fails with the first name in `expression` that does not exist in `scope`.
pub(super) fn check_expression(
    expression: &Expr<'_>,
    source: &str,
    scope: Scope,
    declarations: &Declarations,
) -> Result<(), JinjaError> {
    let mut check = NameCheck::new(source, scope, declarations, &[]);
    walk_expression(expression, &mut |node| check.collect(&node));
    walk_expression(expression, &mut |node| check.check(&node));
    check.result()
}

/// Returns the names of all variables that `expression` uses.
pub(super) fn variables_of(expression: &Expr<'_>) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    walk_expression(expression, &mut |node| {
        if let SyntaxNode::Expression(Expr::Var(variable)) = node {
            names.insert(variable.id.to_owned());
        }
    });
    names
}

/// Returns whether `template` calls a function that reads operators' values.
pub(super) fn template_reads_values(template: &Stmt<'_>) -> bool {
    let mut reads = false;
    walk_statement(template, &mut |node| reads |= is_value_call(&node));
    reads
}

/// Returns whether `expression` calls a function that reads operators' values.
pub(super) fn expression_reads_values(expression: &Expr<'_>) -> bool {
    let mut reads = false;
    walk_expression(expression, &mut |node| reads |= is_value_call(&node));
    reads
}

fn is_value_call(node: &SyntaxNode<'_, '_>) -> bool {
    match node {
        SyntaxNode::Expression(Expr::Call(call)) => {
            matches!(call.identify_call(), CallType::Function(name) if exists(name, &[BuiltinKind::ValueFunction]))
        }
        _ => false,
    }
}

/// Returns whether `template` uses the variable `name`.
pub(super) fn uses_variable(template: &Stmt<'_>, name: &str) -> bool {
    let mut is_used = false;
    walk_statement(template, &mut |node| {
        if let SyntaxNode::Expression(Expr::Var(variable)) = node {
            is_used |= variable.id == name;
        }
    });
    is_used
}

/// The state of a check. The text is walked twice: [`NameCheck::collect`] finds what the text itself defines, and
/// [`NameCheck::check`] checks the names.
struct NameCheck<'a> {
    source: &'a str,
    scope: Scope,
    declarations: &'a Declarations,
    fragments: &'a [String],
    /// The names that `set`, loops and macros of the text define. This check ignores the scopes of these names: the
    /// engine fails at runtime if a name is used outside its scope.
    defined_names: BTreeSet<String>,
    /// The paths for which the text has `is defined`, `is undefined` or `default`. They may be undeclared.
    optional_paths: BTreeSet<DeclaredPath>,
    /// The error that is first in the text, and its position in bytes.
    first_error: Option<(usize, JinjaError)>,
}

impl<'a> NameCheck<'a> {
    fn new(
        source: &'a str,
        scope: Scope,
        declarations: &'a Declarations,
        fragments: &'a [String],
    ) -> Self {
        Self {
            source,
            scope,
            declarations,
            fragments,
            defined_names: declarations.item().map(str::to_owned).into_iter().collect(),
            optional_paths: BTreeSet::new(),
            first_error: None,
        }
    }

    fn result(self) -> Result<(), JinjaError> {
        self.first_error.map_or(Ok(()), |(_, error)| Err(error))
    }

    fn collect(&mut self, node: &SyntaxNode<'_, '_>) {
        match node {
            SyntaxNode::Target(Expr::Var(variable)) => {
                self.defined_names.insert(variable.id.to_owned());
            }
            SyntaxNode::Statement(Stmt::Macro(definition)) => {
                self.defined_names.insert(definition.name.to_owned());
            }
            SyntaxNode::Expression(Expr::Test(test))
                if matches!(test.name, "defined" | "undefined") =>
            {
                self.optional_paths.extend(DeclaredPath::of(&test.expr));
            }
            SyntaxNode::Expression(Expr::Filter(filter))
                if matches!(filter.name, "d" | "default") =>
            {
                self.optional_paths
                    .extend(filter.expr.as_ref().and_then(DeclaredPath::of));
            }
            _ => {}
        }
    }

    fn check(&mut self, node: &SyntaxNode<'_, '_>) {
        match node {
            SyntaxNode::Statement(statement) => self.check_statement(statement),
            SyntaxNode::Expression(expression) => self.check_expression(expression),
            SyntaxNode::Target(_) => {}
        }
    }

    fn check_statement(&mut self, statement: &Stmt<'_>) {
        let (span, tag, help) = match statement {
            Stmt::Extends(s) => (s.span(), "extends", "write the whole template in one place"),
            Stmt::Include(s) => (s.span(), "include", "share a text with `fragments`"),
            Stmt::Import(s) => (
                s.span(),
                "import",
                "define the macro in the template that uses it",
            ),
            Stmt::FromImport(s) => (
                s.span(),
                "from",
                "define the macro in the template that uses it",
            ),
            Stmt::AutoEscape(s) => (s.span(), "autoescape", "use the filter `escape`"),
            _ => return,
        };
        let range = span.start_offset as usize..span.end_offset as usize;
        self.report(
            range,
            format!("the statement `{tag}` is not supported"),
            Some(help.to_owned()),
        );
    }

    fn check_expression(&mut self, expression: &Expr<'_>) {
        match expression {
            Expr::Var(variable) => self.check_variable(variable.id, range_of(expression)),
            Expr::GetAttr(access) => {
                self.check_node_field(&access.expr, access.name, range_of(expression).end);
                self.check_declared_path(expression);
            }
            Expr::GetItem(_) => self.check_declared_path(expression),
            Expr::Filter(filter) => {
                self.check_filter(filter.name, range_of(expression));
                self.check_names_in_arguments(filter.name, &filter.args);
            }
            Expr::Test(test) => self.check_test(test.name, range_of(expression)),
            Expr::Call(call) => {
                if let CallType::Function(name) = call.identify_call() {
                    self.check_function(name, range_of(expression));
                    self.check_once_arguments(name, &call.args, range_of(expression));
                    if name == "fragment" {
                        self.check_fragment(&call.args);
                    }
                }
            }
            _ => {}
        }
    }

    fn check_node_field(&mut self, base: &Expr<'_>, name: &str, end: usize) {
        let is_node = matches!(base, Expr::Var(variable) if variable.id == "node");
        if !is_node || self.defined_names.contains("node") || NODE_FIELDS.contains(&name) {
            return;
        }
        let help = did_you_mean(name, NODE_FIELDS.iter().copied()).unwrap_or_else(|| {
            format!("if it is a field of the metadata, write `node.metadata.{name}`")
        });
        let range = range_of(base).start..end;
        self.report(range, format!("a node has no field `{name}`"), Some(help));
    }

    fn check_declared_path(&mut self, expression: &Expr<'_>) {
        let Some(path) = DeclaredPath::of(expression) else {
            return;
        };
        if self.defined_names.contains(&path.root) || self.optional_paths.contains(&path) {
            return;
        }
        if let Some((message, help)) = self.declarations.check(&path) {
            self.report(range_of_path(expression), message, Some(help));
        }
    }

    fn check_variable(&mut self, name: &str, range: Range<usize>) {
        let variables = self.scope.variables();
        if variables.contains(&name) || self.is_defined_by_text(name) {
            return;
        }
        if name == "node"
            && let Some((message, help)) = self.scope.without_node()
        {
            return self.report(range, message.to_owned(), Some(help.to_owned()));
        }
        let message = format!("unknown variable `{name}`");
        if self.scope.has_function(name) {
            let help = format!("it is a function: `{name}(…)`");
            return self.report(range, message, Some(help));
        }
        let known = variables
            .iter()
            .copied()
            .chain(self.defined_names.iter().map(String::as_str));
        let help = did_you_mean(name, known)
            .unwrap_or_else(|| format!("the variables here are `{}`", variables.join("`, `")));
        self.report(range, message, Some(help));
    }

    fn check_function(&mut self, name: &str, range: Range<usize>) {
        if self.scope.has_function(name) || self.is_defined_by_text(name) {
            return;
        }
        if exists(name, &[BuiltinKind::OnceFunction]) {
            let help = "call it under `once:` and use the result as `once.NAME`";
            let message = format!("`{name}` is only available in `once`");
            return self.report(range, message, Some(help.to_owned()));
        }
        if exists(name, &[BuiltinKind::FileFunction]) {
            let help = "call it in the `template` of a file of this materializer";
            let message = format!("`{name}` is only available in files");
            return self.report(range, message, Some(help.to_owned()));
        }
        if exists(name, &[BuiltinKind::ValueFunction]) {
            let help = "values change, and `once` does not: call it where the value is used";
            let message = format!("`{name}` is not available in `once`");
            return self.report(range, message, Some(help.to_owned()));
        }
        let help = if exists(name, FILTERS) {
            Some(format!("it is a filter: `VALUE | {name}`"))
        } else {
            let functions = self.scope.functions();
            let defined = self.defined_names.iter().map(String::as_str);
            did_you_mean(name, functions.into_iter().chain(defined))
        };
        self.report(range, format!("unknown function `{name}`"), help);
    }

    fn is_defined_by_text(&self, name: &str) -> bool {
        LANGUAGE_NAMES.contains(&name) || self.defined_names.contains(name)
    }

    fn check_once_arguments(&mut self, name: &str, args: &[CallArg<'_>], range: Range<usize>) {
        if self.scope == Scope::Once
            && let Some((message, help)) = check_call(name, args)
        {
            self.report(range, message, Some(help));
        }
    }

    fn check_filter(&mut self, name: &str, range: Range<usize>) {
        if exists(name, FILTERS) {
            return;
        }
        let help = if self.scope.has_function(name) {
            Some(format!("it is a function: `{name}(…)`"))
        } else {
            did_you_mean(name, names_of(FILTERS))
        };
        self.report(range, format!("unknown filter `{name}`"), help);
    }

    fn check_test(&mut self, name: &str, range: Range<usize>) {
        if !exists(name, TESTS_AND_OPERATORS) {
            let help = did_you_mean(name, names_of(TESTS));
            self.report(range, format!("unknown test `{name}`"), help);
        }
    }

    /// Checks the arguments of `map("FILTER")`, `select("TEST")` and their relatives.
    fn check_names_in_arguments(&mut self, filter: &str, args: &[CallArg<'_>]) {
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
                    self.check_filter(&name, range);
                }
            }
            "select" | "reject" => {
                if let Some((name, range)) = literal(0) {
                    self.check_test(&name, range);
                }
            }
            "selectattr" | "rejectattr" => {
                if let Some((name, range)) = literal(1) {
                    self.check_test(&name, range);
                }
            }
            _ => {}
        }
    }

    fn check_fragment(&mut self, args: &[CallArg<'_>]) {
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
                    defined => format!("the fragments are `{}`", defined.join("`, `")),
                }
            });
        self.report(
            range_of(expression),
            format!("unknown fragment `{name}`"),
            Some(help),
        );
    }

    /// Keeps the error if it is before all others in the text.
    fn report(&mut self, range: Range<usize>, message: String, help: Option<String>) {
        let start = range.start;
        let is_first = self
            .first_error
            .as_ref()
            .is_none_or(|(first, _)| start < *first);
        if is_first {
            let error = JinjaError::at(self.source, range, message).with_help(help);
            self.first_error = Some((start, error));
        }
    }
}

fn range_of(expression: &Expr<'_>) -> Range<usize> {
    let span = expression.span();
    span.start_offset as usize..span.end_offset as usize
}

/// Returns the range of a path from its first name. The engine's range only has the last step.
fn range_of_path(expression: &Expr<'_>) -> Range<usize> {
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
    fn every_name_that_passes_the_check_exists_in_the_engine() {
        let assert_true = |expression: &str| {
            let result = ENVIRONMENT
                .compile_expression(expression)
                .unwrap()
                .eval(())
                .unwrap();
            assert!(result.is_true(), "{expression}");
        };
        for name in names_of(FILTERS) {
            assert_true(&format!("'{name}' is filter"));
        }
        for name in names_of(TESTS_AND_OPERATORS) {
            assert_true(&format!("'{name}' is test"));
        }
        for name in names_of(&[BuiltinKind::Function, BuiltinKind::FunctionAndFilter]) {
            assert_true(&format!("{name} is defined"));
        }
        assert_true("'pprint' is not filter");
        assert_true("debug is not defined");
    }
}
