//! A node's settings, with their defaults.

use super::messages::{Attribute, Node};

/// What is wrong with a node, in words.
pub(super) type Complaint = String;

pub(super) struct Attributes<'a>(&'a [Attribute]);

impl<'a> Attributes<'a> {
    pub(super) fn of(node: &'a Node) -> Self {
        Self(&node.attributes)
    }

    fn find(&self, name: &str) -> Option<&'a Attribute> {
        self.0.iter().find(|attribute| attribute.name == name)
    }

    pub(super) fn int(&self, name: &str, default: i64) -> i64 {
        self.find(name).map_or(default, |found| found.int)
    }

    pub(super) fn float(&self, name: &str, default: f32) -> f32 {
        self.find(name).map_or(default, |found| found.float)
    }

    pub(super) fn string(&self, name: &str, default: &str) -> String {
        self.find(name).map_or_else(
            || default.to_owned(),
            |found| String::from_utf8_lossy(&found.string).into_owned(),
        )
    }

    pub(super) fn ints(&self, name: &str) -> Option<&'a [i64]> {
        self.find(name).map(|found| found.ints.as_slice())
    }

    /// A few small numbers from `least` to 4096, as kernels and strides have them.
    pub(super) fn sizes<const N: usize>(
        &self,
        name: &str,
        least: usize,
        default: [usize; N],
    ) -> Result<[usize; N], Complaint> {
        let Some(ints) = self.ints(name) else {
            return Ok(default);
        };
        let wrong = || format!("{name} is {ints:?}");
        let mut sizes = [0; N];
        if ints.len() != N {
            return Err(wrong());
        }
        for (size, &int) in sizes.iter_mut().zip(ints) {
            *size = usize::try_from(int).map_err(|_| wrong())?;
            if !(least..=4096).contains(size) {
                return Err(wrong());
            }
        }
        Ok(sizes)
    }

    /// Refuses a setting that has another value than the only one supported.
    pub(super) fn only(&self, name: &str, supported: i64) -> Result<(), Complaint> {
        let found = self.int(name, supported);
        if found == supported {
            return Ok(());
        }
        Err(format!("{name} is {found}, supported is {supported}"))
    }

    /// The same for a word.
    pub(super) fn only_word(
        &self,
        name: &str,
        default: &str,
        supported: &str,
    ) -> Result<(), Complaint> {
        let found = self.string(name, default);
        if found == supported {
            return Ok(());
        }
        Err(format!("{name} is {found}, supported is {supported}"))
    }
}
