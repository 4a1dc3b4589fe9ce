//! cfgsync-production(7): the section "In production" of docs/src/operating.md, whose commands the end-to-end tests run.

use super::roff;

const HEADING: &str = "## In production";
const FENCE: &str = "```";

const HEAD: &str = r"
.SH NAME
cfgsync\-production \- a production setup with TLS, tokens, a state directory and systemd
.SH DESCRIPTION
";

const TAIL: &str = r".SH SEE ALSO
.BR cfgsync (1),
.BR cfgsync\-serve (1),
.BR cfgsync\-join (1),
.BR cfgsync\-token (1),
.BR cfgsync\-spec (5),
.BR systemd.service (5)
";

/// Renders the whole manual page from the text of the book's page. `None` if it has no such section.
pub(super) fn render(operating: &str) -> Option<String> {
    let (_, rest) = operating.split_once(&format!("\n{HEADING}\n"))?;
    let section = rest
        .split_once("\n## ")
        .map_or(rest, |(section, _)| section);
    let mut page = format!(
        ".TH cfgsync-production 7 \"\" \"cfgsync {}\" \"cfgsync manual\"{HEAD}",
        env!("CARGO_PKG_VERSION")
    );
    // Text and code take turns.
    for (at, part) in section.split(FENCE).enumerate() {
        match at % 2 {
            0 => paragraphs(&mut page, part),
            _ => code(&mut page, part),
        }
    }
    page.push_str(TAIL);
    Some(page)
}

fn paragraphs(page: &mut String, text: &str) {
    let paragraphs = text.split("\n\n").map(str::trim);
    for paragraph in paragraphs.filter(|text| !text.is_empty() && !text.starts_with("<!--")) {
        let text = roff::paragraph(&without_links(paragraph));
        page.push_str(&format!(".PP\n{text}\n"));
    }
}

/// From the first column, or a pasted here-document would not end.
fn code(page: &mut String, block: &str) {
    let (_language, code) = block.split_once('\n').unwrap_or_default();
    page.push_str(&format!(
        ".PP\n.in 0\n.nf\n{}\n.fi\n.in\n",
        roff::lines(code)
    ));
}

/// `[name](place)` is its name.
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
    fn the_page_is_the_section_and_its_code_stands_in_the_first_column() {
        let operating = "# x\n\n## In production\n\nTake `a`, see\n[b](c.md).\n\n<!-- tested: d -->\n```sh\ncat <<'E'\nE\n```\n\nEnd.\n\n## Next\n\nNo.\n";
        let page = render(operating).unwrap();
        let text = ".PP\nTake \\fBa\\fR, see b.\n.PP\n.in 0\n.nf\ncat <<\\(aqE\\(aq\nE\n.fi\n.in\n.PP\nEnd.\n.SH SEE";
        assert!(page.contains(text), "{page}");
        assert!(!page.contains("tested") && !page.contains("No."), "{page}");
        assert_eq!(render("# x\n"), None);
    }
}
