//! Where the rows of a matrix of 0 and 1 are 1.

use super::elements::{Elements, Line};
use super::rows::{BLOCK, Chosen, SLACK, list_bits, list_columns};

/// The most rows that are listed at once, but where rows are columns in memory.
pub(super) const ROWS: usize = 64;

/// A list for each row, one after the other as they are asked for.
#[derive(Default)]
pub(super) struct RowIndices {
    lists: Vec<u32>,
    counts: Vec<usize>,
    chosen: Vec<Chosen>,
    /// A row that is not contiguous.
    line: Vec<f32>,
    /// For rows of different widths.
    known: Vec<Known>,
}

/// The lists of [`ROWS`] rows of bits. Products of one step, and those of the next one, often ask for
/// the same rows.
struct Known {
    /// Bytes of a row.
    width: usize,
    bits: Vec<u8>,
    lists: Vec<u32>,
    counts: [usize; ROWS],
}

impl RowIndices {
    /// The lists of all rows.
    ///
    /// # Safety
    /// There are elements at all indices of both axes; at most [`ROWS`] rows if they are contiguous.
    pub unsafe fn of(&mut self, left: Elements, rows: Line, depth: Line) -> &[Chosen] {
        self.chosen.clear();
        // SAFETY: by the contract, for all.
        unsafe {
            match left.bit_rows(rows.1).filter(|_| depth.1 == 1 && rows.1 == depth.0) {
                Some(bits) => {
                    let bytes = bits.stride as usize;
                    let known = Known::of(&mut self.known, bytes);
                    // Rows that follow each other have different places.
                    let first = bits.start.addr() / bytes.max(1);
                    self.chosen.extend((0..rows.0 as usize).map(|m| {
                        let row = bits.start.wrapping_add(m * bytes);
                        known.list_of((first + m) % ROWS, std::slice::from_raw_parts(row, bytes))
                    }));
                }
                None if rows.1 == 1 && depth.1 != 1 => self.list_columns(left, rows.0, depth),
                None => self.list_rows(left, rows, depth),
            }
        }
        &self.chosen
    }

    /// Room for so many lists of so many positions; how far they are apart.
    fn make_room(&mut self, rows: usize, depth: usize) -> usize {
        let room = room(depth);
        if self.lists.len() < rows * room {
            self.lists.resize(rows * room, 0);
        }
        room
    }

    /// # Safety
    /// As for [`RowIndices::of`].
    unsafe fn list_rows(&mut self, left: Elements, rows: Line, depth: Line) {
        let room = self.make_room(rows.0 as usize, depth.0 as usize);
        for (m, list) in (0..rows.0).zip(self.lists.chunks_exact_mut(room)) {
            let row = left.offset(m * rows.1);
            // SAFETY: by the contract.
            let count = unsafe { row.list(depth, &mut self.line, list.as_mut_ptr()) };
            self.chosen.push(Chosen { list: list.as_ptr(), count });
        }
    }

    /// # Safety
    /// As for [`RowIndices::of`]; rows are columns in memory.
    unsafe fn list_columns(&mut self, left: Elements, rows: isize, depth: Line) {
        let rows = rows as usize;
        let room = self.make_room(rows, depth.0 as usize);
        self.counts.clear();
        self.counts.resize(rows, 0);
        let blocks = self.counts.chunks_mut(BLOCK).zip(self.lists.chunks_mut(BLOCK * room));
        for (block, (counts, lists)) in blocks.enumerate() {
            let left = left.offset((block * BLOCK) as isize);
            for first in (0..depth.0).step_by(BLOCK) {
                let mut words = [0; BLOCK];
                for (k, word) in (first..depth.0).zip(&mut words) {
                    // SAFETY: by the contract.
                    *word = unsafe { left.offset(k * depth.1).word(counts.len()) };
                }
                // SAFETY: there is room for as many positions as terms, and more.
                unsafe {
                    list_columns(&mut words, first as usize, lists.as_mut_ptr(), room, counts);
                }
            }
        }
        let lists = self.lists.chunks_exact(room).map(<[u32]>::as_ptr).zip(&self.counts);
        self.chosen.extend(lists.map(|(list, count)| Chosen { list, count: *count }));
    }
}

/// For a list of so many positions: an odd number of cache lines, lest all lists begin in the same few
/// places of the cache.
fn room(positions: usize) -> usize {
    (positions + SLACK).next_multiple_of(32) + 16
}

