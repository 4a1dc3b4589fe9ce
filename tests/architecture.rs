//! Holds the shape that ARCHITECTURE.md draws, as far as cargo cannot: the reading order of crates and of the files
//! within a crate, and that pages name only what exists.
//!
//! Cargo keeps the imports between crates free of cycles. Within a crate, the `mod` lines of a module are its reading
//! order, and a file imports only files above it.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use proc_macro2::{TokenStream, TokenTree};
use syn::{
    Attribute, File, Item, ItemMacro, ItemMod, ItemUse, Macro, UseTree,
    visit::{self, Visit},
};

/// A path within a crate, from its root: `["journal", "log", "Log"]`.
type CratePath = Vec<String>;

#[test]
fn crates_import_only_crates_above_them() {
    let order = crates_in_order();
    let mut wrong = vec![];
    for (place, name) in order.iter().enumerate() {
        for other in dependencies(&Path::new("crates").join(name)) {
            let above = order.iter().position(|it| *it == other);
            if above.is_none_or(|above| above >= place) {
                wrong.push(format!(
                    "crates/{name} imports {other}, which is not above it in Cargo.toml"
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_crate_has_a_place_in_the_order() {
    let mut listed = crates_in_order();
    listed.sort();
    let mut present: Vec<String> = fs::read_dir("crates")
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    present.sort();
    assert_eq!(listed, present);
}

#[test]
fn the_code_map_has_every_crate_in_order() {
    let page = fs::read_to_string("ARCHITECTURE.md").unwrap();
    let rows = page
        .lines()
        .filter_map(|line| line.strip_prefix("| `crates/"));
    let rows: Vec<&str> = rows.map(|row| row.split('`').next().unwrap()).collect();
    assert_eq!(rows, crates_in_order());
}

#[test]
fn files_import_only_files_above_them() {
    let mut wrong = vec![];
    for root in roots() {
        let source = Crate::read(&root);
        for (module, file) in source.files.iter().filter(|(_, file)| !file.is_of_tests) {
            for target in &file.imports {
                if let Some(problem) = source.import_from_below(module, target) {
                    wrong.push(format!("{}: {problem}", file.path.display()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_file_opens_by_saying_its_job() {
    for root in roots() {
        for file in rust_files(&root) {
            let text = fs::read_to_string(&file).unwrap();
            assert!(
                text.starts_with("//! "),
                "{}: has no opening line",
                file.display()
            );
        }
    }
}

/// Text of other machines is escaped where it leaves the program, so no other file of the command line may write there.
#[test]
fn only_escaping_files_write_to_the_terminal() {
    let exempt = ["output.rs", "log.rs", "report.rs"];
    let is_test = |line: &&str| line.trim() == "#[cfg(test)]";
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for file in rust_files(&root.join("src")) {
        if exempt
            .iter()
            .any(|name| file == root.join("src/cmd").join(name))
        {
            continue;
        }
        let text = fs::read_to_string(&file).unwrap();
        for line in text.lines().take_while(|line| !is_test(line)) {
            let writes = ["io::stdout()", "io::stderr()"].map(|stream| line.contains(stream));
            let is_query = line.contains("is_terminal()") || line.trim_start().starts_with("//");
            assert!(
                is_query || writes == [false, false],
                "{} writes to the terminal by itself; use src/cmd/output.rs: {line}",
                file.display()
            );
        }
    }
}

#[test]
fn nothing_hides_what_it_imports() {
    for root in roots() {
        let files = Crate::read(&root).files.into_values();
        for file in files.filter(|file| !file.is_of_tests) {
            assert_eq!(
                file.hidden_imports,
                Vec::<String>::new(),
                "{}",
                file.path.display()
            );
        }
    }
}

/// Imports are read from groups, from paths in expressions and from the arguments of macros.
#[test]
fn imports_are_found_wherever_they_stand() {
    let found = |code: &str| -> Vec<String> {
        let file = SourceFile::parse("lib.rs".into(), &["a".into(), "b".into()], code);
        file.imports.iter().map(|path| path.join("::")).collect()
    };
    assert_eq!(
        found("use crate::{a::{B, c::D}, e};"),
        ["a::B", "a::c::D", "e"]
    );
    assert_eq!(found("use super::{super::x::Y, d};"), ["x::Y", "a::d"]);
    assert_eq!(found("fn f() { super::super::x::y() }"), ["x::y"]);
    assert_eq!(found("fn f() { info!(\"{}\", crate::x::y()) }"), ["x::y"]);
    assert_eq!(found("type T = Vec<crate::x::Y>;"), ["x::Y"]);
    assert_eq!(
        found("#[cfg(test)] mod tests { use crate::x::Y; }"),
        [""; 0]
    );
}

#[test]
fn tests_that_security_claims_rest_on_exist() {
    let page = fs::read_to_string("SECURITY.md").unwrap();
    let named: Vec<&str> = code_spans(&page)
        .into_iter()
        .filter(|code| code.contains("::") && !code.contains('…'))
        .collect();
    assert!(named.len() > 20, "{named:?}");
    let missing: Vec<&str> = named
        .into_iter()
        .filter(|name| !test_exists(name))
        .collect();
    assert!(
        missing.is_empty(),
        "SECURITY.md names tests that do not exist: {missing:#?}"
    );
}

#[test]
fn places_that_the_pages_name_exist() {
    const ROOTS: [&str; 10] = [
        "src/",
        "crates/",
        "tests/",
        "bench/",
        "examples/",
        "contrib/",
        "docs/",
        "man/",
        "schema/",
        "completions/",
    ];
    for page in ["ARCHITECTURE.md", "CONTRIBUTING.md", "README.md"] {
        let text = fs::read_to_string(page).unwrap();
        for place in code_spans(&text) {
            if !ROOTS.iter().any(|root| place.starts_with(root)) {
                continue;
            }
            let place = place.split(' ').next().unwrap();
            // `tests/golden/CASE/` stands for any of them.
            let real: PathBuf = place
                .split_terminator('/')
                .take_while(|part| part.chars().any(char::is_lowercase) && !part.contains('*'))
                .collect();
            assert!(real.exists(), "{page}: there is no {place}");
        }
    }
}

#[test]
fn functions_that_the_pages_name_exist() {
    let files = rust_files(Path::new("crates")).into_iter();
    let code: String = files
        .map(|file| fs::read_to_string(file).unwrap())
        .collect();
    for page in ["ARCHITECTURE.md", "CONTRIBUTING.md"] {
        let text = fs::read_to_string(page).unwrap();
        for name in code_spans(&text) {
            let Some((owner, function)) = name.split_once("::") else {
                continue;
            };
            if owner.starts_with(char::is_uppercase) {
                let declared = format!("fn {function}(");
                assert!(code.contains(&declared), "{page}: there is no {name}");
            }
        }
    }
}

/// `file::function`, in `tests/it` or, from the crate's name on, in a crate.
fn test_exists(name: &str) -> bool {
    let (path, function) = name.rsplit_once("::").unwrap();
    let declared = [format!("fn {function}("), format!("fn {function}<")];
    let mut places = vec![Path::new("tests/it").join(path.replace("::", "/"))];
    places.push(Path::new("src").join(path.replace("::", "/")));
    let (krate, file) = path.split_once("::").unwrap_or((path, "lib"));
    places.push(
        Path::new("crates")
            .join(krate)
            .join("src")
            .join(file.replace("::", "/")),
    );
    places.iter().any(|place| {
        fs::read_to_string(place.with_extension("rs"))
            .is_ok_and(|code| declared.iter().any(|name| code.contains(name)))
    })
}

/// The texts between backticks.
fn code_spans(page: &str) -> Vec<&str> {
    page.split('`').skip(1).step_by(2).collect()
}

/// The workspace's crates as the root manifest lists them, which is their reading order.
fn crates_in_order() -> Vec<String> {
    let manifest = fs::read_to_string("Cargo.toml").unwrap();
    manifest
        .lines()
        .filter(|line| line.contains("path = \"crates/"))
        .map(|line| crate_name(line).unwrap())
        .collect()
}

/// The workspace's crates that the program part of a crate depends on.
fn dependencies(directory: &Path) -> Vec<String> {
    let manifest = fs::read_to_string(directory.join("Cargo.toml")).unwrap();
    let section = manifest.split_once("[dependencies]").unwrap().1;
    let section = section.split("\n[").next().unwrap();
    section.lines().filter_map(crate_name).collect()
}

fn crate_name(line: &str) -> Option<String> {
    let name = line.strip_prefix("cfgsync-")?;
    let end = name.find([' ', '.'])?;
    Some(name[..end].to_owned())
}

/// The directories that hold the sources of the product.
fn roots() -> Vec<PathBuf> {
    let crates = crates_in_order().into_iter();
    let crates = crates.map(|name| Path::new("crates").join(name).join("src"));
    crates.chain([PathBuf::from("src")]).collect()
}

/// The files of a crate, by their module paths.
struct Crate {
    files: BTreeMap<CratePath, SourceFile>,
}

impl Crate {
    fn read(root: &Path) -> Self {
        let files = rust_files(root).into_iter().map(|path| {
            let module = module_of(root, &path);
            let code = fs::read_to_string(&path).unwrap();
            let file = SourceFile::parse(path, &module, &code);
            (module, file)
        });
        let mut source = Self {
            files: files.collect(),
        };
        source.mark_files_of_tests();
        source
    }

    /// A module that is declared for tests alone is one of tests, and so is all within it.
    fn mark_files_of_tests(&mut self) {
        let declared: Vec<CratePath> = self
            .files
            .iter()
            .flat_map(|(module, file)| {
                let within = file.test_modules.iter();
                within.map(|name| [module.clone(), vec![name.clone()]].concat())
            })
            .collect();
        for (module, file) in &mut self.files {
            file.is_of_tests = declared.iter().any(|tests| module.starts_with(tests));
        }
    }

    /// A problem if `target` leads from `module` to a file that is declared below it.
    fn import_from_below(&self, module: &CratePath, target: &CratePath) -> Option<String> {
        let shared = module
            .iter()
            .zip(target)
            .take_while(|(a, b)| a == b)
            .count();
        // An ancestor, or something within the file, is no sibling.
        let (own, other) = (module.get(shared)?, target.get(shared)?);
        let parent = self.files.get(&module[..shared])?;
        let own = parent.place_of(own)?;
        let other_place = parent.place_of(other)?;
        (other_place > own)
            .then(|| format!("imports {}, which is declared below", target.join("::")))
    }
}

/// One parsed file.
struct SourceFile {
    path: PathBuf,
    /// Its modules in order, and the names that it takes from each.
    modules: Vec<(String, Vec<String>)>,
    /// Those of its modules that are compiled for tests alone.
    test_modules: Vec<String>,
    /// Where the paths of its program part lead.
    imports: Vec<CratePath>,
    /// Ways to import that this test could not follow.
    hidden_imports: Vec<String>,
    is_of_tests: bool,
}

impl SourceFile {
    fn parse(path: PathBuf, module: &[String], code: &str) -> Self {
        let parsed: File =
            syn::parse_file(code).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let mut file = Self {
            path,
            modules: vec![],
            test_modules: vec![],
            imports: vec![],
            hidden_imports: vec![],
            is_of_tests: false,
        };
        for item in &parsed.items {
            if let Item::Mod(declared) = item
                && declared.content.is_none()
            {
                let name = declared.ident.to_string();
                if is_for_tests(&declared.attrs) {
                    file.test_modules.push(name);
                } else {
                    file.modules.push((name, vec![]));
                }
            }
        }
        for item in &parsed.items {
            if let Item::Use(taken) = item {
                file.note_names_taken(&taken.tree);
            }
        }
        let mut imports = Imports {
            module,
            file: &mut file,
        };
        imports.visit_file(&parsed);
        file
    }

    /// Names that a module takes from its own modules count as those of their files.
    fn note_names_taken(&mut self, tree: &UseTree) {
        let mut paths = vec![];
        flatten(tree, &mut vec![], &mut paths);
        for path in paths {
            let path: Vec<&String> = path.iter().filter(|step| *step != "self").collect();
            if let [first, .., last] = path[..]
                && let Some((_, names)) = self.modules.iter_mut().find(|(name, _)| name == first)
            {
                names.push(last.clone());
            }
        }
    }

    /// The place of a module, or of the module that a name was taken from.
    fn place_of(&self, name: &str) -> Option<usize> {
        let modules = self.modules.iter();
        let declared = modules.clone().position(|(module, _)| module == name);
        declared.or_else(|| {
            let mut modules = self.modules.iter();
            modules.position(|(_, names)| names.iter().any(|taken| taken == name))
        })
    }
}

/// Collects the paths of a file's program part.
struct Imports<'a> {
    module: &'a [String],
    file: &'a mut SourceFile,
}

impl Imports<'_> {
    fn note(&mut self, path: &[String]) {
        let ups = path.iter().take_while(|step| *step == "super").count();
        let rest = match path.first().map(String::as_str) {
            Some("crate") => path[1..].to_vec(),
            Some("super") => {
                assert!(
                    ups <= self.module.len(),
                    "{}: {path:?}",
                    self.file.path.display()
                );
                let mut target = self.module[..self.module.len() - ups].to_vec();
                target.extend_from_slice(&path[ups..]);
                target
            }
            _ => return,
        };
        if !rest.is_empty() {
            self.file.imports.push(rest);
        }
    }

    /// Paths within a macro's arguments are tokens, not syntax.
    fn note_tokens(&mut self, tokens: TokenStream) {
        let mut path: Vec<String> = vec![];
        let mut colons = 0;
        for token in tokens {
            match token {
                TokenTree::Punct(mark) if mark.as_char() == ':' => colons += 1,
                TokenTree::Ident(name) => {
                    if colons != 2 {
                        self.note(&std::mem::take(&mut path));
                    }
                    path.push(name.to_string());
                    colons = 0;
                }
                TokenTree::Group(group) => {
                    self.note(&std::mem::take(&mut path));
                    self.note_tokens(group.stream());
                    colons = 0;
                }
                _ => {
                    self.note(&std::mem::take(&mut path));
                    colons = 0;
                }
            }
        }
        self.note(&path);
    }
}

impl<'ast> Visit<'ast> for Imports<'_> {
    fn visit_item(&mut self, item: &'ast Item) {
        let attributes = match item {
            Item::Mod(item) => &item.attrs,
            Item::Fn(item) => &item.attrs,
            Item::Use(item) => &item.attrs,
            Item::Impl(item) => &item.attrs,
            _ => return visit::visit_item(self, item),
        };
        if !is_for_tests(attributes) {
            visit::visit_item(self, item);
        }
    }

    fn visit_item_mod(&mut self, item: &'ast ItemMod) {
        if item
            .attrs
            .iter()
            .any(|attribute| attribute.path().is_ident("path"))
        {
            self.file
                .hidden_imports
                .push(format!("#[path] mod {}", item.ident));
        }
        if item.content.is_some() {
            self.file
                .hidden_imports
                .push(format!("mod {} {{…}} has no file of its own", item.ident));
        }
        visit::visit_item_mod(self, item);
    }

    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        let mut paths = vec![];
        flatten(&item.tree, &mut vec![], &mut paths);
        for path in paths {
            if path.last().is_some_and(|last| last == "*") {
                let is_own = ["crate", "super", "self"].contains(&path[0].as_str());
                if is_own {
                    self.file
                        .hidden_imports
                        .push(format!("use {}", path.join("::")));
                }
            }
            self.note(&path);
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let steps: Vec<String> = path
            .segments
            .iter()
            .map(|step| step.ident.to_string())
            .collect();
        self.note(&steps);
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, invoked: &'ast Macro) {
        if invoked.path.is_ident("include") {
            self.file.hidden_imports.push("include!".to_owned());
        }
        self.note_tokens(invoked.tokens.clone());
        visit::visit_macro(self, invoked);
    }

    fn visit_item_macro(&mut self, item: &'ast ItemMacro) {
        self.note_tokens(item.mac.tokens.clone());
    }
}

/// Takes a `use` tree apart into its paths.
fn flatten(tree: &UseTree, stem: &mut Vec<String>, paths: &mut Vec<Vec<String>>) {
    match tree {
        UseTree::Path(path) => {
            stem.push(path.ident.to_string());
            flatten(&path.tree, stem, paths);
            stem.pop();
        }
        UseTree::Group(group) => {
            for tree in &group.items {
                flatten(tree, stem, paths);
            }
        }
        UseTree::Name(name) => paths.push([&stem[..], &[name.ident.to_string()]].concat()),
        UseTree::Rename(name) => paths.push([&stem[..], &[name.ident.to_string()]].concat()),
        UseTree::Glob(_) => paths.push([&stem[..], &["*".to_owned()]].concat()),
    }
}

/// Whether an item is compiled only for tests, or for the suites that other crates' tests take from it.
fn is_for_tests(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("cfg")
            && attribute
                .meta
                .require_list()
                .is_ok_and(|list| list.tokens.to_string().contains("test"))
    })
}

fn module_of(root: &Path, file: &Path) -> CratePath {
    let relative = file.strip_prefix(root).unwrap().with_extension("");
    let mut module: CratePath = relative
        .iter()
        .map(|step| step.to_str().unwrap().to_owned())
        .collect();
    if module.len() == 1 && ["lib", "main"].contains(&module[0].as_str()) {
        // Both roots of the program's package share one directory; `main` stands for the binary's.
        module.pop();
    }
    module
}

fn rust_files(directory: &Path) -> Vec<PathBuf> {
    let mut files = vec![];
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            files.push(path);
        }
    }
    files.sort();
    files
}
