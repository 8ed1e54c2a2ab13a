//! The tool: `check`, `hash`, `show`, `pack`, `unpack`, `diff`. The binary `donet-dc` and `donetd dc` both run [`run`].
//!
//! Decides: arguments, output and exit codes. The only part of the crate that reads files. Exit codes: 0 done (for `diff`:
//! no difference), 1 refused (for `diff`: they differ), 2 wrong usage or an unreadable file.

mod batch;
mod render;
mod show;

use crate::contract::{Contract, Field, Options};
use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::diff::diff;
use crate::lint::lint;
use crate::source::Source;
use crate::value_error::TextPolicy;
use clap::{Args, Parser, Subcommand, ValueEnum};
use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

const REFUSED: u8 = 1;
const USAGE: u8 = 2;

/// The tool as a program of its own: check, hash, inspect and compare DC files, and pack and unpack values of their
/// fields.
#[derive(Parser)]
#[command(name = "donet-dc", version)]
struct Program {
    #[command(flatten)]
    tool: Tool,
}

/// The command line of the tool, as a part of whichever program offers it.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub struct Tool {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    reading: Reading,
}

#[derive(Args, Clone, Debug, PartialEq, Eq)]
struct Reading {
    /// Panda3D's dc-multiple-inheritance off
    #[arg(long, global = true)]
    no_multiple_inheritance: bool,
    /// Panda3D's dc-virtual-inheritance off
    #[arg(long, global = true)]
    no_virtual_inheritance: bool,
    /// Panda3D's dc-sort-inheritance-by-file off
    #[arg(long, global = true)]
    no_sort_inheritance_by_file: bool,
    /// One `file:line:column: error[code]: message` per mistake, without source lines
    #[arg(long, global = true)]
    plain: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
enum Command {
    /// Read files in order as one contract, report every mistake, and warn of what Panda3D decodes wrongly or refuses
    Check {
        #[arg(required = true)]
        files: Vec<PathBuf>,
        /// A class whose objects are parents of zones, which no contract says: warn if it lacks `setParentingRules`.
        /// Without any, warn only if no class at all has that field
        #[arg(long, value_name = "CLASS")]
        parent: Vec<String>,
        /// Warnings are refusals: exit code 1
        #[arg(long)]
        deny_warnings: bool,
    },
    /// Print the 32-bit hash that clients and servers compare
    Hash {
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
    /// List classes, structs and fields with their numbers, types, keywords and defaults
    Show {
        #[arg(required = true)]
        files: Vec<PathBuf>,
        /// One JSON object
        #[arg(long)]
        json: bool,
    },
    /// Pack a value written in DC syntax; prints hex
    Pack {
        #[arg(required = true)]
        files: Vec<PathBuf>,
        /// The field and the value
        #[arg(long, num_args = 2, value_names = ["CLASS.FIELD", "LITERAL"], allow_hyphen_values = true)]
        #[arg(required_unless_present = "batch", conflicts_with = "batch")]
        field: Vec<String>,
        #[command(flatten)]
        many: Many,
    },
    /// Unpack hex; prints the value in DC syntax
    Unpack {
        #[arg(required = true)]
        files: Vec<PathBuf>,
        /// The field and the packed bytes in hex
        #[arg(long, num_args = 2, value_names = ["CLASS.FIELD", "HEX"])]
        #[arg(required_unless_present = "batch", conflicts_with = "batch")]
        field: Vec<String>,
        #[command(flatten)]
        many: Many,
    },
    /// Say what a change of contract means: `diff OLD NEW`, or `diff OLD… --new NEW…` for several files each
    Diff {
        #[arg(required = true)]
        files: Vec<PathBuf>,
        /// The files of the new contract
        #[arg(long, num_args = 1..)]
        new: Vec<PathBuf>,
    },
}

#[derive(Args, Clone, Debug, PartialEq, Eq)]
struct Many {
    /// JSON objects from standard input, one per line, each answered by one line
    #[arg(long)]
    batch: bool,
    /// What strings may hold when they are unpacked
    #[arg(long, value_enum, default_value_t = Text::Bytes)]
    text: Text,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Text {
    Bytes,
    Ascii,
    Utf8,
}

impl From<Text> for TextPolicy {
    fn from(text: Text) -> Self {
        match text {
            Text::Bytes => TextPolicy::Bytes,
            Text::Ascii => TextPolicy::Ascii,
            Text::Utf8 => TextPolicy::Utf8,
        }
    }
}

/// Why the tool ends early: what to say on standard error, and the exit code.
struct Failure {
    message: String,
    code: u8,
}

impl Failure {
    fn usage(message: impl Into<String>) -> Self {
        Failure { message: message.into(), code: USAGE }
    }

