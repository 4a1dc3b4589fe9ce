//! Tests of the output and the errors of templates.

use std::collections::BTreeMap;

use serde_json::json;

use super::Template;
use crate::{
    Expression, RenderContext, Scope,
    testing::{context, node, values},
};

fn render(source: &str) -> Result<String, String> {
    let context = context();
    Template::compile("t", source, Scope::Node, &["peers".to_owned()])
        .and_then(|template| template.render(&context, Some(&context.nodes()[1])))
        .map(|content| String::from_utf8(content.to_bytes().to_vec()).unwrap())
        .map_err(|error| error.describe(None))
}

#[test]
fn prints_strings_as_they_are_and_other_values_as_json() {
    for (source, expected) in [
        ("{{ node.identifier }} {{ node.ip }}\n", "n-2 10.0.0.2\n"),
        ("{{ node.metadata.port }}", "9001"),
        (
            "{{ true }} {{ none }} {{ values.list }} {{ 1.0 }}",
            "true null [true,null,1.5] 1.0",
        ),
        (
            "{{ node.metadata }}",
            r#"{"port":9001,"role":"observer","zone":"b"}"#,
        ),
        ("{{ values.html }}", "<a&'\">"),
        ("{{ values.html | tojson }}", r#""<a&'\">""#),
        ("{{ values.html | e }}", "&lt;a&amp;&#x27;&quot;&gt;"),
        (
            "{{ values.list | tojson(indent=1) }}",
            "[\n true,\n null,\n 1.5\n]",
        ),
        (
            "{{ node.metadata | toyaml }}",
            "port: 9001\nrole: observer\nzone: b",
        ),
        ("{{ 'ä' | b64encode }} {{ 'w6Q=' | b64decode }}", "w6Q= ä"),
        (
            "{{ 'abc' | sha256 }}",
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
        ),
        (
            "{{ hostport(node.ip, 80) }} {{ 'fd00::1' | hostport(80) }}",
            "10.0.0.2:80 [fd00::1]:80",
        ),
        (
            "{{ cidr_host('10.9.0.0/16', -2) }} {{ node.identifier | ordinal + 1 }}",
            "10.9.255.254 3",
        ),
        (
            "{{ [1, true, none, 'x'] | join(',') }} {{ nodes | join(' ', attribute='ip') }}",
            "1,true,null,x 10.0.0.1 10.0.0.2 10.0.0.3",
        ),
        (
            "{% for p in nodes if p != node %}{{ p.identifier }} {% endfor %}{{ node in nodes }}",
            "n-1 n-3 true",
        ),
        (
            "{{ nodes | reject('==', node) | map(attribute='ip') | join(' ') }}",
            "10.0.0.1 10.0.0.3",
        ),
        ("{{ true | string }}{{ 'x' if false }}", "true"),
        (
            "{% for peer in nodes %}\n{{ loop.index0 }}={{ peer.identifier }}\n{% endfor %}\n",
            "\n0=n-1\n\n1=n-2\n\n2=n-3\n\n",
        ),
        ("  {% if true %}x{% endif %}\n\n", "  x\n\n"),
        (
            "{% set own = 1 %}{% macro m(a, b=own) %}{{ a }}{{ b }}{% endmacro %}{{ m(2) }}",
            "21",
        ),
        (
            "{% set ns = namespace(n=0) %}{% for p in nodes %}{% set ns.n = ns.n + 1 %}{% endfor %}{{ ns.n }}",
            "3",
        ),
        (
            "{% for g in nodes | groupby('metadata.role') %}{{ g.grouper }}:{{ g.list | length }} {% endfor %}",
            "observer:1 validator:2 ",
        ),
        (
            "{{ node.metadata.nope | default('d') }} {{ node.metadata.nope is defined }}",
            "d false",
        ),
        (
            "{{ 170141183460469231731687303715884105727 }} {{ 9007199254740993 }}",
            "170141183460469231731687303715884105727 9007199254740993",
        ),
        ("{{ '%05.1f|%-4s|' | format(2.25, 'x') }}", "002.2|x   |"),
        (
            "{{ {'b': 1, 'a': 2} }} {{ dict(z=1, y=2) }}",
            r#"{"a":2,"b":1} {"y":2,"z":1}"#,
        ),
    ] {
        assert_eq!(render(source).as_deref(), Ok(expected), "{source}");
    }
}

#[test]
fn compilation_reports_unknown_names() {
    for (source, expected) in [
        (
            "{{ nod.ip }}",
            "line 1, column 4: unknown variable `nod`; did you mean `node`?",
        ),
        (
            "{{ frobnicate }}",
            "line 1, column 4: unknown variable `frobnicate`; the variables here are `cluster`, `node`, `nodes`, `once`, `values`",
        ),
        (
            "a\n{% if false %}\n  {{ node.ip | uper }}{% endif %}",
            "line 3, column 16: unknown filter `uper`; did you mean `upper`?",
        ),
        (
            "{% if false %}{{ node.ip is stringg }}{% endif %}",
            "line 1, column 29: unknown test `stringg`; did you mean `string`?",
        ),
        (
            "{% if false %}{{ hostprot(1, 2) }}{% endif %}",
            "line 1, column 18: unknown function `hostprot`; did you mean `hostport`?",
        ),
        (
            "{{ node.identifer }}",
            "line 1, column 4: a node has no field `identifer`; did you mean `identifier`?",
        ),
        (
            "{{ node.role }}",
            "line 1, column 4: a node has no field `role`; if it is a field of the metadata, write `node.metadata.role`",
        ),
        (
            "{{ random_hex(4) }}",
            "line 1, column 4: `random_hex` is only available in `once`; call it under `once:` and use the result as `once.NAME`",
        ),
        (
            "{{ tojson(1) }}",
            "line 1, column 4: unknown function `tojson`; it is a filter: `VALUE | tojson`",
        ),
        (
            "{{ 3 | range }}",
            "line 1, column 8: unknown filter `range`; it is a function: `range(…)`",
        ),
        (
            "{{ range }}",
            "line 1, column 4: unknown variable `range`; it is a function: `range(…)`",
        ),
        (
            "{{ debug() }}",
            "line 1, column 4: unknown function `debug`",
        ),
        (
            "{{ fragment('pears') }}",
            "line 1, column 13: unknown fragment `pears`; did you mean `peers`?",
        ),
        (
            "{{ nodes | map('uper') }}",
            "line 1, column 16: unknown filter `uper`; did you mean `upper`?",
        ),
        (
            "{{ nodes | selectattr('ip', 'equalt') }}",
            "line 1, column 29: unknown test `equalt`; did you mean `equalto`?",
        ),
        (
            "{% include 'x' %}",
            "line 1, column 4: the statement `include` is not supported; share a text with `fragments`",
        ),
        (
            "{% if node.ip == '' && true %}{% endif %}",
            "line 1, column 21: syntax error: unexpected character; write `and` instead of `&&`",
        ),
        (
            "{# x",
            "line 1, column 5: syntax error: unexpected end of comment",
        ),
        (
            "{{ node.ip ",
            "line 1, column 9: syntax error: unexpected end of input, expected end of variable block",
        ),
        (
            "x\n{% fi %}",
            "line 2, column 4: syntax error: unknown statement fi",
        ),
    ] {
        assert_eq!(render(source).unwrap_err(), expected, "{source}");
    }
}

#[test]
fn each_scope_has_its_own_names() {
    let refused = |source: &str, scope: Scope| {
        Template::compile("t", source, scope, &[])
            .unwrap_err()
            .describe(None)
    };
    insta::assert_snapshot!(
        [
            refused("{{ node.ip }}", Scope::Shared),
            refused("{{ node.ip }}", Scope::Fragment),
            refused("{{ fragment('x') }}", Scope::Fragment),
            refused("{{ fragment('x') }}", Scope::Node),
            refused("{{ now() }}", Scope::Shared),
            Expression::compile("node.ip == ''", Scope::When).unwrap_err().describe(None),
            Expression::compile("node.ip", Scope::Once).unwrap_err().describe(None),
            Expression::compile("random_hax(1)", Scope::Once).unwrap_err().describe(None),
            Expression::compile("nodes ==", Scope::When).unwrap_err().describe(None),
        ]
        .join("\n"),
        @"
        line 1, column 4: `node` is not defined in a file with `shared: true`; a shared file is rendered once for all nodes: use `nodes`, or remove `shared: true`
        line 1, column 4: `node` is not defined in a fragment; a fragment is rendered once for all nodes: use `nodes`, or move this part into the file
        line 1, column 4: `fragment` is only available in files; call it in the `template` of a file of this materializer
        line 1, column 13: unknown fragment `x`; define it under `fragments:`
        line 1, column 4: `now` is only available in `once`; call it under `once:` and use the result as `once.NAME`
        line 1, column 1: `node` is not defined in `when`; `when` is a condition on the whole set: use `nodes`, or count the matching nodes with `groups`
        line 1, column 1: `node` is not defined in `once`; `once` is evaluated once for all nodes: use `nodes`
        line 1, column 1: unknown function `random_hax`; did you mean `random_hex`?
        line 1, column 7: syntax error: unexpected end of input, expected expression
        "
    );
    let uses_node = "{% for node in nodes %}{{ node.anything }}{% endfor %}";
    assert!(Template::compile("t", uses_node, Scope::Shared, &[]).is_ok());
}

#[test]
fn undefined_values_are_errors() {
    for (source, expected) in [
        (
            "a\n b {{ node.metadata.prot }}",
            "line 2, column 7: `node.metadata.prot` is undefined; did you mean `port`?",
        ),
        (
            "{% for peer in nodes %}{{ peer.metadata.zon }}{% endfor %}",
            "line 1, column 27: `peer.metadata.zon` is undefined (last node read: n-1); did you mean `zone`?",
        ),
        (
            "{% for peer in nodes %}{{ peer.identifer }}{% endfor %}",
            "line 1, column 27: `peer.identifer` is undefined (last node read: n-1); did you mean `identifier`?",
        ),
        (
            "{{ node.metadata.a.b }}",
            "line 1, column 4: `node.metadata.a` is undefined",
        ),
        (
            "{% if node.metadata.flag %}{% endif %}",
            "line 1, column 7: `node.metadata.flag` is undefined",
        ),
        (
            "{{ [values.nope] }}",
            "line 1, column 4: this value contains an undefined item",
        ),
        (
            "{{ values.nope | tojson }}",
            "line 1, column 4: `values.nope` is undefined",
        ),
        (
            "{{ 'x' ~ values.nope }}",
            "line 1, column 10: `values.nope` is undefined",
        ),
        (
            "{{ nodes | map(attribute='metadata.zone') | join }}",
            "line 1, column 27: `metadata.zone` is undefined for node n-1",
        ),
        (
            "{{ [] | first }}",
            "line 1, column 9: this value is undefined",
        ),
        (
            "{% set x = values.nope %}\n{{ x }}",
            "line 2, column 4: `values.nope` is undefined",
        ),
    ] {
        assert_eq!(render(source).unwrap_err(), expected, "{source}");
    }
}

#[test]
fn undefined_arguments_are_named() {
    for (source, expected) in [
        (
            "{{ hostport(node.ip, node.metadata.prot) }}",
            "line 1, column 22: `node.metadata.prot` is undefined; did you mean `port`?",
        ),
        (
            "{{ hostport(values.nope, 1) }}{{ node.ip }}",
            "line 1, column 13: `values.nope` is undefined",
        ),
        (
            "{{ node.ip | hostport(values.nope) }}",
            "line 1, column 23: `values.nope` is undefined",
        ),
        (
            "{{ cidr_host(values.nope, 1) }}",
            "line 1, column 14: `values.nope` is undefined",
        ),
        (
            "{{ cidr_host('10.0.0.0/8', values.nope) }}",
            "line 1, column 28: `values.nope` is undefined",
        ),
        (
            "{{ ordinal(values.nope) }}",
            "line 1, column 12: `values.nope` is undefined",
        ),
        (
            "{{ uuid5('dns', values.nope) }}",
            "line 1, column 17: `values.nope` is undefined",
        ),
        (
            "{{ 'x' | replace('x', values.nope) }}",
            "line 1, column 23: `values.nope` is undefined",
        ),
        (
            "{{ 'x' | regex_replace('x', values.nope) }}",
            "line 1, column 29: `values.nope` is undefined",
        ),
        (
            "{{ nodes | join(values.nope) }}",
            "line 1, column 17: `values.nope` is undefined",
        ),
        (
            "{{ [1] | batch(values.nope) }}",
            "line 1, column 16: `values.nope` is undefined",
        ),
        (
            "{{ nodes | map(attribute=values.nope) }}",
            "line 1, column 26: `values.nope` is undefined",
        ),
        (
            "{{ range(values.nope) }}",
            "line 1, column 10: `values.nope` is undefined",
        ),
    ] {
        assert_eq!(render(source).unwrap_err(), expected, "{source}");
    }
}

#[test]
fn errors_name_the_node_that_causes_them() {
    for (source, expected) in [
        // `map` reads all nodes before `sum` fails.
        (
            "{% for port in nodes | map(attribute='metadata.port') %}{{ 1 // (port - 9001) }}{% endfor %}",
            "line 1, column 60: the result of this calculation is out of range or not a number (caused by node n-2)",
        ),
        // All nodes cause the error.
        (
            "{% for p in nodes %}{{ hostport(p.ip, p.metadata.zone) }}{% endfor %}",
            "line 1, column 39: `p.metadata.zone` is undefined (caused by node n-1)",
        ),
        (
            "{% for p in nodes %}{{ hostport(p.ip, p.metadata.role) }}{% endfor %}",
            "line 1, column 24: `hostport` needs a port from 0 to 65535 (last node read: n-1)",
        ),
    ] {
        assert_eq!(render(source).unwrap_err(), expected, "{source}");
    }
}

#[test]
fn errors_contain_no_values() {
    for source in [
        "{{ values.secret + 1 }}",
        "{{ 1 + values.secret }}",
        "{{ values.secret | int }}",
        "{{ values.secret | b64decode }}",
        "{{ cidr_host(values.secret, 1) }}",
        "{{ hostport(values.secret ~ ':', 1) }}",
        "{{ ordinal(values.secret ~ 'x') }}",
        "{{ values[values.secret] }}",
        "{{ fragment(values.secret) }}",
        "{{ [values.secret] | map(values.secret) | list }}",
        "{{ values.secret.nope.nope }}",
        "{{ values.secret() }}",
        "{{ values.secret.x() }}",
        "{% set s = values.secret %}{{ s.x.y }}",
        "{% for a, b in [values.secret] %}{% endfor %}",
        "{{ values.secret | format(1) }}{{ values.nope }}",
    ] {
        let context = context().with_fragments(BTreeMap::new());
        let error = Template::compile("t", source, Scope::Node, &[])
            .unwrap()
            .render(&context, Some(&context.nodes()[0]))
            .unwrap_err();
        assert!(
            !format!("{error:?}").contains("hunter2"),
            "{source}: {error:?}"
        );
    }
}

#[test]
fn loop_over_ten_thousand_nodes_is_within_the_limit() {
    let nodes = (0..10_000)
        .map(|at| node(at, &format!("n-{at}"), &json!({"port": 9000})))
        .collect();
    let context = RenderContext::with_nodes("c", &values(), &serde_json::Map::new(), nodes);
    let source = "{% for p in nodes if p.identifier != node.identifier %}\
                  {{ p.identifier }}={{ hostport(p.ip, p.metadata.port) }}\n{% endfor %}";
    let template = Template::compile("t", source, Scope::Node, &[]).unwrap();
    let text = template
        .render(&context, Some(&context.nodes()[0]))
        .unwrap();
    assert_eq!(text.to_bytes().split(|&b| b == b'\n').count() - 1, 9_999);
}
