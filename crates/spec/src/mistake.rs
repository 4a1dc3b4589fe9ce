//! Mistakes in a spec, rendered like a compiler's diagnostics: file, line, column, the text itself, and a hint.

use std::{cell::OnceCell, convert::Infallible, ops::Range, path::Path, rc::Rc};

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};

use super::{
    locations::Locations,
    source::{Source, YamlPath},
};
use cfgsync_template::{JinjaError, Origin};

/// The number of mistakes that are shown. The rest is only counted.
const SHOWN_MAX: usize = 20;

/// All mistakes found in a spec and the files that it names.
///
/// It displays like a compiler's diagnostics: several lines without a final newline. Each mistake begins with
/// `error: `, then come file, line, column and the text, then hints. After 20 mistakes the rest is only counted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SpecError(String);

impl SpecError {
    /// Joins several errors into one, in the order given.
    pub fn of_all(mistakes: impl IntoIterator<Item = Self>) -> Self {
        let rendered: Vec<_> = mistakes.into_iter().map(|mistake| mistake.0).collect();
        Self(rendered.join("\n\n"))
    }
}

/// A conversion that cannot fail: a [`Spec`](crate::Spec) is accepted wherever a rule that is built is.
impl From<Infallible> for SpecError {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}

/// One mistake: what is wrong, where, and what to do.
#[derive(Debug)]
pub(super) struct Mistake {
    title: String,
    place: Place,
    label: String,
    context: Option<(Range<usize>, &'static str)>,
    help: Vec<String>,
}

#[derive(Debug)]
enum Place {
    Range(Rc<Source>, Range<usize>),
    /// There is no text to show: a file cannot be read, or the rule was built by a program.
    NoText,
}

impl Mistake {
    /// Returns a mistake at `range` of `source`.
    pub(super) fn at(source: &Rc<Source>, range: Range<usize>, title: impl Into<String>) -> Self {
        Self::new(Place::Range(Rc::clone(source), range), title)
    }

    /// Returns a mistake without a text to show. The title must say what it is about.
    pub(super) fn without_text(title: impl Into<String>) -> Self {
        Self::new(Place::NoText, title)
    }

    fn new(place: Place, title: impl Into<String>) -> Self {
        Self {
            title: title.into(),
            place,
            label: String::new(),
            context: None,
            help: Vec::new(),
        }
    }

    /// Sets the label beside the marked text.
    pub(super) fn label(mut self, label: impl Into<String>) -> Self {
        self.label = label.into();
        self
    }

    /// Marks another range of the same text.
    pub(super) fn context(mut self, range: Range<usize>, label: &'static str) -> Self {
        self.context = Some((range, label));
        self
    }

    /// Adds a hint that says what to do.
    pub(super) fn help(mut self, help: impl Into<String>) -> Self {
        self.help.push(help.into());
        self
    }

    fn sort_key(&self) -> (bool, usize) {
        match &self.place {
            Place::Range(_, range) => (false, range.start),
            Place::NoText => (true, 0),
        }
    }

    fn render(&self) -> String {
        let title = Level::ERROR.primary_title(self.title.as_str());
        let group = match &self.place {
            Place::NoText => Group::with_title(title),
            Place::Range(source, range) => {
                let marked = AnnotationKind::Primary.span(clip(&source.text, range));
                let marked = match self.label.as_str() {
                    "" => marked,
                    label => marked.label(label),
                };
                let mut snippet = Snippet::source(source.text.as_str())
                    .path(source.name.as_str())
                    .annotation(marked);
                if let Some((range, label)) = &self.context {
                    let marked = AnnotationKind::Context.span(clip(&source.text, range));
                    snippet = snippet.annotation(marked.label(*label));
                }
                title.element(snippet)
            }
        };
        let help = self
            .help
            .iter()
            .map(|help| Level::HELP.message(help.as_str()));
        Renderer::plain().render(&[group.elements(help)])
    }
}

/// Clips a range to its first line, to the text and to whole characters, as the renderer needs it.
fn clip(text: &str, range: &Range<usize>) -> Range<usize> {
    let start = text.floor_char_boundary(range.start);
    let end = text.ceil_char_boundary(range.end.max(start));
    let line = text[start..end].lines().next().unwrap_or_default();
    start..start + line.len()
}

/// Renders `mistakes` in the order of the file, those without a text last.
pub(super) fn spec_error(mut mistakes: Vec<Mistake>) -> SpecError {
    mistakes.sort_by_key(Mistake::sort_key);
    let mut rendered: Vec<String> = mistakes
        .iter()
        .take(SHOWN_MAX)
        .map(Mistake::render)
        .collect();
    match mistakes.len().saturating_sub(SHOWN_MAX) {
        0 => {}
        1 => rendered.push("and 1 more mistake".to_owned()),
        more => rendered.push(format!("and {more} more mistakes")),
    }
    SpecError(rendered.join("\n\n"))
}

/// A YAML text, in which mistakes are located by the path of a value.
pub(super) struct Document {
    pub(super) source: Rc<Source>,
    locations: OnceCell<Locations>,
}

impl Document {
    pub(super) fn new(name: &Path, text: String) -> Self {
        let name = name.display().to_string();
        // Some editors write a byte order mark. The YAML parser would treat it as the beginning of another document.
        let text = match text.strip_prefix('\u{feff}') {
            Some(rest) => rest.to_owned(),
            None => text,
        };
        Self {
            source: Rc::new(Source { name, text }),
            locations: OnceCell::new(),
        }
    }

