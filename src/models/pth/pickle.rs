//! Python's pickles, as far as PyTorch's files use them.
//!
//! A pickle is a program for a small machine with a stack. What it makes is kept here as a flat list of nodes which name
//! each other by number, so that no depth of nesting costs anything, and what is named often is there once.

use std::collections::BTreeMap;
use std::io::Read;

use super::{Why, damaged};

/// Bytes of one pickle: names, shapes and places of some ten thousand tensors.
const MAX_BYTES: usize = 8 << 20;
/// Things that one pickle makes.
const MAX_NODES: usize = 1 << 20;

/// A node's number.
pub(super) type Id = usize;

/// Something that a pickle makes.
#[derive(Debug)]
pub(super) enum Node {
    None,
    Bool,
    Int(i64),
    /// A long integer's bytes, the least first.
    Long(Vec<u8>),
    Text(String),
    /// A module and a name in it.
    Global(String),
    Tuple(Vec<Id>),
    List(Vec<Id>),
    Dict(Vec<(Id, Id)>),
    /// Something that is kept beside the pickle.
    Persistent(Id),
    /// What a call would have made, and the items that were then put into it.
    Made {
        function: Id,
        arguments: Id,
        items: Vec<(Id, Id)>,
    },
}

/// What a pickle has made.
#[derive(Debug)]
pub(super) struct Pickle {
    nodes: Vec<Node>,
    root: Id,
}

impl Pickle {
    pub(super) fn read(source: &mut impl Read) -> Result<Self, Why> {
        let mut machine = Machine {
            source,
            left: MAX_BYTES,
            nodes: Vec::new(),
            stack: Vec::new(),
            marks: Vec::new(),
            memo: BTreeMap::new(),
        };
        while !machine.step()? {}
        let root = machine.pop()?;
        Ok(Self {
            nodes: machine.nodes,
            root,
        })
    }

    pub(super) fn root(&self) -> &Node {
        self.node(self.root)
    }

    pub(super) fn node(&self, id: Id) -> &Node {
        &self.nodes[id]
    }

    pub(super) fn tuple(&self, id: Id) -> Option<&[Id]> {
        match self.node(id) {
            Node::Tuple(items) => Some(items),
            _ => None,
        }
    }

    /// A whole number from 0 on.
    pub(super) fn number(&self, id: Id) -> Option<u64> {
        match self.node(id) {
            Node::Int(number) => u64::try_from(*number).ok(),
            _ => None,
        }
    }

    /// A tuple of such numbers.
    pub(super) fn numbers(&self, id: Id) -> Option<Vec<u64>> {
        let items = self.tuple(id)?;
        items.iter().map(|item| self.number(*item)).collect()
    }
}

struct Machine<'a, R: Read> {
    source: &'a mut R,
    /// Bytes that may still be read.
    left: usize,
    nodes: Vec<Node>,
    stack: Vec<Id>,
    /// Heights of the stack.
    marks: Vec<usize>,
    memo: BTreeMap<u32, Id>,
}

