//! Tests of the rules for metadata.

use std::path::Path;

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::Spec;

const RULES: &str = r"
port: { type: integer, min: 1, max: 65535 }
role: { one_of: [validator, observer], default: observer }
zone: { type: string }
weight: { type: number, max: 1.5, default: 1 }
";

fn rules(fields: &str) -> MetadataRules {
    let fields = fields.trim().replace('\n', "\n  ");
    let text = format!(
        "cfgsync: 1\ncluster: c\nready: {{ nodes: 1 }}\nmetadata:\n  {fields}\nmaterializers:\n  \
             - kind: template\n    files:\n      - {{ path: a, template: x }}\n"
    );
    let spec = Spec::parse(&text, "cluster.yaml", Path::new(""));
    spec.unwrap_or_else(|error| panic!("{error}")).metadata
}

#[test]
fn fills_in_defaults_and_keeps_other_fields() {
    let metadata = json!({ "port": 9000, "zone": "a", "rack": [7] });
    assert_eq!(
        rules(RULES).complete(&metadata).unwrap(),
        json!({ "port": 9000, "zone": "a", "rack": [7], "role": "observer", "weight": 1 })
    );
}

#[test]
fn accepts_everything_without_rules() {
    for metadata in [json!({}), json!([1]), json!("text"), json!(null)] {
        let rules = MetadataRules::default();
        assert_eq!(rules.complete(&metadata).unwrap(), metadata);
    }
}

