//! Finds where the values of a YAML text are, for messages.
//!
//! serde reads the values and loses their positions. A second parser records the position of each value by its path.

use std::{cell::Cell, collections::HashMap, ops::Range};

use saphyr_parser::{Event, Parser, ScalarStyle, Span};

use super::source::YamlPath;

/// The greatest depth of lists and mappings inside each other.
pub(super) const NESTING_MAX: usize = 100;

/// The parser's message for brackets that are nested deeper than it can count.
const PARSER_NESTING_ERROR: &str = "recursion limit exceeded";

/// A key that occurs twice in one mapping.
#[derive(Debug)]
pub(super) struct DuplicateKey {
    pub(super) path: YamlPath,
    pub(super) first: Range<usize>,
    pub(super) second: Range<usize>,
}

/// The byte ranges of all values of a YAML text.
#[derive(Debug, Default)]
pub(super) struct Locations {
    /// The byte at which each line of the file begins.
    line_starts: Vec<usize>,
    values: HashMap<YamlPath, Location>,
    pub(super) duplicates: Vec<DuplicateKey>,
}

#[derive(Debug)]
struct Location {
    key: Option<Range<usize>>,
    value: Range<usize>,
    scalar: Option<(ScalarStyle, String)>,
}

impl Locations {
    /// Records the locations in `text`. If `text` is not YAML, it records those before the syntax error.
    pub(super) fn of(text: &str) -> Self {
        Recorder::new(text).record()
    }

    /// Returns the line of the byte `at`, from 1.
    pub(super) fn line(&self, at: usize) -> usize {
        self.line_starts.partition_point(|start| *start <= at)
    }

    /// Returns the key of the value at `path`. An item of a list has no key, so its value is returned. For an absent
    /// value the enclosing one is returned.
    pub(super) fn key(&self, path: &YamlPath) -> Range<usize> {
        match self.values.get(path) {
            Some(location) => location
                .key
                .clone()
                .unwrap_or_else(|| location.value.clone()),
            None => self.enclosing(path),
        }
    }

    /// Returns the value at `path`: the key of an empty value, the enclosing value of an absent one.
    pub(super) fn value(&self, path: &YamlPath) -> Range<usize> {
        match self.values.get(path) {
            Some(location) if !location.value.is_empty() => location.value.clone(),
            _ => self.key(path),
        }
    }

    fn enclosing(&self, path: &YamlPath) -> Range<usize> {
        path.parent().map_or(0..0, |parent| self.key(&parent))
    }

    /// Returns the range in the file of `range` in the scalar at `path`. `None` if the scalar is folded, escaped or
    /// an alias: then its text is not the file's.
    pub(super) fn within_scalar(
        &self,
        path: &YamlPath,
        text: &str,
        range: Range<usize>,
    ) -> Option<Range<usize>> {
        let location = self.values.get(path)?;
        let (style, scalar) = location.scalar.as_ref()?;
        match style {
            ScalarStyle::Literal => self.within_literal(text, location.value.start, scalar, range),
            ScalarStyle::Folded => None,
            ScalarStyle::Plain => within_line(text, location.value.start, scalar, range),
            ScalarStyle::SingleQuoted | ScalarStyle::DoubleQuoted => {
                within_line(text, location.value.start + 1, scalar, range)
            }
        }
    }

    /// Returns the same for a folded or escaped scalar if the text in `range` occurs only once in it.
    pub(super) fn unique_in_scalar(
        &self,
        path: &YamlPath,
        text: &str,
        range: Range<usize>,
    ) -> Option<Range<usize>> {
        let location = self.values.get(path)?;
        let (_, scalar) = location.scalar.as_ref()?;
        let sought = scalar.get(range).filter(|sought| !sought.is_empty())?;
        let mut found = text.get(location.value.clone())?.match_indices(sought);
        let (at, _) = found.next()?;
        let start = location.value.start + at;
        found.next().is_none().then(|| start..start + sought.len())
    }

    /// Returns the same for a literal block, whose lines are lines of the file behind an indent. The parser gives the
    /// position of the first line that is not empty.
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
        // A mistake at the end of the text is behind the last line.
        let end = found_end.unwrap_or(at).min(at);
        Some(found_start.unwrap_or(end)..end)
    }
}

