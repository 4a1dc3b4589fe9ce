//! Expressions: `where`, `when` and the entries of `once`.

use std::{collections::BTreeSet, fmt, sync::Arc};

use minijinja::{Value as Jinja, value::ValueKind};
use serde_json::Value;

use super::{
    checked_text::CheckedText,
    context::RenderContext,
    culprit::Failure,
    declarations::Declarations,
    engine::{ENVIRONMENT, catch_panic},
    engine_error::{EngineFailure, from_engine, from_engine_at},
    error::{JinjaError, Origin},
    formatter::to_json,
    functions::once::OnceSource,
    mentions::Mentions,
    name_check::{check_expression, expression_reads_values, variables_of},
    node_value::{NodeValue, forget_last_read},
    output::forget_printed,
    parser::parse_expression,
    scope::Scope,
    variables::Variables,
};
use cfgsync_model::check_integer_range;

/// A compiled expression, whose names have been checked. Cloning copies pointers.
#[derive(Clone)]
pub struct Expression {
    compiled: Arc<Compiled>,
    origin: Option<Origin>,
}

struct Compiled {
    source: String,
    /// The text that the engine runs.
    checked: CheckedText,
    expression: minijinja::Expression<'static, 'static>,
    variables: BTreeSet<String>,
    reads_values: bool,
}

impl Expression {
    /// Compiles `source`. Entries of `values` and `once` are not checked.
    ///
    /// # Errors
    ///
    /// Fails with the first syntax error, or else with the first name that does not exist in `scope`.
    pub fn compile(source: &str, scope: Scope) -> Result<Self, JinjaError> {
        Self::compile_with(source, scope, &Declarations::default())
    }

    /// Compiles `source` and checks entries of `values` and `once` against the declarations of the spec.
    ///
    /// # Errors
    ///
    /// Fails as [`Expression::compile`] does, and if the spec does not declare an entry.
    pub fn compile_with(
        source: &str,
        scope: Scope,
        declarations: &Declarations,
    ) -> Result<Self, JinjaError> {
        let parsed = parse_expression(source)?;
        check_expression(&parsed, source, scope, declarations)?;
        let variables = variables_of(&parsed);
        let reads_values = expression_reads_values(&parsed);
        let checked = CheckedText::of_expression(source, &parsed);
        let original = |position| checked.original_position(position);
        let expression = catch_panic(|| ENVIRONMENT.compile_expression_owned(checked.text.clone()))
            .map_err(|error| from_engine_at(&error, source, original).error)?;
        Ok(Self {
            compiled: Arc::new(Compiled {
                source: source.to_owned(),
                checked,
                expression,
                variables,
                reads_values,
            }),
            origin: None,
        })
    }

    /// Returns the same expression with the position of its text, which messages then show.
    #[must_use]
    pub fn with_origin(mut self, origin: Origin) -> Self {
        self.origin = Some(origin);
        self
    }

    /// Returns the position of the text, if [`Expression::with_origin`] has set it.
    pub fn origin(&self) -> Option<&Origin> {
        self.origin.as_ref()
    }

    /// Returns the text of the expression.
    pub fn source(&self) -> &str {
        &self.compiled.source
    }

    /// Returns whether the expression uses the variable `name`. A `where` that does not use `nodes` can be evaluated for
    /// each node alone.
    pub fn uses_variable(&self, name: &str) -> bool {
        self.compiled.variables.contains(name)
    }

    /// Returns whether the expression reads operators' values.
    pub fn reads_values(&self) -> bool {
        self.compiled.reads_values
    }

    /// Returns the fields of `node.metadata` that the text names, and its constants. `plan --fake` makes up values from
    /// them.
    pub fn mentions(&self) -> Mentions {
        parse_expression(self.source())
            .map(|parsed| Mentions::of(&parsed))
            .unwrap_or_default()
    }

    /// Evaluates a `where` for `node`. An undefined value means that the node does not match.
    ///
    /// # Errors
    ///
    /// Fails if evaluation fails for another reason, or if the result is not a boolean.
    pub fn matches(&self, context: &RenderContext, node: &NodeValue) -> Result<bool, JinjaError> {
        match self.evaluate(&context.variables(Some(node), None)) {
            Ok(value) if value.is_undefined() => Ok(false),
            Ok(value) => self.require_boolean(&value),
            Err(failure) if failure.is_undefined => Ok(false),
            Err(failure) => Err(failure.error),
        }
    }

