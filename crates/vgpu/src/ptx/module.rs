//! Module-level directives: variables, functions, files.

use std::sync::Arc;

use super::ast::{Bounds, Function, Module, Pointer, Space, Variable};
use super::lexer::{Lexer, Token};
use super::types::Type;
use crate::error::PtxError;

pub(super) fn parse(text: &str) -> Result<Module, PtxError> {
    let mut module = Module { text: Arc::from(text), ..Module::default() };
    let mut lexer = Lexer::new(text, 1);
    loop {
        match lexer.next()? {
            Token::End => break,
            Token::Punctuation(b';') => {}
            Token::Word(word) => directive(&mut lexer, &mut module, word)?,
            other => return Err(lexer.error(format!("a directive expected, found {other:?}"))),
        }
    }
    if module.target.is_empty() {
        return Err(PtxError::new(1, "no .target directive: this is not a PTX module"));
    }
    Ok(module)
}

fn directive(lexer: &mut Lexer<'_>, module: &mut Module, word: &str) -> Result<(), PtxError> {
    match word {
        ".version" | ".address_size" => {
            let value = lexer.next()?;
            if word == ".address_size" && value != Token::Integer(64) {
                return Err(lexer.error("only .address_size 64 is supported"));
            }
        }
        ".target" => {
            lexer.word()?.clone_into(&mut module.target);
            while lexer.accept(b',')? {
                lexer.word()?;
            }
        }
        ".visible" | ".weak" | ".extern" | ".common" => {}
        ".global" | ".const" | ".shared" => {
            let variable = variable(lexer, space(word).unwrap_or(Space::Global))?;
            lexer.expect(b';')?;
            module.variables.push(variable);
        }
        ".file" => {
            let number = lexer.integer()? as u32;
            if let Token::Text(name) = lexer.next()? {
                module.files.insert(number, name.to_owned());
            }
            while lexer.accept(b',')? {
                lexer.integer()?;
            }
        }
        ".section" => {
            lexer.word()?;
            lexer.expect(b'{')?;
            lexer.skip_block()?;
        }
        ".entry" | ".func" => {
            let function = function(lexer, word == ".entry")?;
            module.functions.push(function);
        }
        ".pragma" | ".alias" => while lexer.next()? != Token::Punctuation(b';') {},
        _ => return Err(lexer.error(format!("unknown directive {word}"))),
    }
    Ok(())
}

/// The state space that a directive names.
pub(super) fn space(word: &str) -> Option<Space> {
    Some(match word {
        ".global" => Space::Global,
        ".const" => Space::Const,
        ".shared" | ".shared::cta" => Space::Shared,
        ".local" => Space::Local,
        ".param" => Space::Param,
        _ => return None,
    })
}

/// A declaration after its space: attributes, type, name, dimensions, initial value.
pub(super) fn variable(lexer: &mut Lexer<'_>, space: Space) -> Result<Variable, PtxError> {
    let line = lexer.line();
    let mut align = 0;
    let element = loop {
        let word = lexer.word()?;
        match word {
            ".align" => align = lexer.integer()? as usize,
            ".attribute" => while lexer.next()? != Token::Punctuation(b')') {},
            _ => {
                break Type::from_suffix(word)
                    .ok_or_else(|| lexer.error(format!("unknown type {word}")))?;
            }
        }
    };
    // `.ptr .space .align n` says something about what a parameter points to, which nothing needs.
    while let Token::Word(word) = lexer.peek()? {
        match word {
            ".ptr" | ".global" | ".shared" | ".const" | ".local" => {
                lexer.next()?;
            }
            ".align" => {
                lexer.next()?;
                lexer.integer()?;
            }
            _ => break,
        }
    }
    let name = lexer.word()?.to_owned();
    let size = element.bytes() as usize;
    let mut variable = Variable {
        name,
        space,
        align: align.max(size),
        bytes: size,
        initial: Vec::new(),
        pointers: Vec::new(),
        line,
    };
    let mut open_ended = false;
    while lexer.accept(b'[')? {
        if lexer.accept(b']')? {
            open_ended = true;
            continue;
        }
        variable.bytes *= lexer.integer()? as usize;
        lexer.expect(b']')?;
    }
    if lexer.accept(b'=')? {
        initialiser(lexer, &mut variable, element)?;
    }
    if open_ended {
        variable.bytes = variable.initial.len();
    } else if !matches!(space, Space::Param) {
        variable.initial.resize(variable.bytes, 0);
    }
    Ok(variable)
}

