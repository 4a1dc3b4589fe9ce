//! Reads the request bodies of nodes and operators.

use std::net::IpAddr;

use serde::{Deserialize, de::DeserializeOwned};
use serde_json::value::RawValue;

use cfgsync_model::{
    ArtifactFile, ArtifactPath, ArtifactSet, Content, Identifier, Metadata, Mode, NodeRegistration,
    PathIndex, check_integer_range, check_node_address,
};

/// The greatest depth of lists and objects: that of serde_json.
const NESTING_MAX: usize = 127;

/// The reason why a request's body is refused. The message names the field and the position.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidBody {
    /// The body is not JSON, or it is incomplete.
    #[error("the body is not JSON: {0}")]
    NotJson(String),
    /// The lists and objects of the JSON are nested too deeply.
    #[error("the body is nested too deeply: the limit is {NESTING_MAX} levels")]
    NestedTooDeeply,
    /// A field is missing or has an invalid value.
    #[error("{field}: {problem}")]
    Field {
        /// The field's path, or `the body`.
        field: String,
        /// The problem with the field.
        problem: String,
    },
}

/// The body of `POST /v1/leave`, with which a node withdraws its registration.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct LeaveBody {
    /// The identifier of the node.
    pub identifier: Identifier,
    /// The address in the node's registration. If it is given and differs from the server's, the registration is another
    /// node's and stays.
    #[serde(default)]
    pub ip: Option<IpAddr>,
    /// The metadata in the node's registration. It is compared like the address.
    #[serde(default)]
    pub metadata: Option<Metadata>,
}

/// The body of `POST /v1/fail`, with which an operator fails the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct FailBody {
    /// The reason, which every node and operator sees.
    pub reason: String,
}

/// The body of `POST /v1/redraw`, with which an operator evaluates a value of `once` again.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct RedrawBody {
    /// The name of the value.
    pub key: String,
}

/// Reads the body of `POST /register`.
///
/// # Errors
/// Fails if the body is not a registration or if no node can have its address. Fails as well if the metadata has an
/// integer of more than 64 bits, which would be rounded.
pub fn read_registration(body: &[u8]) -> Result<NodeRegistration, InvalidBody> {
    let registration: NodeRegistration = read(body)?;
    check_node_address(registration.ip)
        .map_err(|error| InvalidBody::field("ip", error.to_string()))?;
    if has_large_float(&registration.metadata) {
        // Such a number is either a float in the body, or a large integer that was rounded. The text tells which.
        #[derive(Deserialize)]
        struct Written<'b> {
            #[serde(borrow)]
            metadata: &'b RawValue,
        }
        if let Ok(Written { metadata }) = serde_json::from_slice(body) {
            check_integer_range(metadata.get())
                .map_err(|error| InvalidBody::field("metadata", error.to_string()))?;
        }
    }
    Ok(registration)
}

/// Returns whether `value` contains a float that may have been an integer of more than 64 bits.
fn has_large_float(value: &Metadata) -> bool {
    match value {
        Metadata::Number(number) => {
            let float = number.as_f64().filter(|_| number.is_f64());
            float.is_some_and(|float| float.abs() >= 2_f64.powi(63))
        }
        Metadata::Array(values) => values.iter().any(has_large_float),
        Metadata::Object(fields) => fields.values().any(has_large_float),
        _ => false,
    }
}

/// Reads the body of `POST /node`, of which only the identifier is used.
///
/// # Errors
/// Fails if there is no valid identifier.
pub fn read_identifier(body: &[u8]) -> Result<Identifier, InvalidBody> {
    #[derive(Deserialize)]
    struct NodeBody {
        identifier: Identifier,
    }
    read(body).map(|NodeBody { identifier }| identifier)
}

/// Reads the body of `POST /v1/leave`.
///
/// # Errors
/// Fails if there is no valid identifier, or if another field has a wrong type.
pub fn read_leave(body: &[u8]) -> Result<LeaveBody, InvalidBody> {
    read(body)
}

