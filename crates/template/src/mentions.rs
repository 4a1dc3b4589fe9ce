//! The fields of the metadata and the constants in the text of an expression.

use std::collections::BTreeSet;

use minijinja::machinery::ast::Expr;
use serde_json::Value;

use super::{
    formatter::to_json,
    syntax_tree::{SyntaxNode, walk_expression},
};

/// The fields of a node that the text of an expression mentions.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Mentions {
    /// The names of fields of `node.metadata`.
    pub fields: BTreeSet<String>,
    /// The constants: strings, numbers and booleans, also those in lists.
    pub constants: Vec<Value>,
}

impl Mentions {
    pub(super) fn of(expression: &Expr<'_>) -> Self {
        let mut mentions = Self::default();
        walk_expression(expression, &mut |node| {
            let SyntaxNode::Expression(expression) = node else {
                return;
            };
            mentions.fields.extend(metadata_field(expression));
            let constant = expression.as_const();
            let json = constant.and_then(|value| to_json(&value, None).ok());
            if let Some(value) = json.and_then(|json| serde_json::from_str(&json).ok()) {
                mentions.add_constant(value);
            }
        });
        mentions
    }

    fn add_constant(&mut self, value: Value) {
        match value {
            Value::Array(items) => items.into_iter().for_each(|item| self.add_constant(item)),
            Value::Null | Value::Object(_) => {}
            value if self.constants.contains(&value) => {}
            value => self.constants.push(value),
        }
    }
}

/// Returns the name of the field if `expression` is `node.metadata.NAME` or `node.metadata["NAME"]`.
fn metadata_field(expression: &Expr<'_>) -> Option<String> {
    let (container, name) = match expression {
        Expr::GetAttr(access) => (&access.expr, access.name.to_owned()),
        Expr::GetItem(access) => {
            let name = access.subscript_expr.as_const()?;
            (&access.expr, name.as_str()?.to_owned())
        }
        _ => return None,
    };
    let is_metadata = matches!(container, Expr::GetAttr(access)
        if access.name == "metadata" && matches!(&access.expr, Expr::Var(variable) if variable.id == "node"));
    is_metadata.then_some(name)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::{Expression, Scope};

    #[test]
    fn mentions_are_the_fields_and_the_constants() {
        let text = r#"node.metadata.role in ["a", "b"] and node.metadata["weight"] > 3 and node.identifier != "a""#;
        let mentions = Expression::compile(text, Scope::Node).unwrap().mentions();
        assert_eq!(Vec::from_iter(mentions.fields), ["role", "weight"]);
        for constant in [json!("a"), json!("b"), json!(3)] {
            assert!(mentions.constants.contains(&constant), "{constant}");
        }
    }
}
