//! The TextMate grammar of `dc/editors/vscode`, run by VS Code's own engine (vscode-tmgrammar-test from npm): its tests
//! pass, and on every vector file it gives each declaration the scope of what the parser takes it for.

mod support;
#[path = "../../tests/support/mod.rs"]
#[allow(dead_code)]
mod workspace;

use donet_dc::{Contract, Field, FieldKind, Source, Span};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use support::{contract, entries, folder, sources};

const SNAPSHOTS: &str = "vscode-tmgrammar-snap";
const TESTS: &str = "vscode-tmgrammar-test";

fn extension() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("editors/vscode")
}

/// A program of the npm package, where `.ci/setup test` puts it.
fn program(name: &str, test: &str) -> Option<PathBuf> {
    let found = workspace::installed("tmgrammar").map(|folder| folder.join("node_modules/.bin").join(name));
    let found = found.filter(|program| program.exists() && has_node());
    if found.is_none() {
        workspace::skip(test, "vscode-tmgrammar-test (npm)");
    }
    found
}

fn has_node() -> bool {
    Command::new("node").arg("--version").output().is_ok_and(|output| output.status.success())
}

/// Runs it with the grammar of the extension, in a folder.
fn run(program: &Path, folder: &Path, arguments: &[&str]) -> Output {
    Command::new(program)
        .arg("--config")
        .arg(extension().join("package.json"))
        .arg("--grammar")
        .arg(extension().join("syntaxes/dc.tmLanguage.json"))
        .args(arguments)
        .current_dir(folder)
        .output()
        .expect("the program starts")
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[test]
fn the_tests_of_the_extension_pass_and_can_fail() {
    let Some(program) = program(TESTS, "the_tests_of_the_extension_pass_and_can_fail") else { return };
    let tests = extension().join("tests");
    let count = std::fs::read_dir(&tests).unwrap().count();
    let output = run(&program, &tests, &["*.dc"]);
    assert!(output.status.success(), "{}", said(&output));
    assert!(count >= 2 && said(&output).matches("run successfuly").count() == count, "{}", said(&output));

    let scratch = tempfile::tempdir().unwrap();
    let wrong = "// SYNTAX TEST \"source.dc\"\ndclass A {};\n//     ^ entity.name.function.dc\n";
    std::fs::write(scratch.path().join("wrong.dc"), wrong).unwrap();
    let output = run(&program, scratch.path(), &["*.dc"]);
    assert!(!output.status.success(), "{}", said(&output));
}

/// A stretch of one line with its innermost scope and all of them.
struct Token {
    line: usize,
    /// In characters, from 0.
    start: usize,
    text: String,
    scopes: String,
}

impl Token {
    fn leaf(&self) -> &str {
        self.scopes.rsplit(' ').next().unwrap_or("")
    }

    /// What the grammar says of it, without the suffix that names the language.
    fn is(&self, scope: &str) -> bool {
        self.leaf().strip_suffix(".dc") == Some(scope)
    }
}

/// A snapshot repeats each line of the source after `>`, and its tokens below it.
fn tokens(snapshot: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let (mut line, mut text) = (0, Vec::new());
    for row in snapshot.lines() {
        if let Some(source) = row.strip_prefix('>') {
            line += 1;
            text = source.chars().collect();
        } else if let Some((marks, scopes)) = row.strip_prefix('#').and_then(|row| row.split_once("^ ")) {
            let marks = format!("{marks}^");
            let start = marks.chars().take_while(|mark| *mark == ' ').count();
            let end = marks.chars().count().min(text.len());
            let text = text[start.min(end)..end].iter().collect();
            tokens.push(Token { line, start, text, scopes: scopes.to_owned() });
        }
    }
    tokens
}

/// Line from 1 and character from 0 of a byte, as the snapshot counts.
fn place(source: &Source, offset: u32) -> (usize, usize) {
    let before = &source.text[..offset as usize];
    let line_start = before.iter().rposition(|byte| *byte == b'\n').map_or(0, |newline| newline + 1);
    let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
    (line, String::from_utf8_lossy(&before[line_start..]).chars().count())
}

/// The tokens of all files of a contract, and where a span of it lies.
struct Painted {
    sources: Vec<Source>,
    files: Vec<Vec<Token>>,
}

impl Painted {
    fn at(&self, span: Span) -> &Token {
        let start = place(&self.sources[span.file as usize], span.start);
        let token = self.files[span.file as usize].iter().find(|token| (token.line, token.start) == start);
        token.unwrap_or_else(|| panic!("no token begins at {start:?}"))
    }

    fn within(&self, span: Span) -> impl Iterator<Item = &Token> {
        let source = &self.sources[span.file as usize];
        let (start, end) = (place(source, span.start), place(source, span.end));
        let inside = move |token: &&Token| start <= (token.line, token.start) && (token.line, token.start) < end;
        self.files[span.file as usize].iter().filter(inside)
    }

    /// Words after a field up to its `;`, which the grammar takes for keywords.
    fn keywords_after(&self, span: Span) -> Vec<&str> {
        let end = place(&self.sources[span.file as usize], span.end);
        let after = self.files[span.file as usize].iter().filter(|token| (token.line, token.start) >= end);
        let outside = after.filter(|token| !token.scopes.contains("meta.parameters"));
        let field = outside.take_while(|token| !token.is("punctuation.terminator"));
        let mut words = Vec::new();
        for token in field.filter(|token| token.is("storage.modifier") || token.is("storage.modifier.custom")) {
            if !words.contains(&&*token.text) {
                words.push(&*token.text);
            }
        }
        words
    }

    fn check_field(&self, field: &Field) {
        let name = field.name();
        match field.kind() {
            FieldKind::Atomic => assert!(self.at(field.span()).is("entity.name.function"), "{name}"),
            FieldKind::Molecular => assert!(self.at(field.span()).is("entity.name.function.molecule"), "{name}"),
            FieldKind::Data => {
                let named = self.within(field.span()).filter(|token| token.is("variable.other.member")).last();
                // The last of an unnamed struct in place is a member of that.
                assert!(name.is_empty() || named.is_some_and(|token| token.text == name), "{name}");
            }
        }
        if field.kind() != FieldKind::Molecular {
            assert_eq!(self.keywords_after(field.span()), field.keyword_names().collect::<Vec<_>>(), "{name}");
        }
    }

    fn check(&self, contract: &Contract) -> usize {
        let mut checked = 0;
        for class in contract.classes_and_structs() {
            if !class.name().is_empty() {
                let token = self.at(class.span());
                assert!(token.is("entity.name.type.class") && token.text == class.name(), "{}", class.name());
            }
            for field in class.own_fields().chain(class.constructor()) {
                self.check_field(field);
                checked += 1;
            }
        }
        checked
    }
}

#[test]
fn every_declaration_of_the_vectors_has_the_scope_of_what_it_is() {
    let test = "every_declaration_of_the_vectors_has_the_scope_of_what_it_is";
    let Some(program) = program(SNAPSHOTS, test) else { return };
    let scratch = tempfile::tempdir().unwrap();
    let vectors = std::fs::read_dir(folder()).unwrap().map(|file| file.unwrap().path());
    for file in vectors.filter(|file| file.extension().is_some_and(|extension| extension == "dc")) {
        std::fs::copy(&file, scratch.path().join(file.file_name().unwrap())).unwrap();
    }
    let output = run(&program, scratch.path(), &["--updateSnapshot", "*.dc"]);
    assert!(output.status.success(), "{}", said(&output));

    let mut checked = 0;
    for entry in entries() {
        let sources = sources(&entry);
        let painted = |source: &Source| {
            let snapshot = scratch.path().join(format!("{}.snap", source.name));
            tokens(&std::fs::read_to_string(snapshot).unwrap())
        };
        let files: Vec<Vec<Token>> = sources.iter().map(painted).collect();
        for token in files.iter().flatten().filter(|token| !token.text.trim().is_empty()) {
            let (line, text, leaf) = (token.line, &token.text, token.leaf());
            assert!(!leaf.starts_with("invalid"), "{} line {line}: {text} is {leaf}", entry["files"]);
            assert!(
                !leaf.starts_with("meta") && leaf != "source.dc",
                "{} line {line}: {text} is nothing",
                entry["files"]
            );
        }
        checked += Painted { sources, files }.check(&contract(&entry));
    }
    assert!(checked > 400, "{checked} fields");
}
