//! cfgsync-spec(5): the reference of every field from the JSON Schema, around it what a schema cannot say.

use serde_json::Value;

use super::roff;

/// The order in which people write the sections; the schema knows none.
const SECTIONS: [&str; 9] = [
    "cfgsync",
    "cluster",
    "metadata",
    "ready",
    "late",
    "identity",
    "once",
    "values",
    "materializers",
];

const HEAD: &str = r#"
.SH NAME
cfgsync\-spec \- when a cluster is complete, and which files each node then gets
.SH DESCRIPTION
A spec is a YAML file. \fBcfgsync serve\fR reads it and registers nodes until the rule in \fBready\fR holds;
then it renders all files from one cut of the registrations and seals them as a generation. \fBcfgsync plan\fR
says offline what a spec would give.
.PP
Unknown fields and wrong types are errors; nothing is silently ignored. Files that a spec names lie relative to
it.
.SH EXAMPLE
.nf
cfgsync: 1
cluster: devnet
metadata:
  port: { type: integer, min: 1, max: 65535 }
  role: { one_of: [validator, observer], default: observer }
ready:
  nodes: 4
  groups:
    \- { where: 'node.metadata.role == "validator"', count: 3 }
  settle: 2s
  deadline: 5m
once:
  cookie: random_hex(32)
materializers:
  \- kind: template
    fragments:
      peers: |
        {%\- for peer in nodes %}
          \- {{ hostport(peer.ip, peer.metadata.port) | tojson }}
        {%\- endfor %}
    files:
      \- path: /config.yaml
        mode: "0640"
        template: |
          id: {{ node.identifier | tojson }}
          seat: {{ node.seat }}
          peers: {{ fragment("peers") }}
      \- path: cookie
        shared: true
        template: "{{ once.cookie }}\\n"
.fi
.SH FIELDS
"#;

const TAIL: &str = r#".SH PATHS
An artifact path is a name, not a place: the node's own routes say where it is written. A leading \fB/\fR is
allowed and means nothing; empty parts, \fB..\fR, control characters and \fB=\fR are refused. No path may occur
twice for one node.
.SH EXPRESSIONS AND TEMPLATES
Both are Jinja. Every expression about one node sees \fBnode\fR (\fBidentifier\fR, \fBip\fR, \fBmetadata\fR and,
once sealed, \fBseat\fR); all see \fBnodes\fR, \fBvalues\fR, \fBonce\fR and \fBcluster\fR. Nothing is escaped
automatically: pass what nodes bring through \fBtojson\fR. An undefined name is an error, in \fBwhere\fR no match;
expressions give a boolean.
.PP
Beside Jinja's own there are
.TP
.B tojson, toyaml, b64encode, b64decode, sha256
Filters on one value.
.TP
.B hostport(ip, port)
Puts brackets around IPv6.
.TP
.B cidr_host(net, n)
The n\-th address of a network.
.TP
.B ordinal
The number at the end of a name: \fBzk\-10\fR gives 10.
.TP
.B fragment(name)
A text of \fBfragments\fR, rendered once for all nodes.
.TP
.B random_hex(n), random_base64url(n), now()
Only in \fBonce\fR: drawn at the first seal and kept.
.SH EXEC
The program of an \fBexec\fR materializer gets one JSON document with the snapshot, \fBvalues\fR and \fBonce\fR on
stdin, and prints one:
.PP
.nf
{"status": "not_ready", "message": "\fIwhy\fR"}
{"status": "ready", "nodes": {"\fIid\fR": [{"path", "content" or "content_base64", "mode"}]}, "shared": [...]}
.fi
.PP
What it writes to stderr goes to the server\(aqs log, and the last line of it into the failure, which all nodes are
told. With \fBsecret: true\fR neither does.
.SH SEE ALSO
.BR cfgsync (1),
.BR cfgsync\-serve (1),
.BR cfgsync\-plan (1),
.BR cfgsync\-production (7)
"#;

/// The whole page.
pub(super) fn render(schema: &Value) -> String {
    let mut page = format!(
        ".TH cfgsync-spec 5 \"\" \"cfgsync {}\" \"cfgsync manual\"",
        env!("CARGO_PKG_VERSION")
    );
    page.push_str(HEAD);
    let walk = Walk { schema };
    for section in SECTIONS {
        walk.field(&mut page, schema, section, section);
    }
    page.push_str(TAIL);
    page
}

struct Walk<'a> {
    schema: &'a Value,
}

