//! Builds a spec in a Rust program, without YAML.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use cfgsync_model::{Digest, Identifier, InvalidIdentifier, SpecSources, ValueName};
use cfgsync_template::{Declarations, Expression, JinjaError, Scope, Template, Whitespace};
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::{
    materializer::Materializer,
    metadata::MetadataRules,
    mistake::{Mistake, SpecError, spec_error},
    once_name,
    ready_rule::{LEASE_MIN, LEASE_TOO_SHORT, NO_CONDITION_HELP, RuleProblem},
    types::{
        EmbeddedMaterializer, Group, IdentityMode, Late, MaterializerSpec, Members, OnConflict,
        ReadyRule, RolloutRule, Spec,
    },
};

/// The first part of the digest of a spec that was built, so that it never equals that of a YAML file.
const DIGEST_DOMAIN: &[u8] = b"cfgsync rule 1";

/// A spec that a Rust program builds. [`Spec::rule`] begins one.
///
/// The methods take what the section `ready` of a YAML file takes. [`RuleBuilder::build`] checks all of it.
#[derive(Debug, Clone)]
#[must_use = "a rule does nothing until it is built"]
pub struct RuleBuilder {
    cluster: String,
    nodes: Option<Nodes>,
    groups: Vec<(String, usize)>,
    when: Option<String>,
    message: Option<String>,
    settle: Duration,
    deadline: Option<Duration>,
    requires: Vec<String>,
    lease: Option<Duration>,
    rollout: Option<RolloutRule>,
    late: Late,
    identity: IdentityMode,
    on_conflict: OnConflict,
    fail_fast: bool,
    once: Vec<(String, String)>,
    values: Map<String, Value>,
    materializers: Vec<EmbeddedMaterializer>,
    mistakes: Vec<String>,
}

#[derive(Debug, Clone)]
enum Nodes {
    AtLeast(usize),
    Listed(Vec<Identifier>),
}

impl Spec {
    /// Begins a rule for the cluster called `cluster`.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use cfgsync_spec::{Late, Spec};
    ///
    /// let spec = Spec::rule("devnet")
    ///     .nodes(4)
    ///     .group(r#"node.metadata.role == "validator""#, 3)
    ///     .settle(Duration::from_secs(2))
    ///     .deadline(Duration::from_mins(5))
    ///     .late(Late::Refuse)
    ///     .build()?;
    /// assert_eq!(spec.cluster, "devnet");
    ///
    /// let error = Spec::rule("devnet").when("nodes | lenght >= 2").build().unwrap_err();
    /// assert_eq!(
    ///     error.to_string(),
    ///     "error: `when`: unknown filter `lenght`\n |\n = help: did you mean `length`?"
    /// );
    /// # Ok::<(), cfgsync_spec::SpecError>(())
    /// ```
    pub fn rule(cluster: impl Into<String>) -> RuleBuilder {
        RuleBuilder {
            cluster: cluster.into(),
            nodes: None,
            groups: Vec::new(),
            when: None,
            message: None,
            settle: Duration::ZERO,
            deadline: None,
            requires: Vec::new(),
            lease: None,
            rollout: None,
            late: Late::default(),
            identity: IdentityMode::default(),
            on_conflict: OnConflict::default(),
            fail_fast: false,
            once: Vec::new(),
            values: Map::new(),
            materializers: Vec::new(),
            mistakes: Vec::new(),
        }
    }
}

impl RuleBuilder {
    /// Requires at least `count` nodes. It replaces an earlier [`RuleBuilder::nodes`] or
    /// [`RuleBuilder::listed_nodes`].
    pub fn nodes(mut self, count: usize) -> Self {
        self.nodes = Some(Nodes::AtLeast(count));
        self
    }

