//! Tests with random texts: the engine does not panic, and errors contain no values.

use proptest::{prelude::*, sample::select};

use super::Template;
use crate::{
    Scope,
    testing::{context_with_fragment, long_text},
};

/// Generates valid and nearly valid templates from operands, operators, filters and statements, and invalid ones from
/// tokens in random order.
fn random_text() -> impl Strategy<Value = String> {
    let words = |list: &'static str| select(list.split('\n').map(str::trim).collect::<Vec<_>>());
    let operand = words(
        "node\nnodes\nvalues\nvalues.secret\nvalues.list\nvalues.nope\nonce\ncluster\nnode.ip\nnodes[0]\n
        nodes[1:]\n'x'\n'ü\\n'\n'%5d'\n'%s'\n''\n[]\n{}\n[1, 'a', none]\n{'a': [1]}\n(1, 2)\nnone\ntrue\n
        0\n1\n-1\n2.5\n1e308\n99999999999999999999\n170141183460469231731687303715884105727\nrange(5)\n
        namespace(x=1)\ndict(a=1)\nfragment('f')\nfragment(cluster)\nhostport('a', 1)\nuuid5('dns', 'a')\nuuid5(cluster, node)\nordinal('a-1')\n
        cidr_host('10.0.0.0/8', 1)\nrange\nnode()\nvalues.secret.x()",
    );
    let operation = words(
        "| map(attribute='metadata.port')\n| map('upper')\n| selectattr('ip')\n| rejectattr('ip', '==', 1)\n
        | groupby('metadata.role')\n| groupby(attribute=0)\n| sort\n| sort(attribute='ip,seat')\n| unique\n| sum\n
        | sum('port')\n| min\n| max(attribute='ip')\n| join(',')\n| join(attribute='ip')\n| length\n| first\n
        | last\n| list\n| tojson\n| tojson(indent=2)\n| toyaml\n| b64encode\n| b64decode\n| sha256\n| hex\n| fromjson\n| fromyaml\n
        | shellquote\n| dotenv\n| urlencode\n| center(9)\n| truncate(3)\n| regex_match('x')\n| regex_replace('x', '$0y')\n
        | indent(2)\n| batch(2, 1)\n| slice(2)\n| replace('x', 'y')\n| format(1)\n| round(2)\n| int\n| float\n
        | reverse\n| dictsort\n| items\n| split\n| trim\n| upper\n| title\n| default(1)\n| string\n| zip([1])\n
        | chain([1])\n| select\n| reject('odd')\n| attr('a')\n| abs\n| bool\n| lines\n| hostport(1)\n| ordinal\n
        | cidr_host(1)\n| e\n| capitalize\n.a\n[0]\n['a']\n[::-1]\n[-5:2]\nis defined\nis odd\nis none\n
        if true\n~ node\n~ 'a'\n+ 1\n+ 'a'\n+ [1]\n- 1\n* 3\n* nodes\n/ 0\n// 3\n% 7\n** 99\n** -1\n== 1\n< nodes\n
        in nodes\nin 'abc'\nand true\nor node",
    );
    let expression = (operand, prop::collection::vec(operation, 0..5))
        .prop_map(|(operand, operations)| format!("{operand} {}", operations.join(" ")));
    let statement = (expression, 0..6).prop_map(|(e, shape)| match shape {
        0 => format!("{{% for a in {e} %}}{{{{ a }}}}{{{{ loop.index }}}}{{% endfor %}}"),
        1 => format!("{{% for a, b in {e} %}}{{{{ b }}}}{{% endfor %}}"),
        2 => format!("{{% set a = {e} %}}{{{{ a }}}}{{{{ [a] }}}}"),
        3 => format!("{{% if {e} %}}x{{% endif %}}"),
        _ => format!("{{{{ {e} }}}}"),
    });
    let token = words(
        "{{\n}}\n{%\n%}\n{%-\n-%}\n{#\n#}\nendif\nif\nfor\nin\nset\nmacro\nnode\na\n.\n[\n]\n(\n)\n{\n}\n,\n:\n|\n=\n
        'x'\n'\nü\n1\n0x\n1.\n1e\n~\n&\n\\\nraw\nendraw\nblock\ncall\nself\nloop\nsuper",
    );
    let tokens = prop::collection::vec(token, 1..10).prop_map(|tokens| tokens.join(" "));
    prop_oneof![3 => statement, 1 => tokens]
}

proptest! {
    #[test]
    fn random_texts_never_panic_or_reveal_values(source in random_text()) {
        let context = context_with_fragment(&long_text());
        let result = Template::compile("t", &source, Scope::Node, &["f".to_owned()])
            .and_then(|template| template.render(&context, Some(&context.nodes()[0])));
        if let Err(error) = result {
            prop_assert!(!format!("{error:?}").contains("hunter2"), "{:?}", error);
            // A caller can slice the text by the range.
            if let Some(range) = &error.range {
                prop_assert!(source.get(range.clone()).is_some(), "{:?}", error);
            }
            prop_assert!(error.line >= 1 && error.column >= 1);
        }
    }
}
