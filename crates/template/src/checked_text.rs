//! Limits the values that operators build and that `set` keeps. Such a value can grow in each round of a loop, or at each
//! call of a macro.
//!
//! The engine has no hook for operators and assignments. So the text that it compiles is changed, and positions in errors
//! are converted back:
//!
//! | in the template | compiled |
//! | --- | --- |
//! | `set x = a` | `set x =( a )\|cfgsync_text` |
//! | `a ~ b` | `(a )\|cfgsync_concat( b)` |
//! | `a + b` | `(a + b)\|cfgsync_sum` |

use std::{cmp::Reverse, ops::Range};

use minijinja::machinery::{
    self, Token,
    ast::{BinOpKind, Expr, Stmt},
};

use super::{
    engine::{Whitespace, syntax},
    functions::{ASSIGNED_TEXT_FILTER, ASSIGNED_VALUE_FILTER, CONCAT_FILTER, SUM_FILTER},
    syntax_tree::{SyntaxNode, walk_expression, walk_statement},
};

/// The text that the engine compiles in place of a template or expression.
pub(super) struct CheckedText {
    pub(super) text: String,
    /// The changed parts, in their order.
    changes: Vec<Change>,
}

/// A part of the checked text that is not in the original.
struct Change {
    /// The end of the part in the checked text, in bytes.
    end: usize,
    length: usize,
    /// The number of bytes of the original that it replaces.
    replaced: usize,
}

/// A change of the original.
struct Edit {
    at: usize,
    /// The order of edits at the same position: an inner operand ends before an outer one, and both end before the next
    /// begins.
    order: (u8, Reverse<usize>),
    replaced: usize,
    text: String,
}

impl Edit {
    fn end(at: usize, start_of_operation: usize, text: String) -> Self {
        Self {
            at,
            order: (0, Reverse(start_of_operation)),
            replaced: 0,
            text,
        }
    }

    fn middle(at: usize, replaced: usize, text: String) -> Self {
        Self {
            at,
            order: (1, Reverse(0)),
            replaced,
            text,
        }
    }

    fn start(at: usize) -> Self {
        Self {
            at,
            order: (2, Reverse(0)),
            replaced: 0,
            text: "(".to_owned(),
        }
    }
}

impl CheckedText {
    /// Adds the checks to `source`, a template whose syntax tree is `parsed`.
    pub(super) fn of_template(source: &str, parsed: &Stmt<'_>) -> Self {
        let tokens = Tokens::of(source, false);
        let mut edits = assignments(&tokens);
        walk_statement(parsed, &mut |node| {
            add_operation(&node, &tokens, &mut edits);
        });
        Self::new(source, edits)
    }

    /// Adds the checks to `source`, an expression whose syntax tree is `parsed`.
    pub(super) fn of_expression(source: &str, parsed: &Expr<'_>) -> Self {
        let tokens = Tokens::of(source, true);
        let mut edits = Vec::new();
        walk_expression(parsed, &mut |node| {
            add_operation(&node, &tokens, &mut edits);
        });
        Self::new(source, edits)
    }

    fn new(source: &str, mut edits: Vec<Edit>) -> Self {
        edits.sort_by_key(|edit| (edit.at, edit.order));
        let mut text = String::with_capacity(source.len());
        let mut changes = Vec::with_capacity(edits.len());
        let mut copied = 0;
        for edit in edits {
            text.push_str(&source[copied..edit.at]);
            text.push_str(&edit.text);
            copied = edit.at + edit.replaced;
            changes.push(Change {
                end: text.len(),
                length: edit.text.len(),
                replaced: edit.replaced,
            });
        }
        text.push_str(&source[copied..]);
        Self { text, changes }
    }

    /// Returns the position in the original for a position in the checked text, both in bytes.
    pub(super) fn original_position(&self, at: usize) -> usize {
        let (mut checked_bytes, mut original_bytes) = (0, 0);
        for change in &self.changes {
            if at < change.end {
                // Within a changed part, the position is that of the original behind it.
                let before = original_bytes + (change.end - change.length - checked_bytes);
                let here = original_bytes + (at - checked_bytes);
                return here.min(before);
            }
            original_bytes += change.end - change.length - checked_bytes + change.replaced;
            checked_bytes = change.end;
        }
        original_bytes + (at - checked_bytes)
    }
}

/// The tokens of a text, with their ranges in bytes.
struct Tokens<'a>(Vec<(Token<'a>, Range<usize>)>);

impl<'a> Tokens<'a> {
    fn of(source: &'a str, in_expression: bool) -> Self {
        // The settings of white space do not change where a statement is.
        let syntax = syntax(Whitespace::default());
        let tokens = machinery::tokenize(source, in_expression, syntax).map_while(Result::ok);
        let tokens = tokens.map(|(token, span)| {
            let range = span.start_offset as usize..span.end_offset as usize;
            (token, range)
        });
        Self(tokens.collect())
    }

    /// Returns the range of the last `~` in `range` that is in no bracket.
    fn last_tilde(&self, range: &Range<usize>) -> Option<Range<usize>> {
        let first = self.0.partition_point(|(_, at)| at.start < range.start);
        let within = self.0[first..]
            .iter()
            .take_while(|(_, at)| at.end <= range.end);
        let mut depth = 0_usize;
        let mut last = None;
        for (token, at) in within {
            match token {
                Token::ParenOpen | Token::BracketOpen | Token::BraceOpen => depth += 1,
                Token::ParenClose | Token::BracketClose | Token::BraceClose => {
                    depth = depth.saturating_sub(1);
                }
                Token::Tilde if depth == 0 => last = Some(at.clone()),
                _ => {}
            }
        }
        last
    }
}

