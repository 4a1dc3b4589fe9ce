//! Builds manual pages. Escaping is the job of the crate `roff`.

use roff::{Inline, Roff, bold, roman};

/// The characters that roff prints as prettier ones, and how to keep them: people copy commands from a page.
const KEPT: [(char, &str); 4] = [
    ('\'', "\\(aq"),
    ('`', "\\(ga"),
    ('^', "\\(ha"),
    ('~', "\\(ti"),
];

/// A manual page, or some sections of one.
#[derive(Default)]
pub(super) struct Page(Roff);

impl Page {
    /// Starts a page of this name and section.
    pub(super) fn new(name: &str, section: &str) -> Self {
        let mut page = Self::default();
        let version = concat!("cfgsync ", env!("CARGO_PKG_VERSION"));
        // The third argument, the date, is empty: `roff` puts quotes around spaces only.
        let title = [name, section, "\"\"", version, "cfgsync manual"];
        page.0.control("TH", title);
        page
    }

    /// Starts a section.
    pub(super) fn section(&mut self, title: &str) {
        self.0.control("SH", [title]);
    }

    /// Starts a part of a section.
    pub(super) fn subsection(&mut self, title: &str) {
        self.0.control("SS", [title.replace('-', "\\-").as_str()]);
    }

    /// Adds text to the current paragraph. Text between backticks is bold.
    pub(super) fn text(&mut self, text: &str) {
        self.0.text(inlines(&text.replace('\n', " ")));
    }

    /// Adds a paragraph. Text between backticks is bold.
    pub(super) fn paragraph(&mut self, text: &str) {
        self.0.control("PP", []);
        self.text(text);
    }

    /// Adds a term and its description.
    pub(super) fn item(&mut self, term: &str, description: &str) {
        self.item_with(term, "", description);
    }

    /// Adds a term with operands, and its description.
    pub(super) fn item_with(&mut self, term: &str, operands: &str, description: &str) {
        self.0.control("TP", []);
        self.0.text([bold(term), roman(operands)]);
        self.text(description);
    }

    /// Adds lines that are printed as they are.
    pub(super) fn literal(&mut self, lines: &str) {
        self.0.control("nf", []);
        for line in lines.lines() {
            self.0.text([roman(line)]);
        }
        self.0.control("fi", []);
    }

    /// Adds lines that are printed as they are, from the first column: indented, a here-document would not end.
    pub(super) fn unindented(&mut self, lines: &str) {
        self.0.control("PP", []);
        self.0.control("in", ["0"]);
        self.literal(lines);
        self.0.control("in", []);
    }

    /// Adds the section with references to other pages.
    pub(super) fn see_also(&mut self, pages: &[(&str, u8)]) {
        self.section("SEE ALSO");
        for (at, (name, section)) in pages.iter().enumerate() {
            let comma = if at + 1 < pages.len() { "," } else { "" };
            let section = format!("({section}){comma}");
            self.0.text([bold(*name), roman(section)]);
        }
    }

    /// Returns the source of the page.
    pub(super) fn render(&self) -> String {
        KEPT.iter().fold(self.0.to_roff(), |text, (letter, kept)| {
            text.replace(*letter, kept)
        })
    }
}

/// Splits at backticks: what is between two of them is bold.
fn inlines(text: &str) -> Vec<Inline> {
    let parts = text.split('`').enumerate();
    let parts = parts.filter(|(_, part)| !part.is_empty());
    parts
        .map(|(at, part)| if at % 2 == 0 { roman(part) } else { bold(part) })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(build: impl FnOnce(&mut Page)) -> String {
        let mut page = Page::default();
        build(&mut page);
        page.render()
    }

    #[test]
    fn shell_text_stays_what_it_is() {
        assert_eq!(
            body(|page| page.literal("echo 'a' | grep -v '^~'\n. ./env `x`")),
            ".nf\necho \\(aqa\\(aq | grep \\-v \\(aq\\(ha\\(ti\\(aq\n\\&. ./env \\(gax\\(ga\n.fi\n"
        );
    }

    #[test]
    fn code_is_bold_and_no_text_is_a_request() {
        assert_eq!(
            body(|page| page.text("`a-b`\nand c's")),
            "\\fBa\\-b\\fR and c\\(aqs\n"
        );
        assert_eq!(body(|page| page.text("...")), "\\&...\n");
    }

    #[test]
    fn references_are_a_list() {
        assert_eq!(
            body(|page| page.see_also(&[("a", 1), ("b-c", 5)])),
            ".SH \"SEE ALSO\"\n\\fBa\\fR(1),\n\\fBb\\-c\\fR(5)\n"
        );
    }
}
