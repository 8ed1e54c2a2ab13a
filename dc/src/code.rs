//! The codes of diagnostics. A code never changes its meaning and is never used again.

macro_rules! codes {
    ($($name:ident = $code:literal, $title:literal;)*) => {
        /// What kind of mistake a diagnostic reports, or what it warns of.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Code { $(#[doc = $title] $name,)* }

        impl Code {
            pub const ALL: &'static [Code] = &[$(Code::$name,)*];

            /// The stable spelling, such as `DC010`.
            pub fn as_str(self) -> &'static str {
                match self { $(Code::$name => $code,)* }
            }

            /// Whether the contract is good all the same.
            pub fn is_warning(self) -> bool {
                self.as_str() >= "DC200"
            }

            /// What the code stands for, in a few words.
            pub fn title(self) -> &'static str {
                match self { $(Code::$name => $title,)* }
            }
        }
    };
}

codes! {
    Character = "DC001", "a character that starts no token";
    UnclosedComment = "DC002", "a comment that never ends";
    UnclosedText = "DC003", "quoted text that never ends";
    MalformedHex = "DC004", "malformed hex bytes";
    NumberTooLarge = "DC005", "a number beyond 64 bits";
    Syntax = "DC010", "something else was expected here";
    KeywordAsName = "DC011", "a keyword used as a name";
    ReservedWord = "DC012", "a reserved word used as a name";
    DuplicateName = "DC020", "a class, struct or switch of that name exists";
    DuplicateTypedef = "DC021", "a typedef of that name exists";
    UndeclaredKeyword = "DC030", "a keyword that was never declared";
    KeywordNotAllowed = "DC031", "keywords are not allowed here";
    UnknownBase = "DC040", "a base that is not declared";
    WrongBase = "DC041", "a base of the other kind";
    SeveralBases = "DC042", "several bases while multiple inheritance is off";
    DuplicateField = "DC050", "a field of that name exists";
    UnnamedField = "DC051", "a field without a name";
    Constructor = "DC052", "a constructor where none may be";
    NamedLikeItsClass = "DC053", "a field named like its class or struct";
    UnknownPart = "DC060", "a part of a molecule that is not declared";
    WrongPart = "DC061", "a part of a molecule that is not a method";
    DifferentKeywords = "DC062", "parts of a molecule with different keywords";
    Range = "DC070", "a range that runs backwards or overlaps another";
    BoundDoesNotFit = "DC071", "a bound that does not fit the type";
    Divisor = "DC072", "a divisor that is not possible";
    Modulus = "DC073", "a modulus that is not possible";
    Decoration = "DC074", "a range, divisor or modulus where none may be";
    ArraySize = "DC080", "an array size that is not possible";
    ValueOutOfRange = "DC090", "a value outside its range";
    ValueKind = "DC091", "a value of the wrong kind";
    ValueCount = "DC092", "a list with the wrong number of items";
    ValueLabel = "DC093", "a label that names another item";
    SwitchKey = "DC100", "a switch key that is not possible";
    SwitchMember = "DC101", "a switch member where none may be";
    DuplicateCase = "DC102", "a case or default given twice";
    UnknownType = "DC110", "a type that is not declared";
    Limit = "DC120", "beyond a limit of this implementation";
    // From DC200 on: warnings.
    RequiredOwnrecv = "DC200", "a `required ownrecv` field without `broadcast`";
    RequiredClrecv = "DC201", "a `required clrecv` field without `broadcast`";
    NoParentingRules = "DC202", "a parent of zones without `setParentingRules`";
}