/// Reads the body of `POST /v1/fail`.
///
/// # Errors
/// Fails if the reason is missing or empty.
pub fn read_fail(body: &[u8]) -> Result<FailBody, InvalidBody> {
    let fail: FailBody = read(body)?;
    if fail.reason.trim().is_empty() {
        return Err(InvalidBody::field(
            "reason",
            "must not be empty, because every node shows it",
        ));
    }
    Ok(fail)
}

/// Reads the body of `POST /v1/redraw`.
///
/// # Errors
/// Fails if the key is missing.
pub fn read_redraw(body: &[u8]) -> Result<RedrawBody, InvalidBody> {
    read(body)
}

/// Reads the body of `POST /node/replace`: the identifier of a node, and the files that replace its own.
///
/// # Errors
/// Fails if a path, a mode or an encoding is not valid, or if two files have the same path.
pub fn read_replacement(body: &[u8]) -> Result<(Identifier, ArtifactSet), InvalidBody> {
    #[derive(Deserialize)]
    struct Replacement {
        identifier: Identifier,
        files: Vec<File>,
    }
    #[derive(Deserialize)]
    struct File {
        path: ArtifactPath,
        content: String,
        #[serde(default)]
        mode: Option<Mode>,
        #[serde(default)]
        secret: bool,
        #[serde(default)]
        encoding: Option<String>,
    }
    let Replacement { identifier, files } = read(body)?;
    let mut set = ArtifactSet::default();
    for (
        at,
        File {
            path,
            content,
            mode,
            secret,
            encoding,
        },
    ) in files.into_iter().enumerate()
    {
        let content = match encoding.as_deref() {
            None => content.into_bytes(),
            Some("base64") => data_encoding::BASE64
                .decode(content.as_bytes())
                .map_err(|e| {
                    InvalidBody::field(
                        format!("files[{at}].content"),
                        format!("is not base64: {e}"),
                    )
                })?,
            Some(other) => {
                let problem = format!("unknown encoding {other:?}; expected \"base64\" or none");
                return Err(InvalidBody::field(format!("files[{at}].encoding"), problem));
            }
        };
        let file = ArtifactFile {
            path,
            mode: Mode::for_file(mode, secret)
                .map_err(|e| InvalidBody::field(format!("files[{at}].mode"), e.to_string()))?,
            secret,
            // The override keeps the ownership of the node's own file.
            ownership: None,
            content: Content::whole(content),
        };
        set.push(file)
            .map_err(|e| InvalidBody::field(format!("files[{at}].path"), e.to_string()))?;
    }
    let mut paths = PathIndex::default();
    for (at, file) in set.files().iter().enumerate() {
        paths
            .add(&file.path)
            .map_err(|e| InvalidBody::field(format!("files[{at}].path"), e.to_string()))?;
    }
    Ok((identifier, set))
}

/// Reads a JSON object. It reads a second time, more slowly, to find the path of a mistake.
pub(crate) fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, InvalidBody> {
    // serde would also accept a list of the fields in their order, which is not a body of this protocol.
    let is_object = body.trim_ascii_start().first() == Some(&b'{');
    if is_object && let Ok(value) = serde_json::from_slice(body) {
        return Ok(value);
    }
    if body.is_empty() {
        return Err(InvalidBody::NotJson("it is empty".into()));
    }
    if let Ok(value) = serde_json::from_slice::<serde_json::Value>(body)
        && !value.is_object()
    {
        return Err(InvalidBody::field("the body", "expected a JSON object"));
    }
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    let Err(error) = serde_path_to_error::deserialize::<_, T>(&mut deserializer) else {
        // The value itself is valid, so the mistake is what follows it.
        return Err(InvalidBody::NotJson("text follows the JSON value".into()));
    };
    let field = error.path().to_string();
    let inner = error.into_inner();
    match inner.classify() {
        serde_json::error::Category::Data => {
            let field = if field == "." {
                "the body".to_owned()
            } else {
                field
            };
            Err(InvalidBody::field(field, inner.to_string()))
        }
        _ if inner.to_string().starts_with("recursion limit exceeded") => {
            Err(InvalidBody::NestedTooDeeply)
        }
        _ => Err(InvalidBody::NotJson(inner.to_string())),
    }
}

