//! Is this component of a shape that a compiler should see?
//!
//! Validators and compilers have limits, but those are for browsers: a million functions, bodies of megabytes, instances of
//! instances of instances. Here the bytes are walked once, section by section, before anything is compiled or kept for it, and held
//! against limits of our own, far above what Rust's toolchain makes. What breaks one is refused with its number.
//!
//! Absent: whether it is valid. That the compiler says, in its own process.

use wasmparser::{CanonicalFunction, CanonicalOption, Chunk, ComponentInstance, Imports, Parser, Payload};

use super::Refusal;

/// A shape: how much there may be of something, in the whole component.
struct Limit {
    what: &'static str,
    most: u64,
}

const FUNCTIONS: Limit = Limit { what: "functions", most: 100_000 };
const BODY_BYTES: Limit = Limit { what: "bytes in one function", most: 1 << 20 };
const IMPORTS: Limit = Limit { what: "imports", most: 4_000 };
const EXPORTS: Limit = Limit { what: "exports", most: 20_000 };
const TYPES: Limit = Limit { what: "types", most: 100_000 };
const MODULES: Limit = Limit { what: "core modules", most: 64 };
const COMPONENTS: Limit = Limit { what: "components inside it", most: 64 };
const DEPTH: Limit = Limit { what: "components, each inside another", most: 8 };
const CORE_INSTANCES: Limit = Limit { what: "core instances", most: 1_000 };
/// If all of them were made as often as any chain of them could be.
const INSTANCES: Limit = Limit { what: "instances of components, counting those of those", most: 10_000 };
const MEMORIES: Limit = Limit { what: "memories", most: 16 };
const TABLES: Limit = Limit { what: "tables", most: 64 };
const GLOBALS: Limit = Limit { what: "globals", most: 100_000 };
const SEGMENTS: Limit = Limit { what: "data and element segments", most: 200_000 };

/// What was seen so far.
#[derive(Debug, Default)]
struct Seen {
    functions: u64,
    imports: u64,
    exports: u64,
    types: u64,
    modules: u64,
    components: u64,
    core_instances: u64,
    memories: u64,
    tables: u64,
    globals: u64,
    segments: u64,
    /// How many components each component, from the outermost in, has made so far.
    open: Vec<u64>,
    /// Whether each of what is open is a component: modules end as well.
    nested: Vec<bool>,
    /// How often the innermost could be made if all were made by each other in a chain.
    instances: u64,
}

/// Refuses a component that has too much of something, before anything is compiled or kept for it.
pub fn check_shape(component: &[u8]) -> Result<(), Refusal> {
    Shape::default().look(component, true)
}

/// A component that is looked at while it arrives.
#[derive(Debug)]
pub struct Shape {
    seen: Seen,
    parser: Parser,
    /// Of what the innermost is in, from the outermost in.
    outer: Vec<Parser>,
    /// How many bytes were looked at.
    past: usize,
}

impl Default for Shape {
    fn default() -> Self {
        let seen = Seen { instances: 1, ..Seen::default() };
        Self { seen, parser: Parser::new(0), outer: Vec::new(), past: 0 }
    }
}

impl Shape {
    /// Looks at what has come since it last did; each time at the whole of what is there by then.
    pub fn look(&mut self, so_far: &[u8], is_all: bool) -> Result<(), Refusal> {
        while let Chunk::Parsed { consumed, payload } =
            self.parser.parse(&so_far[self.past..], is_all).map_err(|error| invalid(&error))?
        {
            self.past += consumed;
            let inner = match &payload {
                Payload::ModuleSection { parser, .. } | Payload::ComponentSection { parser, .. } => {
                    Some(parser.clone())
                }
                _ => None,
            };
            let ends = matches!(payload, Payload::End(_));
            self.seen.take(payload)?;
            if let Some(inner) = inner {
                self.outer.push(std::mem::replace(&mut self.parser, inner));
            } else if ends {
                match self.outer.pop() {
                    Some(outer) => self.parser = outer,
                    None => break,
                }
            }
        }
        Ok(())
    }
}

fn invalid(error: &wasmparser::Error) -> Refusal {
    Refusal::new("invalid_component", format!("not a valid component: {error}"))
}

fn add(there: &mut u64, more: impl Into<u64>, limit: &Limit) -> Result<(), Refusal> {
    *there = there.saturating_add(more.into());
    within(*there, limit)
}

