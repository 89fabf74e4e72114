//! The parts of a parsed template.
//!
//! No construct keeps a value that a template made, repeats one, or makes a list. So a value is a
//! part of the finding, a constant of the template, or a text no longer than the budget of the
//! rendering.

use serde_json::Value;

/// A part of a template or of the body of a statement.
pub(super) enum Node {
    Text(String),
    Value(Expr),
    If {
        /// The conditions, and the nodes that each of them selects.
        branches: Vec<(Expr, Vec<Node>)>,
        otherwise: Vec<Node>,
    },
    For {
        name: String,
        list: Expr,
        body: Vec<Node>,
        otherwise: Vec<Node>,
    },
}

/// An expression. Chains are lists, so that only parentheses nest.
pub(super) enum Expr {
    Constant(Value),
    Name(String),
    /// A value, and what is taken from it.
    Steps(Box<Expr>, Vec<Step>),
    Concat(Vec<Expr>),
    And(Vec<Expr>),
    Or(Vec<Expr>),
    Not(Box<Expr>),
    Compare(Box<Expr>, Comparison, Box<Expr>),
    IsNone(Box<Expr>),
    Choice {
        condition: Box<Expr>,
        then: Box<Expr>,
        otherwise: Option<Box<Expr>>,
    },
}

/// A step from one value to the next.
pub(super) enum Step {
    Member(String),
    Index(Expr),
    Filter(Filter),
}

/// A function of a value.
pub(super) enum Filter {
    Default(Expr),
    First,
    Join(Option<Expr>),
    Last,
    Length,
    Lower,
    String,
    ToJson,
    Trim,
    Truncate(Expr),
    Upper,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Comparison {
    Equal,
    Less,
    LessOrEqual,
    In,
}
