//! The committed JSON Schema of the spec matches the code. `CFGSYNC_BLESS=1` rewrites it, as `cfgsync generate` does.

use std::fs;

use cfgsync_spec::Spec;

#[test]
fn committed_schema_is_up_to_date() {
    let schema = serde_json::to_string_pretty(&Spec::json_schema()).unwrap() + "\n";
    let committed = "schema/cfgsync-spec.schema.json";
    if std::env::var_os("CFGSYNC_BLESS").is_some() {
        fs::write(committed, schema).unwrap();
        return;
    }
    let is_fresh = fs::read_to_string(committed).unwrap_or_default() == schema;
    assert!(is_fresh, "{committed} is stale: run `cfgsync generate`");
}
