//! Expressions: `where`, `when`, and the values of `once`.

use std::{collections::BTreeSet, fmt, sync::Arc};

use minijinja::{Value as Jinja, value::ValueKind};
use serde_json::Value;

use super::{
    context::{NodeValue, RenderContext, Root},
    declared::Declared,
    draw::Draw,
    engine::{ENVIRONMENT, guarded},
    error::{Failure, JinjaError, Origin, from_engine},
    names::{Scope, check_expression, variables_of},
    parsing::parse_expression,
    printing::json,
};
use cfgsync_model::check_integer_range;

/// An expression that compiled: its names exist. Cloning is cheap.
#[derive(Clone)]
pub struct Expression {
    compiled: Arc<Compiled>,
    origin: Option<Origin>,
}

struct Compiled {
    source: String,
    expression: minijinja::Expression<'static, 'static>,
    variables: BTreeSet<String>,
}

impl Expression {
    /// Compiles `source`. Fails at the first mistake in the syntax, then at the first name that does not
    /// exist in `scope`.
    pub fn compile(source: &str, scope: Scope) -> Result<Self, JinjaError> {
        Self::compile_in(source, scope, &Declared::default())
    }

    /// The same in a spec that declares so much: what is not there is a name that does not exist.
    pub fn compile_in(source: &str, scope: Scope, declared: &Declared) -> Result<Self, JinjaError> {
        let parsed = parse_expression(source)?;
        check_expression(&parsed, source, scope, declared)?;
        let variables = variables_of(&parsed);
        let expression = guarded(|| ENVIRONMENT.compile_expression_owned(source.to_owned()))
            .map_err(|error| from_engine(&error, source).error)?;
        Ok(Self {
            compiled: Arc::new(Compiled {
                source: source.to_owned(),
                expression,
                variables,
            }),
            origin: None,
        })
    }

    /// The same expression, knowing where its text stands.
    #[must_use]
    pub fn with_origin(mut self, origin: Origin) -> Self {
        self.origin = Some(origin);
        self
    }

    /// Where its text stands, if it was told.
    pub fn origin(&self) -> Option<&Origin> {
        self.origin.as_ref()
    }

    /// Its text.
    pub fn source(&self) -> &str {
        &self.compiled.source
    }

    /// Whether it uses the variable `name` at its top level (`nodes`: then it cannot be counted node by node).
    pub fn mentions(&self, name: &str) -> bool {
        self.compiled.variables.contains(name)
    }

    /// A `where`: an undefined name does not match; anything but a boolean is an error.
    pub fn matches(&self, context: &RenderContext, node: &NodeValue) -> Result<bool, JinjaError> {
        match self.evaluate(&context.root(Some(node), None)) {
            Ok(value) if value.is_undefined() => Ok(false),
            Ok(value) => self.boolean(&value),
            Err(failure) if failure.undefined => Ok(false),
            Err(failure) => Err(failure.error),
        }
    }

    /// A `when`: strict, must give a boolean.
    pub fn holds(&self, context: &RenderContext) -> Result<bool, JinjaError> {
        let root = context.root(None, None);
        let value = self
            .evaluate(&root)
            .map_err(|failure| failure.with_nearest(|path| root.nearest(path)))?;
        self.boolean(&value)
    }

    /// A value of `once`, any JSON.
    pub fn draw(&self, context: &RenderContext, draw: &Draw) -> Result<Value, JinjaError> {
        let root = context.root(None, Some(draw));
        let value = self
            .evaluate(&root)
            .map_err(|failure| failure.with_nearest(|path| root.nearest(path)))?;
        if value.is_undefined() {
            return Err(self.error("it is undefined", None));
        }
        let text = json(&value, None)
            .map_err(|error| self.error(from_engine(&error, self.source()).error.message, None))?;
        check_integer_range(&text).map_err(|error| self.error(error.to_string(), None))?;
        serde_json::from_str(&text).map_err(|_| self.error("it is no JSON value", None))
    }

    fn evaluate(&self, root: &Arc<Root>) -> Result<Jinja, Failure> {
        let variables = Jinja::from_dyn_object(Arc::clone(root));
        guarded(|| self.compiled.expression.eval(variables))
            .map_err(|error| from_engine(&error, self.source()))
    }

    fn boolean(&self, value: &Jinja) -> Result<bool, JinjaError> {
        match value.kind() {
            ValueKind::Bool => Ok(value.is_true()),
            ValueKind::Undefined => Err(self.error("it is undefined", None)),
            kind => Err(self.error(
                format!("it must give true or false, but it gives a value of type {kind}"),
                Some("compare it: `… == …`, `… > 0`, `… is defined`".to_owned()),
            )),
        }
    }

