//! What another contract makes of values that were stored under an earlier one.
//!
//! Decides whether a stored value can be read as it stands, only has to grow, or means something else now. Types are
//! compared by their description; what cannot be judged so counts as changed, never as the same.

use super::records::{Numbered, SchemaRecord, Widened};
use donet_dc::{Class, Contract, Field, FieldKind, Keywords};
use hashbrown::HashMap;

/// Names that were changed in the DC files, by hint of the configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Renames {
    /// Old and new name of classes.
    pub classes: Vec<(String, String)>,
    /// Old and new name of fields, in whatever class.
    pub fields: Vec<(String, String)>,
}

impl Renames {
    /// Those that apply: the old name was in use and is not, the new one is and was not.
    pub(super) fn in_effect(&self, old: &Contract, new: &Contract) -> Renames {
        let has_class = |contract: &Contract, name: &str| contract.class_by_name(name).is_some();
        let has_field = |contract: &Contract, name: &str| {
            contract.classes().any(|class| class.field_by_name(name).is_some_and(is_stored))
        };
        let in_effect = |renames: &[(String, String)], has: &dyn Fn(&Contract, &str) -> bool| {
            let applies =
                |(from, to): &&(String, String)| has(old, from) && !has(new, from) && has(new, to) && !has(old, to);
            renames.iter().filter(applies).cloned().collect()
        };
        Renames { classes: in_effect(&self.classes, &has_class), fields: in_effect(&self.fields, &has_field) }
    }

    pub(super) fn class<'a>(&'a self, old: &'a str) -> &'a str {
        renamed(&self.classes, old)
    }

    pub(super) fn field<'a>(&'a self, old: &'a str) -> &'a str {
        renamed(&self.fields, old)
    }
}

fn renamed<'a>(renames: &'a [(String, String)], old: &'a str) -> &'a str {
    renames.iter().find(|(from, _)| from == old).map_or(old, |(_, to)| to)
}

/// What became of something stored that cannot be read as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    ClassDropped,
    FieldDropped,
    /// It is declared, but has no `db` any more.
    NotStored,
    Retyped {
        from: String,
        to: String,
    },
}

/// One class, or one field of a class, whose stored values a contract does not take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Loss {
    pub class: String,
    /// `None` for the whole class.
    pub field: Option<String>,
    pub fate: Fate,
    /// Stored numbers; of the field 0 for the whole class.
    pub class_number: u32,
    pub field_number: u32,
}

impl Loss {
    /// One line for people; `values` is how many are stored.
    pub fn describe(&self, values: u64) -> String {
        let Loss { class, .. } = self;
        let field = self.field.as_deref().unwrap_or_default();
        let count = |what: &str| {
            if values == 1 { format!("1 {what}") } else { format!("{values} {what}s") }
        };
        match &self.fate {
            Fate::ClassDropped => format!("dclass {class} is gone: {} stored", count("object")),
            Fate::FieldDropped => format!("{class}.{field} is gone: {} stored", count("value")),
            Fate::NotStored => format!("{class}.{field} is not `db` any more: {} stored", count("value")),
            Fate::Retyped { from, to } => {
                format!("{class}.{field} was {from} and is {to}: {} stored", count("value"))
            }
        }
    }
}

/// The difference between two contracts, as far as it concerns stored values.
#[derive(Debug, Default)]
pub(super) struct Difference {
    pub losses: Vec<Loss>,
    /// Whole numbers that have more bytes now.
    pub widened: Vec<Widened>,
}

/// Whether values of this field stand on disk under its own name: a molecular one's stand under those of its parts.
pub(super) fn is_stored(field: &Field) -> bool {
    field.keywords().contains(Keywords::DB) && field.kind() != FieldKind::Molecular
}

/// Compares the contract that values were stored under with today's. `schema` has the old names.
pub(super) fn difference(old: &Contract, new: &Contract, schema: &SchemaRecord, renames: &Renames) -> Difference {
    let numbers = |entries: &[Numbered]| -> HashMap<String, u32> {
        entries.iter().map(|entry| (entry.name.clone(), entry.number)).collect()
    };
    let (classes, fields) = (numbers(&schema.classes), numbers(&schema.fields));
    let mut found = Difference::default();
    for class in old.classes() {
        // What has no number was never stored.
        let Some(&class_number) = classes.get(class.name()) else {
            continue;
        };
        let Some(today) = new.class_by_name(renames.class(class.name())) else {
            found.losses.push(Loss {
                class: class.name().to_owned(),
                field: None,
                fate: Fate::ClassDropped,
                class_number,
                field_number: 0,
            });
            continue;
        };
        for field in class.fields().filter(|field| is_stored(field)) {
            let Some(&field_number) = fields.get(field.name()) else {
                continue;
            };
            found.field(class, field, today.field_by_name(renames.field(field.name())), class_number, field_number);
        }
    }
    found
}

