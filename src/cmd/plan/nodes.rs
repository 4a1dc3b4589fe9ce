//! The nodes that a plan registers: read from a file, or invented.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr},
    path::Path,
};

use cfgsync_cluster::{check_registration, render::Pipeline};
use cfgsync_model::{Identifier, NodeRegistration, Seat, check_node_address};
use cfgsync_spec::{Members, Spec, SpecError, Step, YamlFile};
use cfgsync_support::{bounded_file, nearest::did_you_mean};
use serde::Serialize;
use serde_json::Value;

use super::groups;
use crate::cmd::error::CommandError;

/// How many mistakes are reported at most.
const MISTAKES_MAX: usize = 20;
/// The longest list of nodes on standard input, in bytes: the output of `inspect -o json` for ten thousand nodes.
const STDIN_MAX_BYTES: u64 = 256 << 20;
/// How many nodes are invented at most.
const FAKE_MAX: usize = 100_000;
/// The address of the first invented node. The others get the addresses that follow.
const FIRST_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
/// The fields of a node in a file: those of a registration, and those that `inspect -o json` prints as well.
const FIELDS: [&str; 11] = [
    "identifier",
    "ip",
    "metadata",
    "seat",
    "revision",
    "since",
    "waits",
    "delivered",
    "behind",
    "overridden",
    "lease",
];

/// The nodes of a plan.
#[derive(Debug, Default)]
pub(super) struct Nodes {
    pub(super) registrations: Vec<NodeRegistration>,
    /// The seats that a running cluster has assigned.
    pub(super) seats: BTreeMap<Identifier, Seat>,
}

/// A node that the server would refuse.
#[derive(Debug, Serialize)]
pub(super) struct Refused {
    pub(super) identifier: Identifier,
    pub(super) reason: String,
}

/// Returns why `serve` would refuse `node`, or `None` if it would not.
pub(super) fn refusal(pipeline: &Pipeline, node: &NodeRegistration) -> Option<Refused> {
    let refusal = check_registration(pipeline, node).err()?;
    Some(Refused {
        identifier: node.identifier.clone(),
        reason: refusal.to_string(),
    })
}

/// Invents `count` nodes that the spec accepts.
pub(super) fn invent(spec: &Spec, count: usize) -> Result<Nodes, CommandError> {
    if count > FAKE_MAX {
        let message = format!("--fake is at most {FAKE_MAX}");
        return Err(CommandError::usage(message));
    }
    let listed = match spec.ready.as_ref().and_then(|rule| rule.nodes.as_ref()) {
        Some(Members::Closed(listed)) => Some(listed),
        _ => None,
    };
    if let Some(listed) = listed
        && count > listed.len()
    {
        let message = format!(
            "--fake {count}: the spec lists {} nodes and accepts no others",
            listed.len()
        );
        return Err(CommandError::usage(message));
    }
    let mut names = listed.into_iter().flatten();
    let invent = |index| {
        let identifier = names.next().cloned().unwrap_or_else(|| {
            Identifier::new(&format!("node-{index}")).expect("letters, digits and a dash")
        });
        let offset = u32::try_from(index).expect("less than FAKE_MAX");
        let ip = Ipv4Addr::from_bits(FIRST_ADDRESS.to_bits() + offset);
        let metadata = spec.metadata.fake(index).map_err(|error| {
            let message = format!("--fake {count}: {error}; pass nodes with --nodes instead");
            CommandError::usage(message)
        })?;
        Ok(NodeRegistration::without_metadata(identifier, ip.into()).with_metadata_value(metadata))
    };
    let mut registrations = (0..count)
        .map(invent)
        .collect::<Result<Vec<_>, CommandError>>()?;
    groups::satisfy(spec, &mut registrations);
    if let Some(field) = repeated_field(spec, &registrations) {
        let message = format!(
            "--fake {count}: metadata.{field}: the values must differ from node to node, and the rule leaves too few of \
             them; pass nodes with --nodes instead"
        );
        return Err(CommandError::usage(message));
    }
    Ok(Nodes {
        registrations,
        seats: BTreeMap::new(),
    })
}

/// Returns the first unique field in which two nodes have the same value.
fn repeated_field<'a>(spec: &'a Spec, nodes: &[NodeRegistration]) -> Option<&'a str> {
    spec.metadata.unique_fields().find(|name| {
        let mut known = BTreeSet::new();
        let values = nodes.iter().filter_map(|node| node.metadata.get(name));
        values
            .map(Value::to_string)
            .any(|value| !known.insert(value))
    })
}

