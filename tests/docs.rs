//! Checks the documentation as text: links, anchors, the table of contents, the marks of shell blocks, exit codes.
//!
//! The scripts in tests/e2e run the shell blocks themselves.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use cfgsync_template::{BUILTINS, Builtin, BuiltinKind};

const ROOT_PAGES: [&str; 5] = [
    "README.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "ARCHITECTURE.md",
    "CHANGELOG.md",
];
const BOOK: &str = "docs/src";
const README_LINES_MAX: usize = 220;

/// Directories of the source tree that pages name in code spans, which no reader can click.
const NAMED_PLACES: [&str; 6] = [
    "examples/",
    "contrib/",
    "completions/",
    "man/",
    "schema/",
    "tests/",
];

/// A line of a page, and whether it belongs to a fenced block.
struct Line<'a> {
    text: &'a str,
    is_code: bool,
}

fn lines(page: &str) -> Vec<Line<'_>> {
    let mut is_inside = false;
    page.lines()
        .map(|text| {
            let is_fence = text.trim_start().starts_with("```");
            let is_code = is_inside || is_fence;
            is_inside ^= is_fence;
            Line { text, is_code }
        })
        .collect()
}

/// All pages of the book, those in directories as well.
fn book() -> Vec<PathBuf> {
    let mut directories = vec![PathBuf::from(BOOK)];
    let mut pages = vec![];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                directories.push(path);
            } else if path.extension().is_some_and(|extension| extension == "md") {
                pages.push(path);
            }
        }
    }
    pages.sort();
    pages
}

fn all_pages() -> Vec<PathBuf> {
    let mut pages: Vec<PathBuf> = ROOT_PAGES.iter().map(PathBuf::from).collect();
    pages.extend(book());
    pages
}

/// The anchors of a page's headings, as GitHub and mdBook name them.
fn anchors(page: &str) -> BTreeSet<String> {
    let mut seen = BTreeMap::<String, usize>::new();
    let headings = lines(page)
        .into_iter()
        .filter(|line| !line.is_code)
        .filter_map(|line| {
            line.text
                .trim_start_matches('#')
                .strip_prefix(' ')
                .filter(|_| line.text.starts_with('#'))
        });
    headings
        .map(|heading| {
            let anchor: String = heading
                .trim()
                .to_lowercase()
                .chars()
                .filter(|&c| c.is_alphanumeric() || " -_".contains(c))
                .map(|c| if c == ' ' { '-' } else { c })
                .collect();
            let count = seen.entry(anchor.clone()).or_default();
            *count += 1;
            match *count {
                1 => anchor,
                more => format!("{anchor}-{}", more - 1),
            }
        })
        .collect()
}

/// The targets of inline links outside code.
fn links(page: &str) -> Vec<String> {
    let mut targets = vec![];
    for line in lines(page).into_iter().filter(|line| !line.is_code) {
        let prose: String = line.text.split('`').step_by(2).collect();
        let mut rest = prose.as_str();
        while let Some((_, behind)) = rest.split_once("](") {
            let (target, after) = behind.split_once(')').unwrap_or((behind, ""));
            targets.push(target.to_owned());
            rest = after;
        }
    }
    targets
}

/// Why a reader of the page at `from` cannot follow this link; nothing if it works or leads to the web.
fn fault(from: &Path, page: &str, target: &str) -> Option<String> {
    if target.contains("://") || target.starts_with("mailto:") {
        return None;
    }
    let (file, anchor) = match target.split_once('#') {
        Some((file, anchor)) => (file, Some(anchor)),
        None => (target, None),
    };
    let path = from.parent().unwrap().join(file);
    if !file.is_empty() && !path.exists() {
        return Some(format!("{}: no file for the link {target}", from.display()));
    }
    let anchor = anchor?;
    let there = match file {
        "" => anchors(page),
        _ => anchors(&fs::read_to_string(path).unwrap()),
    };
    (!there.contains(anchor))
        .then(|| format!("{}: no heading for the link {target}", from.display()))
}

