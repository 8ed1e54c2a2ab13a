//! What is good DC and yet goes wrong at run time: contracts that Panda3D's own classes decode wrongly or refuse.
//!
//! Decides: which declarations deserve a warning. Knows the contract alone, so it says nothing that depends on which
//! objects a game makes: which classes are parents of zones is known only if the caller names them.

use crate::code::Code;
use crate::contract::{Class, Contract, Field};
use crate::diagnostic::Diagnostic;
use crate::keywords::Keywords;
use crate::names::nearest;
use crate::source::{Source, Span};

/// Panda3D opens interest in zones of an object only if its class has a field of this name.
const PARENTING_RULES: &str = "setParentingRules";

/// Warnings about a contract, in the order of its text. `sources` are those that it was parsed from; `parents` names
/// classes whose objects are to be parents of zones.
pub fn lint(contract: &Contract, sources: &[Source], parents: &[&str]) -> Vec<Diagnostic> {
    let mut warnings: Vec<Diagnostic> =
        contract.classes().flat_map(Class::own_fields).filter_map(shifts_what_follows).collect();
    if parents.is_empty() {
        warnings.extend(no_parent_at_all(contract));
    } else {
        warnings.extend(parents.iter().filter_map(|name| no_parent(contract, name)));
    }
    warnings.sort_by_key(|warning| {
        let Span { file, start, .. } = warning.labels()[0].span;
        (file, start)
    });
    for warning in &mut warnings {
        warning.locate(sources);
    }
    warnings
}

/// The server sends every required field that the receiver may see. Panda3D's classes expect the broadcast ones, and
/// read the bytes of another as the field after it.
fn shifts_what_follows(field: &Field) -> Option<Diagnostic> {
    let keywords = field.keywords();
    // A molecule is no part of an entry.
    if !field.parts().is_empty() || !keywords.contains(Keywords::REQUIRED) || keywords.contains(Keywords::BROADCAST) {
        return None;
    }
    let name = field.name();
    let (code, message) = if keywords.contains(Keywords::CLRECV) {
        let message = format!("`{name}` is `required clrecv` without `broadcast`: Panda3D's views do not expect it");
        (Code::RequiredClrecv, message)
    } else if keywords.contains(Keywords::OWNRECV) {
        let message =
            format!("`{name}` is `required ownrecv` without `broadcast`: Panda3D's owner view does not expect it");
        (Code::RequiredOwnrecv, message)
    } else {
        return None;
    };
    let help = "remove `required` (a `ram` value is then sent as an optional field, which is read right), or add \
                `broadcast`, which shows it to everybody";
    Some(
        Diagnostic::new(code, field.span(), message)
            .label("an entry's values from here on are read as other fields")
            .help(help),
    )
}

fn no_parent_at_all(contract: &Contract) -> Option<Diagnostic> {
    let has_rules = |class: &Class| class.field_by_name(PARENTING_RULES).is_some();
    if contract.classes().any(has_rules) {
        return None;
    }
    // What nobody sees in a zone needs no zone: a contract of UberDOGs alone is fine.
    let seen = |class: &&Class| class.fields().any(|field| field.keywords().contains(Keywords::BROADCAST));
    let class = contract.classes().find(seen)?;
    let message = format!("no class has a field `{PARENTING_RULES}`: Panda3D opens interest in no zone");
    let label = format!("who is to see `{}` needs interest in a zone", class.name());
    Some(Diagnostic::new(Code::NoParentingRules, class.span(), message).label(label).help(declare_rules()))
}

fn no_parent(contract: &Contract, name: &str) -> Option<Diagnostic> {
    let Some(class) = contract.class_by_name(name) else {
        let message = format!("there is no class `{name}`, which is to be a parent of zones");
        let near = nearest(name, contract.classes().map(Class::name)).map(|near| format!("did you mean `{near}`?"));
        return Some(Diagnostic::new(Code::NoParentingRules, Span::default(), message).help_if(near));
    };
    if class.field_by_name(PARENTING_RULES).is_some() {
        return None;
    }
    let message = format!("`{name}` has no field `{PARENTING_RULES}`: Panda3D refuses interest in zones below it");
    let diagnostic = Diagnostic::new(Code::NoParentingRules, class.span(), message);
    Some(diagnostic.label("a parent of zones").help(declare_rules()))
}

fn declare_rules() -> String {
    format!("declare `{PARENTING_RULES}(string type = \"\", string rule = \"\") broadcast ram;` in it or in a base")
}