#[test]
fn errors_name_the_field_and_the_expected_value() {
    let cases = [
        json!([1]),
        json!({}),
        json!({ "port": "9000", "zone": "a" }),
        json!({ "port": 0, "zone": "a" }),
        json!({ "port": 70000, "zone": "a" }),
        json!({ "port": 9000.5, "zone": "a" }),
        json!({ "port": null, "zone": "a" }),
        json!({ "port": 1, "zone": "a", "role": "leader" }),
        json!({ "port": 1, "zone": { "name": "a" } }),
        json!({ "port": 1, "zone": 5 }),
        json!({ "port": 1, "zone": "a", "weight": 1.6 }),
        json!({ "port": 1, "zone": "a", "weight": "x".repeat(100) }),
    ];
    let rules = rules(RULES);
    let errors = cases.map(|metadata| rules.complete(&metadata).unwrap_err().to_string());
    insta::assert_snapshot!(errors.join("\n"), @r#"
        metadata: expected an object, found an array
        metadata.port: missing; expected an integer from 1 to 65535 (pass `--meta port:=NUMBER`)
        metadata.port: expected an integer from 1 to 65535, found the string "9000" (pass `--meta port:=9000`)
        metadata.port: expected an integer from 1 to 65535, found the number 0
        metadata.port: expected an integer from 1 to 65535, found the number 70000
        metadata.port: expected an integer from 1 to 65535, found the number 9000.5
        metadata.port: expected an integer from 1 to 65535, found null
        metadata.role: expected one of "validator", "observer", found the string "leader"
        metadata.zone: expected a string, found an object
        metadata.zone: expected a string, found the number 5
        metadata.weight: expected a number of at most 1.5, found the number 1.6
        metadata.weight: expected a number of at most 1.5, found the string "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"…
        "#);
}

#[test]
fn checks_formats_lengths_patterns_and_items() {
    let rules = rules(
        r"
address: { format: ip, default: 10.0.0.1 }
host: { format: hostname, default: localhost }
port: { format: port, default: 80 }
name: { type: string, min_length: 2, max_length: 4, default: ab }
key: { pattern: '[a-z]+', default: a }
disks: { type: array, items: string, min_length: 1, default: [sda] }
",
    );
    for accepted in [
        json!({ "address": "fd00::1", "host": "n-1.example", "port": 65535 }),
        json!({ "name": "äöüß", "key": "xyz", "disks": ["a", "b"] }),
    ] {
        assert_eq!(rules.check(&accepted), Ok(()));
    }
    let refused = [
        json!({ "address": "10.0.0.256" }),
        json!({ "host": "-a" }),
        json!({ "host": "a..b" }),
        json!({ "port": 0 }),
        json!({ "port": "80" }),
        json!({ "name": "a" }),
        json!({ "name": "abcde" }),
        json!({ "key": "a1" }),
        json!({ "disks": [] }),
        json!({ "disks": ["a", 1] }),
    ];
    let errors = refused.map(|metadata| rules.check(&metadata).unwrap_err().to_string());
    insta::assert_snapshot!(errors.join("\n"), @r#"
        metadata.address: expected an IP address, found the string "10.0.0.256"
        metadata.host: expected a host name, found the string "-a"
        metadata.host: expected a host name, found the string "a..b"
        metadata.port: expected a port from 1 to 65535, found the number 0
        metadata.port: expected a port from 1 to 65535, found the string "80" (pass `--meta port:=80`)
        metadata.name: expected a string of 2 to 4 characters, found the string "a"
        metadata.name: expected a string of 2 to 4 characters, found the string "abcde"
        metadata.key: expected a string that matches [a-z]+, found the string "a1"
        metadata.disks: expected an array of at least 1 items, each a string, found an array
        metadata.disks: expected an array of at least 1 items, each a string, found an array
        "#);
}

#[test]
fn fake_values_fit_their_rule_or_are_refused() {
    let accepted =
        rules("a: { format: ip }\nb: { format: port }\nc: { type: string, min_length: 12 }");
    for index in [0, 1, 70_000] {
        assert_eq!(accepted.check(&accepted.fake(index).unwrap()), Ok(()));
    }
    assert_ne!(accepted.fake(0), accepted.fake(1));
    let error = rules("key: { pattern: '[0-9]{4}' }").fake(0).unwrap_err();
    assert_eq!(
        error.to_string(),
        "metadata.key: no value can be made up for a string that matches [0-9]{4}"
    );
    let with_default = rules("key: { pattern: '[0-9]{4}', default: '1234' }");
    assert_eq!(with_default.fake(7).unwrap(), json!({ "key": "1234" }));
}

#[test]
fn fake_values_of_unique_fields_differ() {
    let rules = rules(
        "a: { type: string, max_length: 2, unique: true }\nb: { type: object, unique: true }\nc: { type: array, \
         min_length: 2, items: integer, unique: true }\nd: { type: number, min: 0.5, max: 0.75, unique: true }\ne: \
         { type: integer, min: 0.5, unique: true }\n",
    );
    let all: Vec<Metadata> = (0..100).map(|index| rules.fake(index).unwrap()).collect();
    for (at, metadata) in all.iter().enumerate() {
        assert_eq!(rules.check(metadata), Ok(()));
        for name in ["a", "b", "c", "d", "e"] {
            let is_new = all[..at].iter().all(|other| other[name] != metadata[name]);
            assert!(is_new, "{name} of {at}: {}", metadata[name]);
        }
    }
    // 36 * 36 texts of two characters.
    assert!(rules.fake(36 * 36).is_err());
}

#[test]
fn fake_alternatives_come_from_the_rule_and_the_constants() {
    let rules = rules(
        "role: { one_of: [a, b] }\nport: { type: integer, min: 5, max: 9 }\nid: { type: integer, unique: true }\n",
    );
    let constants = [json!(7), json!("x")];
    assert_eq!(
        rules.fake_alternatives("role", &constants),
        [json!("a"), json!("b")]
    );
    assert_eq!(
        rules.fake_alternatives("port", &constants),
        [json!(7), json!(8), json!(6), json!(5), json!(9)]
    );
    assert!(rules.fake_alternatives("id", &constants).is_empty());
    assert!(
        rules
            .fake_alternatives("other", &constants)
            .contains(&json!("x"))
    );
}

#[test]
fn compares_integers_beyond_2_pow_53_exactly() {
    let rules = rules("id: { type: integer, max: 9007199254740993 }");
    assert!(
        rules
            .complete(&json!({ "id": 9_007_199_254_740_993_u64 }))
            .is_ok()
    );
    assert!(
        rules
            .complete(&json!({ "id": 9_007_199_254_740_994_u64 }))
            .is_err()
    );
    assert!(rules.complete(&json!({ "id": u64::MAX })).is_err());
    assert!(rules.complete(&json!({ "id": i64::MIN })).is_ok());
}

#[test]
fn fake_nodes_differ_as_far_as_the_rules_allow() {
    let rules = rules(RULES);
    assert_eq!(
        [0, 1, 65535].map(|index| rules.fake(index).unwrap()),
        [
            json!({ "port": 1, "role": "validator", "zone": "zone-0", "weight": 1.5 }),
            json!({ "port": 2, "role": "observer", "zone": "zone-1", "weight": 1.5 }),
            json!({ "port": 1, "role": "observer", "zone": "zone-65535", "weight": 1.5 }),
        ]
    );
}

proptest! {
    #[test]
    fn accepts_its_own_fake_metadata(
        min in proptest::option::of(any::<i64>()),
        above in proptest::option::of(any::<u32>()),
        default in any::<bool>(),
        index in 0_usize..100_000,
    ) {
        let max = above.map(|above| min.unwrap_or(-5).saturating_add(above.into()));
        let rule = FieldRule {
            kind: Some(FieldType::Integer),
            min: min.map(Into::into),
            max: max.map(Into::into),
            default: default.then(|| min.or(max).unwrap_or(7).into()),
            ..FieldRule::default()
        };
        let rules = MetadataRules::new([("n".to_owned(), rule)].into());
        let metadata = rules.fake(index).unwrap();
        prop_assert_eq!(rules.complete(&metadata), Ok(metadata));
    }
}

/// Other nodes see the reason why a node was refused.
#[test]
fn errors_do_not_show_secret_values() {
    let rules = rules("password: { type: string, secret: true, min_length: 20 }");
    let error = rules.check(&json!({ "password": "PLANTED" })).unwrap_err();
    let shown = error.to_string();
    assert!(shown.starts_with("metadata.password: expected"), "{shown}");
    assert!(!shown.contains("PLANTED"), "{shown}");
}

/// The allowed values of a secret field are as secret as the one that a node sends.
#[test]
fn errors_do_not_show_the_allowed_values_of_a_secret_field() {
    let rules = rules("key: { one_of: [PLANTED, OTHER], secret: true }");
    for metadata in [json!({ "key": "x" }), json!({})] {
        let shown = rules.check(&metadata).unwrap_err().to_string();
        assert!(
            shown.contains("one of the values that the spec lists"),
            "{shown}"
        );
        assert!(!shown.contains("PLANTED"), "{shown}");
    }
}
