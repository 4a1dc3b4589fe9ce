//! Tests of the results and errors of each kind of expression.

use serde_json::{Map, json};

use super::Expression;
use crate::{
    OnceSource, RenderContext, Scope,
    testing::{context, nodes, values},
};

#[test]
fn undefined_means_no_match_in_where() {
    for (source, expected) in [
        ("node.metadata.role == 'validator'", [true, false, true]),
        ("node.metadata.port > 9000", [false, true, true]),
        ("node.metadata.missing == 1", [false; 3]),
        ("not node.metadata.missing", [false; 3]),
        ("node.metadata.missing", [false; 3]),
        ("node.metadata.missing is not defined", [true; 3]),
        ("node.metadata.tls.cert is defined", [false; 3]),
        ("node.identifier in values.favoured", [false, true, false]),
    ] {
        let expression = Expression::compile(source, Scope::Node).unwrap();
        let context = RenderContext::without_nodes("devnet", &values());
        let found: Vec<bool> = nodes()
            .iter()
            .map(|node| expression.matches(&context, node).unwrap())
            .collect();
        assert_eq!(found, expected, "{source}");
    }
}

#[test]
fn where_rejects_results_that_are_not_booleans() {
    let context = context();
    for (source, message) in [
        (
            "node.metadata.port",
            "the result must be true or false, but its type is number",
        ),
        (
            "'false'",
            "the result must be true or false, but its type is string",
        ),
        (
            "''[::-1] == ''",
            "the template engine has a bug that this text triggers; write it in another way",
        ),
        (
            "1 / 0 == 1",
            "the result of this calculation is out of range or not a number",
        ),
        (
            "node.metadata.port + 'x' == 1",
            "tried to use + operator on unsupported types number and string",
        ),
    ] {
        let expression = Expression::compile(source, Scope::Node).unwrap();
        let error = expression
            .matches(&context, &context.nodes()[0])
            .unwrap_err();
        assert_eq!(error.message, message, "{source}");
    }
}

#[test]
fn when_rejects_undefined_values() {
    let context = context();
    for (source, expected) in [
        ("nodes | length == 3", Ok(true)),
        (
            "nodes | map(attribute='metadata.role') | unique | list | length >= 2",
            Ok(true),
        ),
        (
            "nodes | selectattr('metadata.role', '==', 'validator') | list | length == 2",
            Ok(true),
        ),
        (
            "nodes | selectattr('metadata.zone', 'defined') | list | length == 1",
            Ok(true),
        ),
        (
            "nodes | map(attribute='metadata.zone', default='a') | unique | list | length == 2",
            Ok(true),
        ),
        ("nodes | sum(attribute='metadata.port') == 27003", Ok(true)),
        (
            "(nodes | max(attribute='metadata.port')).identifier == 'n-3'",
            Ok(true),
        ),
        (
            "nodes | map(attribute='metadata.zone') | unique | list | length == 2",
            Err("`metadata.zone` is undefined for node n-1"),
        ),
        (
            "nodes | selectattr('identifer') | list | length == 0",
            Err("`identifer` is undefined for node n-1; did you mean `identifier`?"),
        ),
        (
            "nodes | rejectattr('metadata.rol', '==', 1) | list == []",
            Err("`metadata.rol` is undefined for node n-1; did you mean `role`?"),
        ),
        (
            "nodes | groupby('metadata.prot') | length == 1",
            Err("`metadata.prot` is undefined for node n-1; did you mean `port`?"),
        ),
        (
            "nodes | sort(attribute='metadata.role, metadata.zone') == []",
            Err("`metadata.zone` is undefined for node n-1"),
        ),
        (
            "nodes | sum(attribute='metadata.weight') == 0",
            Err("`metadata.weight` is undefined for node n-1"),
        ),
        (
            "nodes | unique(attribute='metadata.zone') == []",
            Err("`metadata.zone` is undefined for node n-1"),
        ),
        (
            "(nodes | min(attribute='metadata.zone')).ip == ''",
            Err("`metadata.zone` is undefined for node n-1"),
        ),
        (
            "nodes | join(attribute='metadata.zone') == ''",
            Err("`metadata.zone` is undefined for node n-1"),
        ),
        (
            "nodes | map('attr', 'zone') | list == []",
            Err("item 0 of the list of `map` is undefined"),
        ),
        (
            "[values.nope, 1] | sort == []",
            Err("item 0 of the list of `sort` is undefined"),
        ),
        (
            "values.nope | sort == []",
            Err("`values.nope` is undefined"),
        ),
        ("once.cookie == 'x'", Err("`once.cookie` is undefined")),
        (
            "values.chain_di == 7",
            Err("`values.chain_di` is undefined; did you mean `chain_id`?"),
        ),
        (
            "values.chain_id",
            Err(
                "the result must be true or false, but its type is number; write a comparison: `… == …`, `… > 0`, `… is defined`",
            ),
        ),
        (
            "(nodes | first).metadata.prot > 1",
            Err("`(...).metadata.prot` is undefined (last node read: n-1)"),
        ),
    ] {
        let expression = Expression::compile(source, Scope::When).unwrap();
        let found = expression
            .holds(&context)
            .map_err(|error| error.describe(None).split_once(": ").unwrap().1.to_owned());
        assert_eq!(found, expected.map_err(str::to_owned), "{source}");
    }
}