    /// Requires all of these nodes. The server refuses any other node. It replaces an earlier [`RuleBuilder::nodes`] or
    /// [`RuleBuilder::listed_nodes`].
    pub fn listed_nodes<I>(mut self, identifiers: impl IntoIterator<Item = I>) -> Self
    where
        I: TryInto<Identifier, Error: Into<InvalidIdentifier>>,
    {
        let mut list = Vec::new();
        for identifier in identifiers {
            match identifier.try_into() {
                Ok(identifier) => list.push(identifier),
                Err(error) => self.mistakes.push(error.into().to_string()),
            }
        }
        self.nodes = Some(Nodes::Listed(list));
        self
    }

    /// Requires that the expression `matching` is true for at least `count` nodes. It sees one node as `node`. Each call
    /// adds a group.
    pub fn group(mut self, matching: impl Into<String>, count: usize) -> Self {
        self.groups.push((matching.into(), count));
        self
    }

    /// Requires that an expression on `nodes` is true. It replaces an earlier one.
    pub fn when(mut self, expression: impl Into<String>) -> Self {
        self.when = Some(expression.into());
        self
    }

    /// Sets the reason that waiting nodes get while the expression of [`RuleBuilder::when`] is false: a template that may
    /// use `nodes`. Without it, they get the text of the expression.
    pub fn message(mut self, template: impl Into<String>) -> Self {
        self.message = Some(template.into());
        self
    }

    /// Requires that no input has changed for this time. The default is zero.
    pub fn settle(mut self, time: Duration) -> Self {
        self.settle = time;
        self
    }

    /// Fails the attempt if the set is not sealed within this time from the first registration. Without it the server
    /// waits forever.
    pub fn deadline(mut self, time: Duration) -> Self {
        self.deadline = Some(time);
        self
    }

    /// Requires that this operator's value is set, such as `production/app/timeout`. Each call adds a value.
    pub fn requires(mut self, value: impl Into<String>) -> Self {
        self.requires.push(value.into());
        self
    }

    /// Removes nodes that send no requests for this time, at least 1 s. The default is to keep them.
    pub fn lease(mut self, time: Duration) -> Self {
        self.lease = Some(time);
        self
    }

    /// Hands a new generation to a few nodes at a time. The default is to hand it to all nodes at once.
    pub fn rollout(mut self, rule: RolloutRule) -> Self {
        self.rollout = Some(rule);
        self
    }

    /// Sets what a change after the first seal does. The default is [`Late::Follow`].
    pub fn late(mut self, late: Late) -> Self {
        self.late = late;
        self
    }

    /// Sets how a node proves that it owns an identifier. The default is [`IdentityMode::Open`].
    pub fn identity(mut self, identity: IdentityMode) -> Self {
        self.identity = identity;
        self
    }

    /// Sets what a registration from another machine does while the registered one still waits. The default is
    /// [`OnConflict::Replace`].
    pub fn on_conflict(mut self, on_conflict: OnConflict) -> Self {
        self.on_conflict = on_conflict;
        self
    }

    /// Sets whether a node that reports the phase `failed` fails the cluster. The default is `false`.
    pub fn fail_fast(mut self, fail_fast: bool) -> Self {
        self.fail_fast = fail_fast;
        self
    }

    /// Adds a constant, which expressions use as `values.NAME` and materializers find in the snapshot.
    pub fn value(mut self, name: impl Into<String>, value: impl Serialize) -> Self {
        let name = name.into();
        match serde_json::to_value(value) {
            Ok(value) => drop(self.values.insert(name, value)),
            Err(error) => {
                let mistake = format!("the value `{name}` cannot be JSON: {error}");
                self.mistakes.push(mistake);
            }
        }
        self
    }

    /// Adds an expression, such as `random_hex(32)`, that is evaluated once, at the first seal. Its value is stored and
    /// never changes. Materializers find it in the snapshot.
    pub fn once(mut self, name: impl Into<String>, expression: impl Into<String>) -> Self {
        self.once.push((name.into(), expression.into()));
        self
    }

    /// Adds a materializer. They run in the order in which they are added.
    pub fn materializer(self, materializer: impl Materializer) -> Self {
        self.shared_materializer(Arc::new(materializer))
    }

