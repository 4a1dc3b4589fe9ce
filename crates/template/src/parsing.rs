//! From text to syntax tree, and what is said where that fails.

use minijinja::{
    Error,
    machinery::{
        self, Token,
        ast::{Expr, Stmt},
    },
};

use super::{
    engine::{guarded, syntax},
    error::{JinjaError, fault, from_engine},
};

/// Most operators in one expression, and most `elif`s in one template: the engine walks its tree by
/// recursion, which a chain of some thousands would lead off the stack.
const LINKS_MAX: usize = 500;

/// Parses a template, or says where its syntax is wrong.
pub(super) fn parse_template<'a>(name: &'a str, source: &'a str) -> Result<Stmt<'a>, JinjaError> {
    guarded(|| read_all(source, false).and_then(|()| machinery::parse(source, name, syntax())))
        .map_err(|error| syntax_error(&error, source))
}

/// Parses an expression, or says where its syntax is wrong.
pub(super) fn parse_expression(source: &str) -> Result<Expr<'_>, JinjaError> {
    let parsed = guarded(|| read_all(source, true).and_then(|()| machinery::parse_expr(source)));
    parsed.map_err(|error| {
        let error = syntax_error(&error, source);
        if source.trim_start().starts_with("{{") {
            return error.with_help("an expression stands without `{{ }}`".to_owned());
        }
        error
    })
}

/// Reads the text to its end. The engine's parser may take a character that it cannot read for the end of
/// the text: of `a == 1 && b` it would silently keep `a == 1`.
fn read_all(source: &str, in_expression: bool) -> Result<(), Error> {
    // How many operators are open: in all, and for each bracket. A comma ends those of its own bracket.
    let mut open = 0;
    let mut brackets = vec![0];
    let mut branches = 0;
    let mut after_value = false;
    for token in machinery::tokenize(source, in_expression, syntax()) {
        let (token, _) = token?;
        let is_opening = matches!(
            token,
            Token::BracketOpen | Token::ParenOpen | Token::BraceOpen
        );
        if is_operator(&token) || (is_opening && after_value) {
            open += 1;
            if let Some(innermost) = brackets.last_mut() {
                *innermost += 1;
            }
        }
        match token {
            Token::VariableStart | Token::BlockStart => {
                open = 0;
                brackets = vec![0];
            }
            Token::Comma => open -= brackets.last_mut().map_or(0, std::mem::take),
            Token::BracketClose | Token::ParenClose | Token::BraceClose => {
                open -= brackets.pop().unwrap_or(0);
            }
            Token::Ident("elif") => branches += 1,
            _ if is_opening => brackets.push(0),
            _ => {}
        }
        if open.max(branches) > LINKS_MAX {
            return Err(fault(format!(
                "an expression has at most {LINKS_MAX} operators"
            )));
        }
        after_value = matches!(
            token,
            Token::Ident(_) | Token::Str(_) | Token::BracketClose | Token::ParenClose
        );
    }
    Ok(())
}

/// Whether the engine's tree gets one level deeper by this token.
fn is_operator(token: &Token<'_>) -> bool {
    match token {
        Token::Ident(word) => matches!(*word, "and" | "or" | "not" | "if" | "is" | "in"),
        Token::Plus
        | Token::Minus
        | Token::Mul
        | Token::Div
        | Token::FloorDiv
        | Token::Pow
        | Token::Mod
        | Token::Dot
        | Token::Tilde
        | Token::Pipe
        | Token::Eq
        | Token::Ne
        | Token::Gt
        | Token::Gte
        | Token::Lt
        | Token::Lte => true,
        _ => false,
    }
}

/// The error, with a way out where an operator of another language stands where the syntax went wrong.
fn syntax_error(error: &Error, source: &str) -> JinjaError {
    let error = from_engine(error, source).error;
    let start = error.range.as_ref().map_or(0, |range| range.start);
    let (before, wrong) = source.split_at_checked(start).unwrap_or_default();
    let help = match wrong.as_bytes() {
        [b'&', b'&', ..] => Some("write `and` for `&&`"),
        [b'|', ..] if before.ends_with('|') => Some("write `or` for `||`"),
        [b'!', ..] => Some("write `not` for `!`"),
        [b'=', after, ..] if *after != b'=' => Some("write `==` for `=`"),
        _ => None,
    };
    error.with_help(help.map(str::to_owned))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_chains_are_refused_and_long_lists_are_not() {
        for link in [
            ".a",
            "+1",
            "|upper",
            "[0]",
            "(1)",
            " or x",
            " ~ 'x'",
            " if x",
            " is defined",
            " < 1",
        ] {
            let chain = |length: usize| format!("x{}", link.repeat(length));
            parse_expression(&chain(100)).map(drop).unwrap();
            for length in [LINKS_MAX + 1, 100_000] {
                let error = parse_expression(&chain(length)).map(drop).unwrap_err();
                assert_eq!(
                    error.message, "an expression has at most 500 operators",
                    "{link}"
                );
                let template = format!("{{{{ {} }}}}", chain(length));
                assert!(parse_template("t", &template).is_err());
            }
        }
        parse_expression(&format!(
            "x in [{}]",
            "('a', ['b'], -1, x.y), ".repeat(5000)
        ))
        .map(drop)
        .unwrap();
        parse_template("t", &"{{ a.b }}".repeat(5000))
            .map(drop)
            .unwrap();
        let branches = format!(
            "{{% if x %}}{}{{% endif %}}",
            "{% elif x %}".repeat(100_000)
        );
        assert!(parse_template("t", &branches).is_err());
        for deep in ["(", "[", "{1:", "not "] {
            assert!(parse_expression(&deep.repeat(100_000)).is_err());
        }
    }
}
