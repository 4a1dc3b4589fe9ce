//! Templates: compiled once, rendered for many nodes.

use std::{
    fmt,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
};

use minijinja::{Environment, Value};

use super::{
    checked_text::CheckedText,
    context::RenderContext,
    culprit::Failure,
    declarations::Declarations,
    engine::{ENVIRONMENT, Whitespace, catch_panic, syntax},
    engine_error::{EngineFailure, from_engine_at},
    error::{JinjaError, Origin},
    name_check::{check_template, template_reads_values, uses_variable},
    node_value::{NodeValue, forget_last_read},
    output::{OutputWriter, forget_printed, print_path_part},
    parser::parse_template,
    scope::Scope,
    variables::Variables,
};
use cfgsync_model::Content;

/// Maximum size of the buffer that a render starts with, in bytes.
const BUFFER_MAX_BYTES: usize = 64 << 10;

/// A compiled template, whose names have been checked. Cloning copies pointers.
#[derive(Clone)]
pub struct Template {
    compiled: Arc<Compiled>,
    origin: Option<Origin>,
}

struct Compiled {
    environment: Environment<'static>,
    /// The same environment with the formatter for paths, created when it is first needed.
    path_environment: OnceLock<Environment<'static>>,
    name: String,
    source: String,
    /// The text that the engine runs.
    checked: CheckedText,
    reads_values: bool,
    /// The length of the longest output so far, in bytes. The next render starts with a buffer of this size.
    longest_output: AtomicUsize,
}

impl Template {
    /// Compiles `source`. Entries of `values` and `once` are not checked. The engine's messages use `name`, and
    /// `fragments` are the names that `fragment()` accepts.
    ///
    /// # Errors
    ///
    /// Fails with the first syntax error, or else with the first name that does not exist in `scope`.
    pub fn compile(
        name: &str,
        source: &str,
        scope: Scope,
        fragments: &[String],
    ) -> Result<Self, JinjaError> {
        let declarations = Declarations::default();
        let whitespace = Whitespace::default();
        Self::compile_with(name, source, scope, fragments, &declarations, whitespace)
    }

    /// Compiles `source` with these settings of `whitespace`, and checks entries of `values` and `once` against the declarations of the spec.
    ///
    /// # Errors
    ///
    /// Fails as [`Template::compile`] does, and if the spec does not declare an entry.
    pub fn compile_with(
        name: &str,
        source: &str,
        scope: Scope,
        fragments: &[String],
        declarations: &Declarations,
        whitespace: Whitespace,
    ) -> Result<Self, JinjaError> {
        let parsed = parse_template(name, source, whitespace)?;
        check_template(&parsed, source, scope, declarations, fragments)?;
        let mut environment = ENVIRONMENT.clone();
        environment.set_syntax(syntax(whitespace));
        let checked = CheckedText::of_template(source, &parsed);
        let reads_values = template_reads_values(&parsed);
        let original = |position| checked.original_position(position);
        catch_panic(|| environment.add_template_owned(name.to_owned(), checked.text.clone()))
            .map_err(|error| from_engine_at(&error, source, original).error)?;
        Ok(Self {
            compiled: Arc::new(Compiled {
                environment,
                path_environment: OnceLock::new(),
                name: name.to_owned(),
                source: source.to_owned(),
                checked,
                reads_values,
                longest_output: AtomicUsize::new(0),
            }),
            origin: None,
        })
    }

    /// Returns the same template with the position of its text, which messages then show.
    #[must_use]
    pub fn with_origin(mut self, origin: Origin) -> Self {
        self.origin = Some(origin);
        self
    }

    /// Returns the position of the text, if [`Template::with_origin`] has set it.
    pub fn origin(&self) -> Option<&Origin> {
        self.origin.as_ref()
    }

    /// Returns the name that the template was compiled with.
    fn name(&self) -> &str {
        &self.compiled.name
    }

    /// Returns the text of the template.
    pub fn source(&self) -> &str {
        &self.compiled.source
    }

    /// Returns whether the text uses the variable `name`.
    pub fn uses_variable(&self, name: &str) -> bool {
        let parsed = parse_template(self.name(), self.source(), Whitespace::default());
        parsed.is_ok_and(|parsed| uses_variable(&parsed, name))
    }

    /// Returns whether the text reads operators' values.
    pub fn reads_values(&self) -> bool {
        self.compiled.reads_values
    }

    /// Renders the template for `node`, or for all nodes if it is `None`. An expression that is only a fragment becomes a
    /// shared chunk.
    ///
    /// # Errors
    ///
    /// Fails if evaluation fails or exceeds a limit. An undefined value is an error.
    pub fn render(
        &self,
        context: &RenderContext,
        node: Option<&NodeValue>,
    ) -> Result<Content, JinjaError> {
        self.render_in(&self.compiled.environment, context, node)
    }

    /// Renders the template as a path. The text of the template may be any path, but values that it prints cannot lead
    /// to another directory.
    ///
    /// # Errors
    ///
    /// Fails as [`Template::render`] does, and if a printed value contains `/` or a control character, or is `.` or
    /// `..`.
    pub fn render_path(
        &self,
        context: &RenderContext,
        node: Option<&NodeValue>,
    ) -> Result<String, JinjaError> {
        let environment = self.compiled.path_environment.get_or_init(|| {
            let mut environment = self.compiled.environment.clone();
            environment.set_formatter(print_path_part);
            environment
        });
        let rendered = self.render_in(environment, context, node)?;
        Ok(String::from_utf8_lossy(&rendered.to_bytes()).into_owned())
    }

    fn render_in(
        &self,
        environment: &Environment<'static>,
        context: &RenderContext,
        node: Option<&NodeValue>,
    ) -> Result<Content, JinjaError> {
        let (variables, result) = self.run(environment, context, node);
        result.map_err(|failure| {
            // The search for a suggestion reads nodes as well.
            let cause = Failure::of(context, node);
            let error = failure.with_suggestion(|path| variables.suggestion(path));
            let error = cause.name_node(error, |context| {
                let (_, result) = self.run(environment, context, node);
                result.err().map(|failure| failure.error.message)
            });
            context.hide_secrets(error)
        })
    }

    /// Runs the engine once.
    fn run(
        &self,
        environment: &Environment<'static>,
        context: &RenderContext,
        node: Option<&NodeValue>,
    ) -> (Arc<Variables>, Result<Content, EngineFailure>) {
        forget_last_read();
        forget_printed();
        let variables = context.variables(node, None);
        let longest = &self.compiled.longest_output;
        let expected = longest.load(Ordering::Relaxed);
        let mut writer = OutputWriter::new(&variables, expected.min(BUFFER_MAX_BYTES));
        let result = catch_panic(|| {
            let template = environment.get_template(self.name())?;
            let values = Value::from_dyn_object(Arc::clone(&variables));
            template.render_captured_to(values, &mut writer).map(drop)
        });
        let result = match result {
            Ok(()) => {
                if writer.length_bytes() > expected {
                    longest.fetch_max(writer.length_bytes(), Ordering::Relaxed);
                }
                Ok(writer.into_content())
            }
            Err(error) => {
                let original = |position| self.compiled.checked.original_position(position);
                Err(from_engine_at(&error, self.source(), original))
            }
        };
        (variables, result)
    }
}

impl fmt::Debug for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Template")
            .field("name", &self.name())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod fragment_tests;
#[cfg(test)]
mod limits_tests;
#[cfg(test)]
mod random_tests;
#[cfg(test)]
mod tests;
