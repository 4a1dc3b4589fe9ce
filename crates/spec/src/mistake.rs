//! Mistakes, told as a good compiler tells them: file, line, column, the text itself, and the way out.

use std::{cell::OnceCell, ops::Range, path::Path, rc::Rc};

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};

use super::source::{Places, Source, YamlPath};
use cfgsync_template::{JinjaError, Origin};

/// Mistakes shown at once; the rest is counted.
const SHOWN_MAX: usize = 20;
/// Edits within which a name counts as a slip of another, for each three letters of it.
const EDITS_PER_THREE_LETTERS: usize = 1;

/// Shortest name that counts as another cut short (`int` for `integer`), in bytes.
const SHORTENED_MIN_BYTES: usize = 3;

/// All mistakes found in a spec and the files that it names, rendered like a compiler's: several lines, no
/// final newline.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SpecError(String);

impl SpecError {
    /// Several of one file as one, in the order given.
    pub fn of_all(mistakes: impl IntoIterator<Item = Self>) -> Self {
        let rendered: Vec<_> = mistakes.into_iter().map(|mistake| mistake.0).collect();
        Self(rendered.join("\n\n"))
    }
}

/// One mistake.
#[derive(Debug)]
pub(super) struct Mistake {
    title: String,
    place: Place,
    label: String,
    first: Option<(Range<usize>, &'static str)>,
    help: Vec<String>,
}

#[derive(Debug)]
enum Place {
    Range(Rc<Source>, Range<usize>),
    /// A file that could not be read, so that there is no text to show. The title names it.
    File,
}

impl Mistake {
    /// A mistake at `range` of `source`.
    pub(super) fn at(source: &Rc<Source>, range: Range<usize>, title: impl Into<String>) -> Self {
        Self::new(Place::Range(Rc::clone(source), range), title)
    }

    /// A mistake that is a whole file's, which `title` names.
    pub(super) fn of_file(title: impl Into<String>) -> Self {
        Self::new(Place::File, title)
    }

    fn new(place: Place, title: impl Into<String>) -> Self {
        Self {
            title: title.into(),
            place,
            label: String::new(),
            first: None,
            help: Vec::new(),
        }
    }

    /// What stands beside the marked text.
    pub(super) fn label(mut self, label: impl Into<String>) -> Self {
        self.label = label.into();
        self
    }

    /// Another place that the mistake is about, in the same file.
    pub(super) fn first(mut self, range: Range<usize>, label: &'static str) -> Self {
        self.first = Some((range, label));
        self
    }

    /// The way out.
    pub(super) fn help(mut self, help: impl Into<String>) -> Self {
        self.help.push(help.into());
        self
    }

    fn order(&self) -> (bool, usize) {
        match &self.place {
            Place::Range(_, range) => (false, range.start),
            Place::File => (true, 0),
        }
    }