impl<R: Read> Machine<'_, R> {
    /// One instruction; `true` after the last.
    fn step(&mut self) -> Result<bool, Why> {
        let [code] = self.bytes::<1>()?;
        match code {
            // PROTO
            0x80 => {
                self.bytes::<1>()?;
            }
            // STOP
            b'.' => return Ok(true),
            // MARK
            b'(' => self.marks.push(self.stack.len()),
            b'N' => self.push(Node::None)?,
            // NEWTRUE, NEWFALSE
            0x88 | 0x89 => self.push(Node::Bool)?,
            // BININT, BININT1, BININT2
            b'J' => {
                let number = i32::from_le_bytes(self.bytes()?);
                self.push(Node::Int(i64::from(number)))?;
            }
            b'K' => {
                let [number] = self.bytes()?;
                self.push(Node::Int(i64::from(number)))?;
            }
            b'M' => {
                let number = u16::from_le_bytes(self.bytes()?);
                self.push(Node::Int(i64::from(number)))?;
            }
            // LONG1
            0x8a => {
                let [length] = self.bytes()?;
                let bytes = self.run(usize::from(length))?;
                self.push(long(bytes))?;
            }
            // BINUNICODE
            b'X' => {
                let length = u32::from_le_bytes(self.bytes()?);
                let text = self.text(length as usize)?;
                self.push(Node::Text(text))?;
            }
            // GLOBAL
            b'c' => {
                let name = format!("{} {}", self.line()?, self.line()?);
                self.push(Node::Global(name))?;
            }
            // EMPTY_TUPLE, EMPTY_LIST, EMPTY_DICT
            b')' => self.push(Node::Tuple(Vec::new()))?,
            b']' => self.push(Node::List(Vec::new()))?,
            b'}' => self.push(Node::Dict(Vec::new()))?,
            // TUPLE1, TUPLE2, TUPLE3, TUPLE
            0x85..=0x87 => {
                let count = usize::from(code - 0x84);
                let items = self.pop_from(self.stack.len().checked_sub(count))?;
                self.push(Node::Tuple(items))?;
            }
            b't' => {
                let items = self.pop_marked()?;
                self.push(Node::Tuple(items))?;
            }
            // APPEND, APPENDS
            b'a' => {
                let item = self.pop()?;
                self.extend_list(&[item])?;
            }
            b'e' => {
                let items = self.pop_marked()?;
                self.extend_list(&items)?;
            }
            // SETITEM, SETITEMS
            b's' => {
                let items = self.pop_from(self.stack.len().checked_sub(2))?;
                self.set_items(&items)?;
            }
            b'u' => {
                let items = self.pop_marked()?;
                self.set_items(&items)?;
            }
            // REDUCE
            b'R' => {
                let (arguments, function) = (self.pop()?, self.pop()?);
                self.push(Node::Made {
                    function,
                    arguments,
                    items: Vec::new(),
                })?;
            }
            // BUILD: attributes of what was made, which here mean nothing
            b'b' => {
                self.pop()?;
            }
            // BINPERSID
            b'Q' => {
                let name = self.pop()?;
                self.push(Node::Persistent(name))?;
            }
            // BINPUT, LONG_BINPUT
            b'q' => {
                let [place] = self.bytes()?;
                self.remember(u32::from(place))?;
            }
            b'r' => {
                let place = u32::from_le_bytes(self.bytes()?);
                self.remember(place)?;
            }
            // BINGET, LONG_BINGET
            b'h' => {
                let [place] = self.bytes()?;
                self.recall(u32::from(place))?;
            }
            b'j' => {
                let place = u32::from_le_bytes(self.bytes()?);
                self.recall(place)?;
            }
            other => return damaged(format!("a pickle's instruction {other:#04x} is not known")),
        }
        Ok(false)
    }

    fn bytes<const N: usize>(&mut self) -> Result<[u8; N], Why> {
        self.spend(N)?;
        let mut bytes = [0; N];
        self.source.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    fn run(&mut self, length: usize) -> Result<Vec<u8>, Why> {
        self.spend(length)?;
        let mut bytes = vec![0; length];
        self.source.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    fn text(&mut self, length: usize) -> Result<String, Why> {
        match String::from_utf8(self.run(length)?) {
            Ok(text) => Ok(text),
            Err(_) => damaged("a pickle's text is not Unicode"),
        }
    }

    /// Up to the end of the line.
    fn line(&mut self) -> Result<String, Why> {
        let mut line = String::new();
        loop {
            match self.bytes::<1>()? {
                [b'\n'] => return Ok(line),
                [byte] if byte.is_ascii() => line.push(char::from(byte)),
                _ => return damaged("a pickle's name is not ASCII"),
            }
        }
    }

    fn spend(&mut self, bytes: usize) -> Result<(), Why> {
        match self.left.checked_sub(bytes) {
            Some(left) => {
                self.left = left;
                Ok(())
            }
            None => damaged(format!("a pickle has more than {MAX_BYTES} bytes")),
        }
    }

    fn push(&mut self, node: Node) -> Result<(), Why> {
        if self.nodes.len() == MAX_NODES {
            return damaged(format!("a pickle makes more than {MAX_NODES} things"));
        }
        self.stack.push(self.nodes.len());
        self.nodes.push(node);
        Ok(())
    }

    fn pop(&mut self) -> Result<Id, Why> {
        match self.stack.pop() {
            Some(id) => Ok(id),
            None => damaged("a pickle takes what is not there"),
        }
    }

    fn pop_from(&mut self, height: Option<usize>) -> Result<Vec<Id>, Why> {
        match height.filter(|height| *height <= self.stack.len()) {
            Some(height) => Ok(self.stack.split_off(height)),
            None => damaged("a pickle takes what is not there"),
        }
    }

    fn pop_marked(&mut self) -> Result<Vec<Id>, Why> {
        let mark = self.marks.pop();
        self.pop_from(mark)
    }

    fn top(&mut self) -> Result<&mut Node, Why> {
        match self.stack.last() {
            Some(id) => Ok(&mut self.nodes[*id]),
            None => damaged("a pickle takes what is not there"),
        }
    }

    fn extend_list(&mut self, more: &[Id]) -> Result<(), Why> {
        match self.top()? {
            Node::List(items) => items.extend_from_slice(more),
            _ => return damaged("a pickle appends to what is no list"),
        }
        Ok(())
    }

    fn set_items(&mut self, more: &[Id]) -> Result<(), Why> {
        let (pairs, rest) = more.as_chunks::<2>();
        match self.top()? {
            Node::Dict(items) | Node::Made { items, .. } if rest.is_empty() => {
                items.extend(pairs.iter().map(|[key, value]| (*key, *value)));
                Ok(())
            }
            _ => damaged("a pickle sets items of what has none"),
        }
    }

    fn remember(&mut self, place: u32) -> Result<(), Why> {
        match self.stack.last() {
            Some(id) => {
                self.memo.insert(place, *id);
                Ok(())
            }
            None => damaged("a pickle remembers what is not there"),
        }
    }

    fn recall(&mut self, place: u32) -> Result<(), Why> {
        match self.memo.get(&place) {
            Some(id) => {
                self.stack.push(*id);
                Ok(())
            }
            None => damaged("a pickle recalls what it did not remember"),
        }
    }
}

/// An integer of any length; one that fits is an ordinary one.
fn long(bytes: Vec<u8>) -> Node {
    let mut wide = [0; 8];
    match bytes.last() {
        Some(last) if bytes.len() <= 8 => {
            let sign = if last & 0x80 == 0 { 0 } else { 0xff };
            wide.fill(sign);
            wide[..bytes.len()].copy_from_slice(&bytes);
            Node::Int(i64::from_le_bytes(wide))
        }
        None => Node::Int(0),
        Some(_) => Node::Long(bytes),
    }
}