/// Reads a list of nodes, or the output of `inspect -o json`. The path `-` is stdin. Reports the first mistake of each
/// node.
pub(super) fn read(path: &Path) -> Result<Nodes, SpecError> {
    let file = if path.as_os_str() == "-" {
        read_stdin()?
    } else {
        YamlFile::load(path)?
    };
    let mut at = Vec::new();
    let list = match file.value() {
        Value::Object(body) if body.contains_key("registrations") => {
            at.push(Step::Key("registrations".to_owned()));
            body.get("registrations")
        }
        value => Some(value),
    };
    let Some(Value::Array(list)) = list else {
        return Err(file.wrong_value(
            &at,
            "expected a list of nodes",
            "such as `- {identifier: node-1, ip: 10.0.0.1, metadata: {port: 9000}}`",
        ));
    };
    let mut nodes = Nodes::default();
    let mut known = BTreeSet::new();
    let mut mistakes = Vec::new();
    for (index, value) in list.iter().enumerate() {
        at.push(Step::Index(index));
        let reader = Reader {
            file: &file,
            at: &at,
        };
        match reader.node(value) {
            Ok((registration, seat)) if known.insert(registration.identifier.clone()) => {
                if let Some(seat) = seat {
                    nodes.seats.insert(registration.identifier.clone(), seat);
                }
                nodes.registrations.push(registration);
            }
            Ok((registration, _)) => {
                let twice = format!("node {} occurs twice", registration.identifier);
                mistakes.push(reader.wrong("identifier", &twice, ""));
            }
            Err(mistake) => mistakes.push(mistake),
        }
        if mistakes.len() == MISTAKES_MAX {
            break;
        }
        at.pop();
    }
    if !mistakes.is_empty() {
        return Err(SpecError::of_all(mistakes));
    }
    Ok(nodes)
}

fn read_stdin() -> Result<YamlFile, SpecError> {
    let name = Path::new("<stdin>");
    match bounded_file::read_text_from(std::io::stdin(), STDIN_MAX_BYTES) {
        Ok(text) => YamlFile::parse(text, name),
        Err(error) => {
            let empty = YamlFile::parse(String::new(), name)?;
            Err(empty.wrong_value(&[], &format!("cannot read standard input: {error}"), ""))
        }
    }
}

/// Reads the node at the place `at` of a file.
struct Reader<'a> {
    file: &'a YamlFile,
    at: &'a [Step],
}

impl Reader<'_> {
    fn node(&self, value: &Value) -> Result<(NodeRegistration, Option<Seat>), SpecError> {
        let Value::Object(fields) = value else {
            return Err(self.file.wrong_value(
                self.at,
                "expected a node",
                "such as `{identifier: node-1, ip: 10.0.0.1}`",
            ));
        };
        if let Some(unknown) = fields.keys().find(|key| !FIELDS.contains(&key.as_str())) {
            let help = did_you_mean(unknown, FIELDS).unwrap_or_else(|| {
                "the fields of a node are `identifier`, `ip` and `metadata`".to_owned()
            });
            let at = self.field(unknown);
            return Err(self
                .file
                .wrong_key(&at, &format!("unknown field `{unknown}`"), &help));
        }
        let text = |name: &str, help: &str| match fields.get(name) {
            Some(Value::String(text)) => Ok(text.as_str()),
            Some(_) => Err(self.wrong(
                name,
                &format!("`{name}` must be a string"),
                "put the value in quotes",
            )),
            None => {
                let what = format!("a node needs `{name}`");
                Err(self.file.wrong_value(self.at, &what, help))
            }
        };
        let identifier = text("identifier", "")?;
        let identifier = Identifier::new(identifier)
            .map_err(|error| self.wrong("identifier", &error.to_string(), ""))?;
        let ip = text("ip", "the address at which other nodes reach it")?;
        let ip: IpAddr = ip.parse().map_err(|_| {
            self.wrong(
                "ip",
                &format!("{ip:?} is not an IP address"),
                "such as 10.0.0.1 or fd00::1",
            )
        })?;
        check_node_address(ip).map_err(|error| self.wrong("ip", &error.to_string(), ""))?;
        let metadata = fields.get("metadata").cloned().unwrap_or_default();
        let seat = match fields.get("seat") {
            None | Some(Value::Null) => None,
            Some(seat) => {
                let seat = seat.as_u64().and_then(|seat| u32::try_from(seat).ok());
                Some(Seat(seat.ok_or_else(|| {
                    self.wrong("seat", "a seat must be a whole number of at least 0", "")
                })?))
            }
        };
        Ok((
            NodeRegistration::without_metadata(identifier, ip).with_metadata_value(metadata),
            seat,
        ))
    }

    fn wrong(&self, field: &str, what: &str, help: &str) -> SpecError {
        self.file.wrong_value(&self.field(field), what, help)
    }

    fn field(&self, name: &str) -> Vec<Step> {
        let mut at = self.at.to_vec();
        at.push(Step::Key(name.to_owned()));
        at
    }
}