    fn render(&self) -> String {
        let title = Level::ERROR.primary_title(self.title.as_str());
        let group = match &self.place {
            Place::File => Group::with_title(title),
            Place::Range(source, range) => {
                let marked = AnnotationKind::Primary.span(visible(&source.text, range));
                let marked = match self.label.as_str() {
                    "" => marked,
                    label => marked.label(label),
                };
                let mut snippet = Snippet::source(source.text.as_str())
                    .path(source.name.as_str())
                    .annotation(marked);
                if let Some((range, label)) = &self.first {
                    let context = AnnotationKind::Context.span(visible(&source.text, range));
                    snippet = snippet.annotation(context.label(*label));
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

/// A marked range ends with its first line, lies within the text, and cuts no character.
fn visible(text: &str, range: &Range<usize>) -> Range<usize> {
    let start = text.floor_char_boundary(range.start);
    let end = text.ceil_char_boundary(range.end.max(start));
    let line = text[start..end].lines().next().unwrap_or_default();
    start..start + line.len()
}

/// Renders `mistakes`, in the order of the file.
pub(super) fn spec_error(mut mistakes: Vec<Mistake>) -> SpecError {
    mistakes.sort_by_key(Mistake::order);
    let mut rendered: Vec<String> = mistakes
        .iter()
        .take(SHOWN_MAX)
        .map(Mistake::render)
        .collect();
    if mistakes.len() > SHOWN_MAX {
        rendered.push(format!("and {} more", mistakes.len() - SHOWN_MAX));
    }
    SpecError(rendered.join("\n\n"))
}

/// A text with its places, and the mistakes found in it up to now.
pub(super) struct Document {
    pub(super) source: Rc<Source>,
    places: OnceCell<Places>,
}

impl Document {
    pub(super) fn new(name: &Path, text: String) -> Self {
        let name = name.display().to_string();
        // What some editors put before a text; in YAML it would begin another document.
        let text = match text.strip_prefix('\u{feff}') {
            Some(rest) => rest.to_owned(),
            None => text,
        };
        Self {
            source: Rc::new(Source { name, text }),
            places: OnceCell::new(),
        }
    }

    /// Listed when first asked for: a valid file needs none.
    pub(super) fn places(&self) -> &Places {
        self.places.get_or_init(|| Places::of(&self.source.text))
    }

    /// A mistake about the value at `path`.
    pub(super) fn value(&self, path: &YamlPath, title: impl Into<String>) -> Mistake {
        Mistake::at(&self.source, self.places().value(path), title)
    }

    /// A mistake about the key at `path`.
    pub(super) fn key(&self, path: &YamlPath, title: impl Into<String>) -> Mistake {
        Mistake::at(&self.source, self.places().key(path), title)
    }

    /// Where the expression or template `text` stands that is the value at `path`.
    pub(super) fn origin(&self, path: &YamlPath, text: &str) -> Origin {
        let places = self.places();
        // An empty first line has no indentation: the first line with text tells it.
        let filled = text.len() - text.trim_start_matches('\n').len();
        let begin = places.within(path, &self.source.text, filled..filled);
        let at = begin
            .as_ref()
            .map_or(places.value(path).start, |range| range.start);
        let before = self.source.text[..at]
            .rsplit('\n')
            .next()
            .unwrap_or_default();
        Origin {
            file: self.source.name.clone(),
            line: places.line(at) - if begin.is_some() { filled } else { 0 },
            column: before.chars().count() + 1,
            exact: begin.is_some(),
        }
    }

    /// A mistake in the expression or template `text` that stands at `path`.
    pub(super) fn jinja(&self, path: &YamlPath, text: &str, error: &JinjaError) -> Mistake {
        let range = range_of(text, error);
        let (places, file) = (self.places(), &self.source.text);
        let range = places
            .within(path, file, range.clone())
            .or_else(|| places.only(path, file, range));
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

/// A mistake in the template that is the whole of `source`.
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

/// The bytes that `error` is about: its range, or its line.
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

/// The nearest of `names` to `name`, where it is near enough for a slip.
pub(crate) fn nearest<'a>(name: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let edits_max = (name.chars().count() / 3).max(1) * EDITS_PER_THREE_LETTERS;
    let names: Vec<&str> = names.into_iter().collect();
    let longer =
        |candidate: &&&str| name.len() >= SHORTENED_MIN_BYTES && candidate.starts_with(name);
    let shorter =
        |candidate: &&&str| candidate.len() >= SHORTENED_MIN_BYTES && name.starts_with(**candidate);
    if let Some(candidate) = names.iter().find(longer).or(names.iter().find(shorter)) {
        return Some(candidate);
    }
    names
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(name, candidate), candidate))
        .filter(|(edits, _)| *edits <= edits_max)
        .min_by_key(|(edits, _)| *edits)
        .map(|(_, candidate)| candidate)
}

/// `; did you mean `settle`?`, or nothing.
pub fn did_you_mean<'a>(name: &str, names: impl IntoIterator<Item = &'a str>) -> String {
    nearest(name, names).map_or_else(String::new, |near| format!("; did you mean `{near}`?"))
}
