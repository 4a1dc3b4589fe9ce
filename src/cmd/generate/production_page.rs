//! cfgsync-production(7): the section "In production" of docs/src/operating.md, whose commands the end-to-end tests run.

use super::page::Page;

const HEADING: &str = "## In production";
const FENCE: &str = "```";

/// Returns the page made of `markdown`, or `None` if it has no such section.
pub(super) fn render(markdown: &str) -> Option<String> {
    let (_, rest) = markdown.split_once(&format!("\n{HEADING}\n"))?;
    let section = rest
        .split_once("\n## ")
        .map_or(rest, |(section, _)| section);
    let mut page = Page::new("cfgsync-production", "7");
    page.section("NAME");
    page.text(
        "cfgsync-production - a production setup with TLS, tokens, a state directory and systemd",
    );
    page.section("DESCRIPTION");
    // Fences separate text and code, so every second part is code.
    for (at, part) in section.split(FENCE).enumerate() {
        if at % 2 == 0 {
            add_paragraphs(&mut page, part);
        } else {
            let (_language, code) = part.split_once('\n').unwrap_or_default();
            page.unindented(code);
        }
    }
    page.see_also(&[
        ("cfgsync", 1),
        ("cfgsync-serve", 1),
        ("cfgsync-join", 1),
        ("cfgsync-token", 1),
        ("cfgsync-spec", 5),
        ("systemd.service", 5),
    ]);
    Some(page.render())
}

fn add_paragraphs(page: &mut Page, text: &str) {
    let paragraphs = text.split("\n\n").map(str::trim);
    for paragraph in paragraphs.filter(|text| !text.is_empty() && !text.starts_with("<!--")) {
        page.paragraph(&without_links(paragraph));
    }
}

/// Replaces each `[name](place)` by its name.
fn without_links(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, name, behind)) = rest.split_once('[').and_then(|(before, link)| {
        let (name, place) = link.split_once("](")?;
        let (_, behind) = place.split_once(')')?;
        Some((before, name, behind))
    }) {
        out.push_str(before);
        out.push_str(name);
        rest = behind;
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn page_has_the_section_with_its_code_in_the_first_column() {
        let markdown = "# x\n\n## In production\n\nTake `a`, see\n[b](c.md).\n\n<!-- tested: d -->\n```sh\ncat <<'E'\nE\n```\n\nEnd.\n\n## Next\n\nNo.\n";
        let page = render(markdown).unwrap();
        let text = ".PP\nTake \\fBa\\fR, see b.\n.PP\n.in 0\n.nf\ncat <<\\(aqE\\(aq\nE\n.fi\n.in\n.PP\nEnd.\n.SH \"SEE";
        assert!(page.contains(text), "{page}");
        assert!(!page.contains("tested") && !page.contains("No."), "{page}");
        assert_eq!(render("# x\n"), None);
    }
}
