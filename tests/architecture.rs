//! Checks the module layers of ARCHITECTURE.md: which module may import which, and the order of modules in lib.rs.
//!
//! The checks read source text. They expand `use` groups of `crate::…` and `super::…` paths, and reject other ways to
//! import. They do not see items after a file's test module; clippy rejects these (`items_after_test_module`).

#![allow(clippy::unwrap_used, reason = "a panic fails the test")]

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

/// Each top-level module in reading order, with the modules that it may import.
/// A row may only name rows above it, which rules out cycles.
const LAYERS: &[(&str, &[&str])] = &[
    ("clock", &[]),
    ("metrics", &[]),
    ("model", &["clock"]),
    ("certificate", &["model"]),
    ("jinja", &["clock", "model"]),
    ("spec", &["model", "jinja"]),
    ("materialize", &["model", "jinja", "spec"]),
    ("wire", &["clock", "model"]),
    ("store", &["clock", "model"]),
    (
        "coordinator",
        &[
            "clock",
            "metrics",
            "model",
            "jinja",
            "spec",
            "materialize",
            "wire",
            "store",
        ],
    ),
    // Access decisions, without coordinator and sockets.
    ("guard", &["clock", "model", "spec"]),
    (
        "http",
        &[
            "metrics",
            "model",
            "certificate",
            "wire",
            "coordinator",
            "guard",
        ],
    ),
    ("client", &["model", "certificate", "wire"]),
    (
        "app",
        &[
            "clock",
            "model",
            "spec",
            "materialize",
            "store",
            "coordinator",
            "guard",
            "http",
        ],
    ),
];

#[test]
fn layers_list_only_layers_above_them() {
    for (at, (module, allowed)) in LAYERS.iter().enumerate() {
        for other in *allowed {
            assert!(
                LAYERS[..at].iter().any(|(above, _)| above == other),
                "{module} lists {other}, which does not stand above it"
            );
        }
    }
}

#[test]
fn imports_follow_the_layers() {
    for (module, allowed) in LAYERS {
        let files = rust_files(&Path::new("src").join(module));
        assert!(
            !files.is_empty(),
            "src/{module}.rs is gone: take its row out"
        );
        for file in files {
            for target in targets(&file, &production_code(&file)) {
                let import = &*target[0];
                // `crate::Name` is a re-export of lib.rs, which hides the item's layer.
                let known = LAYERS.iter().any(|(layer, _)| *layer == import);
                assert!(
                    known,
                    "{}: `crate::{import}`: name its module",
                    file.display()
                );
                assert!(
                    import == *module || allowed.contains(&import),
                    "{}: {module} must not import {import}",
                    file.display()
                );
            }
        }
    }
}

#[test]
fn imports_use_no_hidden_paths() {
    for file in rust_files(Path::new("src")) {
        let code = production_code(&file);
        for way in [
            "crate as ",
            "super as ",
            "self::super",
            "extern crate",
            "#[path",
            "include!(",
        ] {
            assert!(!code.contains(way), "{}: `{way}`", file.display());
        }
        let inline = code.lines().find(|line| {
            line.trim_end().ends_with('{') && line.split_whitespace().any(|word| word == "mod")
        });
        assert_eq!(inline, None, "{}: a module has a file", file.display());
    }
}

