//! What templates print, what they refuse, and that fragments change no byte.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::{
    Expression,
    testing::{context, node, nodes, values},
};
use cfgsync_model::Chunk;

fn render(source: &str) -> Result<String, String> {
    let context = context();
    Template::compile("t", source, Scope::Node, &["peers".to_owned()])
        .and_then(|template| template.render(&context, Some(&context.nodes()[1])))
        .map(|content| String::from_utf8(content.to_bytes().to_vec()).unwrap())
        .map_err(|error| error.describe(None))
}

#[test]
fn values_print_as_they_are_or_as_json() {
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
fn mistakes_are_found_when_a_template_is_read() {
    for (source, expected) in [
        (
            "{{ nod.ip }}",
            "line 1, column 4: unknown variable `nod`; did you mean `node`?",
        ),
        (
            "{{ frobnicate }}",
            "line 1, column 4: unknown variable `frobnicate`; here are `cluster`, `node`, `nodes`, `once`, `values`",
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
            "line 1, column 4: a node has no field `role`; what nodes bring is `node.metadata`: `node.metadata.role`",
        ),
        (
            "{{ random_hex(4) }}",
            "line 1, column 4: `random_hex` exists only in `once`; draw it under `once:` and use it as `once.NAME`",
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
            "line 1, column 4: unknown variable `range`; a function is called: `range(…)`",
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
            "line 1, column 4: `include` does not exist here; share a text with `fragments`",
        ),
        (
            "{% if node.ip == '' && true %}{% endif %}",
            "line 1, column 21: syntax error: unexpected character; write `and` for `&&`",
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
fn scopes_know_their_names() {
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
        line 1, column 4: `node` is not defined in a file with `shared: true`; it is rendered once for all nodes: use `nodes`, or drop `shared: true`
        line 1, column 4: `node` is not defined in a fragment; it is rendered once for all nodes: use `nodes`, or write this part into the file
        line 1, column 4: `fragment` exists only in files; include it where a file of this materializer is written
        line 1, column 13: unknown fragment `x`; define it under `fragments:`
        line 1, column 4: `now` exists only in `once`; draw it under `once:` and use it as `once.NAME`
        line 1, column 1: `node` is not defined in `when`; it judges the whole set: use `nodes`, or count the nodes that match with `groups`
        line 1, column 1: `node` is not defined in `once`; it is drawn once for all nodes: use `nodes`
        line 1, column 1: unknown function `random_hax`; did you mean `random_hex`?
        line 1, column 7: syntax error: unexpected end of input, expected expression
        "
    );
    let uses_node = "{% for node in nodes %}{{ node.anything }}{% endfor %}";
    assert!(Template::compile("t", uses_node, Scope::Shared, &[]).is_ok());
}

#[test]
fn what_is_undefined_is_an_error() {
    for (source, expected) in [
        (
            "a\n b {{ node.metadata.prot }}",
            "line 2, column 7: `node.metadata.prot` is undefined; did you mean `port`?",
        ),
        (
            "{% for peer in nodes %}{{ peer.metadata.zon }}{% endfor %}",
            "line 1, column 27: `peer.metadata.zon` is undefined; did you mean `zone`?",
        ),
        (
            "{% for peer in nodes %}{{ peer.identifer }}{% endfor %}",
            "line 1, column 27: `peer.identifer` is undefined; did you mean `identifier`?",
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
            "line 1, column 4: something undefined stands in this value",
        ),
        (
            "{{ values.nope | tojson }}",
            "line 1, column 4: `values.nope` is undefined",
        ),
        (
            "{{ 'x' ~ values.nope }}",
            "line 1, column 4: `values.nope` is undefined",
        ),
        (
            "{{ nodes | map(attribute='metadata.zone') | join }}",
            "line 1, column 12: `metadata.zone` is undefined for node n-1",
        ),
        ("{{ [] | first }}", "line 1, column 9: this is undefined"),
        (
            "{% set x = values.nope %}\n{{ x }}",
            "line 2, column 4: `values.nope` is undefined",
        ),
    ] {
        assert_eq!(render(source).unwrap_err(), expected, "{source}");
    }
}

#[test]
fn accidents_are_stopped() {
    for (source, expected) in [
        (
            "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
            "it takes more than 50000000 steps",
        ),
        (
            "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
            "recursion limit exceeded",
        ),
        (
            "{% set x = 'x' * 1000000 %}{% for a in range(100) %}{{ x }}{% endfor %}",
            "the text grows beyond 64 MiB",
        ),
        ("{{ 'x' | indent(1000000000) }}", "`indent` is at most 1000"),
        (
            "{{ 'x' | indent(width=1000000000) }}",
            "`indent` is at most 1000",
        ),
        (
            "{{ values | tojson(indent=1000000000) }}",
            "`indent` is at most 1000",
        ),
        (
            "{{ ('\\n' * 1000000) | indent(999) }}",
            "the text grows beyond 64 MiB",
        ),
        (
            "{{ [1] | batch(1000000000, 0) }}",
            "there can be at most 100000 parts",
        ),
        // Found by fuzzing: a chain of `e` and `list` took all memory.
        (
            "{{ ('x' * 70000) | list | length }}",
            "`list` takes texts of at most 65536 bytes apart",
        ),
        (
            "{{ [1] | slice(count=1000000000) }}",
            "there can be at most 100000 parts",
        ),
        (
            "{{ ('x' * 100000) | replace('x', 'y' * 100000) }}",
            "the text grows beyond 64 MiB",
        ),
        (
            "{{ '%1000000000d' | format(1) }}",
            "a field of `format` is at most 1000 wide",
        ),
        (
            "{{ '%.1000000000f' | format(1.0) }}",
            "a field of `format` is at most 1000 wide",
        ),
        (
            "{{ '%*d' | format(1000000000, 1) }}",
            "`format` takes no width from its arguments (`*`)",
        ),
        ("{{ range(1000000000) }}", "range has too many elements"),
        ("{{ 'x' * 1000000000 }}", "repeated string is too large"),
        (
            "{% set n = namespace() %}{% set n.n = n %}{{ n }}",
            "this value is nested more than 160 deep",
        ),
    ] {
        let error = render(source).unwrap_err();
        assert!(error.contains(expected), "{source}: {error}");
    }
}

#[test]
fn errors_hold_no_values() {
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
fn ten_thousand_peers_fit_into_the_steps() {
    let nodes = (0..10_000)
        .map(|at| node(at, &format!("n-{at}"), &json!({"port": 9000})))
        .collect();
    let context = RenderContext::unseated("c", &values(), &serde_json::Map::new(), nodes);
    let source = "{% for p in nodes if p.identifier != node.identifier %}\
                  {{ p.identifier }}={{ hostport(p.ip, p.metadata.port) }}\n{% endfor %}";
    let template = Template::compile("t", source, Scope::Node, &[]).unwrap();
    let text = template
        .render(&context, Some(&context.nodes()[0]))
        .unwrap();
    assert_eq!(text.to_bytes().split(|&b| b == b'\n').count() - 1, 9_999);
}

fn big_text() -> String {
    "  - peer: <\"ä\">\n".repeat(60)
}

fn scene_with_fragment(text: &str) -> RenderContext {
    let mut values = values();
    values.insert("text".into(), json!(text));
    RenderContext::unseated("c", &values, &serde_json::Map::new(), nodes()).with_fragments(
        BTreeMap::from([("f".to_owned(), Chunk::new(text.to_owned()))]),
    )
}

#[test]
fn a_fragment_is_shared_only_where_it_stands_alone() {
    let context = scene_with_fragment(&big_text());
    for (source, chunks) in [
        ("{{ fragment('f') }}", 1),
        ("a {{ fragment('f') }} b", 3),
        ("a\n{{- fragment('f') -}}\n b", 3),
        ("{{ fragment('f') }}{{ fragment('f') }}", 2),
        (
            "{% if true %}{% for p in nodes %}{{ fragment('f') }}{% endfor %}{% endif %}",
            3,
        ),
        ("{% set f = fragment('f') %}{{ f }}!", 2),
        ("{% block b %}{{ fragment('f') }}{% endblock %}!", 2),
        ("{{ fragment('f') | upper }}", 1),
        ("x{{ fragment('f') ~ '' }}", 1),
        ("x{% filter upper %}{{ fragment('f') }}{% endfilter %}", 1),
        ("x{% set y %}{{ fragment('f') }}{% endset %}{{ y }}", 1),
        (
            "x{% macro m() %}{{ fragment('f') }}{% endmacro %}{{ m() }}",
            1,
        ),
    ] {
        let template = Template::compile("t", source, Scope::Node, &["f".to_owned()]).unwrap();
        let content = template
            .render(&context, Some(&context.nodes()[0]))
            .unwrap();
        assert_eq!(content.chunks().len(), chunks, "{source}");
    }
    let one = |context: &RenderContext| {
        let template =
            Template::compile("t", "{{ fragment('f') }}", Scope::Shared, &["f".to_owned()])
                .unwrap();
        Arc::clone(&template.render(context, None).unwrap().chunks()[0])
    };
    assert!(Arc::ptr_eq(&one(&context), &one(&context)));
}

/// Ways to use a text `@` in a template.
fn uses() -> impl Strategy<Value = String> {
    let text = Just("{{ @ }}".to_owned());
    text.prop_recursive(4, 24, 3, |inner| {
        prop_oneof![
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("{a}{b}")),
            inner.clone().prop_map(|t| format!("- \n{t}\n")),
            inner.clone().prop_map(|t| t.replace("{{ ", "{{- ").replace(" }}", " -}}")),
            inner.clone().prop_map(|t| t.replace("{{ @ }}", "{{ @ | upper }}")),
            inner.clone().prop_map(|t| t.replace("{{ @ }}", "{{ @ | indent(2) }}")),
            inner.clone().prop_map(|t| t.replace("{{ @ }}", "{{ @ | tojson }}")),
            inner.clone().prop_map(|t| t.replace("{{ @ }}", "{{ @ | safe }}")),
            inner.clone().prop_map(|t| t.replace("{{ @ }}", "{{ @ ~ @ }}")),
            inner.clone().prop_map(|t| t.replace("{{ @ }}", "{{ @ ~ '' }}")),
            inner.clone().prop_map(|t| t.replace("{{ @ }}", "{{ @ | string }}{{ @ | length }}")),
            inner.clone().prop_map(|t| t.replace("{{ @ }}", "{{ @[3:] }}{{ @ == values.text }}")),
            inner.clone().prop_map(|t| t.replace("{{ @ }}", "{{ [@, 'x'] | join }}{{ [@] | first }}")),
            inner.clone().prop_map(|t| t.replace("{{ @ }}", "{{ @ if true else '' }}{{ @ | default('') }}")),
            inner.clone().prop_map(|t| format!("{{% filter lower %}}a{t}{{% endfilter %}}")),
            inner.clone().prop_map(|t| format!("{{% set s %}}b{t}{{% endset %}}{{{{ s }}}}{{{{ s | trim }}}}")),
            inner.clone().prop_map(|t| format!("{{% set v = @ %}}{{{{ v }}}}{t}")),
            inner.clone().prop_map(|t| format!("{{% for x in range(2) %}}{t}{{% endfor %}}")),
            inner.clone().prop_map(|t| format!("{{% if true -%}}\n {t} {{%- endif %}}\n")),
            inner.clone().prop_map(|t| format!("{{% with w = @ %}}{{{{ w }}}}{t}{{% endwith %}}")),
            inner.clone().prop_map(|t| format!(
                "{{% macro m(a) %}}<{{{{ a }}}}{t}>{{% endmacro %}}{{{{ m(@) }}}}"
            )),
            inner.prop_map(|t| format!(
                "{{% macro c() %}}({{{{ caller() }}}}){{% endmacro %}}{{% call c() %}}{t}{{% endcall %}}"
            )),
        ]
    })
}

proptest! {
    #[test]
    fn a_fragment_gives_the_bytes_that_inlining_gives(
        source in uses(),
        length in prop::sample::select(vec![0_usize, 1, 30, 255, 256, 700]),
    ) {
        let mut text = big_text();
        while !text.is_char_boundary(length) {
            text.remove(0);
        }
        text.truncate(length);
        let context = scene_with_fragment(&text);
        let render = |source: &str| {
            Template::compile("t", source, Scope::Node, &["f".to_owned()])
                .unwrap()
                .render(&context, Some(&context.nodes()[0]))
        };
        let shared = render(&source.replace('@', "fragment('f')"));
        let inlined = render(&source.replace('@', "values.text"));
        prop_assert_eq!(shared, inlined);
    }
}

/// Texts that run, or nearly: expressions of atoms, operators and filters, in a few statements, and pieces
/// of syntax in no order at all.
fn soup() -> impl Strategy<Value = String> {
    let words = |list: &'static str| {
        prop::sample::select(list.split('\n').map(str::trim).collect::<Vec<_>>())
    };
    let atom = words(
        "node\nnodes\nvalues\nvalues.secret\nvalues.list\nvalues.nope\nonce\ncluster\nnode.ip\nnodes[0]\n
        nodes[1:]\n'x'\n'ü\\n'\n'%5d'\n'%s'\n''\n[]\n{}\n[1, 'a', none]\n{'a': [1]}\n(1, 2)\nnone\ntrue\n
        0\n1\n-1\n2.5\n1e308\n99999999999999999999\n170141183460469231731687303715884105727\nrange(5)\n
        namespace(x=1)\ndict(a=1)\nfragment('f')\nfragment(cluster)\nhostport('a', 1)\nordinal('a-1')\n
        cidr_host('10.0.0.0/8', 1)\nrange\nnode()\nvalues.secret.x()",
    );
    let next = words(
        "| map(attribute='metadata.port')\n| map('upper')\n| selectattr('ip')\n| rejectattr('ip', '==', 1)\n
        | groupby('metadata.role')\n| groupby(attribute=0)\n| sort\n| sort(attribute='ip,seat')\n| unique\n| sum\n
        | sum('port')\n| min\n| max(attribute='ip')\n| join(',')\n| join(attribute='ip')\n| length\n| first\n
        | last\n| list\n| tojson\n| tojson(indent=2)\n| toyaml\n| b64encode\n| b64decode\n| sha256\n
        | indent(2)\n| batch(2, 1)\n| slice(2)\n| replace('x', 'y')\n| format(1)\n| round(2)\n| int\n| float\n
        | reverse\n| dictsort\n| items\n| split\n| trim\n| upper\n| title\n| default(1)\n| string\n| zip([1])\n
        | chain([1])\n| select\n| reject('odd')\n| attr('a')\n| abs\n| bool\n| lines\n| hostport(1)\n| ordinal\n
        | cidr_host(1)\n| e\n| capitalize\n.a\n[0]\n['a']\n[::-1]\n[-5:2]\nis defined\nis odd\nis none\n
        if true\n~ node\n~ 'a'\n+ 1\n+ 'a'\n+ [1]\n- 1\n* 3\n* nodes\n/ 0\n// 3\n% 7\n** 99\n** -1\n== 1\n< nodes\n
        in nodes\nin 'abc'\nand true\nor node",
    );
    let expression = (atom, prop::collection::vec(next, 0..5))
        .prop_map(|(atom, next)| format!("{atom} {}", next.join(" ")));
    let statement = (expression, 0..6).prop_map(|(e, shape)| match shape {
        0 => format!("{{% for a in {e} %}}{{{{ a }}}}{{{{ loop.index }}}}{{% endfor %}}"),
        1 => format!("{{% for a, b in {e} %}}{{{{ b }}}}{{% endfor %}}"),
        2 => format!("{{% set a = {e} %}}{{{{ a }}}}{{{{ [a] }}}}"),
        3 => format!("{{% if {e} %}}x{{% endif %}}"),
        _ => format!("{{{{ {e} }}}}"),
    });
    let piece = words(
        "{{\n}}\n{%\n%}\n{%-\n-%}\n{#\n#}\nendif\nif\nfor\nin\nset\nmacro\nnode\na\n.\n[\n]\n(\n)\n{\n}\n,\n:\n|\n=\n
        'x'\n'\nü\n1\n0x\n1.\n1e\n~\n&\n\\\nraw\nendraw\nblock\ncall\nself\nloop\nsuper",
    );
    let rubble = prop::collection::vec(piece, 1..10).prop_map(|pieces| pieces.join(" "));
    prop_oneof![3 => statement, 1 => rubble]
}

proptest! {
    #[test]
    fn no_text_makes_the_engine_panic_or_tell_values(source in soup()) {
        let context = scene_with_fragment(&big_text());
        let result = Template::compile("t", &source, Scope::Node, &["f".to_owned()])
            .and_then(|template| template.render(&context, Some(&context.nodes()[0])));
        if let Err(error) = result {
            prop_assert!(!format!("{error:?}").contains("hunter2"), "{:?}", error);
            // The range is one that a caller may cut out of the text.
            if let Some(range) = &error.range {
                prop_assert!(source.get(range.clone()).is_some(), "{:?}", error);
            }
            prop_assert!(error.line >= 1 && error.column >= 1);
        }
    }
}
