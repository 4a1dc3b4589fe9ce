//! Prints the events of a server, one line for each: `inspect events` and `values watch`.

use std::str::FromStr;

use cfgsync_client::{Client, WatchOptions, Watched};
use cfgsync_model::{EventId, EventPosition, Revision};
use cfgsync_support::escape::escape_line;
use cfgsync_wire::{NOTICE_EVENT, READINESS_EVENT, StreamedEvent, ValueEventBody, ValueEventType};
use serde::{Deserialize as _, Serialize};
use serde_json::Value;

use super::{
    error::CommandError,
    exit::Exit,
    output::{Format, Text, json_line, print, render},
};

/// The longest content of a value in a line, in characters.
const CONTENT_MAX_CHARS: usize = 60;

/// Where the printed events begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Since {
    /// With the oldest event that the server has.
    Oldest,
    /// With the next event.
    Now,
    /// After this revision of the server's instance.
    Revision(Revision),
    /// After this event.
    Event(EventId),
}

/// An event as JSON.
#[derive(Serialize)]
struct ShownEvent<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    event: &'a str,
    data: Value,
}

impl FromStr for Since {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match (text, text.parse(), EventId::parse(text)) {
            ("oldest", ..) => Ok(Self::Oldest),
            ("now", ..) => Ok(Self::Now),
            (_, Ok(revision), _) => Ok(Self::Revision(Revision(revision))),
            (_, _, Some(id)) => Ok(Self::Event(id)),
            _ => Err("expected a revision, the id of an event, `oldest` or `now`".to_owned()),
        }
    }
}

impl Since {
    /// Returns the position in the form of [`WatchOptions::since`]. A revision is one of the instance that serves now.
    pub(crate) async fn resolve(self, client: &Client) -> Result<Option<String>, CommandError> {
        Ok(match self {
            Self::Oldest => Some("oldest".to_owned()),
            Self::Now => None,
            Self::Event(id) => Some(id.to_string()),
            Self::Revision(revision) => {
                let position = EventPosition::after(revision);
                let instance = client.livez().await?.meta.instance;
                instance.map(|instance| EventId { instance, position }.to_string())
            }
        })
    }
}

/// Prints the events of a stream until it ends.
pub(crate) async fn print_events(
    client: &Client,
    options: &WatchOptions,
    format: Format,
) -> Result<Exit, CommandError> {
    let mut stream = client.watch(options);
    let mut is_interrupted = false;
    while let Some(watched) = stream.next().await? {
        match watched {
            Watched::Event(event) => print(shown(&event, format))?,
            Watched::Connected => {
                if std::mem::take(&mut is_interrupted) {
                    tracing::info!("connected to {} again", client.server());
                }
            }
            Watched::Interrupted(error) => {
                if !std::mem::replace(&mut is_interrupted, true) {
                    tracing::warn!("{error}; connecting again");
                }
            }
        }
    }
    Ok(Exit::Done)
}

fn shown(event: &StreamedEvent, format: Format) -> Text {
    let data = serde_json::from_str(&event.data);
    let data = data.unwrap_or_else(|_| Value::String(event.data.clone()));
    // An event without an id of its own has that of the event before it.
    let has_id = ![READINESS_EVENT, NOTICE_EVENT].contains(&&*event.event) && !event.id.is_empty();
    let id = has_id.then_some(&*event.id);
    let name = &*event.event;
    match format {
        Format::Json => json_line(&ShownEvent {
            id,
            event: name,
            data,
        }),
        Format::Yaml => {
            let mut document = Text::from("---\n");
            let event = ShownEvent {
                id,
                event: name,
                data,
            };
            document.push(render(format, &event, |_| ""));
            document
        }
        Format::Table => {
            let position = id
                .and_then(|id| id.split_once('-'))
                .map_or("-", |(_, at)| at);
            let details = details(&data);
            let line = format!("{position:>8}  {name:<20}  {details}");
            Text::from(escape_line(line.trim_end()) + "\n")
        }
    }
}

/// Returns what happened, in one line.
fn details(data: &Value) -> String {
    let Value::Object(members) = data else {
        return data.to_string();
    };
    if let Ok(body) = ValueEventBody::deserialize(data) {
        return value_details(&body);
    }
    if let Some(message) = members.get("message").and_then(Value::as_str) {
        return message.to_owned();
    }
    let is_shown = |name: &str| !matches!(name, "revision" | "part" | "kind" | "at");
    let members = members.iter();
    let members = members.filter(|(name, value)| is_shown(name) && !value.is_null());
    let details: Vec<String> = members
        .map(|(name, value)| match value {
            Value::String(text) if name == "identifier" => text.clone(),
            Value::String(text) => format!("{name}={text}"),
            value => format!("{name}={value}"),
        })
        .collect();
    details.join(" ")
}