    /// Evaluates a `when` on all nodes.
    ///
    /// # Errors
    ///
    /// Fails if evaluation fails, also because of an undefined value, or if the result is not a boolean.
    pub fn holds(&self, context: &RenderContext) -> Result<bool, JinjaError> {
        let value = self.evaluate_in(context, None, None)?;
        self.require_boolean(&value)
    }

    /// Evaluates an entry of `once`.
    ///
    /// # Errors
    ///
    /// Fails if evaluation fails, or if the result is not JSON or has an integer that does not fit into 64 bits.
    pub fn evaluate_once(
        &self,
        context: &RenderContext,
        source: &OnceSource,
    ) -> Result<Value, JinjaError> {
        let value = self.evaluate_in(context, None, Some(source))?;
        if value.is_undefined() {
            return Err(self.error("the result is undefined", None));
        }
        let text = to_json(&value, None)
            .map_err(|error| self.error(from_engine(&error, self.source()).error.message, None))?;
        check_integer_range(&text).map_err(|error| self.error(error.to_string(), None))?;
        serde_json::from_str(&text).map_err(|_| self.error("the result is not a JSON value", None))
    }

    /// Evaluates the list of a `for`.
    ///
    /// # Errors
    ///
    /// Fails if evaluation fails, if the result is not a list, or if it has more than `items_max` items.
    pub(super) fn evaluate_list(
        &self,
        context: &RenderContext,
        node: Option<&NodeValue>,
        items_max: usize,
    ) -> Result<Vec<Jinja>, JinjaError> {
        let value = self.evaluate_in(context, node, None)?;
        if !matches!(value.kind(), ValueKind::Seq | ValueKind::Iterable) {
            let message = match value.kind() {
                ValueKind::Undefined => "the list is undefined".to_owned(),
                kind => format!("the value after `in` must be a list, but its type is {kind}"),
            };
            return Err(self.error(message, None));
        }
        let items = catch_panic(|| Ok(value.try_iter()?.take(items_max + 1).collect::<Vec<_>>()))
            .map_err(|error| from_engine(&error, self.source()).error)?;
        if items.len() > items_max {
            return Err(self.error(format!("the list has more than {items_max} items"), None));
        }
        Ok(items)
    }

    /// Evaluates the expression. An error names the node that causes it.
    fn evaluate_in(
        &self,
        context: &RenderContext,
        node: Option<&NodeValue>,
        once_source: Option<&OnceSource>,
    ) -> Result<Jinja, JinjaError> {
        let variables = context.variables(node, once_source);
        self.evaluate(&variables).map_err(|failure| {
            // The search for a suggestion reads nodes as well.
            let cause = Failure::of(context, node);
            let error = failure.with_suggestion(|path| variables.suggestion(path));
            cause.name_node(error, |context| {
                let result = self.evaluate(&context.variables(node, once_source));
                result.err().map(|failure| failure.error.message)
            })
        })
    }

    fn evaluate(&self, variables: &Arc<Variables>) -> Result<Jinja, EngineFailure> {
        forget_last_read();
        forget_printed();
        let variables = Jinja::from_dyn_object(Arc::clone(variables));
        let original = |position| self.compiled.checked.original_position(position);
        catch_panic(|| self.compiled.expression.eval(variables))
            .map_err(|error| from_engine_at(&error, self.source(), original))
    }

    fn require_boolean(&self, value: &Jinja) -> Result<bool, JinjaError> {
        match value.kind() {
            ValueKind::Bool => Ok(value.is_true()),
            ValueKind::Undefined => Err(self.error("the result is undefined", None)),
            kind => Err(self.error(
                format!("the result must be true or false, but its type is {kind}"),
                Some("write a comparison: `… == …`, `… > 0`, `… is defined`".to_owned()),
            )),
        }
    }

    /// Returns an error about the whole expression.
    fn error(&self, message: impl Into<String>, help: Option<String>) -> JinjaError {
        JinjaError::at(self.source(), 0..self.source().len(), message).with_help(help)
    }
}

impl fmt::Debug for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Expression({:?})", self.source())
    }
}

#[cfg(test)]
mod tests;