    /// An error about the whole expression.
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
mod tests {
    use serde_json::{Map, json};

    use super::*;
    use crate::testing::{context, nodes, values};

    #[test]
    fn a_where_matches_or_does_not() {
        for (source, expected) in [
            ("node.metadata.role == 'validator'", [true, false, true]),
            ("node.metadata.port > 9000", [false, true, true]),
            ("node.metadata.missing == 1", [false; 3]),
            ("not node.metadata.missing", [false; 3]),
            ("node.metadata.missing", [false; 3]),
            ("node.metadata.missing is not defined", [true; 3]),
            ("node.metadata.tls.cert is defined", [false; 3]),
            ("node.identifier in values.favoured", [false, true, false]),
        ] {
            let expression = Expression::compile(source, Scope::Node).unwrap();
            let context = RenderContext::without_nodes("devnet", &values());
            let found: Vec<bool> = nodes()
                .iter()
                .map(|node| expression.matches(&context, node).unwrap())
                .collect();
            assert_eq!(found, expected, "{source}");
        }
    }

    #[test]
    fn only_booleans_are_answers() {
        let context = context();
        for (source, message) in [
            (
                "node.metadata.port",
                "it must give true or false, but it gives a value of type number",
            ),
            (
                "'false'",
                "it must give true or false, but it gives a value of type string",
            ),
            (
                "''[::-1] == ''",
                "the template engine itself fails at this text; write it in another way",
            ),
            (
                "1 / 0 == 1",
                "the result of this calculation is out of range or not a number",
            ),
            (
                "node.metadata.port + 'x' == 1",
                "tried to use + operator on unsupported types number and string",
            ),
        ] {
            let expression = Expression::compile(source, Scope::Node).unwrap();
            let error = expression
                .matches(&context, &context.nodes()[0])
                .unwrap_err();
            assert_eq!(error.message, message, "{source}");
        }
    }

    #[test]
    fn a_when_is_strict() {
        let context = context();
        for (source, expected) in [
            ("nodes | length == 3", Ok(true)),
            (
                "nodes | map(attribute='metadata.role') | unique | list | length >= 2",
                Ok(true),
            ),
            (
                "nodes | selectattr('metadata.role', '==', 'validator') | list | length == 2",
                Ok(true),
            ),
            (
                "nodes | selectattr('metadata.zone', 'defined') | list | length == 1",
                Ok(true),
            ),
            (
                "nodes | map(attribute='metadata.zone', default='a') | unique | list | length == 2",
                Ok(true),
            ),
            ("nodes | sum(attribute='metadata.port') == 27003", Ok(true)),
            (
                "(nodes | max(attribute='metadata.port')).identifier == 'n-3'",
                Ok(true),
            ),
            (
                "nodes | map(attribute='metadata.zone') | unique | list | length == 2",
                Err("`metadata.zone` is undefined for node n-1"),
            ),
            (
                "nodes | selectattr('identifer') | list | length == 0",
                Err("`identifer` is undefined for node n-1; did you mean `identifier`?"),
            ),
            (
                "nodes | rejectattr('metadata.rol', '==', 1) | list == []",
                Err("`metadata.rol` is undefined for node n-1; did you mean `role`?"),
            ),
            (
                "nodes | groupby('metadata.prot') | length == 1",
                Err("`metadata.prot` is undefined for node n-1; did you mean `port`?"),
            ),
            (
                "nodes | sort(attribute='metadata.role, metadata.zone') == []",
                Err("`metadata.zone` is undefined for node n-1"),
            ),
            (
                "nodes | sum(attribute='metadata.weight') == 0",
                Err("`metadata.weight` is undefined for node n-1"),
            ),
            (
                "nodes | unique(attribute='metadata.zone') == []",
                Err("`metadata.zone` is undefined for node n-1"),
            ),
            (
                "(nodes | min(attribute='metadata.zone')).ip == ''",
                Err("`metadata.zone` is undefined for node n-1"),
            ),
            (
                "nodes | join(attribute='metadata.zone') == ''",
                Err("`metadata.zone` is undefined for node n-1"),
            ),
            (
                "nodes | map('attr', 'zone') | list == []",
                Err("item 0 of the list of `map` is undefined"),
            ),
            (
                "[values.nope, 1] | sort == []",
                Err("item 0 of the list of `sort` is undefined"),
            ),
            (
                "values.nope | sort == []",
                Err("`values.nope` is undefined"),
            ),
            ("once.cookie == 'x'", Err("`once.cookie` is undefined")),
            (
                "values.chain_di == 7",
                Err("`values.chain_di` is undefined; did you mean `chain_id`?"),
            ),
            (
                "values.chain_id",
                Err(
                    "it must give true or false, but it gives a value of type number; compare it: `… == …`, `… > 0`, `… is defined`",
                ),
            ),
            (
                "(nodes | first).metadata.prot > 1",
                Err("`(...).metadata.prot` is undefined"),
            ),
        ] {
            let expression = Expression::compile(source, Scope::When).unwrap();
            let found = expression
                .holds(&context)
                .map_err(|error| error.describe(None).split_once(": ").unwrap().1.to_owned());
            assert_eq!(found, expected.map_err(str::to_owned), "{source}");
        }
    }