fn initialiser(
    lexer: &mut Lexer<'_>,
    variable: &mut Variable,
    element: Type,
) -> Result<(), PtxError> {
    let mut depth = 0;
    loop {
        match lexer.peek()? {
            Token::Punctuation(b'{') => depth += 1,
            Token::Punctuation(b'}') => depth -= 1,
            Token::Punctuation(b',') => {}
            _ => {
                value(lexer, variable, element)?;
                if depth == 0 {
                    return Ok(());
                }
                continue;
            }
        }
        lexer.next()?;
        if depth == 0 {
            return Ok(());
        }
    }
}

fn value(lexer: &mut Lexer<'_>, variable: &mut Variable, element: Type) -> Result<(), PtxError> {
    let size = element.bytes() as usize;
    let offset = variable.initial.len();
    let bits = match lexer.peek()? {
        Token::Word(_) => {
            let mut symbol = lexer.word()?;
            if lexer.accept(b'(')? {
                // generic(symbol): addresses of this device are generic already.
                symbol = lexer.word()?;
                lexer.expect(b')')?;
            }
            let addend = if lexer.accept(b'+')? { lexer.integer()? } else { 0 };
            if size != 8 {
                return Err(lexer.error(format!("the address of {symbol} needs 8 bytes")));
            }
            variable.pointers.push(Pointer { offset, symbol: symbol.to_owned(), addend });
            0
        }
        Token::Float(value, bits) => {
            lexer.next()?;
            match size {
                8 => value.to_bits(),
                _ => u64::from(bits.unwrap_or((value as f32).to_bits())),
            }
        }
        _ => lexer.integer()? as u64,
    };
    variable.initial.extend_from_slice(&bits.to_le_bytes()[..size.min(8)]);
    Ok(())
}

fn parameters(lexer: &mut Lexer<'_>) -> Result<Vec<Variable>, PtxError> {
    let mut list = Vec::new();
    if !lexer.accept(b'(')? {
        return Ok(list);
    }
    while !lexer.accept(b')')? {
        match lexer.word()? {
            ".param" | ".reg" => list.push(variable(lexer, Space::Param)?),
            other => return Err(lexer.error(format!(".param expected, found {other}"))),
        }
        lexer.accept(b',')?;
    }
    Ok(list)
}

fn function(lexer: &mut Lexer<'_>, is_entry: bool) -> Result<Function, PtxError> {
    let returns = if is_entry { Vec::new() } else { parameters(lexer)? };
    let name = lexer.word()?.to_owned();
    let parameters = parameters(lexer)?;
    let mut bounds = Bounds::default();
    loop {
        match lexer.next()? {
            Token::Punctuation(b';') => {
                return Ok(Function { name, is_entry, parameters, returns, bounds, body: None });
            }
            Token::Punctuation(b'{') => break,
            Token::Word(word) => attribute(lexer, word, &mut bounds)?,
            other => return Err(lexer.error(format!("unexpected {other:?} after {name}"))),
        }
    }
    let line = lexer.line();
    let range = lexer.skip_block()?;
    Ok(Function { name, is_entry, parameters, returns, bounds, body: Some((range, line)) })
}

fn attribute(lexer: &mut Lexer<'_>, word: &str, bounds: &mut Bounds) -> Result<(), PtxError> {
    match word {
        ".maxntid" => bounds.max_threads = Some(dimensions(lexer)?),
        ".reqntid" => bounds.required_threads = Some(dimensions(lexer)?),
        ".minnctapersm" => bounds.min_blocks = Some(lexer.integer()? as u32),
        ".maxnreg" => bounds.max_registers = Some(lexer.integer()? as u32),
        ".noreturn" | ".abi_preserve" | ".unified" => {}
        _ => return Err(lexer.error(format!("directive {word} of a function is not supported"))),
    }
    Ok(())
}

fn dimensions(lexer: &mut Lexer<'_>) -> Result<[u32; 3], PtxError> {
    let mut sizes = [1; 3];
    for (axis, size) in sizes.iter_mut().enumerate() {
        if axis > 0 && !lexer.accept(b',')? {
            break;
        }
        *size = lexer.integer()? as u32;
    }
    Ok(sizes)
}
