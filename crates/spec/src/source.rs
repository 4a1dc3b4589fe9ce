//! Where in a YAML text a value stands: from the path to the place, for messages.
//!
//! The values themselves are read by serde, which forgets positions; a second parser lists the places.

use std::{cell::Cell, collections::HashMap, fmt, ops::Range};

use saphyr_parser::{Event, Parser, ScalarStyle, Span};

/// Most lists and mappings within each other.
pub(super) const NESTING_MAX: usize = 100;

/// What the parser says of so many brackets that it cannot count them.
const TOO_DEEP_TO_COUNT: &str = "recursion limit exceeded";

/// One step from a value to a value in it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Step {
    /// Under this key of a mapping.
    Key(String),
    /// At this place of a list, from 0.
    Index(usize),
}

/// The way from the document's root to a value.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(super) struct YamlPath(Vec<Step>);

impl YamlPath {
    pub(super) fn key(&self, key: &str) -> Self {
        self.then(Step::Key(key.to_owned()))
    }

    pub(super) fn index(&self, index: usize) -> Self {
        self.then(Step::Index(index))
    }

    pub(super) fn then(&self, step: Step) -> Self {
        let mut steps = self.0.clone();
        steps.push(step);
        Self(steps)
    }

    pub(super) fn steps(&self) -> &[Step] {
        &self.0
    }

    fn parent(&self) -> Option<Self> {
        let (_, before) = self.0.split_last()?;
        Some(Self(before.to_vec()))
    }
}

/// `materializers[0].files[1].path`
impl fmt::Display for YamlPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, step) in self.0.iter().enumerate() {
            match step {
                Step::Key(key) if at == 0 => f.write_str(key)?,
                Step::Key(key) => write!(f, ".{key}")?,
                Step::Index(index) => write!(f, "[{index}]")?,
            }
        }
        Ok(())
    }
}

/// A text that mistakes are found in: what was read, and what messages call it.
#[derive(Debug)]
pub(super) struct Source {
    /// The file, as the operator would name it.
    pub(super) name: String,
    /// What stands in it.
    pub(super) text: String,
}

/// A second entry under a key that has one already.
#[derive(Debug)]
pub(super) struct DuplicateKey {
    pub(super) path: YamlPath,
    pub(super) first: Range<usize>,
    pub(super) second: Range<usize>,
}

/// The places of all values of a YAML text, in bytes.
#[derive(Debug, Default)]
pub(super) struct Places {
    /// Where each line of the file begins.
    line_starts: Vec<usize>,
    values: HashMap<YamlPath, Place>,
    pub(super) duplicates: Vec<DuplicateKey>,
}

#[derive(Debug)]
struct Place {
    key: Option<Range<usize>>,
    value: Range<usize>,
    scalar: Option<(ScalarStyle, String)>,
}

impl Places {
    /// Lists the places in `text`. Where `text` is not YAML, those before the mistake.
    pub(super) fn of(text: &str) -> Self {
        Lister::new(text).list()
    }

    /// The 1-based line in which the byte `at` stands.
    pub(super) fn line(&self, at: usize) -> usize {
        self.line_starts.partition_point(|start| *start <= at)
    }

    /// The key of the value at `path`, or the value where it has none, or what it would stand in.
    pub(super) fn key(&self, path: &YamlPath) -> Range<usize> {
        match self.values.get(path) {
            Some(place) => place.key.clone().unwrap_or_else(|| place.value.clone()),
            None => self.enclosing(path),
        }
    }

    /// The value at `path`; where it is empty its key, where it is absent what it would stand in.
    pub(super) fn value(&self, path: &YamlPath) -> Range<usize> {
        match self.values.get(path) {
            Some(place) if !place.value.is_empty() => place.value.clone(),
            _ => self.key(path),
        }
    }

    fn enclosing(&self, path: &YamlPath) -> Range<usize> {
        path.parent().map_or(0..0, |parent| self.key(&parent))
    }