    fn refused(message: impl Into<String>) -> Self {
        Failure { message: message.into(), code: REFUSED }
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        // A reader that wants no more, such as `head`, needs no explanation.
        if error.kind() == std::io::ErrorKind::BrokenPipe {
            return Failure::usage("");
        }
        Failure::usage(format!("cannot write the result: {error}"))
    }
}

/// Runs the tool. The first argument is the program's name, as in `std::env::args_os`.
pub fn run(arguments: impl IntoIterator<Item = impl Into<OsString> + Clone>) -> ExitCode {
    match Program::try_parse_from(arguments) {
        Ok(program) => program.tool.run(),
        Err(error) => {
            let _ = error.print();
            ExitCode::from(if error.use_stderr() { USAGE } else { 0 })
        }
    }
}

impl Tool {
    /// Does what the command line asks for. 0: done (for `diff`: no difference); 1: refused (for `diff`: they differ);
    /// 2: wrong usage, or a file that cannot be read.
    pub fn run(&self) -> ExitCode {
        let mut out = std::io::BufWriter::new(std::io::stdout().lock());
        let done = execute(self, &mut out).and_then(|code| {
            out.flush()?;
            Ok(code)
        });
        match done {
            Ok(code) => ExitCode::from(code),
            Err(failure) => {
                if !failure.message.is_empty() {
                    eprintln!("{}", failure.message.trim_end());
                }
                ExitCode::from(failure.code)
            }
        }
    }
}

fn execute(arguments: &Tool, out: &mut impl Write) -> Result<u8, Failure> {
    let reading = &arguments.reading;
    match &arguments.command {
        Command::Check { files, parent, deny_warnings } => {
            let sources = read(files)?;
            let contract = reading.parse(&sources)?;
            let parents: Vec<&str> = parent.iter().map(String::as_str).collect();
            let warnings = lint(&contract, &sources, &parents);
            if !warnings.is_empty() {
                let told = reading.tell(&warnings, &sources);
                if *deny_warnings {
                    return Err(Failure::refused(told));
                }
                eprintln!("{told}\n");
            }
            let classes = contract.classes().count();
            let structs = contract.classes_and_structs().count() - classes;
            writeln!(out, "ok: {classes} classes, {structs} structs, hash {:#010x}", contract.hash())?;
        }
        Command::Hash { files } => writeln!(out, "{:#010x}", reading.contract(files)?.hash())?,
        Command::Show { files, json } => {
            let contract = reading.contract(files)?;
            if *json {
                writeln!(out, "{}", show::json(&contract, files))?;
            } else {
                show::text(&contract, out)?;
            }
        }
        Command::Pack { files, field, many } => {
            let contract = reading.contract(files)?;
            match &field[..] {
                [name, literal] if !many.batch => {
                    let packed = find_field(&contract, name)?.pack_literal(literal.as_str());
                    let source = [Source::new("value", literal.as_str())];
                    let packed = packed.map_err(|errors| reading.refusal(&errors, &source))?;
                    writeln!(out, "{}", hex(&packed))?;
                }
                _ => batch::run(&contract, many.text.into(), out)?,
            }
        }
        Command::Unpack { files, field, many } => {
            let contract = reading.contract(files)?;
            match &field[..] {
                [name, digits] if !many.batch => {
                    let field = find_field(&contract, name)?;
                    let bytes = unhex(digits).map_err(Failure::usage)?;
                    let value = field.format(&bytes, many.text.into());
                    let value = value.map_err(|error| Failure::refused(format!("error: {error}")))?;
                    writeln!(out, "{value}")?;
                }
                _ => batch::run(&contract, many.text.into(), out)?,
            }
        }
        Command::Diff { files, new } => {
            let (old, new) = match (&files[..], &new[..]) {
                ([old, new], []) => (std::slice::from_ref(old), std::slice::from_ref(new)),
                (old, new) if !new.is_empty() => (old, new),
                _ => return Err(Failure::usage("error: diff takes OLD NEW, or OLD… --new NEW…")),
            };
            let trouble = |failure: Failure| Failure::usage(failure.message);
            let old = reading.contract(old).map_err(trouble)?;
            let new = reading.contract(new).map_err(trouble)?;
            let found = diff(&old, &new);
            writeln!(out, "{found}")?;
            return Ok(u8::from(!found.is_empty()));
        }
    }
    Ok(0)
}

impl Reading {
    fn options(&self) -> Options {
        Options {
            multiple_inheritance: !self.no_multiple_inheritance,
            sort_inheritance_by_file: !self.no_sort_inheritance_by_file,
            virtual_inheritance: !self.no_virtual_inheritance,
        }
    }

