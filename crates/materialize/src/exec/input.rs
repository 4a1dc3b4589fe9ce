//! The document that a program reads: the snapshot, and the operators' values that it declares to read.

use std::collections::BTreeMap;

use data_encoding::BASE64;
use serde::Serialize;
use serde_json::{Value, json};

use cfgsync_codec::{Content, decode};
use cfgsync_model::{RegistrationSnapshot, ValuePattern, ValueVersion};

/// The document. `operator_values` has an object for each namespace.
#[derive(Serialize)]
struct Input<'a> {
    #[serde(flatten)]
    snapshot: &'a RegistrationSnapshot,
    #[serde(skip_serializing_if = "Option::is_none")]
    operator_values: Option<BTreeMap<String, BTreeMap<String, Value>>>,
}

/// Returns the document for `snapshot`, with the values that match `reads`, and whether one of these is secret.
pub(super) fn json_of(
    snapshot: &RegistrationSnapshot,
    reads: &[ValuePattern],
) -> Result<(Vec<u8>, bool), String> {
    let mut has_secrets = false;
    let mut namespaces = BTreeMap::<String, BTreeMap<String, Value>>::new();
    for pattern in reads {
        let matching = snapshot.operator_values.matching(pattern);
        let matching = matching.map_err(|error| error.to_string())?;
        let values = namespaces
            .entry(pattern.namespace().to_string())
            .or_default();
        for (key, version) in matching {
            has_secrets |= version.is_secret();
            let value =
                json_value(&version).map_err(|error| format!("{pattern}: {key}: {error}"))?;
            values.insert(key.to_string(), value);
        }
    }
    let input = Input {
        snapshot,
        operator_values: (!reads.is_empty()).then_some(namespaces),
    };
    let json = serde_json::to_vec(&input)
        .map_err(|error| format!("cannot write the snapshot as JSON: {error}"))?;
    Ok((json, has_secrets))
}

/// Returns a value as JSON. A value whose codec has no structure is an object with its codec and its bytes.
fn json_value(version: &ValueVersion) -> Result<Value, String> {
    match decode(&version.codec, &version.bytes) {
        Ok(Content::Json(value)) => Ok(value),
        Ok(Content::Bytes) => {
            let codec = version.codec.as_str();
            Ok(json!({ "codec": codec, "base64": BASE64.encode(&version.bytes) }))
        }
        Err(error) => Err(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use cfgsync_model::{Revision, ValueReader, ValueType};

    use super::*;

    #[test]
    fn document_has_the_values_that_the_spec_declares() {
        let version = |codec: &str, text: &str| {
            Arc::new(ValueVersion {
                bytes: text.to_owned().into(),
                codec: codec.parse().unwrap(),
                value_type: ValueType::Custom,
                version: 1,
                created_at: "2026-01-02T03:04:05Z".parse().unwrap(),
                updated_at: "2026-01-02T03:04:05Z".parse().unwrap(),
                expires_at: None,
            })
        };
        let values = BTreeMap::from([
            ("prod/app/timeout".parse().unwrap(), version("json", "30")),
            ("prod/app/raw".parse().unwrap(), version("bytes", "{")),
            ("prod/other".parse().unwrap(), version("json", "1")),
        ]);
        let reads = ["prod/app/", "test/absent"].map(|text| text.parse().unwrap());
        let snapshot = RegistrationSnapshot {
            cluster: "devnet".to_owned(),
            revision: Revision(7),
            nodes: vec![],
            values: serde_json::Map::new(),
            once: serde_json::Map::new(),
            operator_values: ValueReader::new(Arc::new(values)).limited_to(&reads),
        };
        let text = |reads| String::from_utf8(json_of(&snapshot, reads).unwrap().0).unwrap();
        insta::assert_snapshot!(text(&reads), @r#"{"cluster":"devnet","revision":7,"nodes":[],"values":{},"once":{},"operator_values":{"prod":{"app/raw":{"base64":"ew==","codec":"bytes"},"app/timeout":30},"test":{}}}"#);
        insta::assert_snapshot!(text(&[]), @r#"{"cluster":"devnet","revision":7,"nodes":[],"values":{},"once":{}}"#);
    }
}