/// Returns the first character of `text` that is nested deeper than [`NESTING_MAX`], if there is one.
pub(super) fn find_excess_nesting(text: &str) -> Option<Range<usize>> {
    let mut parser = Parser::new_from_str(text);
    let mut depth = 0;
    let marker = loop {
        match parser.next_event()? {
            Ok((Event::MappingStart(..) | Event::SequenceStart(..), span)) => {
                depth += 1;
                if depth > NESTING_MAX {
                    break span.start;
                }
            }
            Ok((Event::MappingEnd | Event::SequenceEnd, _)) => depth -= 1,
            Ok(_) => {}
            // The parser reads ahead, so it can fail before it reports the brackets as events.
            Err(error) if error.info() == PARSER_NESTING_ERROR => break *error.marker(),
            Err(_) => return None,
        }
    };
    let start = Recorder::new(text).byte(marker.line(), marker.col());
    let first = text[start..].chars().next();
    Some(start..start + first.map_or(0, char::len_utf8))
}

/// Returns the range in the file of `range` in a scalar that is written unchanged at `start`.
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

/// Records locations from the parser's events.
struct Recorder<'a> {
    text: &'a str,
    locations: Locations,
    /// The last converted position: line, column, byte. The next position is usually after it.
    last: Cell<(usize, usize, usize)>,
    /// The collections around the next event, and the byte at which each begins.
    open: Vec<(YamlPath, Expected, usize)>,
}

/// The meaning of the next event in a collection.
enum Expected {
    Key,
    /// The value of this key, which has this range.
    Value(String, Range<usize>),
    Item(usize),
    /// The value of a key that is not a text, so that it has no path.
    ValueWithoutPath,
    /// A part of such a key or value. It has no path either.
    PartWithoutPath,
}

impl<'a> Recorder<'a> {
    fn new(text: &'a str) -> Self {
        let ends = text.match_indices('\n').map(|(at, _)| at + 1);
        Self {
            text,
            locations: Locations {
                line_starts: std::iter::once(0).chain(ends).collect(),
                ..Locations::default()
            },
            last: Cell::default(),
            open: Vec::new(),
        }
    }

    fn record(mut self) -> Locations {
        let mut parser = Parser::new_from_str(self.text);
        while let Some(Ok((event, span))) = parser.next_event() {
            let range = self.bytes(span);
            match event {
                Event::MappingStart(..) => self.begin_collection(range, Expected::Key),
                Event::SequenceStart(..) => self.begin_collection(range, Expected::Item(0)),
                Event::Scalar(scalar, style, ..) => {
                    self.scalar(range, Some((style, scalar.into_owned())));
                }
                Event::Alias(_) => self.scalar(range, None),
                Event::MappingEnd | Event::SequenceEnd => self.end_collection(&range),
                Event::DocumentEnd => break,
                _ => {}
            }
        }
        self.locations
    }

    /// Returns the path and the key of the value that begins now. `None` for a key and for a value without a path.
    fn next_value(&mut self) -> Option<(YamlPath, Option<Range<usize>>)> {
        let Some((parent, expected, _)) = self.open.last_mut() else {
            return Some((YamlPath::default(), None));
        };
        match expected {
            Expected::Value(..) => {
                let Expected::Value(key, range) = std::mem::replace(expected, Expected::Key) else {
                    return None;
                };
                Some((parent.key(&key), Some(range)))
            }
            Expected::Item(index) => {
                *index += 1;
                Some((parent.index(*index - 1), None))
            }
            Expected::Key | Expected::ValueWithoutPath | Expected::PartWithoutPath => None,
        }
    }

    fn scalar(&mut self, range: Range<usize>, scalar: Option<(ScalarStyle, String)>) {
        if let Some((parent, expected @ Expected::Key, _)) = self.open.last_mut() {
            let Some((_, key)) = scalar else {
                *expected = Expected::ValueWithoutPath;
                return;
            };
            let path = parent.key(&key);
            // The keys below a duplicate key are duplicates as well. Report only the key itself.
            let is_below =
                |other: &DuplicateKey| path.starts_with(&other.path) && path != other.path;
            if let Some(first) = self.locations.values.get(&path)
                && !self.locations.duplicates.iter().any(is_below)
            {
                self.locations.duplicates.push(DuplicateKey {
                    path,
                    first: first.key.clone().unwrap_or_default(),
                    second: range.clone(),
                });
            }
            *expected = Expected::Value(key, range);
            return;
        }
        if let Some((path, key)) = self.next_value() {
            self.insert(path, key, range, scalar);
        } else if let Some((_, expected @ Expected::ValueWithoutPath, _)) = self.open.last_mut() {
            *expected = Expected::Key;
        }
    }

