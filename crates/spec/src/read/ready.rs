//! The section `ready`.

use std::{collections::BTreeSet, time::Duration};

use serde_yaml::Value;

use super::Reader;
use crate::{
    Group, Members, ReadyRule,
    raw::RawReady,
    scalars::{DurationText, NodesClause},
    source::YamlPath,
    typed,
};
use cfgsync_model::Identifier;
use cfgsync_template::Scope;

/// The rule, or `None` when a mistake leaves a hole in it.
pub(super) fn read_ready(reader: &mut Reader, value: &Value, path: &YamlPath) -> Option<ReadyRule> {
    if let Value::Number(number) = value {
        let mistake = typed::wrong(&reader.document, path, "a mapping", value);
        let help = format!("write `ready: {{ nodes: {number} }}`");
        reader.mistakes.push(mistake.help(help));
        return None;
    }
    let mistakes_before = reader.mistakes.len();
    let raw: RawReady = reader.section(value, path)?;
    let is_whole = reader.mistakes.len() == mistakes_before;
    if is_whole && raw.nodes.is_none() && raw.groups.is_none() && raw.when.is_none() {
        let mistake = reader
            .document
            .key(path, "`ready` says neither how many nodes nor which")
            .help("give at least one of `nodes`, `groups` and `when`");
        reader.mistakes.push(mistake);
    }
    let nodes = raw.nodes.and_then(|nodes| match nodes {
        NodesClause::AtLeast(count) => Some(Members::AtLeast(count.0)),
        NodesClause::Closed(list) => closed_list(reader, &list, &path.key("nodes")),
    });
    let mut groups = Vec::new();
    for (at, group) in raw.groups.into_iter().flatten().enumerate() {
        let path = path.key("groups").index(at);
        let text = &group.0.r#where;
        let Some(matching) = reader.expression(text, Scope::Node, &path.key("where")) else {
            continue;
        };
        let count = group.0.count.0;
        if let Some(Members::Closed(list)) = &nodes
            && count > list.len()
        {
            let listed = list.len();
            let title = format!("a group of {count} among {listed} listed nodes is never complete");
            reader.note(&path.key("count"), title);
        }
        groups.push(Group { matching, count });
    }
    let when = raw
        .when
        .and_then(|text| reader.expression(&text, Scope::When, &path.key("when")));
    let duration = |text: Option<DurationText>| text.map(|text| text.0);
    let settle = duration(raw.settle).unwrap_or_default();
    let deadline = duration(raw.deadline);
    if deadline == Some(Duration::ZERO) {
        let title = "a deadline of nothing passes before any node is here";
        let mistake = reader.document.value(&path.key("deadline"), title);
        reader
            .mistakes
            .push(mistake.help("leave it out to wait forever"));
    } else if deadline.is_some_and(|deadline| deadline <= settle) {
        let title = "the deadline passes before the nodes can settle";
        let mistake = reader.document.value(&path.key("deadline"), title);
        let settle = reader.document.places().value(&path.key("settle"));
        reader
            .mistakes
            .push(mistake.first(settle, "no change for this long"));
    }
    Some(ReadyRule {
        nodes,
        groups,
        when,
        settle,
        deadline,
    })
}

fn closed_list(reader: &mut Reader, list: &[String], path: &YamlPath) -> Option<Members> {
    if list.is_empty() {
        reader.note(
            path,
            "an empty list of nodes is complete before anyone came",
        );
        return None;
    }
    let mut identifiers = BTreeSet::new();
    for (at, text) in list.iter().enumerate() {
        let place = path.index(at);
        match Identifier::new(text) {
            Ok(identifier) => {
                if !identifiers.insert(identifier) {
                    reader.note(&place, format!("node `{text}` is listed twice"));
                }
            }
            Err(error) => reader.note(&place, error.to_string()),
        }
    }
    Some(Members::Closed(identifiers))
}
