//! cfgsync-spec(5): every field, from the JSON Schema, and the parts of the spec that a schema cannot describe.

use serde_json::Value;

use super::page::Page;

/// The sections in the order in which people write them; a schema has no order.
const SECTIONS: [&str; 14] = [
    "cfgsync",
    "cluster",
    "metadata",
    "ready",
    "requires",
    "lease",
    "rollout",
    "late",
    "identity",
    "on_conflict",
    "fail_fast",
    "once",
    "values",
    "materializers",
];

const EXAMPLE: &str = r#"cfgsync: 1
cluster: devnet
metadata:
  port: { type: integer, min: 1, max: 65535 }
  role: { one_of: [validator, observer], default: observer }
ready:
  nodes: 4
  groups:
    - { where: 'node.metadata.role == "validator"', count: 3 }
  settle: 2s
  deadline: 5m
once:
  cookie: random_hex(32)
materializers:
  - kind: template
    fragments:
      peers: |
        {%- for peer in nodes %}
          - {{ hostport(peer.ip, peer.metadata.port) | tojson }}
        {%- endfor %}
    files:
      - path: /config.yaml
        mode: "0640"
        template: |
          id: {{ node.identifier | tojson }}
          seat: {{ node.seat }}
          peers: {{ fragment("peers") }}
      - path: cookie
        shared: true
        template: "{{ once.cookie }}\\n"
"#;

const EXEC_OUTPUT: &str = r#"{"status": "not_ready", "message": "WHY"}
{"status": "ready",
 "nodes": {"ID": [{"path": "PATH", "content": "TEXT", "mode": "0640"}]},
 "shared": [{"path": "PATH", "content_base64": "BASE64"}]}
"#;

/// Returns the page.
pub(super) fn render(schema: &Value) -> String {
    let mut page = Page::new("cfgsync-spec", "5");
    page.section("NAME");
    page.text("cfgsync-spec - when a cluster is complete, and which files each node gets");
    page.section("DESCRIPTION");
    page.text(
        "A spec is a YAML file. `cfgsync serve` reads it and registers nodes until the rule in `ready` is satisfied. \
         Then it renders all files from one snapshot of the registrations, and seals them as a generation. `cfgsync \
         plan` checks a spec offline and shows which files each node would get.",
    );
    page.paragraph(
        "Unknown fields and wrong types are errors. Relative paths in a spec are relative to its directory.",
    );
    page.section("EXAMPLE");
    page.literal(EXAMPLE);
    page.section("FIELDS");
    let mut walk = Walk {
        schema,
        page: &mut page,
    };
    for section in SECTIONS {
        walk.field(schema, section, section);
    }
    add_language(&mut page);
    page.see_also(&[
        ("cfgsync", 1),
        ("cfgsync-serve", 1),
        ("cfgsync-plan", 1),
        ("cfgsync-production", 7),
    ]);
    page.render()
}

/// Adds what a schema cannot express: paths, expressions, templates and the protocol of programs.
fn add_language(page: &mut Page) {
    page.section("PATHS");
    page.text(
        "An artifact path is a name: the routes of a node decide where the file is written. A leading `/` is allowed \
         and has no meaning. Empty parts, `..`, control characters and `=` are errors. No two files of a node may \
         have the same path.",
    );
    page.section("EXPRESSIONS AND TEMPLATES");
    page.text(
        "Both are Jinja. An expression about one node can use `node`, with `identifier`, `ip`, `metadata` and, in a \
         sealed cluster, `seat`. All expressions can use `nodes`, `values`, `once` and `cluster`. Nothing is escaped \
         automatically: pass values that nodes send through `tojson`. An undefined name is an error; in `where`, it \
         means \"does not match\". An expression in `where` must give a boolean.",
    );
    page.paragraph("cfgsync adds these functions and filters:");
    for (names, meaning) in [
        (
            "tojson, toyaml, b64encode, b64decode, sha256",
            "Filters for one value.",
        ),
        (
            "hostport(ip, port)",
            "Joins an address and a port, with brackets around an IPv6 address.",
        ),
        ("cidr_host(net, n)", "The n-th address of a network."),
        (
            "ordinal",
            "Filter: the number at the end of a name. `zk-10` gives 10.",
        ),
        (
            "fragment(name)",
            "A text from `fragments`, which is rendered once for all nodes.",
        ),
        (
            "random_hex(n), random_base64url(n), now()",
            "Only in `once`: evaluated at the first seal, and kept.",
        ),
    ] {
        page.item(names, meaning);
    }
    page.section("EXEC");
    page.text(
        "The program of an `exec` materializer reads one JSON document from stdin, with the snapshot, `values` and \
         `once`. It prints one of these documents:",
    );
    page.literal(EXEC_OUTPUT);
    page.paragraph(
        "Its stderr goes to the server's log. If it fails, the last line of its stderr is part of the reason, which \
         all nodes get. With `secret: true`, neither is true.",
    );
}

/// Adds the fields of the schema to the page.
struct Walk<'a> {
    schema: &'a Value,
    page: &'a mut Page,
}

impl<'a> Walk<'a> {
    /// Adds the field `name` of the object `owner`, and the fields below it.
    fn field(&mut self, owner: &'a Value, name: &str, shown: &str) {
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
        self.page.item(shown, &text);
        self.below(kind, shown);
    }

    fn below(&mut self, kind: &'a Value, shown: &str) {
        self.fields(kind, shown);
        if kind["additionalProperties"].is_object() {
            let each = self.resolve(&kind["additionalProperties"]);
            self.fields(each, &format!("{shown}.NAME"));
        }
        if kind["items"].is_object() {
            let each = self.resolve(&kind["items"]);
            let shown = format!("{shown}[]");
            self.fields(each, &shown);
            for kind in each["oneOf"].as_array().into_iter().flatten() {
                if let Some(name) = kind["properties"]["kind"]["const"].as_str() {
                    let about = kind["description"].as_str().unwrap_or_default();
                    self.page.subsection(&format!("{shown} of kind {name}"));
                    self.page.text(about);
                    self.fields(kind, &shown);
                }
            }
        }
    }

    fn fields(&mut self, owner: &'a Value, shown: &str) {
        let fields = owner["properties"].as_object().into_iter().flatten();
        for (name, _) in fields {
            // The heading names the kind.
            if name != "kind" {
                self.field(owner, name, &format!("{shown}.{name}"));
            }
        }
    }

    /// Follows references, and takes the choice that is not null.
    fn resolve(&self, value: &'a Value) -> &'a Value {
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
    fn page_has_every_field_of_the_schema() {
        let schema = cfgsync_spec::Spec::json_schema();
        let page = render(&schema);
        for field in [
            "\\fBready.groups[].where\\fR\n",
            "\\fBmetadata.NAME.one_of\\fR\n",
            "\\fBmaterializers[].files[].template_file\\fR\n",
            "\\fBmaterializers[].requires_registration\\fR\n",
            "\\fBmaterializers[].timeout\\fR\n",
        ] {
            assert!(page.contains(field), "{field}");
        }
        for section in schema["properties"].as_object().unwrap().keys() {
            assert!(SECTIONS.contains(&section.as_str()), "{section}");
        }
    }
}
