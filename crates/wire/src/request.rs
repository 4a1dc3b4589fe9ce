//! The bodies that nodes and operators send.

use std::net::IpAddr;

use serde::{Deserialize, de::DeserializeOwned};
use serde_json::value::RawValue;

use cfgsync_model::{
    ArtifactFile, ArtifactPath, ArtifactSet, Content, Identifier, Metadata, Mode, NodeRegistration,
    check_integer_range, check_node_address,
};

/// How many lists and objects may stand in each other: what serde_json reads.
const NESTING_MAX: usize = 127;

/// A body that cannot be used: the sender's fault. Names the field and the place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WrongBody {
    /// Not JSON at all, or cut short.
    #[error("the body is not JSON: {0}")]
    NotJson(String),
    /// JSON in more layers than anybody needs.
    #[error(
        "the body is nested too deeply: more than {NESTING_MAX} lists and objects in each other"
    )]
    TooDeep,
    /// JSON of another shape.
    #[error("{field}: {problem}")]
    Field {
        /// Which field, as a path.
        field: String,
        /// What is wrong with it.
        problem: String,
    },
}

/// `POST /v1/leave`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct LeaveBody {
    /// Who leaves.
    pub identifier: Identifier,
    /// With the facts of its own registration: another's registration under the same name then stays.
    #[serde(default)]
    pub ip: Option<IpAddr>,
    /// As in the registration.
    #[serde(default)]
    pub metadata: Option<Metadata>,
}

/// `POST /v1/fail`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct FailBody {
    /// Why, for every node and operator to read.
    pub reason: String,
}

/// Reads the body of `/register`.
pub fn read_registration(body: &[u8]) -> Result<NodeRegistration, WrongBody> {
    let registration: NodeRegistration = read(body)?;
    check_node_address(registration.ip)
        .map_err(|error| WrongBody::field("ip", error.to_string()))?;
    if holds_huge(&registration.metadata) {
        // It was written so, or rounded to it: the text tells.
        #[derive(Deserialize)]
        struct AsWritten<'b> {
            #[serde(borrow)]
            metadata: &'b RawValue,
        }
        if let Ok(AsWritten { metadata }) = serde_json::from_slice(body) {
            check_integer_range(metadata.get())
                .map_err(|error| WrongBody::field("metadata", error.to_string()))?;
        }
    }
    Ok(registration)
}

/// Whether some number in `value` is what an integer of more than 64 bits is read as.
fn holds_huge(value: &Metadata) -> bool {
    match value {
        Metadata::Number(number) => {
            let float = number.as_f64().filter(|_| number.is_f64());
            float.is_some_and(|float| float.abs() >= 2_f64.powi(63))
        }
        Metadata::Array(values) => values.iter().any(holds_huge),
        Metadata::Object(fields) => fields.values().any(holds_huge),
        _ => false,
    }
}

/// Reads the body of `/node`, of which only the identifier matters.
pub fn read_identifier(body: &[u8]) -> Result<Identifier, WrongBody> {
    #[derive(Deserialize)]
    struct Named {
        identifier: Identifier,
    }
    read(body).map(|Named { identifier }| identifier)
}

/// Reads the body of `/v1/leave`.
pub fn read_leave(body: &[u8]) -> Result<LeaveBody, WrongBody> {
    read(body)
}

/// Reads the body of `/v1/fail`.
pub fn read_fail(body: &[u8]) -> Result<FailBody, WrongBody> {
    let fail: FailBody = read(body)?;
    if fail.reason.trim().is_empty() {
        return Err(WrongBody::field(
            "reason",
            "must not be empty: every node is told it",
        ));
    }
    Ok(fail)
}

/// Reads the body of `/node/replace`: whose files, and which.
pub fn read_replacement(body: &[u8]) -> Result<(Identifier, ArtifactSet), WrongBody> {
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
                    WrongBody::field(
                        format!("files[{at}].content"),
                        format!("is not base64: {e}"),
                    )
                })?,
            Some(other) => {
                let problem = format!("unknown encoding {other:?}; expected \"base64\" or none");
                return Err(WrongBody::field(format!("files[{at}].encoding"), problem));
            }
        };
        let file = ArtifactFile {
            path,
            mode: Mode::for_file(mode, secret)
                .map_err(|e| WrongBody::field(format!("files[{at}].mode"), e.to_string()))?,
            secret,
            content: Content::whole(content),
        };
        set.push(file)
            .map_err(|e| WrongBody::field(format!("files[{at}].path"), e.to_string()))?;
    }
    Ok((identifier, set))
}

