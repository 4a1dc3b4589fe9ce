//! `plan --fake`: invented nodes that satisfy the rule, or the reason why there are none.

use crate::sandbox::{Sandbox, code, text};

/// Runs `plan --fake` on a spec with these sections. Returns the exit code, and what it printed.
fn plan(sections: &str, count: &str) -> (i32, String) {
    let sandbox = Sandbox::new();
    let spec = format!(
        "cfgsync: 1\ncluster: devnet\n{sections}materializers:\n  - kind: template\n    files: [{{ path: a, template: x }}]\n"
    );
    sandbox.put("cluster.yaml", &spec);
    let output = sandbox.run(&["plan", "cluster.yaml", "--fake", count], &[]);
    (code(&output), text(&output.stdout) + &text(&output.stderr))
}

#[test]
fn invented_nodes_match_the_groups() {
    let cases = [
        (
            "metadata: { role: { one_of: [validator, observer] } }\nready:\n  groups:\n    - { where: \
             'node.metadata.role == \"validator\"', count: 3 }\n    - { where: 'node.metadata.role == \"observer\"', \
             count: 1 }\n",
            "4",
        ),
        // The fields are strings without a list of values, or have no rule at all.
        (
            "metadata: { zone: { type: string } }\nready:\n  groups:\n    - { where: 'node.metadata.zone in [\"a\", \
             \"b\"] and node.metadata.size > 3', count: 2 }\n    - { where: 'node.metadata.zone == \"b\"', count: 2 }\n",
            "3",
        ),
        (
            "metadata: { port: { format: port, unique: true }, seed: { type: boolean, default: false } }\nready:\n  \
             nodes: [a, b, c]\n  groups: [{ where: node.metadata.seed, count: 3 }]\n",
            "3",
        ),
    ];
    for (sections, count) in cases {
        let (exit, printed) = plan(sections, count);
        assert_eq!(exit, 0, "{sections}{printed}");
        assert!(printed.contains("would be ready"), "{printed}");
    }
}

#[test]
fn plan_says_why_no_nodes_can_be_invented() {
    let groups = "ready:\n  groups:\n    - { where: 'node.metadata.role == \"a\"', count: 2 }\n    - { where: \
                  'node.metadata.role == \"b\"', count: 2 }\n";
    for (sections, exit, expected) in [
        (groups, 3, "group node.metadata.role == \"b\": 1 of 2 match"),
        (
            groups,
            3,
            "--fake found no metadata with which this many nodes satisfy the rule",
        ),
        (
            "metadata: { role: { one_of: [a, b], unique: true } }\nready: { nodes: 3 }\n",
            2,
            "--fake 3: metadata.role: the values must differ from node to node, and the rule leaves too few of them",
        ),
        (
            "ready: { nodes: 1, when: 'nodes | length > 5' }\n",
            3,
            "--fake found no metadata",
        ),
    ] {
        let (code, printed) = plan(sections, "3");
        assert_eq!(code, exit, "{printed}");
        assert!(printed.contains(expected), "{printed}");
    }
    // Too few nodes are no question of metadata.
    let (_, printed) = plan("ready: { nodes: 4 }\n", "3");
    assert!(!printed.contains("--fake found"), "{printed}");
}
