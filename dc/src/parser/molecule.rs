//! Molecules: methods set at once, and what their parts must have in common (spec 3.5).

use super::{Parsed, Parser};
use crate::builder::{FieldEntry, FieldKind};
use crate::code::Code;
use crate::diagnostic::Diagnostic;
use crate::names::Symbol;
use crate::source::Span;
use crate::stretch::Stretch;
use crate::types::{Parameter, RecordType, Shape};
use smallvec::SmallVec;

impl Parser<'_> {
    pub(super) fn molecule(&mut self, class: u32, name: Symbol, span: Span) -> Parsed<()> {
        self.advance();
        let mut parts: SmallVec<[(u32, Span); 4]> = SmallVec::new();
        loop {
            let (part, part_span) = self.name("a part of the molecule")?;
            if let Some(field) = self.part(class, part, part_span) {
                parts.push((field, part_span));
            }
            if !self.accept(b',') {
                break;
            }
        }
        self.refuse_keyword("a molecule takes no keywords", "it has those of its parts")?;
        self.expect(b';', "after the molecule")?;
        self.check_part_keywords(&parts);
        let Some((first, _)) = parts.first() else { return Ok(()) };
        let keywords = self.builder.fields[*first as usize].keywords;
        let mut members: SmallVec<[Parameter; 8]> = SmallVec::new();
        for (part, _) in &parts {
            if let Shape::Record(record) = self.builder.types.shape(self.builder.fields[*part as usize].ty) {
                members.extend_from_slice(self.builder.types.members(record.members));
            }
        }
        let members = self.builder.types.add_members(members);
        let record = RecordType { class: None, name: Symbol::EMPTY, members };
        let ty = self.builder.types.add(Shape::Record(record));
        let ty = self.check_type(ty, span);
        let parts = Stretch::append(&mut self.builder.parts, parts.into_iter().map(|(part, _)| part));
        let field = FieldEntry::new(class, name, FieldKind::Molecular, ty, keywords, span);
        self.add_field(FieldEntry { parts, ..field }, span);
        Ok(())
    }

    fn part(&mut self, class: u32, part: Symbol, span: Span) -> Option<u32> {
        let Some(index) = self.builder.find_field(class, part) else {
            let text = self.text(part);
            let entry = &self.builder.classes[class as usize];
            let inherited = entry.bases.iter().flat_map(|base| self.builder.inherited(*base));
            let own = self.builder.own_so_far(class).iter();
            let names = own.chain(inherited).map(|field| &self.builder.fields[*field as usize]);
            let names = names.filter(|field| field.kind == FieldKind::Atomic).map(|field| self.text(field.name));
            let hint = Self::did_you_mean(text, names);
            let hint = hint.unwrap_or_else(|| "declare the method above, here or in a base".to_owned());
            let message = format!("the molecule's part `{text}` is not declared");
            let diagnostic = Diagnostic::new(Code::UnknownPart, span, message).help(hint);
            self.report(diagnostic);
            return None;
        };
        let field = &self.builder.fields[index as usize];
        if field.kind == FieldKind::Atomic {
            return Some(index);
        }
        let text = self.text(part);
        let kind = if field.kind == FieldKind::Data { "data field" } else { "molecule" };
        let message = format!("the {kind} `{text}` cannot be part of a molecule");
        let diagnostic =
            Diagnostic::new(Code::WrongPart, span, message).also(field.span, "declared here").help("only methods can");
        self.report(diagnostic);
        None
    }

    fn check_part_keywords(&mut self, parts: &[(u32, Span)]) {
        let sorted = |field: &FieldEntry| {
            let list = &self.builder.keyword_lists[field.keywords.0 as usize];
            let mut names: Vec<&str> = list.names.iter().map(|name| self.text(*name)).collect();
            names.sort_unstable();
            names
        };
        let Some((first, rest)) = parts.split_first() else {
            return;
        };
        // Most have the very same list.
        let list = |part: u32| self.builder.fields[part as usize].keywords;
        if rest.iter().all(|(part, _)| list(*part) == list(first.0)) {
            return;
        }
        let first_keywords = sorted(&self.builder.fields[first.0 as usize]);
        for (part, span) in rest {
            let keywords = sorted(&self.builder.fields[*part as usize]);
            if keywords != first_keywords {
                let message = format!(
                    "the parts of a molecule have the same keywords; this one has {}, the first {}",
                    listed(&keywords),
                    listed(&first_keywords)
                );
                let diagnostic =
                    Diagnostic::new(Code::DifferentKeywords, *span, message).also(first.1, "the first part");
                let diagnostic = diagnostic.help("write the same keywords, in any order, after each of the methods");
                self.report(diagnostic);
                return;
            }
        }
    }
}

fn listed(keywords: &[&str]) -> String {
    if keywords.is_empty() { "none".to_owned() } else { keywords.join(" ") }
}