/// Returns the edits that check the value of each `set`.
fn assignments(tokens: &Tokens<'_>) -> Vec<Edit> {
    let mut edits = Vec::new();
    let mut tokens = tokens.0.iter();
    while let Some((token, _)) = tokens.next() {
        if !matches!(token, Token::BlockStart)
            || !matches!(tokens.next(), Some((Token::Ident("set"), _)))
        {
            continue;
        }
        let mut filter = ASSIGNED_TEXT_FILTER;
        let mut is_block = true;
        for (token, at) in tokens.by_ref() {
            match token {
                // The attribute of a namespace keeps its value beyond a round of the loop.
                Token::Dot if is_block => filter = ASSIGNED_VALUE_FILTER,
                Token::Assign if is_block => {
                    is_block = false;
                    edits.push(Edit::start(at.end));
                }
                // The filter of `{% set x | filter %}` ends what can be a namespace.
                Token::BlockEnd => {
                    let end = if is_block { "" } else { ")" };
                    edits.push(Edit::middle(at.start, 0, format!("{end}|{filter}")));
                    break;
                }
                _ => {}
            }
        }
    }
    edits
}

/// Adds the edits for `node` if it is `a ~ b` or `a + b`.
fn add_operation(node: &SyntaxNode<'_, '_>, tokens: &Tokens<'_>, edits: &mut Vec<Edit>) {
    let SyntaxNode::Expression(Expr::BinOp(operation)) = node else {
        return;
    };
    let span = operation.span();
    let range = span.start_offset as usize..span.end_offset as usize;
    match operation.op {
        BinOpKind::Concat => {
            let Some(tilde) = tokens.last_tilde(&range) else {
                return;
            };
            let call = format!(")|{CONCAT_FILTER}(");
            edits.push(Edit::middle(tilde.start, tilde.len(), call));
            edits.push(Edit::end(range.end, range.start, ")".to_owned()));
        }
        BinOpKind::Add => {
            let check = format!(")|{SUM_FILTER}");
            edits.push(Edit::end(range.end, range.start, check));
        }
        _ => return,
    }
    edits.push(Edit::start(range.start));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parser::{parse_expression, parse_template};

    fn checked_text(source: &str) -> CheckedText {
        let parsed = parse_template("t", source, Whitespace::default()).unwrap();
        CheckedText::of_template(source, &parsed)
    }

    #[test]
    fn checks_the_result_of_each_operator() {
        for (source, checked) in [
            ("a ~ b", "(a )|cfgsync_concat( b)"),
            ("a~b~c", "((a)|cfgsync_concat(b))|cfgsync_concat(c)"),
            (
                "-a.b ~ (c ~ d) | upper",
                "(-a.b )|cfgsync_concat( ((c )|cfgsync_concat( d)) | upper)",
            ),
            (
                "a + b ~ c - d",
                "(a + (b )|cfgsync_concat( c))|cfgsync_sum - d",
            ),
            ("(a + b) + c", "(((a + b)|cfgsync_sum) + c)|cfgsync_sum"),
            (
                "f(a + b, x=[c ~ '~'])[d + 1]",
                "f((a + b)|cfgsync_sum, x=[(c )|cfgsync_concat( '~')])[(d + 1)|cfgsync_sum]",
            ),
            (
                "a ~ b if c ~ d else e + f",
                "(a )|cfgsync_concat( b) if (c )|cfgsync_concat( d) else (e + f)|cfgsync_sum",
            ),
        ] {
            let parsed = parse_expression(source).unwrap();
            let text = CheckedText::of_expression(source, &parsed).text;
            assert_eq!(text, checked, "{source}");
            parse_expression(&text).unwrap();
        }
        let text = checked_text("{% set a =b~c%}{{- a+b -}}").text;
        assert_eq!(
            text,
            "{% set a =((b)|cfgsync_concat(c))|cfgsync_text%}{{- (a+b)|cfgsync_sum -}}"
        );
    }

    #[test]
    fn checks_the_value_of_each_set() {
        for (source, checked) in [
            ("{{ a }} set x = 1", "{{ a }} set x = 1"),
            (
                "{% set a = 1, 2 -%}x",
                "{% set a =( 1, 2 )|cfgsync_text-%}x",
            ),
            (
                "{% set ns.a = b == c.d %}",
                "{% set ns.a =( b == c.d )|cfgsync_value%}",
            ),
            (
                "{% set a | upper %}b{% endset %}",
                "{% set a | upper |cfgsync_text%}b{% endset %}",
            ),
            (
                "{% raw %}{% set a = 1 %}{% endraw %}{# {% set a = 1 %} #}",
                "{% raw %}{% set a = 1 %}{% endraw %}{# {% set a = 1 %} #}",
            ),
        ] {
            assert_eq!(checked_text(source).text, checked);
        }
    }

    #[test]
    fn positions_are_those_of_the_template() {
        let source = "{% set a = b %}{% set c = d %}{{ f ~ g ~ h + i }}{{ e }}";
        let checked = checked_text(source);
        for name in ["a", "b", "c", "d", "g", "h", "i", "e }}"] {
            let find = |text: &str| text.find(&format!(" {name}")).unwrap();
            assert_eq!(
                checked.original_position(find(&checked.text)),
                find(source),
                "{name}"
            );
        }
        let length = checked.text.len();
        assert_eq!(checked.original_position(length), source.len());
        let filter = checked.text.find("cfgsync_text").unwrap();
        assert_eq!(
            checked.original_position(filter),
            source.find(" %}").unwrap() + 1
        );
    }
}