impl Difference {
    fn field(&mut self, class: &Class, old: &Field, new: Option<&Field>, class_number: u32, field_number: u32) {
        let fate = match new {
            None => Fate::FieldDropped,
            Some(new) if !is_stored(new) => Fate::NotStored,
            Some(new) => match judge(old, new) {
                Judgement::Readable => return,
                Judgement::Grows { bytes, signed } => {
                    self.widened.push(Widened { class: class_number, field: field_number, bytes, signed });
                    return;
                }
                Judgement::Different => Fate::Retyped { from: old.describe_type(), to: new.describe_type() },
            },
        };
        let (class, field) = (class.name().to_owned(), Some(old.name().to_owned()));
        self.losses.push(Loss { class, field, fate, class_number, field_number });
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Judgement {
    /// The bytes are a value of the new type too.
    Readable,
    /// The bytes are a whole number of fewer bytes than the new type's.
    Grows {
        bytes: u8,
        signed: bool,
    },
    Different,
}

fn judge(old: &Field, new: &Field) -> Judgement {
    if old.same_type(new) {
        return Judgement::Readable;
    }
    let (Some(before), Some(after)) = (parameters(&old.describe_type()), parameters(&new.describe_type())) else {
        return Judgement::Different;
    };
    let readable = before.len() == after.len()
        && before.iter().zip(&after).all(|(before, after)| {
            before.word == after.word
                && before.behind == after.behind
                && before.is_within(after)
                && before.layout() == after.layout()
        });
    if readable {
        return Judgement::Readable;
    }
    match (&before[..], &after[..]) {
        ([before], [after]) => match (before.integer(), after.integer()) {
            (Some((signed, bytes)), Some((signed_after, bytes_after)))
                if bytes < bytes_after && (signed == signed_after || signed_after) && after.holds(before) =>
            {
                Judgement::Grows { bytes, signed }
            }
            _ => Judgement::Different,
        },
        _ => Judgement::Different,
    }
}

/// One parameter of a description such as `(uint8(0 - 100) level, string)`.
#[derive(Debug, PartialEq, Eq)]
struct Parameter {
    word: String,
    /// Allowed numbers or lengths; none = any.
    ranges: Vec<(i128, i128)>,
    /// Modulus, divisor and brackets, which have to stay as they are.
    behind: String,
}

const INTEGERS: [(&str, bool, u8); 8] = [
    ("int8", true, 1),
    ("int16", true, 2),
    ("int32", true, 4),
    ("int64", true, 8),
    ("uint8", false, 1),
    ("uint16", false, 2),
    ("uint32", false, 4),
    ("uint64", false, 8),
];

impl Parameter {
    fn is_within(&self, wider: &Parameter) -> bool {
        let within = |(low, high): &(i128, i128)| wider.ranges.iter().any(|(least, most)| least <= low && high <= most);
        wider.ranges.is_empty() || !self.ranges.is_empty() && self.ranges.iter().all(within)
    }

    /// Whether text has one fixed length: then no length stands before it.
    fn layout(&self) -> Option<i128> {
        match self.ranges[..] {
            [(low, high)] if low == high && ["string", "blob"].contains(&self.word.as_str()) => Some(low),
            _ => None,
        }
    }

    /// Of a bare whole number whether it is signed, and its bytes.
    fn integer(&self) -> Option<(bool, u8)> {
        let found = INTEGERS.iter().find(|(word, ..)| *word == self.word)?;
        self.behind.is_empty().then_some((found.1, found.2))
    }

    /// Whether all that the other may hold is allowed here.
    fn holds(&self, other: &Parameter) -> bool {
        let Some((signed, bytes)) = other.integer() else {
            return false;
        };
        let bits = 8 * u32::from(bytes) - u32::from(signed);
        let all = (if signed { -(1_i128 << bits) } else { 0 }, (1_i128 << bits) - 1);
        let ranges = if other.ranges.is_empty() { vec![all] } else { other.ranges.clone() };
        Parameter { word: String::new(), ranges, behind: String::new() }.is_within(self)
    }
}

/// Reads a description of nothing but plain parameters; `None` for structs, switches and what was cut.
fn parameters(description: &str) -> Option<Vec<Parameter>> {
    let inner = match description.strip_prefix('(').and_then(|rest| rest.strip_suffix(')')) {
        Some(inner) => inner,
        None => description,
    };
    if inner.is_empty() {
        return Some(Vec::new());
    }
    let mut depth = 0;
    inner
        .split(|character| {
            match character {
                '(' | '[' => depth += 1,
                ')' | ']' => depth -= 1,
                _ => {}
            }
            depth == 0 && character == ','
        })
        .map(|text| parameter(text.trim()))
        .collect()
}

fn parameter(text: &str) -> Option<Parameter> {
    const WORDS: [&str; 4] = ["string", "blob", "char", "float64"];
    let word_end = text.find(|character: char| !character.is_ascii_alphanumeric()).unwrap_or(text.len());
    let (word, mut rest) = text.split_at(word_end);
    if !WORDS.contains(&word) && !INTEGERS.iter().any(|(integer, ..)| *integer == word) {
        return None;
    }
    let mut ranges = Vec::new();
    if let Some(inside) = rest.strip_prefix('(') {
        let (inside, behind) = inside.split_once(')')?;
        for range in inside.split(',') {
            let (low, high) = match range.split_once(" - ") {
                Some((low, high)) => (low.trim().parse().ok()?, high.trim().parse().ok()?),
                None => (range.trim().parse().ok()?, range.trim().parse().ok()?),
            };
            ranges.push((low, high));
        }
        rest = behind;
    }
    // A name stands behind a space and does not matter; brackets behind it belong to the type.
    let (behind, name) = rest.split_once(' ').unwrap_or((rest, ""));
    let brackets = name.find('[').map_or("", |start| &name[start..]);
    Some(Parameter { word: word.to_owned(), ranges, behind: format!("{behind}{brackets}") })
}

#[cfg(test)]
mod tests {
    use super::*;
    use donet_dc::{Options, Source};

    fn judged(old: &str, new: &str) -> Judgement {
        let field = |text: &str| {
            let text = format!("struct S {{ uint8 a; }}; struct T {{ uint16 a; }}; dclass C {{ f({text}) db; }};");
            Contract::parse(&[Source::new("test", text)], &Options::default()).unwrap_or_else(|error| panic!("{error}"))
        };
        let (old, new) = (field(old), field(new));
        let of = |contract: &Contract| contract.class_by_name("C").unwrap().field_by_name("f").unwrap().id();
        judge(old.field(of(&old)).unwrap(), new.field(of(&new)).unwrap())
    }

    #[test]
    fn what_can_be_read_grows_or_means_something_else() {
        use Judgement::{Different, Grows, Readable};
        let grows = |bytes, signed| Grows { bytes, signed };
        let cases = [
            ("uint8", "uint8 named", Readable),
            ("uint8(0-100)", "uint8", Readable),
            ("uint8(0-100)", "uint8(0-200)", Readable),
            ("uint8(0-100)", "uint8(0-50, 60-100)", Different),
            ("uint8", "uint8(0-100)", Different),
            ("string(0-16)", "string(0-32)", Readable),
            ("string(0-16), uint8", "string, uint8", Readable),
            ("string(16)", "string", Different),
            ("string(16)", "string(0-16)", Different),
            ("uint8", "uint16", grows(1, false)),
            ("uint8", "int16", grows(1, false)),
            ("int8", "int64", grows(1, true)),
            ("int8", "uint16", Different),
            ("uint8", "int8", Different),
            ("uint16", "uint8", Different),
            ("uint8", "uint16(0-255)", grows(1, false)),
            ("uint8", "uint16(0-254)", Different),
            ("int16/10", "int32/10", Different),
            ("int16/10", "int16/100", Different),
            ("uint8", "string", Different),
            ("uint8, uint8", "uint8, uint16", Different),
            ("uint8[]", "uint16[]", Different),
            ("S", "T", Different),
            ("S", "S other", Readable),
            ("string", "blob", Different),
        ];
        for (old, new, expected) in cases {
            assert_eq!(judged(old, new), expected, "{old} -> {new}");
        }
    }
}