#[test]
fn every_link_leads_somewhere() {
    let mut faults = vec![];
    let mut followed = 0;
    for path in all_pages() {
        let page = fs::read_to_string(&path).unwrap();
        for target in links(&page) {
            followed += 1;
            faults.extend(fault(&path, &page, &target));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    assert!(followed > 50, "only {followed} links were found");
}

#[test]
fn dead_links_and_dead_anchors_are_found() {
    let page = "# A heading, `with` code\n\n```sh\n# no heading\n```\n## Twice\n## Twice\n";
    let has_fault = |target: &str| fault(Path::new("README.md"), page, target).is_some();
    for good in [
        "Cargo.toml",
        "tests/",
        "#a-heading-with-code",
        "#twice",
        "#twice-1",
        "https://example.org/x#y",
    ] {
        assert!(!has_fault(good), "{good}");
    }
    for dead in ["no-file.md", "#no-heading", "#twice-2", "Cargo.toml#twice"] {
        assert!(has_fault(dead), "{dead}");
    }
    assert_eq!(
        links("a [b](c.md) `[d](e.md)` [`f`](g.md#h)"),
        ["c.md", "g.md#h"]
    );
}

#[test]
fn summary_lists_every_page_once() {
    let summary = fs::read_to_string(format!("{BOOK}/SUMMARY.md")).unwrap();
    let mut listed: Vec<PathBuf> = links(&summary)
        .iter()
        .map(|target| Path::new(BOOK).join(target))
        .collect();
    listed.sort();
    let pages: Vec<PathBuf> = book()
        .into_iter()
        .filter(|page| !page.ends_with("SUMMARY.md"))
        .collect();
    assert_eq!(listed, pages);
}

#[test]
fn readme_stays_short() {
    let count = fs::read_to_string("README.md").unwrap().lines().count();
    assert!(
        count <= README_LINES_MAX,
        "README.md has {count} lines of at most {README_LINES_MAX}"
    );
}

/// The name in `<!-- KIND: NAME -->`.
fn mark<'a>(line: &'a str, kind: &str) -> Option<&'a str> {
    line.strip_prefix("<!-- ")?
        .strip_prefix(kind)?
        .strip_prefix(": ")?
        .strip_suffix(" -->")
}

/// A block without a mark is one that no script looks at.
#[test]
fn every_shell_block_has_a_mark() {
    let pages = ["README.md".into()].into_iter().chain(book());
    for path in pages {
        let page = fs::read_to_string(&path).unwrap();
        let lines: Vec<&str> = page.lines().collect();
        for (number, pair) in lines.windows(2).enumerate() {
            let is_marked = ["tested", "checked"]
                .iter()
                .any(|kind| mark(pair[0], kind).is_some());
            let place = format!("{}:{}", path.display(), number + 2);
            assert!(
                is_marked || !pair[1].trim_start().starts_with("```sh"),
                "{place}: a shell block without `<!-- tested: NAME -->` or `<!-- checked: NAME -->`"
            );
            assert!(
                !is_marked || pair[1].starts_with("```"),
                "{place}: a mark without a block"
            );
        }
    }
}

#[test]
fn every_tested_block_is_run_by_a_script() {
    let scripts: String = fs::read_dir("tests/e2e")
        .unwrap()
        .map(|entry| fs::read_to_string(entry.unwrap().path()).unwrap())
        .collect();
    // The first word runs the blocks that the others name.
    let run: BTreeSet<&str> = scripts
        .lines()
        .map(str::trim_start)
        .filter(|line| {
            ["block ", "paste ", "quickstart "]
                .iter()
                .any(|runner| line.starts_with(runner))
        })
        .flat_map(|line| line.split_whitespace().skip(1))
        .collect();
    let pages = ["README.md".into()].into_iter().chain(book());
    for path in pages {
        let page = fs::read_to_string(&path).unwrap();
        for name in page.lines().filter_map(|line| mark(line, "tested")) {
            // tests/e2e/docs.sh runs all of these.
            let is_plain = name.starts_with("plain-");
            assert!(
                is_plain || run.contains(name),
                "{}: no script in tests/e2e runs the block {name}",
                path.display()
            );
        }
    }
}

