//! Values in DC syntax, as they were written, before they meet a type.

use crate::source::Span;

#[derive(Clone, Debug)]
pub(crate) struct Literal {
    pub span: Span,
    pub label: Option<Box<str>>,
    pub node: LiteralNode,
    pub repeat: u64,
}

#[derive(Clone, Debug)]
pub(crate) enum LiteralNode {
    Int(i128),
    Real(f64),
    Text(Vec<u8>),
    /// Hex: the packed bytes themselves, whatever the type.
    Packed(Vec<u8>),
    List(Vec<Literal>),
}

/// What can be packed: literals of a DC text, and values of a program.
pub(crate) trait Item: Sized {
    fn node(&self) -> Node<'_, Self>;

    fn label(&self) -> Option<&str> {
        None
    }

    /// How many equal items this one stands for.
    fn repeat(&self) -> u64 {
        1
    }
}

pub(crate) enum Node<'a, I> {
    Int(i128),
    Real(f64),
    Text(&'a [u8]),
    Packed(&'a [u8]),
    List(&'a [I]),
}

impl<I> Node<'_, I> {
    pub fn describe(&self) -> &'static str {
        match self {
            Node::Int(_) | Node::Real(_) => "a number",
            Node::Text(_) => "text",
            Node::Packed(_) => "packed bytes",
            Node::List(_) => "a list",
        }
    }
}

impl Item for Literal {
    fn node(&self) -> Node<'_, Self> {
        match &self.node {
            LiteralNode::Int(value) => Node::Int(*value),
            LiteralNode::Real(value) => Node::Real(*value),
            LiteralNode::Text(bytes) => Node::Text(bytes),
            LiteralNode::Packed(bytes) => Node::Packed(bytes),
            LiteralNode::List(items) => Node::List(items),
        }
    }

    fn label(&self) -> Option<&str> {
        self.label.as_deref()
    }

    fn repeat(&self) -> u64 {
        self.repeat
    }
}
