//! The scrape configuration and the alert rules in `contrib/prometheus`.

use std::{collections::BTreeSet, fs, path::Path, process::Command};

use cfgsync_cluster::metrics::{Expiries, Metrics, PartLabels};
use serde_yaml::Value;

fn read(name: &str) -> (std::path::PathBuf, Value) {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("contrib/prometheus");
    let path = directory.join(name);
    let text = fs::read_to_string(&path).unwrap();
    (path, serde_yaml::from_str(&text).unwrap())
}

/// Returns the names of cfgsync's metrics in `text`.
fn metrics_in(text: &str) -> BTreeSet<&str> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|word| word.starts_with("cfgsync_")).collect()
}

#[test]
fn alert_rules_name_only_metrics_that_a_server_has() {
    let metrics = Metrics::default();
    // Metrics whose labels have no value yet are absent.
    let part = PartLabels { part: "spec" };
    metrics.reload_success.get_or_create(&part).set(1);
    let text = metrics.to_text(&Expiries {
        certificate: Some(1),
        tokens: vec![("ops".to_owned(), 1)],
    });
    let mut served = BTreeSet::new();
    for line in text.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
        let (name, kind) = line.split_once(' ').unwrap();
        let suffix = if kind == "counter" { "_total" } else { "" };
        served.insert(format!("{name}{suffix}"));
    }
    let (_, rules) = read("alerts.yaml");
    let mut alerts = 0;
    for group in rules["groups"].as_sequence().unwrap() {
        for rule in group["rules"].as_sequence().unwrap() {
            alerts += 1;
            let expression = rule["expr"].as_str().unwrap();
            let names = metrics_in(expression);
            let alert = rule["alert"].as_str().unwrap();
            assert_eq!(names.is_empty(), alert == "CfgsyncDown", "{expression}");
            for name in names {
                assert!(served.contains(name), "{alert}: no server has {name}");
            }
            assert!(rule["annotations"]["summary"].is_string(), "{alert}");
        }
    }
    assert!(alerts >= 5, "the rules are missing");
}

#[test]
fn scrape_configuration_uses_the_rules_and_needs_a_token() {
    let (_, configuration) = read("scrape.yaml");
    let files = configuration["rule_files"].as_sequence().unwrap();
    for file in files {
        read(file.as_str().unwrap());
    }
    for job in configuration["scrape_configs"].as_sequence().unwrap() {
        let token = &job["authorization"]["credentials_file"];
        assert!(token.is_string(), "{job:?}");
        let labels = &job["static_configs"][0]["labels"];
        assert!(labels["cluster"].is_string(), "{job:?}");
    }
}

/// Checks both files with Prometheus' own tool, where it is installed.
#[test]
fn promtool_accepts_the_files() {
    for (command, name) in [("rules", "alerts.yaml"), ("config", "scrape.yaml")] {
        let (path, _) = read(name);
        let mut promtool = Command::new("promtool");
        promtool.args(["check", command]);
        if command == "config" {
            promtool.arg("--syntax-only");
        }
        // An error means that it is not installed.
        if let Ok(output) = promtool.arg(path).output() {
            assert!(output.status.success(), "{output:?}");
        }
    }
}
