//! Holds the dependencies to `deny.toml`: licences, sources, and one version of each crate. `cargo deny` checks the same,
//! and known vulnerabilities as well. This test needs neither that program nor its database.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    process::Command,
};

use serde_json::Value;

#[test]
fn licences_are_allowed() {
    let allowed = list("licenses", "allow");
    let wrong: Vec<String> = packages()
        .iter()
        .filter(|package| {
            !package
                .licence
                .as_ref()
                .is_some_and(|it| allows(&allowed, it))
        })
        .map(|package| format!("{}: {:?}", package.name, package.licence))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn crates_have_one_version_each() {
    let skipped = list("bans", "skip");
    let mut versions: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    // Tests may bring another version.
    for Package { name, version, .. } in packages().into_iter().filter(|it| it.is_built) {
        let is_skipped = skipped.iter().any(|skipped| match skipped.split_once(':') {
            Some((of, requirement)) => {
                of == name
                    && (version == requirement || version.starts_with(&format!("{requirement}.")))
            }
            None => *skipped == name,
        });
        if !is_skipped {
            versions.entry(name).or_default().insert(version);
        }
    }
    versions.retain(|_, versions| versions.len() > 1);
    assert!(versions.is_empty(), "{versions:?}");
}

#[test]
fn denied_crates_are_absent() {
    let denied = list("bans", "deny");
    for package in packages() {
        assert!(!denied.contains(&package.name), "{}", package.name);
    }
}

#[test]
fn crates_come_from_crates_io_and_name_their_versions() {
    let packages = packages();
    let registry = packages.iter().find_map(|package| package.source.as_ref());
    let registry = registry.expect("some crates come from the registry");
    assert!(registry.starts_with("registry+"), "{registry}");
    for package in &packages {
        let Package { name, source, .. } = package;
        match source {
            Some(source) => assert_eq!(source, registry, "{name}"),
            // A crate of this workspace.
            None => assert_eq!(package.any_version, [""; 0], "{name}"),
        }
    }
}

#[test]
fn licence_expressions_are_evaluated() {
    let allowed = ["MIT", "ISC"].map(str::to_owned);
    for (expression, expected) in [
        ("MIT", true),
        ("GPL-3.0", false),
        ("GPL-3.0 OR MIT", true),
        ("GPL-3.0/MIT", true),
        ("GPL-3.0 AND MIT", false),
        ("ISC AND (GPL-3.0 OR MIT)", true),
        ("(MIT OR ISC) AND GPL-3.0", false),
        ("MIT WITH LLVM-exception", false),
        ("ISC+", true),
        ("MIT OR GPL-3.0 AND Zlib", true),
    ] {
        assert_eq!(allows(&allowed, expression), expected, "{expression}");
    }
}

struct Package {
    name: String,
    version: String,
    licence: Option<String>,
    /// `None` for a crate of this workspace.
    source: Option<String>,
    /// Whether it is built without tests as well.
    is_built: bool,
    /// The dependencies of which any version would do.
    any_version: Vec<String>,
}

/// Returns all packages that the targets of `deny.toml` and the tests are built from, with all features.
fn packages() -> Vec<Package> {
    let mut found = BTreeMap::new();
    for target in list("graph", "targets") {
        let output = Command::new(env!("CARGO"))
            .args([
                "metadata",
                "--format-version=1",
                "--locked",
                "--all-features",
            ])
            .args(["--filter-platform", &target])
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
        let built = built(&metadata);
        for package in metadata["packages"].as_array().unwrap() {
            let id = package["id"].as_str().unwrap();
            let package: &mut Package = found.entry(id.to_owned()).or_insert_with(|| read(package));
            package.is_built |= built.contains(id);
        }
    }
    assert!(found.len() > 100, "{} packages", found.len());
    found.into_values().collect()
}

/// Returns the packages that are built without tests.
fn built(metadata: &Value) -> BTreeSet<&str> {
    let nodes = metadata["resolve"]["nodes"].as_array().unwrap().iter();
    let nodes: BTreeMap<&str, &Value> = nodes
        .map(|node| (node["id"].as_str().unwrap(), node))
        .collect();
    let members = metadata["workspace_members"].as_array().unwrap().iter();
    let mut found = BTreeSet::new();
    let mut next: Vec<&str> = members.filter_map(Value::as_str).collect();
    while let Some(id) = next.pop() {
        if found.insert(id) {
            let dependencies = nodes[id]["deps"].as_array().unwrap().iter();
            let built = dependencies.filter(|dependency| {
                let mut kinds = dependency["dep_kinds"].as_array().unwrap().iter();
                kinds.any(|kind| kind["kind"] != "dev")
            });
            next.extend(built.filter_map(|dependency| dependency["pkg"].as_str()));
        }
    }
    found
}

fn read(package: &Value) -> Package {
    let text = |name: &str| package[name].as_str().map(str::to_owned);
    let dependencies = package["dependencies"].as_array().unwrap().iter();
    let any_version = dependencies.filter(|it| it["req"] == "*");
    Package {
        name: text("name").unwrap(),
        version: text("version").unwrap(),
        licence: text("license"),
        source: text("source"),
        is_built: false,
        any_version: any_version.map(|it| it["name"].to_string()).collect(),
    }
}

/// Returns the texts of a list in `deny.toml`, or the `crate` of its tables. Each entry has a line of its own, or the
/// whole list has one line.
fn list(section: &str, key: &str) -> Vec<String> {
    let file = fs::read_to_string("deny.toml").unwrap();
    let section = file.split_once(&format!("\n[{section}]\n")).unwrap().1;
    let section = section.split("\n[").next().unwrap();
    let lines = section.split_once(&format!("{key} = [")).unwrap().1;
    let mut entries = vec![];
    for line in lines.lines() {
        let ends = line == "]" || line.ends_with("\"]");
        let line = line.split('#').next().unwrap();
        let values = if line.contains('{') { 1 } else { usize::MAX };
        let texts = line.split('"').skip(1).step_by(2).take(values);
        entries.extend(texts.map(str::to_owned));
        if ends {
            break;
        }
    }
    assert!(!entries.is_empty(), "{key} is empty");
    entries
}

/// Whether an SPDX expression is satisfied by these licences alone.
fn allows(licences: &[String], expression: &str) -> bool {
    let spaced = expression.replace('(', " ( ").replace(')', " ) ");
    // The form of old manifests.
    let spaced = spaced.replace('/', " OR ");
    let mut words = spaced.split_whitespace().peekable();
    let is_allowed = any(&mut words, licences);
    assert_eq!(words.next(), None, "{expression}");
    is_allowed
}

type Words<'a> = std::iter::Peekable<std::str::SplitWhitespace<'a>>;

fn any(words: &mut Words<'_>, licences: &[String]) -> bool {
    let mut is_allowed = all(words, licences);
    while words.next_if_eq(&"OR").is_some() {
        is_allowed |= all(words, licences);
    }
    is_allowed
}

fn all(words: &mut Words<'_>, licences: &[String]) -> bool {
    let mut is_allowed = one(words, licences);
    while words.next_if_eq(&"AND").is_some() {
        is_allowed &= one(words, licences);
    }
    is_allowed
}

fn one(words: &mut Words<'_>, licences: &[String]) -> bool {
    if words.next_if_eq(&"(").is_some() {
        let is_allowed = any(words, licences);
        assert_eq!(words.next(), Some(")"));
        return is_allowed;
    }
    let mut name = words.next().unwrap().to_owned();
    if words.next_if_eq(&"WITH").is_some() {
        name = format!("{name} WITH {}", words.next().unwrap());
    }
    // `+` permits later versions as well as this one.
    licences
        .iter()
        .any(|licence| licence == name.trim_end_matches('+'))
}