fn within(there: u64, Limit { what, most }: &Limit) -> Result<(), Refusal> {
    if there <= *most {
        return Ok(());
    }
    let message = format!(
        "the module has too many {what}: {there} or more, at most {most}; make it smaller, or split it into several modules"
    );
    Err(Refusal { code: "too_large", message })
}

impl Seen {
    fn take(&mut self, payload: Payload<'_>) -> Result<(), Refusal> {
        match payload {
            Payload::Version { encoding, .. } => {
                let is_component = encoding == wasmparser::Encoding::Component;
                self.nested.push(is_component);
                if is_component {
                    self.open.push(0);
                    within(self.open.len() as u64, &DEPTH)?;
                }
            }
            Payload::End(_) if self.nested.pop() == Some(true) => {
                // Whoever could make it could do so as often as it could be made itself.
                let made = self.open.pop().unwrap_or(0);
                self.instances = self.instances.saturating_mul(1 + made);
                within(self.instances, &INSTANCES)?;
            }
            Payload::ModuleSection { .. } => add(&mut self.modules, 1_u32, &MODULES)?,
            Payload::ComponentSection { .. } => add(&mut self.components, 1_u32, &COMPONENTS)?,
            Payload::TypeSection(section) => add(&mut self.types, section.count(), &TYPES)?,
            Payload::CoreTypeSection(section) => add(&mut self.types, section.count(), &TYPES)?,
            Payload::ComponentTypeSection(section) => add(&mut self.types, section.count(), &TYPES)?,
            Payload::ImportSection(section) => {
                for group in section {
                    let of = match group.map_err(|error| invalid(&error))? {
                        Imports::Single(..) => 1,
                        Imports::Compact1 { items, .. } => items.count(),
                        Imports::Compact2 { names, .. } => names.count(),
                    };
                    add(&mut self.imports, of, &IMPORTS)?;
                }
            }
            Payload::ComponentImportSection(section) => add(&mut self.imports, section.count(), &IMPORTS)?,
            Payload::ExportSection(section) => add(&mut self.exports, section.count(), &EXPORTS)?,
            Payload::ComponentExportSection(section) => add(&mut self.exports, section.count(), &EXPORTS)?,
            Payload::FunctionSection(section) => add(&mut self.functions, section.count(), &FUNCTIONS)?,
            Payload::CodeSectionEntry(body) => within(body.range().len() as u64, &BODY_BYTES)?,
            Payload::TableSection(section) => add(&mut self.tables, section.count(), &TABLES)?,
            Payload::MemorySection(section) => add(&mut self.memories, section.count(), &MEMORIES)?,
            Payload::GlobalSection(section) => add(&mut self.globals, section.count(), &GLOBALS)?,
            Payload::ElementSection(section) => add(&mut self.segments, section.count(), &SEGMENTS)?,
            Payload::DataSection(section) => add(&mut self.segments, section.count(), &SEGMENTS)?,
            Payload::InstanceSection(section) => add(&mut self.core_instances, section.count(), &CORE_INSTANCES)?,
            Payload::ComponentInstanceSection(section) => {
                for instance in section {
                    if let ComponentInstance::Instantiate { .. } = instance.map_err(|error| invalid(&error))?
                        && let Some(made) = self.open.last_mut()
                    {
                        *made += 1;
                        within(*made, &INSTANCES)?;
                    }
                }
            }
            Payload::ComponentCanonicalSection(section) => {
                for function in section {
                    check_strings(&function.map_err(|error| invalid(&error))?)?;
                }
            }
            _ => {}
        }
        Ok(())
    }
}