/// Regression test: the `//` of a URL hid the rest of its line.
#[test]
fn only_comments_are_removed() {
    for (code, kept) in [
        ("a // b\nc", "a \nc"),
        (
            r#"f("http://x", crate::http::y); // b"#,
            r#"f("http://x", crate::http::y); "#,
        ),
        (r#""\\" // "b"#, r#""\\" "#),
        (r#""\"//" // b"#, r#""\"//" "#),
        ("\"a\n//b\" // c", "\"a\n//b\" "),
        ("r#\"\"//\"# // b", "r#\"\"//\"# "),
        ("br\"\\\" // b", "br\"\\\" "),
        ("r#type // b", "r#type "),
        ("'\"' // b", "'\"' "),
        (r#"'\"' // b"#, r#"'\"' "#),
        ("// a \"b\nc // d", "\nc "),
    ] {
        assert_eq!(without_comments(code), kept);
    }
}

#[test]
fn all_import_forms_are_detected() {
    let seen = |code: &str| -> Vec<String> {
        let targets = targets(Path::new("src/model/artifact.rs"), code);
        targets.iter().map(|target| target.join("::")).collect()
    };
    assert_eq!(
        seen("use crate::{a::{B, c::D}, e};"),
        ["a::B", "a::c::D", "e"]
    );
    assert_eq!(
        seen("use super::{super::http::X, digest};"),
        ["http::X", "model::digest"]
    );
    assert_eq!(seen("super::super::http::x()"), ["http::x"]);
    assert_eq!(seen("$crate::http::x()"), ["http::x"]);
    assert_eq!(
        seen("let x: Vec<crate::http::X> = f(crate::spec::y);"),
        ["http::X", "spec::y"]
    );
    assert_eq!(seen("use super::super::{self as all};"), ["self"]);
    assert_eq!(seen("use crate::*;"), [""]);
}

#[test]
fn test_files_are_compiled_only_for_tests() {
    for file in all_rust_files(Path::new("src"))
        .into_iter()
        .filter(|file| is_of_tests(file))
    {
        let parent = fs::read_to_string(file.parent().unwrap().with_extension("rs")).unwrap();
        let name = file.file_stem().unwrap().to_str().unwrap();
        let declared = parent
            .lines()
            .zip(parent.lines().skip(1))
            .any(|(before, line)| {
                let module = line
                    .strip_suffix(';')
                    .and_then(|line| line.split_once("mod "));
                before == "#[cfg(test)]" && module.is_some_and(|(_, module)| module == name)
            });
        assert!(declared, "{}: is part of the program", file.display());
    }
}

#[test]
fn code_map_lists_all_modules_in_order() {
    let page = fs::read_to_string("ARCHITECTURE.md").unwrap();
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `"));
    let rows: Vec<&str> = rows.map(|row| row.split('`').next().unwrap()).collect();
    let mut expected: Vec<&str> = LAYERS.iter().map(|(layer, _)| *layer).collect();
    expected.push("src/main.rs");
    assert_eq!(rows, expected);
}

#[test]
fn paths_named_in_documentation_exist() {
    for page in ["ARCHITECTURE.md", "CONTRIBUTING.md", "README.md"] {
        let text = fs::read_to_string(page).unwrap();
        let code: Vec<&str> = text.split('`').skip(1).step_by(2).collect();
        let is_module = |code: &&&str| {
            code.contains("::")
                && code
                    .chars()
                    .all(|c| c.is_ascii_lowercase() || "_:".contains(c))
        };
        for module in code.iter().filter(is_module) {
            let file = format!("src/{}.rs", module.replace("::", "/"));
            assert!(Path::new(&file).exists(), "{page}: there is no {module}");
        }
        let roots = [
            "src/",
            "tests/",
            "bench/",
            "examples/",
            "contrib/",
            "man/",
            "schema/",
            "completions/",
        ];
        for place in code
            .into_iter()
            .filter(|code| roots.iter().any(|root| code.starts_with(root)))
        {
            let place = place.split(' ').next().unwrap();
            // `tests/golden/CASE/` is a placeholder; only the part before it must exist.
            let real = place
                .split_terminator('/')
                .take_while(|part| part.chars().any(char::is_lowercase));
            let real: PathBuf = real.collect();
            assert!(real.exists(), "{page}: there is no {place}");
        }
    }
}

#[test]
fn lib_lists_modules_in_layer_order() {
    let lib = fs::read_to_string("src/lib.rs").unwrap();
    let modules: Vec<&str> = lib
        .lines()
        .filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';'))
        .collect();
    let layers: Vec<&str> = LAYERS.iter().map(|(layer, _)| *layer).collect();
    assert_eq!(modules, layers);
}

/// A file may import only siblings whose `mod` line stands above its own. So siblings have no cyclic imports.
/// Names that the parent re-exports count as names of their file. All children may use items of the parent itself.
#[test]
fn files_import_only_siblings_declared_above_them() {
    let mut wrong = vec![];
    for file in rust_files(Path::new("src")) {
        let name = file.with_extension("");
        let module: Vec<&str> = name.iter().skip(1).map(|s| s.to_str().unwrap()).collect();
        for target in targets(&file, &production_code(&file)) {
            let target: Vec<&str> = target.iter().map(String::as_str).collect();
            let shared = module.iter().zip(&target).take_while(|(a, b)| a == b);
            let shared = shared.count();
            let (Some(own), Some(other)) = (module.get(shared), target.get(shared)) else {
                continue; // an ancestor, or an item of the file itself
            };
            if shared == 0 {
                continue; // checked by the layers
            }
            let parent = Path::new("src").join(module[..shared].join("/"));
            let places = places(&production_code(&parent.with_extension("rs")));
            if places.get(*other) > places.get(*own) {
                wrong.push(format!("{}: {other} stands below {own}", file.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn each_file_starts_with_a_module_comment() {
    for file in rust_files(Path::new("src")) {
        let text = fs::read_to_string(&file).unwrap();
        assert!(
            text.starts_with("//! "),
            "{}: has no opening line",
            file.display()
        );
    }
}

#[test]
fn library_does_not_use_command_line_crates() {
    for (module, _) in LAYERS {
        for file in rust_files(&Path::new("src").join(module)) {
            for word in ["clap::", "indicatif::", "anyhow::", "println!", "eprintln!"] {
                let code = production_code(&file);
                assert!(
                    !code.contains(word),
                    "{}: {word} belongs to src/cmd/",
                    file.display()
                );
            }
        }
    }
}

/// Returns the targets of all paths in `file`, from the crate's root.
fn targets(file: &Path, code: &str) -> Vec<Vec<String>> {
    let name = file.with_extension("");
    let module: Vec<String> = name
        .iter()
        .skip(1)
        .map(|s| s.to_str().unwrap().to_owned())
        .collect();
    let target = |path: Vec<String>| {
        let ups = path.iter().take_while(|step| *step == "super").count();
        assert!(ups <= module.len(), "{}: {path:?}", file.display());
        let base = if ups == 0 { 0 } else { module.len() - ups };
        let mut target = module[..base].to_vec();
        target.extend(path.into_iter().skip(ups.max(1)));
        target
    };
    paths(code)
        .into_iter()
        .map(target)
        .filter(|target| !target.is_empty())
        .collect()
}

/// Returns all paths that begin with `crate::` or `super::`, with groups expanded.
fn paths(code: &str) -> Vec<Vec<String>> {
    let mut found = vec![];
    let mut rest = code;
    while let Some(at) = ["crate::", "super::"]
        .iter()
        .filter_map(|start| rest.find(start))
        .min()
    {
        let is_inside = rest[..at].ends_with(|c: char| c.is_alphanumeric() || "_:".contains(c));
        rest = match is_inside {
            true => &rest[at + "crate".len()..],
            false => branches(&rest[at..], &[], &mut found),
        };
    }
    found
}

/// Reads one path or group of paths that continues `stem`. Returns the text after it.
fn branches<'a>(text: &'a str, stem: &[String], found: &mut Vec<Vec<String>>) -> &'a str {
    if let Some(mut rest) = text.strip_prefix('{') {
        loop {
            rest = rest.trim_start_matches(|c: char| c == ',' || c.is_whitespace());
            if let Some(behind) = rest.strip_prefix('}') {
                return behind;
            }
            let behind = branches(rest, stem, found);
            assert!(behind.len() < rest.len(), "not a path: {rest}");
            // `as Name` is not part of the path.
            rest = behind.trim_start_matches(|c: char| !",}".contains(c));
        }
    }
    let name = ident(text);
    let rest = &text[name.len()..];
    let mut path = stem.to_vec();
    path.push(name);
    if let Some(rest) = rest.strip_prefix("::") {
        return branches(rest, &path, found);
    }
    found.push(path);
    rest.strip_prefix('*').unwrap_or(rest)
}

fn ident(text: &str) -> String {
    text.chars()
        .take_while(|c| c.is_alphanumeric() || *c == '_')
        .collect()
}

/// Maps each module that `parent` declares, and each name that it imports from one, to the module's position.
fn places(parent: &str) -> BTreeMap<String, usize> {
    let mut places = BTreeMap::new();
    let declared = parent
        .lines()
        .filter_map(|line| line.split_once("mod ")?.1.strip_suffix(';'));
    for (place, module) in declared.enumerate() {
        let mut names = vec![vec![module.to_owned()]];
        for (at, taken) in parent.match_indices(&format!("use {module}::")) {
            branches(&parent[at + taken.len()..], &[], &mut names);
        }
        places.extend(
            names
                .into_iter()
                .filter_map(|mut path| Some((path.pop()?, place))),
        );
    }
    places
}

/// Returns a file without comments and without its test module, which may import anything.
fn production_code(file: &Path) -> String {
    let text = fs::read_to_string(file).unwrap();
    let mut lines = text.lines().peekable();
    let mut code = vec![];
    while let Some(line) = lines.next() {
        // `#[cfg(test)] mod name;` is one declaration, `#[cfg(test)] mod tests {` ends the file.
        if line == "#[cfg(test)]" && lines.peek().is_some_and(|next| next.ends_with('{')) {
            break;
        }
        code.push(line);
    }
    without_comments(&code.join("\n"))
}

/// Removes `//` comments from `code`. Strings that contain `//` stay unchanged.
fn without_comments(code: &str) -> String {
    let mut kept = String::new();
    let mut rest = code;
    while let Some(next) = rest.chars().next() {
        if rest.starts_with("//") {
            rest = &rest[rest.find('\n').unwrap_or(rest.len())..];
            continue;
        }
        let (taken, behind) = rest.split_at(quoted(rest).unwrap_or(next.len_utf8()));
        kept.push_str(taken);
        rest = behind;
    }
    kept
}

/// Returns the length of the string literal, or of the quotation mark as a character literal, at the start of `code`.
fn quoted(code: &str) -> Option<usize> {
    let marks = ["'\"'", r#"'\"'"#];
    if let Some(mark) = marks.iter().find(|mark| code.starts_with(**mark)) {
        return Some(mark.len());
    }
    // An `r` directly before a quotation mark starts a raw string.
    if let Some(raw) = code.strip_prefix('r') {
        let text = raw.trim_start_matches('#');
        let end = format!("\"{}", &raw[..raw.len() - text.len()]);
        let text = text.strip_prefix('"')?;
        return Some(code.len() - text.len() + text.find(&end)? + end.len());
    }
    let text = code.strip_prefix('"')?;
    let mut is_escaped = false;
    let end = text.find(|c| {
        let is_end = c == '"' && !is_escaped;
        is_escaped = c == '\\' && !is_escaped;
        is_end
    });
    Some(1 + end? + 1)
}

/// Returns the files of a module without its test files.
fn rust_files(module: &Path) -> Vec<PathBuf> {
    let mut files = all_rust_files(module);
    files.retain(|file| !is_of_tests(file));
    files
}

/// Test files may import anything.
fn is_of_tests(file: &Path) -> bool {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    name.ends_with("_tests.rs") || ["tests.rs", "testing.rs", "conformance.rs"].contains(&&*name)
}

fn all_rust_files(module: &Path) -> Vec<PathBuf> {
    let mut files = vec![];
    let file = module.with_extension("rs");
    if file.exists() {
        files.push(file);
    }
    for entry in fs::read_dir(module).into_iter().flatten() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => files.extend(all_rust_files(&path)),
            false if path.extension().is_some_and(|e| e == "rs") => files.push(path),
            false => {}
        }
    }
    files.sort();
    files.dedup();
    files
}

/// SECURITY.md names tests as `file::function`. Each of them must exist.
#[test]
fn tests_named_in_security_md_exist() {
    let page = fs::read_to_string("SECURITY.md").unwrap();
    let named: Vec<&str> = page
        .split('`')
        .skip(1)
        .step_by(2)
        .filter(|code| code.contains("::") && !code.contains('…'))
        .collect();
    assert!(named.len() > 20, "{named:?}");
    for name in named {
        let (path, function) = name.rsplit_once("::").unwrap();
        let file = format!("{}.rs", path.replace("::", "/"));
        let places = [
            Path::new("tests/it").join(&file),
            Path::new("src").join(&file),
        ];
        let declared = format!("fn {function}(");
        let is_there = places
            .iter()
            .any(|place| fs::read_to_string(place).is_ok_and(|code| code.contains(&declared)));
        assert!(is_there, "SECURITY.md names {name}, which is nowhere");
    }
}
