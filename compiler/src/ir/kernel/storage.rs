//! How an element is kept in memory: all sizes in bytes follow from it.

use serde::{Deserialize, Serialize};

use crate::ir::graph::Elem;

/// How an element is kept in memory, little-endian.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Storage {
    /// An f32 in 4 bytes.
    F32,
    /// An i32 in 4 bytes.
    I32,
    /// A truth value in 4 bytes: a u32, 0 or 1.
    U32,
    /// A number that is 0 or 1 as a bit. Rows are whole bytes, the first element in the lowest bit; see
    /// [`bit_packing`](crate::target::cpu::plan::bit_packing::pack).
    Bit,
}

impl Storage {
    /// As callers give and take elements of a type, and as a GPU has them.
    pub fn of(elem: Elem) -> Storage {
        match elem {
            Elem::F32 => Storage::F32,
            Elem::I32 => Storage::I32,
            Elem::Bool => Storage::U32,
        }
    }

    /// The bits of an element.
    pub const fn width(self) -> i64 {
        match self {
            Storage::F32 | Storage::I32 | Storage::U32 => 32,
            Storage::Bit => 1,
        }
    }

    /// The bytes of so many elements, of whole rows.
    pub const fn bytes(self, elements: i64) -> i64 {
        match self.width() {
            width @ 8.. => elements.saturating_mul(width / 8),
            width => elements / (8 / width),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_those_of_whole_rows() {
        assert_eq!(Storage::F32.bytes(6), 24);
        assert_eq!(Storage::of(Elem::Bool).bytes(3), 12);
        assert_eq!(Storage::Bit.bytes(24), 3);
        assert_eq!(Storage::I32.bytes(i64::MAX), i64::MAX);
    }
}