impl Walk<'_> {
    /// One field of the object `owner`, and what is below it.
    fn field(&self, page: &mut String, owner: &Value, name: &str, shown: &str) {
        let Some(field) = owner["properties"].get(name) else {
            return;
        };
        let kind = self.resolve(field);
        let required = owner["required"]
            .as_array()
            .is_some_and(|required| required.iter().any(|entry| entry == name));
        let mut text = field["description"]
            .as_str()
            .or(kind["description"].as_str())
            .unwrap_or_default()
            .to_owned();
        let choices: Vec<&str> = kind["oneOf"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|choice| choice["const"].as_str())
            .collect();
        if !choices.is_empty() {
            text.push_str(&format!(" One of {}.", choices.join(", ")));
        }
        if required {
            text.push_str(" Required.");
        }
        page.push_str(&format!(
            ".TP\n.B {}\n{}\n",
            roff::paragraph(shown),
            roff::paragraph(&text)
        ));
        self.below(page, kind, shown);
    }

    fn below(&self, page: &mut String, kind: &Value, shown: &str) {
        self.fields(page, kind, shown);
        if kind["additionalProperties"].is_object() {
            let each = self.resolve(&kind["additionalProperties"]);
            self.fields(page, each, &format!("{shown}.NAME"));
        }
        if kind["items"].is_object() {
            let each = self.resolve(&kind["items"]);
            let shown = format!("{shown}[]");
            self.fields(page, each, &shown);
            for kind in each["oneOf"].as_array().into_iter().flatten() {
                if let Some(name) = kind["properties"]["kind"]["const"].as_str() {
                    let about = kind["description"].as_str().unwrap_or_default();
                    let heading = roff::paragraph(&format!("{shown} of kind {name}"));
                    page.push_str(&format!(".SS {heading}\n{}\n", roff::paragraph(about)));
                    self.fields(page, kind, &shown);
                }
            }
        }
    }

    fn fields(&self, page: &mut String, owner: &Value, shown: &str) {
        for name in owner["properties"]
            .as_object()
            .into_iter()
            .flatten()
            .map(|(name, _)| name)
        {
            // Said by the heading.
            if name != "kind" {
                self.field(page, owner, name, &format!("{shown}.{name}"));
            }
        }
    }

    /// Follows references, and takes what is not null of a choice.
    fn resolve<'v>(&'v self, value: &'v Value) -> &'v Value {
        if let Some(reference) = value["$ref"].as_str() {
            let pointer = reference.trim_start_matches('#');
            return self.schema.pointer(pointer).unwrap_or(value);
        }
        let choices = value["anyOf"].as_array().into_iter().flatten();
        let mut real = choices.filter(|choice| choice["type"] != "null");
        real.next().map_or(value, |choice| self.resolve(choice))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_of_the_schema_is_told() {
        let schema = cfgsync_spec::Spec::json_schema();
        let page = render(&schema);
        for field in [
            ".B ready.groups[].where\n",
            ".B metadata.NAME.one_of\n",
            ".B materializers[].files[].template_file\n",
            ".B materializers[].requires_registration\n",
            ".B materializers[].timeout\n",
        ] {
            assert!(page.contains(field), "{field}");
        }
        for section in schema["properties"].as_object().unwrap().keys() {
            assert!(SECTIONS.contains(&section.as_str()), "{section}");
        }
    }
}
