//! `for: NAME in LIST` of a file: the text, and one context for each item of the list.

use std::{fmt, ops::Range, sync::Arc};

use super::{
    context::RenderContext,
    declarations::Declarations,
    engine::Whitespace,
    error::{JinjaError, Origin},
    expression::Expression,
    name_check::LANGUAGE_NAMES,
    node_value::NodeValue,
    parser::parse_template,
    scope::Scope,
};

/// A compiled `NAME in LIST`. Cloning copies pointers.
#[derive(Clone)]
pub struct Iteration {
    variable: Arc<str>,
    list: Expression,
}

impl Iteration {
    /// Compiles `text`. The list is an expression in `scope`, and entries of `values` and `once` are checked against the
    /// declarations of the spec.
    ///
    /// # Errors
    ///
    /// Fails if the text has another form, if the name cannot be a new variable, and as [`Expression::compile`] does.
    pub fn compile(
        text: &str,
        scope: Scope,
        declarations: &Declarations,
    ) -> Result<Self, JinjaError> {
        let Some((name, list)) = split(text) else {
            return Err(
                JinjaError::at(text, 0..text.len(), "expected a name, `in` and a list")
                    .with_help("such as `peer in nodes`".to_owned()),
            );
        };
        let variable = &text[name.clone()];
        check_name(text, name)?;
        // The blanks keep the positions of the list within the text.
        let mut padded = " ".repeat(list);
        padded.push_str(&text[list..]);
        Ok(Self {
            variable: variable.into(),
            list: Expression::compile_with(&padded, scope, declarations)?,
        })
    }

    /// Returns the same iteration with the position of its text, which messages then show.
    #[must_use]
    pub fn with_origin(self, origin: Origin) -> Self {
        Self {
            list: self.list.with_origin(origin),
            ..self
        }
    }

    /// Returns the position of the text, if [`Iteration::with_origin`] has set it.
    pub fn origin(&self) -> Option<&Origin> {
        self.list.origin()
    }

    /// Returns the name of the variable.
    pub fn variable(&self) -> &str {
        &self.variable
    }

    /// Returns the expression of the list.
    pub fn list(&self) -> &str {
        self.list.source().trim_start()
    }

    /// Returns whether the list reads operators' values.
    pub fn reads_values(&self) -> bool {
        self.list.reads_values()
    }

    /// Returns a context for each item of the list, in which the variable is that item.
    ///
    /// # Errors
    ///
    /// Fails if the evaluation fails, if the result is not a list, or if it has more than `items_max` items.
    pub fn contexts(
        &self,
        context: &RenderContext,
        node: Option<&NodeValue>,
        items_max: usize,
    ) -> Result<Vec<RenderContext>, JinjaError> {
        let items = self.list.evaluate_list(context, node, items_max)?;
        let items = items.into_iter().enumerate();
        Ok(items
            .map(|(at, value)| context.with_item(Arc::clone(&self.variable), at, value))
            .collect())
    }
}

impl fmt::Debug for Iteration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Iteration({} in {:?})", self.variable, self.list())
    }
}

/// Returns the range of the name, and the offset of the list.
fn split(text: &str) -> Option<(Range<usize>, usize)> {
    let start = text.len() - text.trim_start().len();
    let is_part = |c: char| c == '_' || c.is_ascii_alphanumeric();
    let end = start + text[start..].find(|c| !is_part(c))?;
    let rest = text[end..].trim_start();
    let list = rest.strip_prefix("in")?;
    let is_separate = end > start && list.starts_with(char::is_whitespace);
    let is_given = !list.trim().is_empty();
    (is_separate && is_given).then(|| (start..end, text.len() - list.len()))
}

/// Fails if the name at `range` cannot be the name of a new variable.
fn check_name(text: &str, range: Range<usize>) -> Result<(), JinjaError> {
    let name = &text[range.clone()];
    let is_taken = Scope::Node.variables().contains(&name)
        || Scope::Node.has_function(name)
        || LANGUAGE_NAMES.contains(&name);
    // The engine knows its reserved words.
    let assignment = format!("{{% set {name} = 1 %}}");
    let is_name = parse_template("for", &assignment, Whitespace::default()).is_ok();
    let message = match (is_taken, is_name) {
        (false, true) => return Ok(()),
        (true, _) => format!("`{name}` already has a meaning here"),
        (false, false) => format!("`{name}` cannot be the name of a variable"),
    };
    Err(JinjaError::at(text, range, message).with_help("choose another name".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        template::Template,
        testing::{context, nodes},
    };

    fn compile(text: &str) -> Result<Iteration, JinjaError> {
        Iteration::compile(text, Scope::Node, &Declarations::default())
    }

    fn rendered(text: &str) -> Result<Vec<String>, String> {
        let iteration = compile(text).unwrap();
        let declarations = Declarations::default().with_item(iteration.variable());
        let template = Template::compile_with(
            "path",
            "{{ p }}",
            Scope::Node,
            &[],
            &declarations,
            Whitespace::default(),
        );
        let template = template.unwrap();
        let own = &nodes()[0];
        let contexts = iteration.contexts(&context(), Some(own), 3);
        let contexts = contexts.map_err(|error| error.to_string())?;
        Ok(contexts
            .iter()
            .map(|context| template.render_path(context, Some(own)).unwrap())
            .collect())
    }

    #[test]
    fn each_item_of_the_list_has_a_context() {
        let others = "p in nodes | rejectattr('identifier', 'eq', node.identifier) | map(attribute='identifier')";
        assert_eq!(rendered(others).unwrap(), ["n-2", "n-3"]);
        assert_eq!(rendered(" p  in range(2)").unwrap(), ["0", "1"]);
        assert_eq!(rendered("p in []").unwrap(), [""; 0]);
    }

    #[test]
    fn only_a_list_of_few_items_is_accepted() {
        for (text, message) in [
            ("p in range(4)", "the list has more than 3 items"),
            (
                "p in cluster",
                "the value after `in` must be a list, but its type is string",
            ),
            ("p in node.metadata.nope", "the list is undefined"),
        ] {
            let error = rendered(text).unwrap_err();
            assert!(error.starts_with(message), "{error}");
        }
    }

    #[test]
    fn mistakes_have_their_position() {
        for (text, column, message) in [
            ("nodes", 1, "expected a name, `in` and a list"),
            ("peer in ", 1, "expected a name, `in` and a list"),
            ("a, b in nodes", 1, "expected a name, `in` and a list"),
            ("node in nodes", 1, "`node` already has a meaning here"),
            (
                "true in nodes",
                1,
                "`true` cannot be the name of a variable",
            ),
            ("peer in ndes", 9, "unknown variable `ndes`"),
            ("peer in peer", 9, "unknown variable `peer`"),
        ] {
            let error = compile(text).unwrap_err();
            assert_eq!((error.column, &*error.message), (column, message), "{text}");
        }
    }
}
