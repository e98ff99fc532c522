//! Where functions and their variables lie: call graph, shared memory, frames.

use std::collections::{HashMap, HashSet};

use crate::error::PtxError;
use crate::kernel::Parameter;
use crate::ptx::ast::{self, Body, Operand, Space, VariableId};
use crate::ptx::parse_body;
use crate::registers::Slot;

/// A function that a kernel reaches, with its body.
pub(super) struct Function<'m> {
    pub(super) name: &'m str,
    pub(super) is_entry: bool,
    pub(super) parameters: usize,
    pub(super) returns: usize,
    pub(super) body: Body<'m>,
}

/// Functions that need no body because the interpreter stands in for them.
pub(super) const BUILT_IN: [&str; 3] = ["__assertfail", "vprintf", "__nv_ptx_builtin_ocg_trap"];

/// The function that a `call` names.
pub(super) fn callee<'a>(instruction: &ast::Instruction<'a>) -> Option<&'a str> {
    instruction.operands.iter().find_map(|operand| match operand {
        Operand::Symbol(name, 0) => Some(*name),
        _ => None,
    })
}

/// All functions that an entry reaches, callees before callers.
pub(super) fn reachable<'m>(
    module: &'m ast::Module,
    entry: &'m ast::Function,
) -> Result<Vec<Function<'m>>, PtxError> {
    let mut order = Vec::new();
    visit(module, entry, &mut Vec::new(), &mut HashSet::new(), &mut order)?;
    Ok(order)
}

fn visit<'m>(
    module: &'m ast::Module,
    function: &'m ast::Function,
    open: &mut Vec<&'m str>,
    done: &mut HashSet<&'m str>,
    order: &mut Vec<Function<'m>>,
) -> Result<(), PtxError> {
    if !done.insert(&function.name) {
        return Ok(());
    }
    open.push(&function.name);
    let body = parse_body(module, function)?;
    for instruction in &body.instructions {
        if !instruction.opcode.starts_with("call") {
            continue;
        }
        let Some(name) = callee(instruction) else {
            return Err(PtxError::new(instruction.line, "indirect calls are not supported"));
        };
        if BUILT_IN.contains(&name) {
            continue;
        }
        if open.contains(&name) {
            let text = format!("recursion through {name} is not supported");
            return Err(PtxError::new(instruction.line, text));
        }
        let called = module.function(name).ok_or_else(|| {
            PtxError::new(instruction.line, format!("the module has no function {name}"))
        })?;
        visit(module, called, open, done, order)?;
    }
    open.pop();
    order.push(Function {
        name: &function.name,
        is_entry: function.is_entry,
        parameters: function.parameters.len(),
        returns: function.returns.len(),
        body,
    });
    Ok(())
}

/// Where a function's code starts and how it is called.
#[derive(Clone)]
pub(super) struct Entry {
    pub(super) start: u32,
    pub(super) return_to: Slot,
    /// Frame offset and size of its parameters, then of its results.
    pub(super) parameters: Vec<(u32, u32)>,
    pub(super) returns: Vec<(u32, u32)>,
}

/// Addresses of all variables but those in global memory.
pub(super) struct Layout {
    pub(super) static_shared: u32,
    pub(super) local_bytes: u32,
    /// Offsets in the parameter buffer.
    pub(super) parameters: HashMap<String, u32>,
    pub(super) entries: HashMap<String, Entry>,
    module_shared: HashMap<String, u32>,
    /// By function and variable: offset in shared memory or in the frame.
    variables: HashMap<(String, VariableId), u32>,
}

impl Layout {
    pub(super) fn new(
        module: &ast::Module,
        functions: &[Function<'_>],
        parameters: &[Parameter],
    ) -> Self {
        let mut layout = Self {
            static_shared: 0,
            local_bytes: 0,
            parameters: parameters.iter().map(|p| (p.name.clone(), p.offset as u32)).collect(),
            entries: HashMap::new(),
            module_shared: HashMap::new(),
            variables: HashMap::new(),
        };
        let named = symbols(functions);
        let shared = module.variables.iter().filter(|v| v.is_shared());
        let used = shared.filter(|v| named.contains(v.name.as_str()));
        let (dynamic, fixed): (Vec<_>, Vec<_>) = used.partition(|v| v.bytes == 0);
        for variable in fixed {
            let offset = place(&mut layout.static_shared, variable);
            layout.module_shared.insert(variable.name.clone(), offset);
        }
        for function in functions {
            for (id, variable) in function.body.variables.iter().enumerate() {
                let end = match variable.space {
                    Space::Shared => &mut layout.static_shared,
                    _ => &mut layout.local_bytes,
                };
                let offset = place(end, variable);
                layout.variables.insert((function.name.to_owned(), id as VariableId), offset);
            }
        }
        // Dynamic shared memory starts behind the static, at 16 bytes or more if it asks for it.
        let align = dynamic.iter().map(|v| v.align).max().unwrap_or(1).max(16) as u32;
        if !dynamic.is_empty() {
            layout.static_shared = layout.static_shared.next_multiple_of(align);
        }
        for variable in dynamic {
            layout.module_shared.insert(variable.name.clone(), layout.static_shared);
        }
        layout
    }

    pub(super) fn enter(&mut self, function: &Function<'_>, start: u32, return_to: Slot) {
        let place = |id: usize| {
            let offset = self.variables[&(function.name.to_owned(), id as VariableId)];
            (offset, function.body.variables[id].bytes as u32)
        };
        let count = if function.is_entry { 0 } else { function.parameters };
        let parameters = (0..count).map(place).collect();
        let returns = (count..count + function.returns).map(place).collect();
        let entry = Entry { start, return_to, parameters, returns };
        self.entries.insert(function.name.to_owned(), entry);
    }

    /// Offset of a body's variable in shared memory or in the frame.
    pub(super) fn variable(&self, function: &Function<'_>, id: VariableId) -> u32 {
        self.variables[&(function.name.to_owned(), id)]
    }

    /// Offset of a module's shared variable.
    pub(super) fn shared(&self, name: &str) -> Option<u32> {
        self.module_shared.get(name).copied()
    }
}

fn place(end: &mut u32, variable: &ast::Variable) -> u32 {
    let offset = end.next_multiple_of(variable.align.max(1) as u32);
    *end = offset + variable.bytes as u32;
    offset
}

/// All names that instructions use.
fn symbols<'a>(functions: &'a [Function<'_>]) -> HashSet<&'a str> {
    fn collect<'a>(operand: &Operand<'a>, names: &mut HashSet<&'a str>) {
        match operand {
            Operand::Symbol(name, _) => {
                names.insert(name);
            }
            Operand::Address(base, _) => collect(base, names),
            Operand::List(list) => list.iter().for_each(|item| collect(item, names)),
            Operand::Pair(a, b) => [a, b].into_iter().for_each(|item| collect(item, names)),
            _ => {}
        }
    }
    let mut names = HashSet::new();
    for function in functions {
        for instruction in &function.body.instructions {
            instruction.operands.iter().for_each(|operand| collect(operand, &mut names));
        }
    }
    names
}
