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
    context::{NodeValue, RenderContext},
    declared::Declared,
    engine::{ENVIRONMENT, guarded},
    error::{JinjaError, Origin, from_engine},
    names::{Scope, check_template},
    output::{OutputWriter, print_path_part},
    parsing::parse_template,
};
use cfgsync_model::Content;

/// Largest buffer that a render gets before it writes anything.
const BUFFER_MAX_BYTES: usize = 64 << 10;

/// A template that compiled: its names exist. Cloning is cheap.
#[derive(Clone)]
pub struct Template {
    compiled: Arc<Compiled>,
    origin: Option<Origin>,
}

struct Compiled {
    environment: Environment<'static>,
    /// The same with a printer for parts of paths; made when it is first needed.
    path_environment: OnceLock<Environment<'static>>,
    name: String,
    source: String,
    /// The length of the longest output, in bytes. The next one gets a buffer of that size at once.
    longest_output: AtomicUsize,
}

impl Template {
    /// Compiles `source`. `name` is for messages; `fragments` are the names that fragment() may ask for.
    /// Fails at the first mistake in the syntax, then at the first name that does not exist in `scope`.
    pub fn compile(
        name: &str,
        source: &str,
        scope: Scope,
        fragments: &[String],
    ) -> Result<Self, JinjaError> {
        Self::compile_in(name, source, scope, fragments, &Declared::default())
    }

    /// The same in a spec that declares so much: what is not there is a name that does not exist.
    pub fn compile_in(
        name: &str,
        source: &str,
        scope: Scope,
        fragments: &[String],
        declared: &Declared,
    ) -> Result<Self, JinjaError> {
        let parsed = parse_template(name, source)?;
        check_template(&parsed, source, scope, declared, fragments)?;
        let mut environment = ENVIRONMENT.clone();
        guarded(|| environment.add_template_owned(name.to_owned(), source.to_owned()))
            .map_err(|error| from_engine(&error, source).error)?;
        Ok(Self {
            compiled: Arc::new(Compiled {
                environment,
                path_environment: OnceLock::new(),
                name: name.to_owned(),
                source: source.to_owned(),
                longest_output: AtomicUsize::new(0),
            }),
            origin: None,
        })
    }

    /// The same template, knowing where its text stands.
    #[must_use]
    pub fn with_origin(mut self, origin: Origin) -> Self {
        self.origin = Some(origin);
        self
    }

    /// Where its text stands, if it was told.
    pub fn origin(&self) -> Option<&Origin> {
        self.origin.as_ref()
    }

    /// What messages call it.
    pub fn name(&self) -> &str {
        &self.compiled.name
    }

    /// Its text.
    pub fn source(&self) -> &str {
        &self.compiled.source
    }

    /// The text for `node` (`None` for what all share). Fragments that stand alone become shared chunks.
    pub fn render(
        &self,
        context: &RenderContext,
        node: Option<&NodeValue>,
    ) -> Result<Content, JinjaError> {
        self.render_in(&self.compiled.environment, context, node)
    }

    /// The same for a path: what is printed into it must not hold a `/` and must not be `.` or `..`, so that
    /// data cannot lead elsewhere. The template's own text may be any path.
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
        let path = self.render_in(environment, context, node)?;
        Ok(String::from_utf8_lossy(&path.to_bytes()).into_owned())
    }

    fn render_in(
        &self,
        environment: &Environment<'static>,
        context: &RenderContext,
        node: Option<&NodeValue>,
    ) -> Result<Content, JinjaError> {
        let root = context.root(node, None);
        let longest = &self.compiled.longest_output;
        let expected = longest.load(Ordering::Relaxed);
        let mut sink = OutputWriter::new(&root, expected.min(BUFFER_MAX_BYTES));
        let result = guarded(|| {
            let template = environment.get_template(self.name())?;
            let variables = Value::from_dyn_object(Arc::clone(&root));
            template.render_captured_to(variables, &mut sink).map(drop)
        });
        match result {
            Ok(()) => {
                if sink.length_bytes() > expected {
                    longest.fetch_max(sink.length_bytes(), Ordering::Relaxed);
                }
                Ok(sink.into_content())
            }
            Err(error) => {
                Err(from_engine(&error, self.source()).with_nearest(|path| root.nearest(path)))
            }
        }
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
mod tests;