impl Known {
    /// The lists of rows of so many bytes.
    fn of(all: &mut Vec<Known>, width: usize) -> &mut Known {
        let at = all.iter().position(|known| known.width == width).unwrap_or_else(|| {
            all.push(Known {
                width,
                bits: vec![0; ROWS * width],
                lists: vec![0; ROWS * room(8 * width)],
                counts: [0; ROWS],
            });
            all.len() - 1
        });
        &mut all[at]
    }

    /// The list of a row, made unless it is known.
    fn list_of(&mut self, place: usize, row: &[u8]) -> Chosen {
        let room = room(8 * self.width);
        let list = &mut self.lists[place * room..][..room];
        if is_replaced(&mut self.bits[place * self.width..][..self.width], row) {
            // SAFETY: there is room for all bits, and more.
            self.counts[place] =
                unsafe { list_bits(row.as_ptr(), 8 * row.len(), list.as_mut_ptr()) };
        }
        Chosen { list: list.as_ptr(), count: self.counts[place] }
    }
}

/// Puts bits in the place of as many others; whether they were different. Word by word: rows are short,
/// and calls would take most of the time.
fn is_replaced(bits: &mut [u8], by: &[u8]) -> bool {
    let mut is_different = false;
    let ((words, rest), (other_words, other_rest)) = (bits.as_chunks_mut::<8>(), by.as_chunks());
    for (word, other) in words.iter_mut().zip(other_words) {
        is_different |= std::mem::replace(word, *other) != *other;
    }
    for (byte, other) in rest.iter_mut().zip(other_rest) {
        is_different |= std::mem::replace(byte, *other) != *other;
    }
    is_different
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bits that look random, about a third of them set.
    fn bits(count: usize) -> Vec<bool> {
        (0..count).map(|at| at.wrapping_mul(2654435761) >> 7 & 3 == 0 || at % 17 == 5).collect()
    }

    fn packed(bits: &[bool]) -> Vec<u8> {
        let byte =
            |bits: &[bool]| bits.iter().rev().fold(0, |byte, bit| byte << 1 | u8::from(*bit));
        bits.chunks(8).map(byte).collect()
    }

    fn lists(indices: &mut RowIndices, left: Elements, rows: Line, depth: Line) -> Vec<Vec<u32>> {
        // SAFETY: the tests' matrices have all these elements.
        let chosen = unsafe { indices.of(left, rows, depth) };
        // SAFETY: the lists are as long as they say.
        let list = |row: &Chosen| unsafe { std::slice::from_raw_parts(row.list, row.count) };
        chosen.iter().map(|row| list(row).to_vec()).collect()
    }

    fn expected(rows: usize, depth: usize, is_set: impl Fn(usize, usize) -> bool) -> Vec<Vec<u32>> {
        let row = |m| (0..depth).filter(|k| is_set(m, *k)).map(|k| k as u32).collect();
        (0..rows).map(row).collect()
    }

    #[test]
    fn rows_and_columns_are_listed_from_bits_and_numbers() {
        let mut indices = RowIndices::default();
        for (long, short) in [(200, 136), (64, 8), (7, 72), (130, 64)] {
            let set = bits(long * short);
            let (bytes, numbers) = (packed(&set), set.iter().map(|bit| f32::from(u8::from(*bit))));
            let numbers: Vec<f32> = numbers.collect();
            let width = short as isize;
            for left in [Elements::Bits(bytes.as_ptr(), 0), Elements::Floats(numbers.as_ptr())] {
                let rows = long.min(ROWS);
                let of_rows = lists(&mut indices, left, (rows as isize, width), (width, 1));
                assert_eq!(of_rows, expected(rows, short, |m, k| set[m * short + k]));
                let of_columns = lists(&mut indices, left, (width, 1), (long as isize, width));
                assert_eq!(of_columns, expected(short, long, |m, k| set[k * short + m]));
            }
        }
    }

    #[test]
    fn a_known_list_is_made_again_where_the_bits_changed() {
        let mut indices = RowIndices::default();
        let mut bytes = packed(&bits(64));
        for _ in 0..2 {
            for byte in 0..bytes.len() {
                bytes[byte] ^= 0b101;
                let left = Elements::Bits(bytes.as_ptr(), 0);
                let found = lists(&mut indices, left, (2, 32), (32, 1));
                let is_set = |m: usize, k: usize| bytes[4 * m + k / 8] >> (k % 8) & 1 == 1;
                assert_eq!(found, expected(2, 32, is_set));
            }
        }
    }
}