    #[test]
    fn a_when_that_never_ends_is_stopped() {
        let source = "range(100000) | map('string') | list | length > 0 and \
                      (range(100000) | list | length) * 1 == 100000";
        assert!(
            Expression::compile(source, Scope::When)
                .unwrap()
                .holds(&context())
                .unwrap()
        );
    }

    #[test]
    fn habits_from_elsewhere_are_recognised() {
        for (source, help) in [
            ("node.ip = 'x'", Some("write `==` for `=`")),
            ("node.ip == 'x' && true", Some("write `and` for `&&`")),
            ("node.ip == 'x' || true", Some("write `or` for `||`")),
            ("node.ip === 'x'", Some("write `==` for `=`")),
            ("!node.ip", Some("write `not` for `!`")),
            (
                "{{ node.ip == 'x' }}",
                Some("an expression stands without `{{ }}`"),
            ),
            ("node.ip ==", None),
            ("", None),
        ] {
            let error = Expression::compile(source, Scope::Node).unwrap_err();
            assert!(
                error.message.starts_with("syntax error: "),
                "{source}: {error}"
            );
            assert_eq!(error.help.as_deref(), help, "{source}: {error:?}");
        }
    }

    #[test]
    fn once_is_drawn() {
        let draw = Draw::Real("2026-01-02T03:04:05Z".parse().unwrap());
        let drawn = |source: &str, draw: &Draw| {
            Expression::compile(source, Scope::Once)
                .unwrap()
                .draw(&context(), draw)
        };
        assert_eq!(
            drawn("now()", &draw).unwrap(),
            json!("2026-01-02T03:04:05Z")
        );
        assert_eq!(
            drawn("(nodes | first).identifier", &draw).unwrap(),
            json!("n-1")
        );
        assert_eq!(
            drawn("{'b': [1, 2.5, none], 'a': cluster}", &draw).unwrap(),
            json!({"a": "devnet", "b": [1, 2.5, null]})
        );
        let hex = drawn("random_hex(32)", &draw).unwrap();
        assert_eq!(hex.as_str().unwrap().len(), 64);
        assert_ne!(hex, drawn("random_hex(32)", &draw).unwrap());
        assert_eq!(
            drawn("random_base64url(16)", &draw)
                .unwrap()
                .as_str()
                .unwrap()
                .len(),
            22
        );
        assert_eq!(
            drawn("random_hex(4)", &Draw::Placeholder).unwrap(),
            json!("0badc0de")
        );
        assert_eq!(
            drawn("random_hex(0 * (nodes | length))", &draw)
                .unwrap_err()
                .message,
            "between 1 and 4096 bytes can be drawn"
        );
        assert_eq!(
            drawn("(nodes | first).nope", &draw).unwrap_err().message,
            "it is undefined"
        );
        assert_eq!(drawn("2 ** 64 - 1", &draw).unwrap(), json!(u64::MAX));
        assert_eq!(
            drawn("2 ** 64", &draw).unwrap_err().message,
            "the integer 18446744073709551616 needs more than 64 bits and would be rounded; write it as a string"
        );
    }

    #[test]
    fn it_knows_whether_it_needs_the_whole_set() {
        let needs = |source: &str| {
            Expression::compile(source, Scope::Node)
                .unwrap()
                .mentions("nodes")
        };
        assert!(!needs("node.metadata.nodes == 'nodes'"));
        assert!(needs("node.identifier == (nodes | first).identifier"));
        assert!(needs("nodes[0].ip == node.ip"));
        assert!(needs("nodes[1:] == []"));
    }

    #[test]
    fn unseated_nodes_have_no_seat() {
        let expression = Expression::compile("node.seat == 0", Scope::Node).unwrap();
        let context = RenderContext::unseated("c", &Map::new(), &Map::new(), nodes());
        assert!(!expression.matches(&context, &context.nodes()[0]).unwrap());
    }
}