#[test]
fn every_end_to_end_script_runs_by_default() {
    let runner = fs::read_to_string("tests/e2e/run.sh").unwrap();
    let default = runner
        .lines()
        .find(|line| line.contains("|| set --"))
        .unwrap();
    let names: BTreeSet<&str> = default.split_whitespace().collect();
    for entry in fs::read_dir("tests/e2e").unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap();
        let is_no_test = ["run", "blocks", "packages"].contains(&name);
        assert!(
            is_no_test || names.contains(name),
            "run.sh leaves out {name}"
        );
    }
}

/// The exit codes in the rows `| CODE, CODE | …` below the heading.
fn codes_in_table(page: &str) -> BTreeSet<u8> {
    let (_, section) = page.split_once("\n## Exit codes\n").unwrap();
    let section = section.split("\n## ").next().unwrap();
    let cells = section
        .lines()
        .filter_map(|line| line.strip_prefix("| ")?.split(" |").next());
    cells
        .flat_map(|cell| cell.split(", "))
        .filter_map(|code| code.parse().ok())
        .collect()
}

#[test]
fn exit_codes_are_the_same_on_every_page() {
    let manual = fs::read_to_string("man/cfgsync.1").unwrap();
    let (_, section) = manual.split_once(".SH \"EXIT STATUS\"\n").unwrap();
    let section = section.split("\n.SH ").next().unwrap();
    let known: BTreeSet<u8> = section
        .lines()
        .filter_map(|line| line.strip_prefix(r"\fB")?.strip_suffix(r"\fR"))
        .flat_map(|codes| codes.split(", "))
        .map(|code| code.parse().unwrap())
        .collect();
    assert!(known.len() > 10, "{known:?}");
    for path in ["README.md", "docs/src/troubleshooting.md"] {
        let page = fs::read_to_string(path).unwrap();
        assert_eq!(codes_in_table(&page), known, "{path}");
    }
}

#[test]
fn places_that_the_book_names_exist() {
    for path in book() {
        let page = fs::read_to_string(&path).unwrap();
        for line in lines(&page).into_iter().filter(|line| !line.is_code) {
            for span in line.text.split('`').skip(1).step_by(2) {
                let place = span.split(' ').next().unwrap();
                let is_named = NAMED_PLACES.iter().any(|root| place.starts_with(root));
                assert!(
                    !is_named || Path::new(place).exists(),
                    "{}: there is no {place}",
                    path.display()
                );
            }
        }
    }
}

/// Whether `text` occurs in `page` and is not the beginning of a longer word.
fn has_word(page: &str, text: &str) -> bool {
    page.match_indices(text).any(|(start, _)| {
        let next = page[start + text.len()..].chars().next();
        next.is_none_or(|c| !c.is_alphanumeric() && c != '_')
    })
}

#[test]
fn templates_page_names_every_function_filter_and_test() {
    let page = fs::read_to_string("docs/src/templates.md").unwrap();
    for Builtin {
        name, kind, doc, ..
    } in BUILTINS
    {
        let uses = match kind {
            BuiltinKind::Filter => vec![format!("| {name}")],
            BuiltinKind::Function
            | BuiltinKind::FileFunction
            | BuiltinKind::OnceFunction
            | BuiltinKind::ValueFunction => vec![format!("{name}(")],
            BuiltinKind::FunctionAndFilter => vec![format!("{name}("), format!("| {name}")],
            BuiltinKind::Test => vec![format!("is {name}")],
            BuiltinKind::OperatorTest => vec![format!("`{name}`")],
        };
        for text in uses {
            // A parenthesis or backtick ends the name by itself.
            let is_there = if text.ends_with(|c: char| c.is_alphanumeric()) {
                has_word(&page, &text)
            } else {
                page.contains(&text)
            };
            assert!(is_there, "docs/src/templates.md has no `{text}`: {doc}");
        }
    }
}

#[test]
fn a_longer_name_does_not_count_as_a_shorter_one() {
    assert!(has_word("VALUE | sort(reverse=true)", "| sort"));
    assert!(!has_word("VALUE | sorted", "| sort"));
    assert!(!has_word("VALUE | sort_by", "| sort"));
}