    /// Returns the locations of all values. They are recorded at the first call: a valid file needs none.
    pub(super) fn locations(&self) -> &Locations {
        self.locations
            .get_or_init(|| Locations::of(&self.source.text))
    }

    /// Returns a mistake about the value at `path`.
    pub(super) fn value(&self, path: &YamlPath, title: impl Into<String>) -> Mistake {
        Mistake::at(&self.source, self.locations().value(path), title)
    }

    /// Returns a mistake about the key at `path`.
    pub(super) fn key(&self, path: &YamlPath, title: impl Into<String>) -> Mistake {
        Mistake::at(&self.source, self.locations().key(path), title)
    }

    /// Returns the position of the expression or template `text`, which is the value at `path`.
    pub(super) fn origin(&self, path: &YamlPath, text: &str) -> Origin {
        let locations = self.locations();
        // The indent of the text is that of its first line that is not empty.
        let filled = text.len() - text.trim_start_matches('\n').len();
        let begin = locations.within_scalar(path, &self.source.text, filled..filled);
        let at = begin
            .as_ref()
            .map_or(locations.value(path).start, |range| range.start);
        let before = self.source.text[..at]
            .rsplit('\n')
            .next()
            .unwrap_or_default();
        Origin {
            file: self.source.name.clone(),
            line: locations.line(at) - if begin.is_some() { filled } else { 0 },
            column: before.chars().count() + 1,
            exact: begin.is_some(),
        }
    }

    /// Returns a mistake in the expression or template `text`, which is the value at `path`.
    pub(super) fn jinja(&self, path: &YamlPath, text: &str, error: &JinjaError) -> Mistake {
        let range = range_of(text, error);
        let (locations, file) = (self.locations(), &self.source.text);
        let range = locations
            .within_scalar(path, file, range.clone())
            .or_else(|| locations.unique_in_scalar(path, file, range));
        let mistake = match range {
            Some(range) => Mistake::at(&self.source, range, error.message.as_str()),
            None if text.trim_end().contains('\n') => self
                .value(path, error.message.as_str())
                .label(format!("in line {} of this text", error.line)),
            None => self
                .value(path, error.message.as_str())
                .label("in this text"),
        };
        with_help(mistake, error)
    }
}

/// Returns a mistake in a template file.
pub(super) fn jinja_file(source: &Rc<Source>, error: &JinjaError) -> Mistake {
    let range = range_of(&source.text, error);
    with_help(Mistake::at(source, range, error.message.as_str()), error)
}

fn with_help(mistake: Mistake, error: &JinjaError) -> Mistake {
    match &error.help {
        Some(help) => mistake.help(help.as_str()),
        None => mistake,
    }
}

/// Returns the range of `error` in `text`. An error without a range is about its line.
fn range_of(text: &str, error: &JinjaError) -> Range<usize> {
    if let Some(range) = &error.range {
        return range.clone();
    }
    let mut start = 0;
    for (at, line) in text.split_inclusive('\n').enumerate() {
        if at + 1 == error.line {
            let indent = line.len() - line.trim_start().len();
            return start + indent..start + line.trim_end().len().max(indent);
        }
        start += line.len();
    }
    text.len()..text.len()
}
