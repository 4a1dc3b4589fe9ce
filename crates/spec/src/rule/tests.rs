//! Tests of specs that a program builds.

use cfgsync_model::{MaterializedArtifacts, RegistrationSnapshot};

use super::*;
use crate::materializer::{MaterializationResult, MaterializeError};

struct Empty(&'static str);

impl Materializer for Empty {
    fn name(&self) -> String {
        self.0.to_owned()
    }

    fn materialize(
        &self,
        _: &RegistrationSnapshot,
    ) -> Result<MaterializationResult, MaterializeError> {
        let artifacts = MaterializedArtifacts::default();
        Ok(MaterializationResult::Ready(artifacts))
    }
}

#[test]
fn builds_the_rule_that_yaml_describes() {
    let built = Spec::rule("devnet")
        .listed_nodes(["b", "a"])
        .group("node.seat == values.first", 1)
        .when("nodes | length > 1")
        .settle(Duration::from_secs(2))
        .deadline(Duration::from_mins(5))
        .late(Late::Refuse)
        .identity(IdentityMode::FirstUse)
        .value("first", 0)
        .once("cookie", "random_hex(8)")
        .once("twice", "once.cookie ~ once.cookie")
        .build()
        .unwrap();
    let yaml = "
cfgsync: 1
cluster: devnet
ready:
  nodes: [a, b]
  groups: [{ where: node.seat == values.first, count: 1 }]
  when: nodes | length > 1
  settle: 2s
  deadline: 5m
late: refuse
identity: first-use
values: { first: 0 }
once: { cookie: random_hex(8), twice: once.cookie ~ once.cookie }
materializers: []
";
    let read = Spec::parse_rule(yaml, "cluster.yaml", std::path::Path::new("")).unwrap();
    let facts = |spec: &Spec| {
        let ready = spec.ready.as_ref().unwrap();
        let groups = ready.groups.iter();
        format!(
            "{:?}",
            (
                (&spec.cluster, spec.late, spec.identity, &spec.values),
                (&ready.nodes, ready.settle, ready.deadline),
                ready.when.as_ref().map(Expression::source),
                groups
                    .map(|group| (group.matching.source(), group.count))
                    .collect::<Vec<_>>(),
                spec.once
                    .iter()
                    .map(|(name, one)| (name, one.source()))
                    .collect::<Vec<_>>(),
            )
        )
    };
    assert_eq!(facts(&built), facts(&read));
}

#[test]
fn reports_all_mistakes_of_a_rule() {
    let errors = [
        Spec::rule("dev net").build(),
        Spec::rule("c").nodes(0).build(),
        Spec::rule("c").listed_nodes(["a", "b/c", "a"]).build(),
        Spec::rule("c").listed_nodes([""; 0]).build(),
        Spec::rule("c")
            .listed_nodes(["a"])
            .group("node.seat == 0", 2)
            .group("node.seat", 0)
            .build(),
        Spec::rule("c")
            .nodes(1)
            .settle(Duration::from_mins(1))
            .deadline(Duration::from_secs(30))
            .build(),
        Spec::rule("c")
            .nodes(1)
            .deadline(Duration::ZERO)
            .message("{{ nodse }}")
            .value("key", BTreeMap::from([([0_u8], 0)]))
            .once("a-b", "now()")
            .once("c", "once.d")
            .build(),
    ];
    let errors = errors.map(|built| built.unwrap_err().to_string());
    insta::assert_snapshot!(errors.join("\n\n"), @r#"
    error: the cluster's name: identifier "dev net" contains ' '; use only letters, digits, '.', '_' and '-'

    error: the rule has no condition
     |
     = help: give at least one of `nodes`, `groups` and `when`

    error: `nodes` must be at least 1

    error: identifier "b/c" contains '/'; use only letters, digits, '.', '_' and '-'

    error: a node is listed twice in `listed_nodes`

    error: the list of nodes is empty
     |
     = help: list the identifiers of the nodes, or give their number

    error: group 2: the count must be at least 1

    error: group 1: the group needs 2 nodes, but `nodes` lists only 1

    error: the deadline must be longer than `settle` (30s is not longer than 1m)

    error: the value `key` cannot be JSON: key must be a string

    error: once.c: `once` has no entry `d`
     |
     = help: it has `a-b`

    error: `message`: unknown variable `nodse`
     |
     = help: did you mean `nodes`?

    error: `message` is the reason for a `when` that is false
     |
     = help: add `when`, or remove `message`

    error: expressions cannot use the name `a-b`: a name has letters, digits and '_', and does not begin with a digit

    error: the deadline must be longer than 0s
     |
     = help: leave out `deadline` to wait forever
    "#);
}

#[test]
fn digest_covers_the_rule_and_the_materializers_names() {
    let digest = |rule: RuleBuilder| rule.build().unwrap().digest;
    let rule = || Spec::rule("c").nodes(2);
    let named = |name| digest(rule().materializer(Empty(name)));
    assert_eq!(digest(rule()), digest(rule()));
    assert_eq!(named("a"), named("a"));
    let digests = [
        digest(rule()),
        named("a"),
        named("b"),
        digest(rule().nodes(3)),
        digest(rule().when("true")),
        digest(rule().settle(Duration::from_secs(1))),
        digest(rule().value("a", 1)),
    ];
    for (at, one) in digests.iter().enumerate() {
        assert!(!digests[..at].contains(one), "{at}");
    }
}