    /// Where `range` of the text scalar at `path` stands in the file. `None` where the scalar is folded,
    /// escaped or an alias, so that its lines are not the file's.
    pub(super) fn within(
        &self,
        path: &YamlPath,
        text: &str,
        range: Range<usize>,
    ) -> Option<Range<usize>> {
        let place = self.values.get(path)?;
        let (style, scalar) = place.scalar.as_ref()?;
        match style {
            ScalarStyle::Literal => self.within_literal(text, place.value.start, scalar, range),
            ScalarStyle::Folded => None,
            ScalarStyle::Plain => within_line(text, place.value.start, scalar, range),
            ScalarStyle::SingleQuoted | ScalarStyle::DoubleQuoted => {
                within_line(text, place.value.start + 1, scalar, range)
            }
        }
    }

    /// The same for a scalar whose lines are not the file's, where the text in `range` stands only once.
    pub(super) fn only(
        &self,
        path: &YamlPath,
        text: &str,
        range: Range<usize>,
    ) -> Option<Range<usize>> {
        let place = self.values.get(path)?;
        let (_, scalar) = place.scalar.as_ref()?;
        let sought = scalar.get(range).filter(|sought| !sought.is_empty())?;
        let mut found = text.get(place.value.clone())?.match_indices(sought);
        let (at, _) = found.next()?;
        let start = place.value.start + at;
        found.next().is_none().then(|| start..start + sought.len())
    }

    /// A literal block: each line of the scalar is a line of the file behind an indent. The parser names the
    /// place of the first line that is not empty.
    fn within_literal(
        &self,
        text: &str,
        start: usize,
        scalar: &str,
        range: Range<usize>,
    ) -> Option<Range<usize>> {
        let empty_lines = scalar.len() - scalar.trim_start_matches('\n').len();
        let first = self.line(start).checked_sub(1 + empty_lines)?;
        let mut at = *self.line_starts.get(first)?;
        let mut from = 0;
        let (mut found_start, mut found_end) = (None, None);
        for (line, of_file) in scalar
            .split_inclusive('\n')
            .zip(text[at..].split_inclusive('\n'))
        {
            let bare = line.trim_end_matches('\n');
            let of_file_bare = of_file.trim_end_matches(['\n', '\r']);
            if !of_file_bare.ends_with(bare) {
                return None;
            }
            let place = |offset: usize| at + (of_file_bare.len() - bare.len()) + (offset - from);
            if (from..from + line.len()).contains(&range.start) {
                found_start = Some(place(range.start));
            }
            if (from..=from + line.len()).contains(&range.end) && found_start.is_some() {
                found_end.get_or_insert(place(range.end));
            }
            from += line.len();
            at += of_file.len();
        }
        // A mistake at the very end stands behind the last line.
        let end = found_end.unwrap_or(at).min(at);
        Some(found_start.unwrap_or(end)..end)
    }
}

/// Where lists and mappings stand within each other that are more than [`NESTING_MAX`].
pub(super) fn too_deep(text: &str) -> Option<Range<usize>> {
    let mut parser = Parser::new_from_str(text);
    let mut depth = 0;
    let place = loop {
        match parser.next_event()? {
            Ok((Event::MappingStart(..) | Event::SequenceStart(..), span)) => {
                depth += 1;
                if depth > NESTING_MAX {
                    break span.start;
                }
            }
            Ok((Event::MappingEnd | Event::SequenceEnd, _)) => depth -= 1,
            Ok(_) => {}
            // It looks ahead, and has met brackets deeper than it counts.
            Err(error) if error.info() == TOO_DEEP_TO_COUNT => break *error.marker(),
            Err(_) => return None,
        }
    };
    let start = Lister::new(text).byte(place.line(), place.col());
    let first = text[start..].chars().next();
    Some(start..start + first.map_or(0, char::len_utf8))
}

/// A scalar that stands in the file letter by letter, from `start`.
fn within_line(
    text: &str,
    start: usize,
    scalar: &str,
    range: Range<usize>,
) -> Option<Range<usize>> {
    text.get(start..)?
        .starts_with(scalar)
        .then(|| start + range.start..start + range.end)
}

/// Walks the parser's events and notes every place.
struct Lister<'a> {
    text: &'a str,
    places: Places,
    /// The last place asked for: line, column, byte. The next is mostly behind it.
    last: Cell<(usize, usize, usize)>,
    /// The collections around the next event, and where each began.
    open: Vec<(YamlPath, Expecting, usize)>,
}