/// Reads quickly, and once more with the path of the mistake when there is one.
fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, WrongBody> {
    // A list of the fields in order would be read as well, but is no body of this protocol.
    let is_object = body.trim_ascii_start().first() == Some(&b'{');
    if is_object && let Ok(value) = serde_json::from_slice(body) {
        return Ok(value);
    }
    if body.is_empty() {
        return Err(WrongBody::NotJson("it is empty".into()));
    }
    if let Ok(value) = serde_json::from_slice::<serde_json::Value>(body)
        && !value.is_object()
    {
        return Err(WrongBody::field("the body", "must be a JSON object"));
    }
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    let Err(error) = serde_path_to_error::deserialize::<_, T>(&mut deserializer) else {
        // The value is well: whatever follows it is the mistake.
        return Err(WrongBody::NotJson(
            "something follows the JSON value".into(),
        ));
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
            Err(WrongBody::field(field, inner.to_string()))
        }
        _ if inner.to_string().starts_with("recursion limit exceeded") => Err(WrongBody::TooDeep),
        _ => Err(WrongBody::NotJson(inner.to_string())),
    }
}

impl WrongBody {
    fn field(field: impl Into<String>, problem: impl Into<String>) -> Self {
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
    fn a_registration_may_lack_metadata_and_bring_unknown_fields() {
        let plain = read_registration(br#"{"identifier":"a","ip":"10.0.0.1"}"#).unwrap();
        for body in [
            r#"{"identifier":"a","ip":"10.0.0.1","metadata":null}"#,
            r#"{"identifier":"a","ip":"10.0.0.1","metadata":{},"later":[1]}"#,
        ] {
            assert_eq!(read_registration(body.as_bytes()).unwrap(), plain);
        }
    }

    #[test]
    fn metadata_may_be_any_value() {
        let read = read_registration(br#"{"identifier":"a","ip":"::1","metadata":[1,"x"]}"#);
        assert_eq!(read.unwrap().metadata, serde_json::json!([1, "x"]));
    }

    #[test]
    fn an_integer_is_kept_to_the_last_digit_or_refused() {
        let read = |metadata: &str| {
            let body = format!(
                r#"{{"identifier":"a","ip":"::1","unknown":99999999999999999999,"metadata":{metadata}}}"#
            );
            read_registration(body.as_bytes())
        };
        for kept in ["18446744073709551615", "-9223372036854775808", "[0.5]"] {
            assert_eq!(read(kept).unwrap().metadata.to_string(), kept);
        }
        // It came back rounded.
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
    fn wrong_bodies_name_the_field() {
        let deep = format!(
            r#"{{"identifier":"a","ip":"::1","metadata":{}1{}}}"#,
            "[".repeat(200),
            "]".repeat(200)
        );
        for (body, start) in [
            ("", "the body is not JSON: it is empty"),
            ("{", "the body is not JSON: EOF while parsing an object"),
            ("nonsense", "the body is not JSON: expected ident"),
            ("[]", "the body: must be a JSON object"),
            (r#"["a","::1"]"#, "the body: must be a JSON object"),
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
                "the body is not JSON: something follows",
            ),
            (&deep, "the body is nested too deeply: more than 127"),
        ] {
            let message = read_registration(body.as_bytes()).unwrap_err().to_string();
            assert!(message.starts_with(start), "{body}: {message}");
        }
    }

    #[test]
    fn a_replacement_refuses_twice_the_same_name() {
        let body = br#"{"identifier":"a","files":[{"path":"/x","content":"1"},{"path":"x","content":"2"}]}"#;
        let message = read_replacement(body).unwrap_err().to_string();
        assert_eq!(message, "files[1].path: two files are called x");
    }
}