impl InvalidBody {
    pub(super) fn field(field: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::Field {
            field: field.into(),
            problem: problem.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_registrations_without_metadata_and_with_unknown_fields() {
        let plain = read_registration(br#"{"identifier":"a","ip":"10.0.0.1"}"#).unwrap();
        for body in [
            r#"{"identifier":"a","ip":"10.0.0.1","metadata":null}"#,
            r#"{"identifier":"a","ip":"10.0.0.1","metadata":{},"later":[1]}"#,
        ] {
            assert_eq!(read_registration(body.as_bytes()).unwrap(), plain);
        }
    }

    #[test]
    fn accepts_any_json_as_metadata() {
        let read = read_registration(br#"{"identifier":"a","ip":"::1","metadata":[1,"x"]}"#);
        assert_eq!(read.unwrap().metadata, serde_json::json!([1, "x"]));
    }

    #[test]
    fn rejects_integers_that_would_be_rounded() {
        let read = |metadata: &str| {
            let body = format!(
                r#"{{"identifier":"a","ip":"::1","unknown":99999999999999999999,"metadata":{metadata}}}"#
            );
            read_registration(body.as_bytes())
        };
        for kept in ["18446744073709551615", "-9223372036854775808", "[0.5]"] {
            assert_eq!(read(kept).unwrap().metadata.to_string(), kept);
        }
        // serde_json would round it to this text.
        let message = read(r#"{"a":[18446744073709551616]}"#)
            .unwrap_err()
            .to_string();
        assert_eq!(
            message,
            "metadata: the integer 18446744073709551616 needs more than 64 bits and would be rounded; write \
             it as a string"
        );
    }

    #[test]
    fn errors_name_the_field() {
        let deep = format!(
            r#"{{"identifier":"a","ip":"::1","metadata":{}1{}}}"#,
            "[".repeat(200),
            "]".repeat(200)
        );
        for (body, start) in [
            ("", "the body is not JSON: it is empty"),
            ("{", "the body is not JSON: EOF while parsing an object"),
            ("nonsense", "the body is not JSON: expected ident"),
            ("[]", "the body: expected a JSON object"),
            (r#"["a","::1"]"#, "the body: expected a JSON object"),
            (r#"{"identifier":"a"}"#, "the body: missing field `ip`"),
            (
                r#"{"identifier":"a/b","ip":"::1"}"#,
                "identifier: identifier \"a/b\" contains '/'",
            ),
            (
                r#"{"identifier":1,"ip":"::1"}"#,
                "identifier: invalid type: integer `1`, expected a string",
            ),
            (
                r#"{"identifier":"a","ip":"10.0.0"}"#,
                "ip: invalid IP address syntax",
            ),
            (
                r#"{"identifier":"a","ip":"::"}"#,
                "ip: no node can be reached at ::, which is the unspecified address",
            ),
            (
                r#"{"identifier":"a","ip":"::1"} x"#,
                "the body is not JSON: text follows",
            ),
            (
                &deep,
                "the body is nested too deeply: the limit is 127 levels",
            ),
        ] {
            let message = read_registration(body.as_bytes()).unwrap_err().to_string();
            assert!(message.starts_with(start), "{body}: {message}");
        }
    }

    #[test]
    fn rejects_a_replacement_with_duplicate_paths() {
        let body = br#"{"identifier":"a","files":[{"path":"/x","content":"1"},{"path":"x","content":"2"}]}"#;
        let message = read_replacement(body).unwrap_err().to_string();
        assert_eq!(message, "files[1].path: two files are called x");
        let body = br#"{"identifier":"a","files":[{"path":"x/y","content":""},{"path":"x","content":""}]}"#;
        let message = read_replacement(body).unwrap_err().to_string();
        assert_eq!(
            message,
            "files[1].path: x is a file, but x/y needs a directory of that name; rename one of them"
        );
    }
}