#[test]
fn when_may_use_large_ranges() {
    let source = "range(100000) | map('string') | list | length > 0 and \
                  (range(100000) | list | length) * 1 == 100000";
    assert!(
        Expression::compile(source, Scope::When)
            .unwrap()
            .holds(&context())
            .unwrap()
    );
}

#[test]
fn syntax_errors_suggest_the_jinja_operator() {
    for (source, help) in [
        ("node.ip = 'x'", Some("write `==` instead of `=`")),
        (
            "node.ip == 'x' && true",
            Some("write `and` instead of `&&`"),
        ),
        ("node.ip == 'x' || true", Some("write `or` instead of `||`")),
        ("node.ip === 'x'", Some("write `==` instead of `=`")),
        ("!node.ip", Some("write `not` instead of `!`")),
        (
            "{{ node.ip == 'x' }}",
            Some("write an expression without `{{ }}`"),
        ),
        ("node.ip ==", None),
        ("", None),
    ] {
        let error = Expression::compile(source, Scope::Node).unwrap_err();
        assert!(
            error.message.starts_with("syntax error: "),
            "{source}: {error}"
        );
        assert_eq!(error.help.as_deref(), help, "{source}: {error:?}");
    }
}

#[test]
fn once_entries_give_json() {
    let once = OnceSource::Real("2026-01-02T03:04:05Z".parse().unwrap());
    let evaluate = |source: &str, once: &OnceSource| {
        Expression::compile(source, Scope::Once)
            .unwrap()
            .evaluate_once(&context(), once)
    };
    assert_eq!(
        evaluate("now()", &once).unwrap(),
        json!("2026-01-02T03:04:05Z")
    );
    assert_eq!(
        evaluate("(nodes | first).identifier", &once).unwrap(),
        json!("n-1")
    );
    assert_eq!(
        evaluate("{'b': [1, 2.5, none], 'a': cluster}", &once).unwrap(),
        json!({"a": "devnet", "b": [1, 2.5, null]})
    );
    let hex = evaluate("random_hex(32)", &once).unwrap();
    assert_eq!(hex.as_str().unwrap().len(), 64);
    assert_ne!(hex, evaluate("random_hex(32)", &once).unwrap());
    assert_eq!(
        evaluate("random_base64url(16)", &once)
            .unwrap()
            .as_str()
            .unwrap()
            .len(),
        22
    );
    assert_eq!(
        evaluate("random_hex(4)", &OnceSource::Placeholder).unwrap(),
        json!("0badc0de")
    );
    assert_eq!(
        evaluate("random_hex(0 * (nodes | length))", &once)
            .unwrap_err()
            .message,
        "the number of random bytes must be from 1 to 4096"
    );
    assert_eq!(
        evaluate("(nodes | first).nope", &once).unwrap_err().message,
        "the result is undefined"
    );
    assert_eq!(evaluate("2 ** 64 - 1", &once).unwrap(), json!(u64::MAX));
    assert_eq!(
        evaluate("2 ** 64", &once).unwrap_err().message,
        "the integer 18446744073709551616 needs more than 64 bits and would be rounded; write it as a string"
    );
}

#[test]
fn expression_knows_whether_it_uses_nodes() {
    let needs = |source: &str| {
        Expression::compile(source, Scope::Node)
            .unwrap()
            .uses_variable("nodes")
    };
    assert!(!needs("node.metadata.nodes == 'nodes'"));
    assert!(needs("node.identifier == (nodes | first).identifier"));
    assert!(needs("nodes[0].ip == node.ip"));
    assert!(needs("nodes[1:] == []"));
}

#[test]
fn seat_is_undefined_before_the_seal() {
    let expression = Expression::compile("node.seat == 0", Scope::Node).unwrap();
    let context = RenderContext::with_nodes("c", &Map::new(), &Map::new(), nodes());
    assert!(!expression.matches(&context, &context.nodes()[0]).unwrap());
}
