//! Database Server: durable objects.

/// What the role asks of its engine.
#[derive(Debug)]
pub struct DatabaseRequest;

/// What the engine answers.
#[derive(Debug)]
pub struct DatabaseCompletion;