/// Strings of other encodings are turned into each other by code that has had faults, and that no guest of ours needs.
fn check_strings(function: &CanonicalFunction) -> Result<(), Refusal> {
    let options = match function {
        CanonicalFunction::Lift { options, .. } | CanonicalFunction::Lower { options, .. } => options,
        _ => return Ok(()),
    };
    if options.iter().any(|option| matches!(option, CanonicalOption::UTF16 | CanonicalOption::CompactUTF16)) {
        let message =
            "the module passes strings as UTF-16: only UTF-8 is taken; set the string encoding of its toolchain";
        return Err(Refusal { code: "string_encoding", message: message.to_owned() });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(text: &str) -> Option<&'static str> {
        check_shape(&wat::parse_str(text).unwrap()).err().map(|refusal| refusal.code)
    }

    fn says(text: &str) -> String {
        check_shape(&wat::parse_str(text).unwrap()).unwrap_err().message
    }

    fn modules(count: usize) -> String {
        format!("(component {})", "(core module)".repeat(count))
    }

    #[test]
    fn each_limit_is_the_last_that_comes_in() {
        let core = |fields: String| format!("(component (core module {fields}))");
        type Made = fn(usize) -> String;
        let memories: Made = |count| "(memory 0)".repeat(count);
        let tables: Made = |count| "(table 0 funcref)".repeat(count);
        let imports: Made = |count| (0..count).map(|n| format!("(import \"m\" \"{n}\" (func))")).collect();
        let exports: Made = |count| {
            let names = (0..count).map(|n| format!("(export \"{n}\" (func 0))"));
            format!("(func) {}", names.collect::<String>())
        };
        let functions: Made = |count| "(func)".repeat(count);
        for (made, limit) in
            [(memories, MEMORIES), (tables, TABLES), (imports, IMPORTS), (exports, EXPORTS), (functions, FUNCTIONS)]
        {
            let most = usize::try_from(limit.most).unwrap();
            assert_eq!(code(&core(made(most))), None, "{}", limit.what);
            let refused = says(&core(made(most + 1)));
            assert!(refused.contains(limit.what) && refused.contains(&limit.most.to_string()), "{refused}");
        }
        assert_eq!((code(&modules(64)), code(&modules(65))), (None, Some("too_large")));
    }

    #[test]
    fn a_body_has_a_size() {
        let body = |nops: usize| format!("(component (core module (func {})))", "nop ".repeat(nops));
        assert_eq!(code(&body((1 << 20) - 8)), None);
        assert!(says(&body(1 << 20)).contains("bytes in one function"));
    }

    #[test]
    fn components_in_components_have_a_depth() {
        let deep = |depth: usize| format!("{}{}", "(component ".repeat(depth), ")".repeat(depth));
        assert_eq!((code(&deep(8)), code(&deep(9))), (None, Some("too_large")));
    }

    /// A component that makes ten of one inside it, which makes ten of one inside it, ...
    fn laughs(levels: usize) -> String {
        if levels == 0 {
            return "(component)".to_owned();
        }
        let (inner, ten) =
            (laughs(levels - 1).replacen("(component", "(component $it", 1), "(instance (instantiate $it))");
        format!("(component {inner} {})", ten.repeat(10))
    }

    #[test]
    fn instances_of_instances_are_counted_as_often_as_they_would_be_made() {
        assert_eq!(code(&laughs(3)), None);
        assert!(says(&laughs(5)).contains("instances of components"));
    }

    #[test]
    fn only_utf_8_is_passed() {
        let with = |encoding: &str| {
            format!(
                r#"(component (core module $m (memory (export "m") 1) (func (export "f") (result i32) i32.const 0))
                    (core instance $i (instantiate $m))
                    (func (export "f") (result string)
                        (canon lift (core func $i "f") (memory (core memory $i "m")) string-encoding={encoding})))"#
            )
        };
        assert_eq!(code(&with("utf8")), None);
        assert_eq!(code(&with("utf16")), Some("string_encoding"));
        assert_eq!(code(&with("latin1+utf16")), Some("string_encoding"));
    }

    #[test]
    fn what_arrives_in_pieces_is_refused_as_soon_as_it_has_too_much() {
        let whole = wat::parse_str(laughs(3)).unwrap();
        for piece in [1, 7, whole.len()] {
            let mut shape = Shape::default();
            for end in (0..whole.len()).step_by(piece) {
                shape.look(&whole[..end], false).unwrap();
            }
            shape.look(&whole, true).unwrap();
        }
        let large = wat::parse_str(format!("(component {} (core module (func)))", "(core module)".repeat(65))).unwrap();
        let mut shape = Shape::default();
        let refused = (0..large.len()).find(|&end| shape.look(&large[..end], false).is_err());
        assert!(refused.is_some_and(|end| end < large.len() - 10), "{refused:?} of {}", large.len());
    }

    #[test]
    fn bytes_of_any_kind_are_refused_or_pass_and_never_panic() {
        let whole = wat::parse_str(laughs(2)).unwrap();
        for end in 0..whole.len() {
            let _ = check_shape(&whole[..end]);
        }
        for at in 8..whole.len() {
            for bit in 0..8 {
                let mut flipped = whole.clone();
                flipped[at] ^= 1 << bit;
                let _ = check_shape(&flipped);
            }
        }
    }
}
