//! Bodies of functions: blocks, registers, labels, instructions.

use std::collections::HashMap;

use super::ast::{Body, Function, Instruction, Module, Operand, Space};
use super::lexer::{Lexer, Token};
use super::module::{space, variable};
use super::types::Type;
use crate::error::PtxError;

#[derive(Clone, Copy)]
enum Name {
    Register(u32),
    Variable(u32),
}

struct Parser<'a> {
    lexer: Lexer<'a>,
    body: Body<'a>,
    /// Declared names of the open blocks, innermost last.
    names: Vec<HashMap<String, Name>>,
    /// Numbers of the open blocks, innermost last.
    scopes: Vec<usize>,
    source: Option<(u32, u32)>,
}

/// Reads the body of a function.
///
/// A device function's parameters and results become its first variables, in that order.
pub(crate) fn parse_body<'a>(
    module: &'a Module,
    function: &Function,
) -> Result<Body<'a>, PtxError> {
    let Some((range, line)) = function.body.clone() else {
        return Err(PtxError::new(0, format!("function {} has no body", function.name)));
    };
    let mut parser = Parser {
        lexer: Lexer::new(&module.text[range], line),
        body: Body::default(),
        names: vec![HashMap::new()],
        scopes: Vec::new(),
        source: None,
    };
    let outermost = parser.body.open_scope(0);
    parser.scopes.push(outermost);
    if !function.is_entry {
        for declared in function.parameters.iter().chain(&function.returns) {
            parser.declare_variable(declared.clone());
        }
    }
    parser.statements()?;
    Ok(parser.body)
}

impl<'a> Parser<'a> {
    fn declare(&mut self, name: String, entry: Name) {
        if let Some(innermost) = self.names.last_mut() {
            innermost.insert(name, entry);
        }
    }

    fn declare_variable(&mut self, declared: super::ast::Variable) {
        let name = declared.name.clone();
        self.body.variables.push(declared);
        self.declare(name, Name::Variable(self.body.variables.len() as u32 - 1));
    }

    fn find(&self, name: &str) -> Option<Name> {
        self.names.iter().rev().find_map(|scope| scope.get(name).copied())
    }

    fn scope(&self) -> usize {
        self.scopes.last().copied().unwrap_or(0)
    }

    fn statements(&mut self) -> Result<(), PtxError> {
        loop {
            match self.lexer.peek()? {
                Token::End => return Ok(()),
                Token::Punctuation(b';') => {
                    self.lexer.next()?;
                }
                Token::Punctuation(b'{') => {
                    self.lexer.next()?;
                    let scope = self.body.open_scope(self.scope());
                    self.scopes.push(scope);
                    self.names.push(HashMap::new());
                }
                Token::Punctuation(b'}') => {
                    self.lexer.next()?;
                    self.scopes.pop();
                    self.names.pop();
                }
                Token::Word(word) if word.starts_with('.') => self.directive()?,
                Token::Word(_) => {
                    let line = self.lexer.line();
                    let word = self.lexer.word()?;
                    if self.lexer.accept(b':')? {
                        let scope = self.scope();
                        self.body.add_label(scope, word);
                    } else {
                        self.instruction(None, word, line)?;
                    }
                }
                Token::Punctuation(b'@') => self.guarded()?,
                other => return Err(self.lexer.error(format!("unexpected {other:?}"))),
            }
        }
    }

    fn directive(&mut self) -> Result<(), PtxError> {
        let word = self.lexer.word()?;
        match word {
            ".reg" => self.registers(),
            ".loc" => {
                let file = self.lexer.integer()? as u32;
                let line = self.lexer.integer()? as u32;
                self.lexer.integer()?;
                self.source = Some((file, line));
                // What follows a comma describes inlining, which the outer line already covers.
                while self.lexer.accept(b',')? {
                    self.lexer.word()?;
                    while matches!(self.lexer.peek()?, Token::Word(w) if w.starts_with("$L__info"))
                        || matches!(self.lexer.peek()?, Token::Integer(_))
                        || self.lexer.peek()? == Token::Punctuation(b'+')
                    {
                        self.lexer.next()?;
                    }
                }
                Ok(())
            }
            ".pragma" | ".branchtargets" | ".callprototype" => {
                while self.lexer.next()? != Token::Punctuation(b';') {}
                Ok(())
            }
            _ => {
                let Some(declared) = space(word) else {
                    return Err(self.lexer.error(format!("unknown directive {word}")));
                };
                let declared = variable(&mut self.lexer, declared)?;
                self.lexer.expect(b';')?;
                if matches!(declared.space, Space::Global | Space::Const) {
                    let text = format!("{} must be declared at module level", declared.name);
                    return Err(self.lexer.error(text));
                }
                self.declare_variable(declared);
                Ok(())
            }
        }
    }

