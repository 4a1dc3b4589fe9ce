//! Visits every statement and expression of a syntax tree.

use minijinja::machinery::ast::{CallArg, CallType, Expr, Macro, Stmt};

/// A node of the syntax tree.
pub(super) enum SyntaxNode<'a, 's> {
    Statement(&'a Stmt<'s>),
    Expression(&'a Expr<'s>),
    /// A variable to which a `set`, a loop or a macro assigns.
    Target(&'a Expr<'s>),
}

pub(super) type Visitor<'v> = dyn FnMut(SyntaxNode<'_, '_>) + 'v;

pub(super) fn walk_statement(statement: &Stmt<'_>, visit: &mut Visitor<'_>) {
    visit(SyntaxNode::Statement(statement));
    match statement {
        Stmt::Template(s) => walk_all(&s.children, visit),
        Stmt::EmitExpr(s) => walk_expression(&s.expr, visit),
        Stmt::EmitRaw(_)
        | Stmt::Extends(_)
        | Stmt::Include(_)
        | Stmt::Import(_)
        | Stmt::FromImport(_) => {}
        Stmt::ForLoop(s) => {
            walk_target(&s.target, visit);
            walk_expression(&s.iter, visit);
            walk_option(s.filter_expr.as_ref(), visit);
            walk_all(&s.body, visit);
            walk_all(&s.else_body, visit);
        }
        Stmt::IfCond(s) => {
            walk_expression(&s.expr, visit);
            walk_all(&s.true_body, visit);
            walk_all(&s.false_body, visit);
        }
        Stmt::WithBlock(s) => {
            for (target, expression) in &s.assignments {
                walk_target(target, visit);
                walk_expression(expression, visit);
            }
            walk_all(&s.body, visit);
        }
        Stmt::Set(s) => {
            walk_target(&s.target, visit);
            walk_expression(&s.expr, visit);
        }
        Stmt::SetBlock(s) => {
            walk_target(&s.target, visit);
            walk_option(s.filter.as_ref(), visit);
            walk_all(&s.body, visit);
        }
        Stmt::AutoEscape(s) => {
            walk_expression(&s.enabled, visit);
            walk_all(&s.body, visit);
        }
        Stmt::FilterBlock(s) => {
            walk_expression(&s.filter, visit);
            walk_all(&s.body, visit);
        }
        Stmt::Block(s) => walk_all(&s.body, visit),
        Stmt::Macro(s) => walk_macro(s, visit),
        Stmt::CallBlock(s) => {
            walk_call(
                &s.call.expr,
                matches!(s.call.identify_call(), CallType::Function(_)),
                visit,
            );
            walk_args(&s.call.args, visit);
            walk_macro(&s.macro_decl, visit);
        }
        Stmt::Do(s) => {
            walk_call(
                &s.call.expr,
                matches!(s.call.identify_call(), CallType::Function(_)),
                visit,
            );
            walk_args(&s.call.args, visit);
        }
    }
}

pub(super) fn walk_expression(expression: &Expr<'_>, visit: &mut Visitor<'_>) {
    visit(SyntaxNode::Expression(expression));
    match expression {
        Expr::Var(_) | Expr::Const(_) => {}
        Expr::Slice(e) => {
            walk_expression(&e.expr, visit);
            walk_option(e.start.as_ref(), visit);
            walk_option(e.stop.as_ref(), visit);
            walk_option(e.step.as_ref(), visit);
        }
        Expr::UnaryOp(e) => walk_expression(&e.expr, visit),
        Expr::BinOp(e) => {
            walk_expression(&e.left, visit);
            walk_expression(&e.right, visit);
        }
        Expr::Compare(e) => {
            walk_expression(&e.expr, visit);
            e.ops.iter().for_each(|op| walk_expression(&op.expr, visit));
        }
        Expr::IfExpr(e) => {
            walk_expression(&e.test_expr, visit);
            walk_expression(&e.true_expr, visit);
            walk_option(e.false_expr.as_ref(), visit);
        }
        Expr::Filter(e) => {
            walk_option(e.expr.as_ref(), visit);
            walk_args(&e.args, visit);
        }
        Expr::Test(e) => {
            walk_expression(&e.expr, visit);
            walk_args(&e.args, visit);
        }
        Expr::GetAttr(e) => walk_expression(&e.expr, visit),
        Expr::GetItem(e) => {
            walk_expression(&e.expr, visit);
            walk_expression(&e.subscript_expr, visit);
        }
        Expr::Call(e) => {
            walk_call(
                &e.expr,
                matches!(e.identify_call(), CallType::Function(_)),
                visit,
            );
            walk_args(&e.args, visit);
        }
        Expr::List(e) => e.items.iter().for_each(|item| walk_expression(item, visit)),
        Expr::Tuple(e) => e.items.iter().for_each(|item| walk_expression(item, visit)),
        Expr::Map(e) => {
            e.keys
                .iter()
                .chain(&e.values)
                .for_each(|item| walk_expression(item, visit));
        }
    }
}

/// Visits the callee of a call. The name of a function is not a variable: the visitor gets it with the call.
fn walk_call(callee: &Expr<'_>, is_function: bool, visit: &mut Visitor<'_>) {
    if !is_function {
        walk_expression(callee, visit);
    }
}

fn walk_macro(definition: &Macro<'_>, visit: &mut Visitor<'_>) {
    definition
        .args
        .iter()
        .for_each(|arg| walk_target(arg, visit));
    definition
        .defaults
        .iter()
        .for_each(|default| walk_expression(default, visit));
    walk_all(&definition.body, visit);
}

fn walk_target(target: &Expr<'_>, visit: &mut Visitor<'_>) {
    match target {
        Expr::Var(_) => visit(SyntaxNode::Target(target)),
        Expr::List(list) => list.items.iter().for_each(|item| walk_target(item, visit)),
        Expr::Tuple(tuple) => tuple.items.iter().for_each(|item| walk_target(item, visit)),
        // `set ns.x = …` does not define `ns` but uses it.
        other => walk_expression(other, visit),
    }
}

fn walk_all(statements: &[Stmt<'_>], visit: &mut Visitor<'_>) {
    for statement in statements {
        walk_statement(statement, visit);
    }
}

fn walk_option(expression: Option<&Expr<'_>>, visit: &mut Visitor<'_>) {
    if let Some(expression) = expression {
        walk_expression(expression, visit);
    }
}

fn walk_args(args: &[CallArg<'_>], visit: &mut Visitor<'_>) {
    for arg in args {
        match arg {
            CallArg::Pos(e)
            | CallArg::Kwarg(_, e)
            | CallArg::PosSplat(e)
            | CallArg::KwargSplat(e) => {
                walk_expression(e, visit);
            }
        }
    }
}
