//! PTX as it is written: declarations with resolved names, instructions as words and operands.

use std::collections::HashMap;
use std::sync::Arc;

use super::types::Type;

/// A state space that a variable can be declared in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Space {
    Global,
    Const,
    Shared,
    Local,
    Param,
}

/// An address stored in a variable's initial value.
#[derive(Debug, Clone)]
pub(crate) struct Pointer {
    /// Where in the variable it is stored, in bytes.
    pub(crate) offset: usize,
    /// The variable it points to.
    pub(crate) symbol: String,
    /// What is added to that variable's address, in bytes.
    pub(crate) addend: i64,
}

/// A declared variable or parameter.
#[derive(Debug, Clone)]
pub(crate) struct Variable {
    pub(crate) name: String,
    pub(crate) space: Space,
    pub(crate) align: usize,
    /// Size; 0 for the array of unknown length that dynamic shared memory is declared as.
    pub(crate) bytes: usize,
    pub(crate) initial: Vec<u8>,
    pub(crate) pointers: Vec<Pointer>,
    pub(crate) line: u32,
}

impl Variable {
    pub(crate) fn is_shared(&self) -> bool {
        self.space == Space::Shared
    }
}

/// Performance directives of an entry.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Bounds {
    pub(crate) max_threads: Option<[u32; 3]>,
    pub(crate) required_threads: Option<[u32; 3]>,
    pub(crate) min_blocks: Option<u32>,
    pub(crate) max_registers: Option<u32>,
}

/// An entry or device function.
#[derive(Debug)]
pub(crate) struct Function {
    pub(crate) name: String,
    pub(crate) is_entry: bool,
    pub(crate) parameters: Vec<Variable>,
    pub(crate) returns: Vec<Variable>,
    pub(crate) bounds: Bounds,
    /// Byte range of the body's text without its braces, and its first line.
    pub(crate) body: Option<(std::ops::Range<usize>, u32)>,
}

/// A module's text with its declarations read and its bodies located.
#[derive(Debug, Default)]
pub(crate) struct Module {
    pub(crate) text: Arc<str>,
    pub(crate) target: String,
    pub(crate) variables: Vec<Variable>,
    pub(crate) functions: Vec<Function>,
    /// Names of source files by their number in `.file`.
    pub(crate) files: HashMap<u32, String>,
}

impl Module {
    pub(crate) fn function(&self, name: &str) -> Option<&Function> {
        let named = || self.functions.iter().filter(|f| f.name == name);
        named().find(|f| f.body.is_some()).or_else(|| named().next())
    }
}

/// A register of a body: index into [`Body::registers`].
pub(crate) type RegisterId = u32;

/// A variable of a body: index into [`Body::variables`].
pub(crate) type VariableId = u32;

/// An operand as written.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Operand<'a> {
    Register(RegisterId),
    /// A predicate with `!`.
    Negated(RegisterId),
    /// `%tid.x` and the like.
    Special(&'a str),
    Integer(i64),
    /// A floating-point literal, by its value and, for `0f`, its exact 32 bits.
    Float(f64, Option<u32>),
    /// A variable of the body plus bytes.
    Local(VariableId, i64),
    /// A label, function or module variable plus bytes.
    Symbol(&'a str, i64),
    /// `{a, b}` or `(a, b)`.
    List(Vec<Operand<'a>>),
    /// `[base + bytes]`.
    Address(Box<Operand<'a>>, i64),
    /// `a|b`.
    Pair(Box<Operand<'a>>, Box<Operand<'a>>),
    /// `_`.
    Sink,
}

/// An instruction as written.
#[derive(Debug, Clone)]
pub(crate) struct Instruction<'a> {
    /// The guarding predicate, and whether it is negated.
    pub(crate) guard: Option<(RegisterId, bool)>,
    /// The opcode with its modifiers, as one word.
    pub(crate) opcode: &'a str,
    pub(crate) operands: Vec<Operand<'a>>,
    pub(crate) line: u32,
    /// Number of the source file, and line, from the last `.loc`.
    pub(crate) source: Option<(u32, u32)>,
    /// The block that it stands in, for the scope of labels.
    pub(crate) scope: usize,
}

/// A function's body.
#[derive(Debug, Default)]
pub(crate) struct Body<'a> {
    pub(crate) registers: Vec<Type>,
    pub(crate) variables: Vec<Variable>,
    pub(crate) instructions: Vec<Instruction<'a>>,
    /// Instruction that a label stands before, by block and name.
    labels: HashMap<(usize, &'a str), usize>,
    /// Enclosing block of each block; the outermost encloses itself.
    parents: Vec<usize>,
}

impl<'a> Body<'a> {
    pub(super) fn open_scope(&mut self, parent: usize) -> usize {
        self.parents.push(parent);
        self.parents.len() - 1
    }

    pub(super) fn add_label(&mut self, scope: usize, name: &'a str) {
        self.labels.insert((scope, name), self.instructions.len());
    }

    /// The instruction that a label names, as seen from a block.
    pub(crate) fn label(&self, mut scope: usize, name: &str) -> Option<usize> {
        loop {
            if let Some(&index) = self.labels.get(&(scope, name)) {
                return Some(index);
            }
            let parent = self.parents[scope];
            if parent == scope {
                return None;
            }
            scope = parent;
        }
    }
}
