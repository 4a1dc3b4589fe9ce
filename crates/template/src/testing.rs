//! A small context for the tests of this module.

use serde_json::{Map, Value, json};

use super::context::{NodeValue, RenderContext};
use cfgsync_model::{Metadata, NodeRegistration};

pub(super) fn values() -> Map<String, Value> {
    let values = json!({
        "chain_id": 7,
        "favoured": ["n-2"],
        "html": "<a&'\">",
        "list": [true, null, 1.5],
        "secret": "hunter2",
    });
    values.as_object().cloned().unwrap_or_default()
}

pub(super) fn nodes() -> Vec<NodeValue> {
    [
        ("n-1", json!({"role": "validator", "port": 9000})),
        (
            "n-2",
            json!({"role": "observer", "port": 9001, "zone": "b"}),
        ),
        ("n-3", json!({"role": "validator", "port": 9002})),
    ]
    .into_iter()
    .enumerate()
    .map(|(at, (identifier, metadata))| node(at, identifier, &metadata))
    .collect()
}

pub(super) fn node(at: usize, identifier: &str, metadata: &Metadata) -> NodeValue {
    let ip = std::net::Ipv4Addr::from_bits(0x0a00_0001 + u32::try_from(at).unwrap());
    let registration = NodeRegistration::without_metadata(identifier.parse().unwrap(), ip.into());
    NodeValue::unseated(&registration, metadata)
}

pub(super) fn context() -> RenderContext {
    RenderContext::unseated("devnet", &values(), &Map::new(), nodes())
}