    fn begin_collection(&mut self, range: Range<usize>, expected: Expected) {
        let start = range.start;
        let Some((path, key)) = self.next_value() else {
            match self.open.last_mut() {
                Some((_, around @ Expected::Key, _)) => *around = Expected::ValueWithoutPath,
                Some((_, around @ Expected::ValueWithoutPath, _)) => *around = Expected::Key,
                _ => {}
            }
            self.open
                .push((YamlPath::default(), Expected::PartWithoutPath, start));
            return;
        };
        self.insert(path.clone(), key, range, None);
        self.open.push((path, expected, start));
    }

    fn end_collection(&mut self, end: &Range<usize>) {
        let Some((path, expected, start)) = self.open.pop() else {
            return;
        };
        if matches!(expected, Expected::PartWithoutPath) {
            return;
        }
        // The end of a block collection is the beginning of the next token. Messages show only its first line.
        let text = &self.text[start..end.end.max(start)];
        let first_line = text.lines().next().unwrap_or_default();
        if let Some(location) = self.locations.values.get_mut(&path) {
            location.value = start..start + first_line.trim_end().len();
        }
    }

    fn insert(
        &mut self,
        path: YamlPath,
        key: Option<Range<usize>>,
        value: Range<usize>,
        scalar: Option<(ScalarStyle, String)>,
    ) {
        // If a key occurs twice, the first location stays.
        self.locations
            .values
            .entry(path)
            .or_insert(Location { key, value, scalar });
    }

    /// Returns the bytes of a span without trailing white space. The parser counts lines from 1 and columns in
    /// characters.
    fn bytes(&self, span: Span) -> Range<usize> {
        let start = self.byte(span.start.line(), span.start.col());
        let end = self.byte(span.end.line(), span.end.col());
        let text = &self.text[start..end.max(start)];
        start..start + text.trim_end().len()
    }

    fn byte(&self, line: usize, column: usize) -> usize {
        let Some(&start) = self.locations.line_starts.get(line.saturating_sub(1)) else {
            return self.text.len();
        };
        // Counting from the beginning of the line each time would take quadratic time for a long line.
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
    fn locates_keys_and_values() {
        let locations = Locations::of(TEXT);
        assert_eq!(&TEXT[locations.value(&path("a"))], "1");
        assert_eq!(&TEXT[locations.key(&path("b"))], "b");
        assert_eq!(&TEXT[locations.value(&path("b.1.q: é"))], "'v'");
        assert_eq!(&TEXT[locations.key(&path("b.1.q: é"))], "\"q: é\"");
        assert_eq!(&TEXT[locations.value(&path("z.k.1"))], "\"2\"");
        assert_eq!(&TEXT[locations.value(&path("z.k"))], "[1, \"2\"]");
        assert_eq!(&TEXT[locations.key(&path("z.absent"))], "z");
    }

    #[test]
    fn maps_ranges_of_literal_blocks_to_the_file() {
        let locations = Locations::of(TEXT);
        let scalar = "\nhello\n  world {{ x }}\n";
        for word in ["hello", "world", "x }}", "{{"] {
            let start = scalar.find(word).unwrap();
            let found = locations.within_scalar(&path("b.0.x"), TEXT, start..start + word.len());
            assert_eq!(&TEXT[found.unwrap()], word);
        }
        assert_eq!(locations.within_scalar(&path("b.1.y"), TEXT, 0..1), None);
        let quoted = locations.within_scalar(&path("b.1.q: é"), TEXT, 0..1);
        assert_eq!(&TEXT[quoted.unwrap()], "v");
    }

    #[test]
    fn finds_both_locations_of_a_duplicate_key() {
        let text = "x:\n  c: 1\n  c: 2\n";
        let locations = Locations::of(text);
        let [duplicate] = locations.duplicates.as_slice() else {
            panic!("{:?}", locations.duplicates)
        };
        assert_eq!(duplicate.path.to_string(), "x.c");
        assert_eq!((duplicate.first.start, duplicate.second.start), (5, 12));
    }

    #[test]
    fn locates_values_behind_keys_that_are_not_text() {
        let text = "a: {{ x }}\n? [1, 2]\n: {b: 3}\nc: 4\n";
        let locations = Locations::of(text);
        assert_eq!(&text[locations.value(&path("c"))], "4");
    }
}