    fn registers(&mut self) -> Result<(), PtxError> {
        let word = self.lexer.word()?;
        let kind = Type::from_suffix(word)
            .ok_or_else(|| self.lexer.error(format!("unknown register type {word}")))?;
        loop {
            let name = self.lexer.word()?;
            if self.lexer.accept(b'<')? {
                let count = self.lexer.integer()?;
                self.lexer.expect(b'>')?;
                for index in 0..count {
                    self.declare_register(format!("{name}{index}"), kind);
                }
            } else {
                self.declare_register(name.to_owned(), kind);
            }
            if !self.lexer.accept(b',')? {
                return self.lexer.expect(b';');
            }
        }
    }

    fn declare_register(&mut self, name: String, kind: Type) {
        self.body.registers.push(kind);
        self.declare(name, Name::Register(self.body.registers.len() as u32 - 1));
    }

    fn guarded(&mut self) -> Result<(), PtxError> {
        self.lexer.expect(b'@')?;
        let negated = self.lexer.accept(b'!')?;
        let name = self.lexer.word()?;
        let Some(Name::Register(register)) = self.find(name) else {
            return Err(self.lexer.error(format!("unknown predicate {name}")));
        };
        let line = self.lexer.line();
        let opcode = self.lexer.word()?;
        self.instruction(Some((register, negated)), opcode, line)
    }

    fn instruction(
        &mut self,
        guard: Option<(u32, bool)>,
        opcode: &'a str,
        line: u32,
    ) -> Result<(), PtxError> {
        let mut operands = Vec::new();
        if self.lexer.peek()? != Token::Punctuation(b';') {
            operands.push(self.operand()?);
            while self.lexer.accept(b',')? {
                operands.push(self.operand()?);
            }
        }
        self.lexer.expect(b';')?;
        let (source, scope) = (self.source, self.scope());
        self.body.instructions.push(Instruction { guard, opcode, operands, line, source, scope });
        Ok(())
    }

    fn operand(&mut self) -> Result<Operand<'a>, PtxError> {
        let first = self.single()?;
        if self.lexer.accept(b'|')? {
            let second = self.single()?;
            return Ok(Operand::Pair(Box::new(first), Box::new(second)));
        }
        Ok(first)
    }

    fn single(&mut self) -> Result<Operand<'a>, PtxError> {
        match self.lexer.next()? {
            Token::Integer(value) => Ok(Operand::Integer(value as i64)),
            Token::Float(value, bits) => Ok(Operand::Float(value, bits)),
            Token::Punctuation(b'-') => match self.lexer.next()? {
                Token::Integer(value) => Ok(Operand::Integer((value as i64).wrapping_neg())),
                Token::Float(value, bits) => {
                    Ok(Operand::Float(-value, bits.map(|b| b ^ 0x8000_0000)))
                }
                other => Err(self.lexer.error(format!("a number expected, found {other:?}"))),
            },
            Token::Punctuation(b'!') => {
                let name = self.lexer.word()?;
                match self.find(name) {
                    Some(Name::Register(register)) => Ok(Operand::Negated(register)),
                    _ => Err(self.lexer.error(format!("unknown predicate {name}"))),
                }
            }
            Token::Punctuation(open @ (b'{' | b'(')) => {
                let close = if open == b'{' { b'}' } else { b')' };
                let mut list = Vec::new();
                while !self.lexer.accept(close)? {
                    list.push(self.operand()?);
                    self.lexer.accept(b',')?;
                }
                Ok(Operand::List(list))
            }
            Token::Punctuation(b'[') => {
                let base = self.single()?;
                let offset = self.addend()?;
                self.lexer.expect(b']')?;
                Ok(Operand::Address(Box::new(base), offset))
            }
            Token::Word("_") => Ok(Operand::Sink),
            Token::Word(name) => self.named(name),
            other => Err(self.lexer.error(format!("an operand expected, found {other:?}"))),
        }
    }

    fn named(&mut self, name: &'a str) -> Result<Operand<'a>, PtxError> {
        match self.find(name) {
            Some(Name::Register(register)) => Ok(Operand::Register(register)),
            Some(Name::Variable(id)) => Ok(Operand::Local(id, self.addend()?)),
            None if name.starts_with('%') || name == "WARP_SZ" => Ok(Operand::Special(name)),
            None => Ok(Operand::Symbol(name, self.addend()?)),
        }
    }

    fn addend(&mut self) -> Result<i64, PtxError> {
        if self.lexer.accept(b'+')? {
            return self.lexer.integer();
        }
        if self.lexer.peek()? == Token::Punctuation(b'-') {
            return self.lexer.integer();
        }
        Ok(0)
    }
}
