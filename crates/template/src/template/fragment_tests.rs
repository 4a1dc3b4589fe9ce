//! Tests of fragments: the conditions under which files share them. Sharing changes no byte of the output.

use std::sync::Arc;

use proptest::{prelude::*, sample::select};

use super::Template;
use crate::{
    RenderContext, Scope,
    testing::{context_with_fragment, long_text},
};

#[test]
fn fragment_is_shared_only_if_it_is_the_whole_expression() {
    let context = context_with_fragment(&long_text());
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
        let rendered = template
            .render(&context, Some(&context.nodes()[0]))
            .unwrap();
        assert_eq!(rendered.chunks().len(), chunks, "{source}");
    }
    let one = |context: &RenderContext| {
        let template =
            Template::compile("t", "{{ fragment('f') }}", Scope::Shared, &["f".to_owned()])
                .unwrap();
        Arc::clone(&template.render(context, None).unwrap().chunks()[0])
    };
    assert!(Arc::ptr_eq(&one(&context), &one(&context)));
}

/// Generates templates that use an expression, written as `@`, in many ways.
fn templates_with_placeholder() -> impl Strategy<Value = String> {
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
    fn sharing_a_fragment_changes_no_byte(
        source in templates_with_placeholder(),
        length in select(vec![0_usize, 1, 30, 255, 256, 700]),
    ) {
        let mut text = long_text();
        while !text.is_char_boundary(length) {
            text.remove(0);
        }
        text.truncate(length);
        let context = context_with_fragment(&text);
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