    fn contract(&self, files: &[PathBuf]) -> Result<Contract, Failure> {
        self.parse(&read(files)?)
    }

    fn parse(&self, sources: &[Source]) -> Result<Contract, Failure> {
        Contract::parse(sources, &self.options()).map_err(|errors| self.refusal(&errors, sources))
    }

    fn refusal(&self, errors: &Diagnostics, sources: &[Source]) -> Failure {
        Failure::refused(self.tell(errors.as_slice(), sources))
    }

    /// All of them, and how many: errors, or warnings. Never empty.
    fn tell(&self, diagnostics: &[Diagnostic], sources: &[Source]) -> String {
        let text = if self.plain {
            let lines: Vec<String> = diagnostics.iter().map(Diagnostic::to_string).collect();
            lines.join("\n")
        } else {
            render::render(diagnostics, sources)
        };
        let count = diagnostics.len();
        let plural = if count == 1 { "" } else { "s" };
        format!("{}\n{count} {}{plural}", text.trim_end(), diagnostics[0].severity())
    }
}

fn read(files: &[PathBuf]) -> Result<Vec<Source>, Failure> {
    let read = |file: &PathBuf| {
        let text = std::fs::read(file);
        let text = text.map_err(|error| Failure::usage(format!("error: cannot read {}: {error}", file.display())))?;
        Ok(Source::new(file.display().to_string(), text))
    };
    files.iter().map(read).collect()
}

/// `Class.field`, of a class or struct.
fn find_field<'a>(contract: &'a Contract, name: &str) -> Result<&'a Field, Failure> {
    let Some((class, field)) = name.split_once('.') else {
        return Err(Failure::usage(format!("error: `{name}` is not of the form Class.field")));
    };
    batch::find_field(contract, class, field).map_err(|message| Failure::usage(format!("error: {message}")))
}

fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        text.push(DIGITS[usize::from(byte >> 4)] as char);
        text.push(DIGITS[usize::from(byte & 15)] as char);
    }
    text
}

/// Blanks between digits are allowed.
fn unhex(text: &str) -> Result<Vec<u8>, String> {
    let digits = text.chars().filter(|digit| !digit.is_ascii_whitespace());
    let digits: Option<Vec<u8>> = digits.map(|digit| digit.to_digit(16).map(|digit| digit as u8)).collect();
    match digits {
        Some(digits) if digits.len().is_multiple_of(2) => {
            Ok(digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect())
        }
        Some(_) => Err("error: an odd number of hex digits".to_owned()),
        None => Err("error: packed bytes are written as hex digits, such as 0f00ec".to_owned()),
    }
}
