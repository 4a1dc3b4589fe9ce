//! cfgsync's own filters for values and texts: `tojson`, `toyaml`, `b64encode`, `b64decode`, `sha256`,
//! `string` and `join`.

use data_encoding::BASE64;
use minijinja::{
    Environment, Error, Value,
    value::{Kwargs, Rest, ValueKind, ValueOrKwargs, from_args},
};

use super::{
    bounds::INDENT_MAX,
    error::fault,
    printing::{json, text, within_bounds},
    strict::{attribute_of, defined},
    yaml::yaml,
};
use cfgsync_model::Digest;

pub(super) fn register(environment: &mut Environment<'_>) {
    environment.add_filter("tojson", tojson);
    environment.add_filter("toyaml", |value: &Value| {
        defined(value).and_then(|()| yaml(value))
    });
    environment.add_filter("b64encode", |value: &Value| {
        bytes(value).map(|b| BASE64.encode(&b))
    });
    environment.add_filter("b64decode", b64decode);
    environment.add_filter("sha256", |value: &Value| {
        bytes(value).map(|b| Digest::of(&b).to_string())
    });
    environment.add_filter("string", |value: &Value| {
        defined(value).and_then(|()| text(value))
    });
    environment.add_filter("join", join);
}

fn tojson(value: &Value, options: Rest<ValueOrKwargs>) -> Result<String, Error> {
    defined(value)?;
    let options = options.into_values();
    // Reading options takes the engine several allocations, and most calls have none.
    if options.is_empty() {
        return json(value, None);
    }
    let (indent, options): (Option<usize>, Kwargs) = from_args(&options)?;
    let indent = match indent {
        Some(indent) => Some(indent),
        None => options.get::<Option<usize>>("indent")?,
    };
    options.assert_all_used()?;
    if indent.is_some_and(|width| width > INDENT_MAX) {
        return Err(fault(format!("`indent` is at most {INDENT_MAX}")));
    }
    json(value, indent)
}

/// The bytes of a text, or of the printed form of anything else.
fn bytes(value: &Value) -> Result<Vec<u8>, Error> {
    defined(value)?;
    match value.as_bytes() {
        Some(bytes) => Ok(bytes.to_vec()),
        None => text(value).map(String::into_bytes),
    }
}

fn b64decode(value: &Value) -> Result<String, Error> {
    defined(value)?;
    let Some(encoded) = value.as_str() else {
        return Err(fault(format!(
            "`b64decode` wants a text, not a value of type {}",
            value.kind()
        )));
    };
    let bytes = BASE64
        .decode(encoded.trim_end().as_bytes())
        .map_err(|_| fault("this is not base64 (standard alphabet, with padding)"))?;
    String::from_utf8(bytes).map_err(|_| {
        fault("what this base64 holds is not UTF-8 text; ship such bytes with `source`")
    })
}

/// As the engine's, but items are printed as `{{ item }}` prints them, and undefined ones are refused.
#[expect(
    clippy::needless_pass_by_value,
    reason = "the engine hands the options over"
)]
fn join(
    value: &Value,
    joiner: Option<&str>,
    attribute: Option<&str>,
    options: Kwargs,
) -> Result<String, Error> {
    let joiner = match joiner {
        Some(joiner) => joiner,
        None => options.get::<Option<&str>>("d")?.unwrap_or_default(),
    };
    let attribute = match attribute {
        Some(attribute) => Some(attribute),
        None => options.get::<Option<&str>>("attribute")?,
    };
    options.assert_all_used()?;
    defined(value)?;
    if value.kind() == ValueKind::Map {
        return Err(fault(
            "`join` wants a list, not an object; join its keys or `items`",
        ));
    }
    let mut out = String::new();
    for (at, item) in value.try_iter()?.enumerate() {
        let item = match attribute {
            Some(path) => attribute_of(&item, path, at)?,
            None => item,
        };
        if at > 0 {
            out.push_str(joiner);
        }
        out.push_str(&text(&item)?);
        within_bounds(0, out.len())?;
    }
    Ok(out)
}