    /// Adds a materializer that the program keeps a reference to.
    pub fn shared_materializer(mut self, materializer: Arc<dyn Materializer>) -> Self {
        self.materializers.push(EmbeddedMaterializer(materializer));
        self
    }

    /// Checks the rule and returns the spec.
    ///
    /// Its digest covers everything that was given here, and the names of the materializers. It does not cover their
    /// code: if a new version of a program makes other files from the same snapshot, change the name.
    ///
    /// # Errors
    /// Fails with all mistakes, such as an invalid identifier, an expression that does not compile, or a rule that
    /// requires nothing.
    pub fn build(self) -> Result<Spec, SpecError> {
        let digest = self.digest();
        let without_text = |title: &String| Mistake::without_text(title.as_str());
        let mut mistakes: Vec<Mistake> = self.mistakes.iter().map(without_text).collect();
        if let Err(error) = Identifier::new(&self.cluster) {
            mistakes.push(Mistake::without_text(format!(
                "the cluster's name: {error}"
            )));
        }
        let once_names = self.once.iter().map(|(name, _)| name.clone()).collect();
        let declared = Declarations::default()
            .with_once(once_names)
            .with_values(self.values.clone());
        let mut compile = |what: &str, source: &str, scope, declared: &Declarations| {
            let compiled = Expression::compile_with(source, scope, declared);
            let compiled = compiled.map_err(|error| mistakes.push(expression(what, &error)));
            compiled.ok()
        };
        let mut once = Vec::new();
        for (name, source) in &self.once {
            let declared = declared.clone().for_once_entry(name);
            let compiled = compile(&format!("once.{name}"), source, Scope::Once, &declared);
            once.extend(compiled.map(|compiled| (name.clone(), compiled)));
        }
        let mut groups = Vec::new();
        for (at, (source, count)) in self.groups.iter().enumerate() {
            let what = format!("group {}", at + 1);
            let matching = compile(&what, source, Scope::Node, &declared);
            let count = *count;
            groups.extend(matching.map(|matching| Group { matching, count }));
        }
        let when = self.when.as_deref();
        let when = when.and_then(|source| compile("`when`", source, Scope::When, &declared));
        let message = self.message.as_deref();
        let message = message.and_then(|source| {
            let whitespace = Whitespace::default();
            Template::compile_with("message", source, Scope::When, &[], &declared, whitespace)
                .map_err(|error| mistakes.push(expression("`message`", &error)))
                .ok()
        });
        let rule = ReadyRule {
            nodes: self.nodes.as_ref().map(|nodes| match nodes {
                Nodes::AtLeast(count) => Members::AtLeast(*count),
                Nodes::Listed(list) => Members::Closed(list.iter().cloned().collect()),
            }),
            groups,
            when,
            message,
            settle: self.settle,
            deadline: self.deadline,
        };
        let mut requires = BTreeSet::new();
        for value in &self.requires {
            match value.parse::<ValueName>() {
                Ok(name) => drop(requires.insert(name)),
                Err(error) => mistakes.push(Mistake::without_text(error.to_string())),
            }
        }
        mistakes.extend(self.rule_mistakes(&rule));
        if !mistakes.is_empty() {
            return Err(spec_error(mistakes));
        }
        let embedded = self.materializers.into_iter();
        Ok(Spec {
            cluster: self.cluster,
            metadata: MetadataRules::default(),
            ready: Some(rule),
            requires,
            lease: self.lease,
            rollout: self.rollout,
            late: self.late,
            identity: self.identity,
            on_conflict: self.on_conflict,
            fail_fast: self.fail_fast,
            once,
            values: self.values,
            materializers: embedded.map(MaterializerSpec::Embedded).collect(),
            digest,
            sources: SpecSources::new(digest, []),
            fields: BTreeMap::new(),
            warnings: Vec::new(),
        })
    }

