//! Tests of the limits of an evaluation.

use super::Template;
use crate::{Scope, testing::context};

#[test]
fn limits_stop_accidents() {
    for (source, expected) in [
        (
            "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
            "evaluation takes more than 50000000 steps",
        ),
        (
            "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
            "recursion limit exceeded",
        ),
        (
            "{% set x = 'x' * 1000000 %}{% for a in range(100) %}{{ x }}{% endfor %}",
            "the output exceeds 64 MiB",
        ),
        (
            "{{ 'x' | indent(1000000000) }}",
            "`indent` indents by at most 1000 spaces",
        ),
        (
            "{{ 'x' | indent(width=1000000000) }}",
            "`indent` indents by at most 1000 spaces",
        ),
        (
            "{{ values | tojson(indent=1000000000) }}",
            "`tojson` indents by at most 1000 spaces",
        ),
        (
            "{{ ('\\n' * 1000000) | indent(999) }}",
            "the output exceeds 64 MiB",
        ),
        (
            "{{ [1] | batch(1000000000, 0) }}",
            "`batch` and `slice` make at most 100000 parts",
        ),
        // Fuzzing found a chain of `e` and `list` that used up all memory.
        (
            "{{ ('x' * 70000) | list | length }}",
            "`list` splits a string of at most 65536 bytes",
        ),
        (
            "{{ [1] | slice(count=1000000000) }}",
            "`batch` and `slice` make at most 100000 parts",
        ),
        (
            "{{ ('x' * 100000) | replace('x', 'y' * 100000) }}",
            "the output exceeds 64 MiB",
        ),
        (
            "{{ '%1000000000d' | format(1) }}",
            "a field of `format` is at most 1000 characters wide",
        ),
        (
            "{{ '%.1000000000f' | format(1.0) }}",
            "a field of `format` is at most 1000 characters wide",
        ),
        (
            "{{ '%*d' | format(1000000000, 1) }}",
            "`format` does not take a width from its arguments (`*`)",
        ),
        ("{{ range(1000000000) }}", "range has too many elements"),
        ("{{ 'x' * 1000000000 }}", "repeated string is too large"),
        (
            "{% set n = namespace(x=[]) %}{% for a in range(99999) %}{% set n.x = [n.x] %}{% endfor %}",
            "this value has more than 160 levels of nesting",
        ),
        (
            "{% set n = namespace(x=[]) %}{% for a in range(99999) %}{% set n.x = {'a': n.x} %}{% endfor %}",
            "this value has more than 160 levels of nesting",
        ),
        (
            "{% set n = namespace(x='x') %}{% for a in range(99) %}{% set n.x = n.x ~ n.x %}{% endfor %}",
            "the output exceeds 64 MiB",
        ),
        (
            "{% set n = namespace(x=['x']) %}{% for a in range(99) %}{% set n.x = [n.x[0] + n.x[0]] %}{% endfor %}",
            "the output exceeds 64 MiB",
        ),
        (
            "{% set n = namespace(x='x') %}{% for a in range(99) %}\
             {% set n.x %}{{ n.x }}{{ n.x }}{% endset %}{% endfor %}",
            "the output exceeds 64 MiB",
        ),
        (
            "{% set n = namespace(x=[1]) %}{% for a in range(99) %}{% set n.x = [n.x, n.x] %}{% endfor %}\
             {{ n.x | upper }}",
            "the output exceeds 64 MiB",
        ),
        (
            "{% set n = namespace() %}{% set n.n = n %}{{ n }}",
            "this value has more than 160 levels of nesting",
        ),
    ] {
        fails(source, expected);
    }
}

#[test]
fn limits_apply_to_values_that_no_variable_keeps() {
    for (source, expected) in [
        (
            "{% macro m(x, n) %}{{ m(x ~ x, n - 1) if n else '' }}{% endmacro %}{{ m('x', 60) }}",
            "the output exceeds 64 MiB",
        ),
        (
            "{% macro m(x, n) %}{{ m(x + x, n - 1) if n else '' }}{% endmacro %}{{ m('x', 60) }}",
            "the output exceeds 64 MiB",
        ),
        (
            "{% macro m(x, n) %}{{ m(x + x, n - 1) if n else '' }}{% endmacro %}{{ m([1], 60) }}",
            "a list that `+` makes has at most 1000000 items",
        ),
        (
            "{% set x = 'x' * 60000000 %}{{ (x ~ x ~ x ~ x ~ x ~ x ~ x ~ x) | length }}",
            "the output exceeds 64 MiB",
        ),
        (
            "{% set n = namespace(x=[1]) %}{% for a in range(99) %}{% set n.x = [n.x, n.x] %}{% endfor %}\
             {{ n.x ~ '' }}",
            "the output exceeds 64 MiB",
        ),
        (
            "{% macro m(n) %}{% if n %}{{ m(n - 1) }}{{ m(n - 1) }}{% else %}{{ 'x' * 1000000 }}{% endif %}{% endmacro %}\
             {{ m(12) | length }}",
            "the output exceeds 64 MiB",
        ),
    ] {
        fails(source, expected);
    }
}

fn fails(source: &str, expected: &str) {
    let context = context();
    let error = Template::compile("t", source, Scope::Node, &[])
        .and_then(|template| template.render(&context, Some(&context.nodes()[1])))
        .unwrap_err()
        .message;
    assert!(error.contains(expected), "{source}: {error}");
}
