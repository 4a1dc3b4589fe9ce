//! Who would be registered: read from a file, or invented.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Read,
    net::{IpAddr, Ipv4Addr},
    path::Path,
};

use cfgsync_cluster::{check_registration, render::Pipeline};
use cfgsync_model::{Identifier, NodeRegistration, Seat, refuse_nobodys};
use cfgsync_spec::{Members, PlainFile, Spec, SpecError, Step};
use serde::Serialize;
use serde_json::Value;

use crate::cmd::exit::UsageError;
use crate::cmd::settings::nearest;

/// After so many mistakes reading ends.
const TOLD_MAX: usize = 20;
/// Most nodes that are invented.
const FAKE_MAX: usize = 100_000;
/// The address of the first invented node; the others follow.
const FIRST_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
/// What a node may have in a file: what a registration has, and what `inspect -o json` prints beside it.
const FIELDS: [&str; 8] = [
    "identifier",
    "ip",
    "metadata",
    "seat",
    "revision",
    "delivered",
    "behind",
    "overridden",
];

/// The nodes to look at.
#[derive(Debug, Default)]
pub(super) struct Nodes {
    pub(super) registrations: Vec<NodeRegistration>,
    /// Seats that a running cluster has given already.
    pub(super) seats: BTreeMap<Identifier, Seat>,
}

/// A node that could not register.
#[derive(Debug, Serialize)]
pub(super) struct Refused {
    pub(super) identifier: Identifier,
    pub(super) reason: String,
}

/// Why `serve` would not accept `node`.
pub(super) fn refusal(pipeline: &Pipeline, node: &NodeRegistration) -> Option<Refused> {
    let refusal = check_registration(pipeline, node).err()?;
    Some(Refused {
        identifier: node.identifier.clone(),
        reason: refusal.to_string(),
    })
}

/// So many nodes that the spec's rules accept.
pub(super) fn invent(spec: &Spec, count: usize) -> Result<Nodes, UsageError> {
    if count > FAKE_MAX {
        return Err(UsageError(format!(
            "--fake invents at most {FAKE_MAX} nodes"
        )));
    }
    let listed = match spec.ready.as_ref().and_then(|rule| rule.nodes.as_ref()) {
        Some(Members::Closed(listed)) => Some(listed),
        _ => None,
    };
    if let Some(listed) = listed
        && count > listed.len()
    {
        return Err(UsageError(format!(
            "--fake {count}: the spec lists {} nodes and takes no others",
            listed.len()
        )));
    }
    let mut names = listed.into_iter().flatten();
    let registrations = (0..count).map(|index| {
        let identifier = names.next().cloned().unwrap_or_else(|| {
            Identifier::new(&format!("node-{index}")).expect("letters, digits and a dash")
        });
        let offset = u32::try_from(index).expect("less than FAKE_MAX");
        let ip = Ipv4Addr::from_bits(FIRST_ADDRESS.to_bits() + offset);
        NodeRegistration::new(identifier, ip.into()).with_metadata(spec.metadata.invent(index))
    });
    Ok(Nodes {
        registrations: registrations.collect(),
        seats: BTreeMap::new(),
    })
}

/// Reads a list of nodes, or what `inspect -o json` prints. `-` is stdin. Of each node its first mistake is told.
pub(super) fn read(path: &Path) -> Result<Nodes, SpecError> {
    let file = if path.as_os_str() == "-" {
        read_stdin()?
    } else {
        PlainFile::load(path)?
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
                let twice = format!("{} is here twice", registration.identifier);
                mistakes.push(reader.wrong("identifier", &twice, ""));
            }
            Err(mistake) => mistakes.push(mistake),
        }
        if mistakes.len() == TOLD_MAX {
            break;
        }
        at.pop();
    }
    match mistakes.is_empty() {
        true => Ok(nodes),
        false => Err(SpecError::of_all(mistakes)),
    }
}

fn read_stdin() -> Result<PlainFile, SpecError> {
    let name = Path::new("<stdin>");
    let mut text = String::new();
    match std::io::stdin().read_to_string(&mut text) {
        Ok(_) => PlainFile::parse(text, name),
        Err(error) => {
            let empty = PlainFile::parse(String::new(), name)?;
            Err(empty.wrong_value(&[], &format!("cannot be read: {error}"), ""))
        }
    }
}

/// Reads one node, which stands at `at`.
struct Reader<'a> {
    file: &'a PlainFile,
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
            let help = match nearest(unknown, FIELDS.into_iter()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => "a node has `identifier`, `ip` and `metadata`".to_owned(),
            };
            let at = self.field(unknown);
            return Err(self
                .file
                .wrong_key(&at, &format!("unknown field `{unknown}`"), &help));
        }
        let text = |name: &str, help: &str| match fields.get(name) {
            Some(Value::String(text)) => Ok(text.as_str()),
            Some(_) => Err(self.wrong(name, &format!("`{name}` is a string"), "put it in quotes")),
            None => {
                let what = format!("a node needs `{name}`");
                Err(self.file.wrong_value(self.at, &what, help))
            }
        };
        let identifier = text("identifier", "")?;
        let identifier = Identifier::new(identifier)
            .map_err(|error| self.wrong("identifier", &error.to_string(), ""))?;
        let ip = text("ip", "the address under which the others reach it")?;
        let ip: IpAddr = ip.parse().map_err(|_| {
            self.wrong(
                "ip",
                &format!("{ip:?} is not an IP address"),
                "such as 10.0.0.1 or fd00::1",
            )
        })?;
        refuse_nobodys(ip).map_err(|error| self.wrong("ip", &error.to_string(), ""))?;
        let metadata = fields.get("metadata").cloned().unwrap_or_default();
        let seat = match fields.get("seat") {
            None | Some(Value::Null) => None,
            Some(seat) => {
                let seat = seat.as_u64().and_then(|seat| u32::try_from(seat).ok());
                Some(Seat(seat.ok_or_else(|| {
                    self.wrong("seat", "a seat is a whole number from 0", "")
                })?))
            }
        };
        Ok((
            NodeRegistration::new(identifier, ip).with_metadata(metadata),
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
