//! Parses texts into syntax trees, and reports syntax errors.

use minijinja::{
    Error,
    machinery::{
        self, Token,
        ast::{Expr, Stmt},
    },
};

use super::{
    engine::{Whitespace, catch_panic, syntax},
    engine_error::{from_engine, invalid_operation},
    error::JinjaError,
};

/// Maximum number of operators in one expression, and of `elif` branches in one template. The engine walks its syntax
/// tree recursively, and a few thousand levels would overflow the stack.
const NESTING_MAX: usize = 500;

/// Parses a template. Fails with the first syntax error.
pub(super) fn parse_template<'a>(
    name: &'a str,
    source: &'a str,
    whitespace: Whitespace,
) -> Result<Stmt<'a>, JinjaError> {
    catch_panic(|| {
        check_tokens(source, false)?;
        machinery::parse(source, name, syntax(whitespace))
    })
    .map_err(|error| syntax_error(&error, source))
}

/// Parses an expression. Fails with the first syntax error.
pub(super) fn parse_expression(source: &str) -> Result<Expr<'_>, JinjaError> {
    let parsed =
        catch_panic(|| check_tokens(source, true).and_then(|()| machinery::parse_expr(source)));
    parsed.map_err(|error| {
        let error = syntax_error(&error, source);
        if source.trim_start().starts_with("{{") {
            return error.with_help("write an expression without `{{ }}`".to_owned());
        }
        error
    })
}

/// Reads all tokens of the text, and fails at an invalid one or if an expression has too many operators.
///
/// The engine's parser may take an invalid character for the end of the text: from `a == 1 && b`, it would silently keep
/// `a == 1`.
fn check_tokens(source: &str, in_expression: bool) -> Result<(), Error> {
    // The depth of the syntax tree: one level for each operator, also counted for each bracket. A comma ends the levels
    // of its bracket.
    let mut depth = 0;
    let mut brackets = vec![0];
    let mut branches = 0;
    let mut after_value = false;
    for token in machinery::tokenize(source, in_expression, syntax(Whitespace::default())) {
        let (token, _) = token?;
        let is_opening = matches!(
            token,
            Token::BracketOpen | Token::ParenOpen | Token::BraceOpen
        );
        if is_operator(&token) || (is_opening && after_value) {
            depth += 1;
            if let Some(innermost) = brackets.last_mut() {
                *innermost += 1;
            }
        }
        match token {
            Token::VariableStart | Token::BlockStart => {
                depth = 0;
                brackets = vec![0];
            }
            Token::Comma => depth -= brackets.last_mut().map_or(0, std::mem::take),
            Token::BracketClose | Token::ParenClose | Token::BraceClose => {
                depth -= brackets.pop().unwrap_or(0);
            }
            Token::Ident("elif") => branches += 1,
            _ if is_opening => brackets.push(0),
            _ => {}
        }
        if depth > NESTING_MAX {
            return Err(invalid_operation(format!(
                "an expression can have at most {NESTING_MAX} operators"
            )));
        }
        if branches > NESTING_MAX {
            return Err(invalid_operation(format!(
                "a template can have at most {NESTING_MAX} `elif` branches"
            )));
        }
        after_value = matches!(
            token,
            Token::Ident(_) | Token::Str(_) | Token::BracketClose | Token::ParenClose
        );
    }
    Ok(())
}

/// Returns whether this token adds a level to the engine's syntax tree.
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

/// Converts a syntax error. If an operator of another language caused it, the help has that of Jinja.
fn syntax_error(error: &Error, source: &str) -> JinjaError {
    let error = from_engine(error, source).error;
    let start = error.range.as_ref().map_or(0, |range| range.start);
    let (before, rest) = source.split_at_checked(start).unwrap_or_default();
    let help = match rest.as_bytes() {
        [b'&', b'&', ..] => Some("write `and` instead of `&&`"),
        [b'|', ..] if before.ends_with('|') => Some("write `or` instead of `||`"),
        [b'!', ..] => Some("write `not` instead of `!`"),
        [b'=', after, ..] if *after != b'=' => Some("write `==` instead of `=`"),
        _ => None,
    };
    error.with_help(help.map(str::to_owned))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_operators_but_not_list_items() {
        for operator in [
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
            let chain = |length: usize| format!("x{}", operator.repeat(length));
            parse_expression(&chain(100)).map(drop).unwrap();
            for length in [NESTING_MAX + 1, 100_000] {
                let error = parse_expression(&chain(length)).map(drop).unwrap_err();
                assert_eq!(
                    error.message, "an expression can have at most 500 operators",
                    "{operator}"
                );
                let template = format!("{{{{ {} }}}}", chain(length));
                assert!(parse_template("t", &template, Whitespace::default()).is_err());
            }
        }
        parse_expression(&format!(
            "x in [{}]",
            "('a', ['b'], -1, x.y), ".repeat(5000)
        ))
        .map(drop)
        .unwrap();
        parse_template("t", &"{{ a.b }}".repeat(5000), Whitespace::default())
            .map(drop)
            .unwrap();
        let branches = format!(
            "{{% if x %}}{}{{% endif %}}",
            "{% elif x %}".repeat(100_000)
        );
        assert!(parse_template("t", &branches, Whitespace::default()).is_err());
        for deep in ["(", "[", "{1:", "not "] {
            assert!(parse_expression(&deep.repeat(100_000)).is_err());
        }
    }
}
