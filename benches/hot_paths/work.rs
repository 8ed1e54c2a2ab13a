//! The hot paths, each as something to repeat: timed by the bench beside this file, counted in instructions by
//! `benches/instructions`.

#[path = "clients.rs"]
mod clients;
#[path = "routing.rs"]
mod routing;

/// One hot path.
pub struct Work {
    pub name: String,
    /// Operations of one repetition: messages, deliveries, frames.
    pub operations: u64,
    pub repeat: Box<dyn FnMut()>,
}

impl Work {
    fn new(name: impl Into<String>, operations: u64, repeat: impl FnMut() + 'static) -> Self {
        Self { name: name.into(), operations, repeat: Box::new(repeat) }
    }
}

pub fn all() -> Vec<Work> {
    let mut all = routing::all();
    all.extend(clients::all());
    all
}