enum Expecting {
    Key,
    /// The value of this key, which stands there.
    Value(String, Range<usize>),
    Item(usize),
    /// The value of a key that is not a text.
    Unnamed,
    /// What stands in such a key or value: nothing there has a path.
    Nameless,
}

impl<'a> Lister<'a> {
    fn new(text: &'a str) -> Self {
        let ends = text.match_indices('\n').map(|(at, _)| at + 1);
        Self {
            text,
            places: Places {
                line_starts: std::iter::once(0).chain(ends).collect(),
                ..Places::default()
            },
            last: Cell::default(),
            open: Vec::new(),
        }
    }

    fn list(mut self) -> Places {
        let mut parser = Parser::new_from_str(self.text);
        while let Some(Ok((event, span))) = parser.next_event() {
            let range = self.bytes(span);
            match event {
                Event::MappingStart(..) => self.enter(range, Expecting::Key),
                Event::SequenceStart(..) => self.enter(range, Expecting::Item(0)),
                Event::Scalar(scalar, style, ..) => {
                    self.leaf(range, Some((style, scalar.into_owned())));
                }
                Event::Alias(_) => self.leaf(range, None),
                Event::MappingEnd | Event::SequenceEnd => self.leave(&range),
                Event::DocumentEnd => break,
                _ => {}
            }
        }
        self.places
    }

    /// The path and key of the value that begins now; `None` when it is a key or has no path.
    fn next(&mut self) -> Option<(YamlPath, Option<Range<usize>>)> {
        let Some((parent, expecting, _)) = self.open.last_mut() else {
            return Some((YamlPath::default(), None));
        };
        match expecting {
            Expecting::Value(..) => {
                let Expecting::Value(key, range) = std::mem::replace(expecting, Expecting::Key)
                else {
                    return None;
                };
                Some((parent.key(&key), Some(range)))
            }
            Expecting::Item(index) => {
                *index += 1;
                Some((parent.index(*index - 1), None))
            }
            Expecting::Key | Expecting::Unnamed | Expecting::Nameless => None,
        }
    }

    fn leaf(&mut self, range: Range<usize>, scalar: Option<(ScalarStyle, String)>) {
        if let Some((parent, expecting @ Expecting::Key, _)) = self.open.last_mut() {
            let Some((_, key)) = scalar else {
                *expecting = Expecting::Unnamed;
                return;
            };
            let path = parent.key(&key);
            // What stands under a key's second entry is there twice as well, which is one mistake.
            let is_told =
                |told: &DuplicateKey| path.0.starts_with(&told.path.0) && path != told.path;
            if let Some(first) = self.places.values.get(&path)
                && !self.places.duplicates.iter().any(is_told)
            {
                self.places.duplicates.push(DuplicateKey {
                    path,
                    first: first.key.clone().unwrap_or_default(),
                    second: range.clone(),
                });
            }
            *expecting = Expecting::Value(key, range);
            return;
        }
        if let Some((path, key)) = self.next() {
            self.note(path, key, range, scalar);
        } else if let Some((_, expecting @ Expecting::Unnamed, _)) = self.open.last_mut() {
            *expecting = Expecting::Key;
        }
    }

    fn enter(&mut self, range: Range<usize>, expecting: Expecting) {
        let start = range.start;
        let Some((path, key)) = self.next() else {
            match self.open.last_mut() {
                Some((_, around @ Expecting::Key, _)) => *around = Expecting::Unnamed,
                Some((_, around @ Expecting::Unnamed, _)) => *around = Expecting::Key,
                _ => {}
            }
            self.open
                .push((YamlPath::default(), Expecting::Nameless, start));
            return;
        };
        self.note(path.clone(), key, range, None);
        self.open.push((path, expecting, start));
    }

    fn leave(&mut self, end: &Range<usize>) {
        let Some((path, expecting, start)) = self.open.pop() else {
            return;
        };
        if matches!(expecting, Expecting::Nameless) {
            return;
        }
        // A block collection ends where the next token begins: what is shown ends with its first line.
        let whole = start..end.end.max(start);
        let first_line = self.text[whole.clone()].lines().next().unwrap_or_default();
        if let Some(place) = self.places.values.get_mut(&path) {
            place.value = start..start + first_line.trim_end().len();
        }
    }