    /// Returns the mistakes that YAML finds when it reads the section `ready`.
    fn rule_mistakes(&self, rule: &ReadyRule) -> Vec<Mistake> {
        let mut mistakes = Vec::new();
        if self.nodes.is_none() && self.groups.is_empty() && self.when.is_none() {
            let mistake = Mistake::without_text("the rule has no condition");
            mistakes.push(mistake.help(NO_CONDITION_HELP));
        }
        if self.message.is_some() && self.when.is_none() {
            let title = "`message` is the reason for a `when` that is false";
            mistakes.push(Mistake::without_text(title).help("add `when`, or remove `message`"));
        }
        if self.lease.is_some_and(|lease| lease < LEASE_MIN) {
            mistakes.push(Mistake::without_text(LEASE_TOO_SHORT));
        }
        if let Some(Nodes::AtLeast(0)) = self.nodes {
            mistakes.push(Mistake::without_text("`nodes` must be at least 1"));
        }
        if let (Some(Nodes::Listed(list)), Some(Members::Closed(set))) = (&self.nodes, &rule.nodes)
            && list.len() > set.len()
        {
            let title = "a node is listed twice in `listed_nodes`";
            mistakes.push(Mistake::without_text(title));
        }
        for (at, (_, count)) in self.groups.iter().enumerate() {
            if *count == 0 {
                let title = format!("group {}: the count must be at least 1", at + 1);
                mistakes.push(Mistake::without_text(title));
            }
        }
        for (name, _) in &self.once {
            if !once_name::is_valid(name) {
                mistakes.push(Mistake::without_text(once_name::invalid(name)));
            }
            if self.once.iter().filter(|(other, _)| other == name).count() > 1 {
                mistakes.push(Mistake::without_text(format!("duplicate `once.{name}`")));
            }
        }
        for problem in RuleProblem::all_of(rule) {
            let title = match problem {
                RuleProblem::GroupTooLarge { index, .. } => {
                    format!("group {}: {}", index + 1, problem.title())
                }
                _ => problem.title(),
            };
            let mistake = Mistake::without_text(title);
            mistakes.push(match problem.help() {
                Some(help) => mistake.help(help),
                None => mistake,
            });
        }
        mistakes
    }

    fn digest(&self) -> Digest {
        let names: Vec<String> = self.materializers.iter().map(|one| one.0.name()).collect();
        let mut rule = json!({
            "cluster": self.cluster,
            "nodes": match &self.nodes {
                None => Value::Null,
                Some(Nodes::AtLeast(count)) => json!(count),
                Some(Nodes::Listed(list)) => json!(list),
            },
            "groups": self.groups,
            "when": self.when,
            "settle": self.settle,
            "deadline": self.deadline,
            "late": match self.late {
                Late::Follow => "follow",
                Late::Refuse => "refuse",
            },
            "identity": self.identity.to_string(),
            "once": self.once,
            "values": self.values,
            "materializers": names,
        });
        if let Some(message) = &self.message {
            rule["message"] = json!(message);
        }
        if !self.requires.is_empty() {
            rule["requires"] = json!(self.requires);
        }
        if let Some(lease) = self.lease {
            rule["lease"] = json!(lease);
        }
        if let Some(rollout) = &self.rollout {
            rule["rollout"] = json!(format!("{rollout:?}"));
        }
        Digest::of_parts([DIGEST_DOMAIN, rule.to_string().as_bytes()])
    }
}

impl TryFrom<RuleBuilder> for Spec {
    type Error = SpecError;

    fn try_from(rule: RuleBuilder) -> Result<Self, Self::Error> {
        rule.build()
    }
}

/// Returns the mistake of an expression that does not compile.
fn expression(what: &str, error: &JinjaError) -> Mistake {
    let mistake = Mistake::without_text(format!("{what}: {}", error.message));
    match &error.help {
        Some(help) => mistake.help(help.as_str()),
        None => mistake,
    }
}

#[cfg(test)]
mod tests;
