//! Families found by their name: what pages have in common with each other stays in memory from one to the next.

use std::hash::{BuildHasher, RandomState};
use std::ops::Range;

use hashbrown::HashTable;

/// A text in the memory of a page.
pub(super) type Span = Range<u32>;

/// Numbers by name, without a copy of the names and, once there is room, without an allocation.
#[derive(Debug, Default)]
pub(super) struct NameTable {
    numbers: HashTable<u32>,
    hasher: RandomState,
}

impl NameTable {
    pub(super) fn clear(&mut self) {
        self.numbers.clear();
    }

    /// The number under `name`, of the numbers whose names `name_of` knows.
    pub(super) fn find<'a>(&self, name: &str, name_of: impl Fn(u32) -> &'a str) -> Option<u32> {
        self.numbers.find(self.hasher.hash_one(name), |number| name_of(*number) == name).copied()
    }

    /// Notes a number whose name is in no entry yet.
    pub(super) fn insert<'a>(&mut self, number: u32, name_of: impl Fn(u32) -> &'a str) {
        let hash = self.hasher.hash_one(name_of(number));
        self.numbers.insert_unique(hash, number, |number| self.hasher.hash_one(name_of(*number)));
    }
}