    fn note(
        &mut self,
        path: YamlPath,
        key: Option<Range<usize>>,
        value: Range<usize>,
        scalar: Option<(ScalarStyle, String)>,
    ) {
        // Of two values under one key the first keeps its place.
        self.places
            .values
            .entry(path)
            .or_insert(Place { key, value, scalar });
    }

    /// The parser counts lines from 1 and columns in characters.
    fn bytes(&self, span: Span) -> Range<usize> {
        let start = self.byte(span.start.line(), span.start.col());
        let end = self.byte(span.end.line(), span.end.col());
        let text = &self.text[start..end.max(start)];
        start..start + text.trim_end().len()
    }

    fn byte(&self, line: usize, column: usize) -> usize {
        let Some(&start) = self.places.line_starts.get(line.saturating_sub(1)) else {
            return self.text.len();
        };
        // Counting from the line's start each time would cost the square of a long line.
        let (from_column, from) = match self.last.get() {
            (last_line, last_column, at) if last_line == line && last_column <= column => {
                (last_column, at)
            }
            _ => (0, start),
        };
        let mut rest = self.text[from..].char_indices();
        let at = rest
            .nth(column - from_column)
            .map_or(self.text.len(), |(at, _)| from + at);
        self.last.set((line, column, at));
        at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "a: 1\nb:\n  - x: |\n\n      hello\n        world {{ x }}\n  - \"q: é\": 'v'\n    y: >-\n      fold\n      ed\nz: {k: [1, \"2\"]}\n";

    fn path(text: &str) -> YamlPath {
        text.split('.').fold(YamlPath::default(), |path, step| {
            match step.parse::<usize>() {
                Ok(index) => path.index(index),
                Err(_) => path.key(step),
            }
        })
    }

    #[test]
    fn keys_and_values_have_places() {
        let places = Places::of(TEXT);
        assert_eq!(&TEXT[places.value(&path("a"))], "1");
        assert_eq!(&TEXT[places.key(&path("b"))], "b");
        assert_eq!(&TEXT[places.value(&path("b.1.q: é"))], "'v'");
        assert_eq!(&TEXT[places.key(&path("b.1.q: é"))], "\"q: é\"");
        assert_eq!(&TEXT[places.value(&path("z.k.1"))], "\"2\"");
        assert_eq!(&TEXT[places.value(&path("z.k"))], "[1, \"2\"]");
        assert_eq!(&TEXT[places.key(&path("z.absent"))], "z");
    }

    #[test]
    fn a_range_in_a_literal_block_is_one_in_the_file() {
        let places = Places::of(TEXT);
        let scalar = "\nhello\n  world {{ x }}\n";
        for word in ["hello", "world", "x }}", "{{"] {
            let start = scalar.find(word).unwrap();
            let found = places.within(&path("b.0.x"), TEXT, start..start + word.len());
            assert_eq!(&TEXT[found.unwrap()], word);
        }
        assert_eq!(places.within(&path("b.1.y"), TEXT, 0..1), None);
        let quoted = places.within(&path("b.1.q: é"), TEXT, 0..1);
        assert_eq!(&TEXT[quoted.unwrap()], "v");
    }

    #[test]
    fn duplicates_are_found_with_both_places() {
        let text = "x:\n  c: 1\n  c: 2\n";
        let places = Places::of(text);
        let [duplicate] = places.duplicates.as_slice() else {
            panic!("{:?}", places.duplicates)
        };
        assert_eq!(duplicate.path.to_string(), "x.c");
        assert_eq!((duplicate.first.start, duplicate.second.start), (5, 12));
    }

    #[test]
    fn keys_that_are_no_texts_do_not_shift_the_rest() {
        let text = "a: {{ x }}\n? [1, 2]\n: {b: 3}\nc: 4\n";
        let places = Places::of(text);
        assert_eq!(&text[places.value(&path("c"))], "4");
    }
}
