//! Reads the section `ready`.

use std::collections::BTreeSet;

use serde_yaml::Value;

use super::Reader;
use crate::{
    Group, Members, ReadyRule,
    raw::RawReady,
    ready_rule::{NO_CONDITION, NO_CONDITION_HELP, RuleProblem},
    scalars::{DurationText, NodesClause},
    source::YamlPath,
    typed,
};
use cfgsync_model::Identifier;
use cfgsync_template::Scope;

/// Returns the rule, or `None` if a mistake leaves out a part of it.
pub(super) fn read_ready(reader: &mut Reader, value: &Value, path: &YamlPath) -> Option<ReadyRule> {
    if let Value::Number(number) = value {
        let mistake = typed::wrong_type(&reader.document, path, "a mapping", value);
        let help = format!("write `ready: {{ nodes: {number} }}`");
        reader.mistakes.push(mistake.help(help));
        return None;
    }
    let mistakes_before = reader.mistakes.len();
    let raw: RawReady = reader.section(value, path)?;
    let is_complete = reader.mistakes.len() == mistakes_before;
    if is_complete && raw.nodes.is_none() && raw.groups.is_none() && raw.when.is_none() {
        let mistake = reader
            .document
            .key(path, NO_CONDITION)
            .help(NO_CONDITION_HELP);
        reader.mistakes.push(mistake);
    }
    let nodes = raw.nodes.map(|nodes| match nodes {
        NodesClause::AtLeast(count) => Members::AtLeast(count.0),
        NodesClause::Closed(list) => closed_list(reader, &list, &path.key("nodes")),
    });
    let mut groups = Vec::new();
    let mut group_paths = Vec::new();
    for (at, group) in raw.groups.into_iter().flatten().enumerate() {
        let path = path.key("groups").index(at);
        let text = &group.0.r#where;
        if let Some(matching) = reader.expression(text, Scope::Node, &path.key("where")) {
            let count = group.0.count.0;
            groups.push(Group { matching, count });
            group_paths.push(path);
        }
    }
    let has_when = raw.when.is_some();
    let when = raw
        .when
        .and_then(|text| reader.expression(&text, Scope::When, &path.key("when")));
    let message_path = path.key("message");
    if raw.message.is_some() && !has_when {
        let mistake = reader
            .document
            .key(
                &message_path,
                "`message` is the reason for a `when` that is false",
            )
            .help("add `when`, or remove `message`");
        reader.mistakes.push(mistake);
    }
    let message = raw
        .message
        .and_then(|text| reader.template(&text, Scope::When, &message_path));
    let duration = |text: Option<DurationText>| text.map(|text| text.0);
    let rule = ReadyRule {
        nodes,
        groups,
        when,
        message,
        settle: duration(raw.settle).unwrap_or_default(),
        deadline: duration(raw.deadline),
    };
    for problem in RuleProblem::all_of(&rule) {
        report_problem(reader, &problem, path, &group_paths);
    }
    Some(rule)
}

fn report_problem(
    reader: &mut Reader,
    problem: &RuleProblem,
    path: &YamlPath,
    group_paths: &[YamlPath],
) {
    let wrong = match problem {
        RuleProblem::EmptyList => path.key("nodes"),
        RuleProblem::GroupTooLarge { index, .. } => group_paths[*index].key("count"),
        RuleProblem::ZeroDeadline | RuleProblem::DeadlineWithinSettle { .. } => {
            path.key("deadline")
        }
    };
    let mut mistake = reader.document.value(&wrong, problem.title());
    if let RuleProblem::DeadlineWithinSettle { .. } = problem {
        let settle = reader.document.locations().value(&path.key("settle"));
        mistake = mistake.context(settle, "the time to settle");
    }
    if let Some(help) = problem.help() {
        mistake = mistake.help(help);
    }
    reader.mistakes.push(mistake);
}

/// Returns the list of nodes, without those that are reported.
fn closed_list(reader: &mut Reader, list: &[String], path: &YamlPath) -> Members {
    let mut identifiers = BTreeSet::new();
    for (at, text) in list.iter().enumerate() {
        let place = path.index(at);
        match Identifier::new(text) {
            Ok(identifier) => {
                if !identifiers.insert(identifier) {
                    reader.report(&place, format!("node `{text}` is listed twice"));
                }
            }
            Err(error) => reader.report(&place, error.to_string()),
        }
    }
    Members::Closed(identifiers)
}