/// Returns the change of a value or an alias.
fn value_details(body: &ValueEventBody) -> String {
    let ValueEventBody {
        namespace,
        key,
        version,
        ..
    } = body;
    let content = match body.bytes() {
        Some(bytes) => content(bytes),
        None if body.hidden => "(secret)".to_owned(),
        None => String::new(),
    };
    match body.change {
        ValueEventType::Set => {
            let version = version.unwrap_or_default();
            format!("{namespace}/{key} version {version}: {content}")
        }
        ValueEventType::Delete => format!("{namespace}/{key}"),
        ValueEventType::AliasSet => format!("{key} -> {content}"),
        ValueEventType::AliasDelete => key.to_string(),
    }
}

fn content(bytes: Vec<u8>) -> String {
    let length = bytes.len();
    let Ok(text) = String::from_utf8(bytes) else {
        return format!("({length} bytes)");
    };
    let text = text.trim_end();
    match text.char_indices().nth(CONTENT_MAX_CHARS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(event: &str, data: &str) -> StreamedEvent {
        StreamedEvent {
            id: "0123456789abcdef0123456789abcdef-42.1".to_owned(),
            event: event.to_owned(),
            data: data.to_owned(),
        }
    }

    #[test]
    fn lines_say_what_happened() {
        for (name, data, line) in [
            (
                "node_registered",
                r#"{"revision":42,"part":1,"kind":"node_registered","identifier":"a","ip":"10.0.0.1","metadata":{"port":1}}"#,
                "    42.1  node_registered       a ip=10.0.0.1 metadata={\"port\":1}\n",
            ),
            (
                "set",
                r#"{"type":"SET","namespace":"prod","key":"app/x","value":"MzA=","version":3}"#,
                "    42.1  set                   prod/app/x version 3: 30\n",
            ),
            (
                "set",
                r#"{"type":"SET","namespace":"prod","key":"app/x","version":3,"hidden":true}"#,
                "    42.1  set                   prod/app/x version 3: (secret)\n",
            ),
            (
                "alias_set",
                r#"{"type":"ALIAS_SET","namespace":"","key":"old","value":"YXBwL3g="}"#,
                "    42.1  alias_set             old -> app/x\n",
            ),
            (
                "delete",
                r#"{"type":"DELETE","namespace":"prod","key":"app/x"}"#,
                "    42.1  delete                prod/app/x\n",
            ),
            (
                "readiness",
                r#"{"state":"waiting","message":"waiting: 0/2"}"#,
                "       -  readiness             waiting: 0/2\n",
            ),
            (
                "cluster_reset",
                r#"{"revision":42,"part":1,"kind":"cluster_reset"}"#,
                "    42.1  cluster_reset\n",
            ),
            (
                "odd",
                "a\u{1b}[2J",
                "    42.1  odd                   \"a\\u001b[2J\"\n",
            ),
            (
                "odd",
                r#"{"message":"a\u001b[2J\nb"}"#,
                "    42.1  odd                   a\\u{1b}[2J\\nb\n",
            ),
        ] {
            let shown = shown(&event(name, data), Format::Table);
            assert_eq!(shown.as_str(), line);
        }
        let json = shown(&event("odd", "x"), Format::Json);
        let expected = r#"{"id":"0123456789abcdef0123456789abcdef-42.1","event":"odd","data":"x"}"#;
        assert_eq!(json.as_str().trim_end(), expected);
        let yaml = shown(&event("readiness", r#"{"state":"ready"}"#), Format::Yaml);
        assert_eq!(
            yaml.as_str(),
            "---\nevent: readiness\ndata:\n  state: ready\n"
        );
    }

    #[test]
    fn start_is_a_revision_an_id_or_a_word() {
        let id = "0123456789abcdef0123456789abcdef-42.1";
        assert_eq!("oldest".parse(), Ok(Since::Oldest));
        assert_eq!("now".parse(), Ok(Since::Now));
        assert_eq!("42".parse(), Ok(Since::Revision(Revision(42))));
        assert_eq!(id.parse(), Ok(Since::Event(EventId::parse(id).unwrap())));
        for text in ["", "-1", "new", "42.1"] {
            assert!(text.parse::<Since>().is_err(), "{text}");
        }
    }
}
