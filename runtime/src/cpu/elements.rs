//! The elements of an operand, wherever they are.

use super::rows::{BitRows, list_bits, list_nonzero, nonzero_word, read_word, unpack};

/// Numbers, or 0 and 1 as bits, of which a row begins with a byte.
#[derive(Clone, Copy)]
pub(super) enum Elements {
    Floats(*const f32),
    /// Memory, and the number of the first bit in it.
    Bits(*const u8, isize),
}

/// An axis of a matrix: its extent, and elements from step to step.
pub(super) type Line = (isize, isize);

impl Elements {
    pub fn offset(self, by: isize) -> Elements {
        match self {
            Elements::Floats(start) => Elements::Floats(start.wrapping_offset(by)),
            Elements::Bits(start, first) => Elements::Bits(start, first + by),
        }
    }

    /// # Safety
    /// There is such an element.
    pub unsafe fn at(self, index: isize) -> f32 {
        // SAFETY: by the contract, for both.
        match self.offset(index) {
            Elements::Floats(element) => unsafe { *element },
            Elements::Bits(start, bit) => unsafe {
                f32::from(*start.wrapping_offset(bit / 8) >> (bit % 8) & 1)
            },
        }
    }

    /// Where the bits are, if they begin with a byte.
    fn bytes(self) -> Option<*const u8> {
        match self {
            Elements::Bits(start, first) if first % 8 == 0 => {
                Some(start.wrapping_offset(first / 8))
            }
            _ => None,
        }
    }

    /// Bits in rows, if they are bits and every row begins with a byte.
    pub fn bit_rows(self, stride: isize) -> Option<BitRows> {
        let start = self.bytes().filter(|_| stride % 8 == 0)?;
        Some(BitRows { start, stride: stride / 8 })
    }

    /// Writes the positions of the elements of a line that are not 0 and says how many there are.
    /// `line` is for one that is not contiguous.
    ///
    /// # Safety
    /// There are such elements; as for [`list_nonzero`].
    pub unsafe fn list(
        self,
        (extent, stride): Line,
        line: &mut Vec<f32>,
        positions: *mut u32,
    ) -> usize {
        let count = extent as usize;
        // SAFETY: by the contract, for all.
        unsafe {
            match (self, self.bytes()) {
                (_, Some(bits)) if stride == 1 => return list_bits(bits, count, positions),
                (Elements::Floats(start), _) if stride == 1 => {
                    return list_nonzero(std::slice::from_raw_parts(start, count), positions);
                }
                _ => {}
            }
            line.clear();
            line.extend((0..extent).map(|at| self.at(at * stride)));
            list_nonzero(line, positions)
        }
    }

    /// Which of so many contiguous elements are not 0, at most [`BLOCK`](super::rows::BLOCK), as bits.
    ///
    /// # Safety
    /// There are such elements.
    pub unsafe fn word(self, count: usize) -> u64 {
        // SAFETY: by the contract, for all.
        unsafe {
            match (self, self.bytes()) {
                (_, Some(bits)) => read_word(bits, count),
                (Elements::Floats(start), _) => {
                    nonzero_word(std::slice::from_raw_parts(start, count))
                }
                _ => (0..count as isize)
                    .fold(0, |word, at| word | u64::from(self.at(at) != 0.0) << at),
            }
        }
    }

    /// The elements of a matrix as numbers, and how far they are apart along its two axes; in
    /// `unpacked`, if they are bits.
    ///
    /// # Safety
    /// There are such elements.
    pub unsafe fn floats(
        self,
        outer: Line,
        inner: Line,
        unpacked: &mut Vec<f32>,
    ) -> (*const f32, [isize; 2]) {
        if let Elements::Floats(start) = self {
            return (start, [outer.1, inner.1]);
        }
        if outer.1 == 1 && inner.1 != 1 {
            // SAFETY: by the contract.
            let (start, [inner, outer]) = unsafe { self.floats(inner, outer, unpacked) };
            return (start, [outer, inner]);
        }
        unpacked.resize((outer.0 * inner.0) as usize, 0.0);
        for (row, line) in unpacked.chunks_exact_mut(inner.0 as usize).enumerate() {
            let first = self.offset(row as isize * outer.1);
            // SAFETY: by the contract, for both.
            match first.bytes().filter(|_| inner.1 == 1) {
                Some(bits) => unsafe { unpack(bits, line) },
                None => line.iter_mut().enumerate().for_each(|(at, element)| {
                    *element = unsafe { first.at(at as isize * inner.1) };
                }),
            }
        }
        (unpacked.as_ptr(), [inner.0, 1])
    }
}
