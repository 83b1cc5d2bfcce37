//! Sums of rows and products of few rows, in the widest vectors of the machine.
//!
//! `pulp` 0.22 has loads, sums and products for any width, but no list of the lanes that are chosen, no mask
//! of bits and no bits of a mask: they would be written for each width as well. Lists by the table of bytes
//! that any machine has take 4.7 ns for 64 bits instead of the 3.7 of AVX-512's own instruction.

/// A matrix with contiguous rows.
#[derive(Clone, Copy)]
pub(super) struct Rows {
    pub start: *const f32,
    /// Elements from row to row.
    pub stride: isize,
}

impl Rows {
    /// # Safety
    /// The matrix has that row and as many columns.
    #[inline(always)]
    unsafe fn row<'a>(self, index: usize, columns: usize) -> &'a [f32] {
        // SAFETY: by the contract.
        unsafe {
            std::slice::from_raw_parts(self.start.offset(index as isize * self.stride), columns)
        }
    }

    /// From a row on.
    pub fn starting_at_row(self, row: usize) -> Rows {
        Rows { start: self.start.wrapping_offset(row as isize * self.stride), ..self }
    }

    /// From a column on.
    pub fn starting_at(self, column: usize) -> Rows {
        Rows { start: self.start.wrapping_add(column), ..self }
    }
}

/// A matrix of bits.
#[derive(Clone, Copy)]
pub(super) struct BitRows {
    pub start: *const u8,
    /// Bytes from row to row.
    pub stride: isize,
}

impl BitRows {
    /// # Safety
    /// The matrix has that row and those columns.
    #[inline(always)]
    unsafe fn is_set(self, row: usize, column: usize) -> bool {
        // SAFETY: by the contract.
        unsafe { *self.byte(row, column) >> (column % 8) & 1 == 1 }
    }

    #[inline(always)]
    fn byte(self, row: usize, column: usize) -> *const u8 {
        self.start.wrapping_offset(row as isize * self.stride).wrapping_add(column / 8)
    }
}

/// The same function for each width of vectors: `of` says how many elements its vectors have together, for
/// so many lanes.
macro_rules! in_widest_vectors {
    (
        $(#[$doc:meta])*
        fn $name:ident($($arg:ident: $ty:ty),* $(,)?) $(-> $result:ty)? = $body:ident of $elements:ident
    ) => {
        $(#[$doc])*
        pub(super) unsafe fn $name($($arg: $ty),*) $(-> $result)? {
            #[cfg(target_arch = "x86_64")]
            {
                use std::arch::x86_64::{__m256, __m512};
                #[target_feature(enable = "avx512f,fma,popcnt")]
                unsafe fn avx512($($arg: $ty),*) $(-> $result)? {
                    // SAFETY: by the contract.
                    unsafe { $body::<__m512, { $elements(16) / 16 }>($($arg),*) }
                }
                #[target_feature(enable = "avx2,fma,popcnt")]
                unsafe fn avx2($($arg: $ty),*) $(-> $result)? {
                    // SAFETY: by the contract.
                    unsafe { $body::<__m256, { $elements(8) / 8 }>($($arg),*) }
                }
                // Whatever has these has `popcnt`.
                if is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("fma") {
                    // SAFETY: by the contract; the machine has the instructions.
                    return unsafe { avx512($($arg),*) };
                }
                if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                    // SAFETY: by the contract; the machine has the instructions.
                    return unsafe { avx2($($arg),*) };
                }
            }
            // SAFETY: by the contract.
            unsafe { $body::<Four, { $elements(4) / 4 }>($($arg),*) }
        }
    };
}

in_widest_vectors! {
    /// `out[m] (+)= Σ rows[i]`, in order, over the indices `i` that are chosen for `m`, for at most
    /// [`columns_of_sums`] columns.
    ///
    /// # Safety
    /// The lists are as long as they say, and the rows inside of the matrix; it and `out`, which is no
    /// part of it, have so many columns. `readable` columns of it may be read, at least as many.
    fn sum_chosen(
        out: Target, rows: Rows, chosen: &[Chosen], columns: usize, readable: usize,
    ) = sum_block of summed
}

in_widest_vectors! {
    /// Writes the positions of the elements that are not 0 and says how many there are.
    ///
    /// # Safety
    /// There is room for as many positions as there are elements, and [`SLACK`] more.
    fn list_nonzero(elements: &[f32], positions: *mut u32) -> usize = list_in_words of block
}

in_widest_vectors! {
    /// Writes the positions of the bits that are set, of so many, and says how many there are.
    ///
    /// # Safety
    /// As for [`list_nonzero`]; the bits fill whole bytes.
    fn list_bits(bits: *const u8, count: usize, positions: *mut u32) -> usize = list_bits_in_words
        of block
}

in_widest_vectors! {
    /// The elements that are not 0, at most [`BLOCK`], as bits.
    ///
    /// # Safety
    /// None.
    fn nonzero_word(elements: &[f32]) -> u64 = nonzero_bits of block
}

in_widest_vectors! {
    /// Appends to the list of each column the rows in which its bit is set: row `first` is the first
    /// word, column 0 the lowest bit. So many words are used up.
    ///
    /// # Safety
    /// There is room for as many more positions in each list, and for [`SLACK`] after them.
    fn list_columns(
        words: &mut [u64; BLOCK], first: usize, lists: *mut u32, room: usize, counts: &mut [usize],
    ) = list_words of block
}

in_widest_vectors! {
    /// Bits as 0 and 1.
    ///
    /// # Safety
    /// There are as many bits as elements, in whole bytes.
    fn unpack(bits: *const u8, elements: &mut [f32]) = unpack_bytes of block
}

in_widest_vectors! {
    /// `sum[n] += Σ_k left[k, n]`, over those `k` for which bit `[k, n]` is set.
    ///
    /// # Safety
    /// The matrix and the bits have so many rows, and as many columns as `sum`, which is no part of
    /// them; rows of bits are whole bytes.
    fn add_chosen(sum: &mut [f32], left: Rows, chosen: BitRows, rows: usize) = add_chosen_in_blocks
        of block
}

in_widest_vectors! {
    /// `sum[n] += Σ_k left[k, n] · right[k, n]`
    ///
    /// # Safety
    /// Both matrices have so many rows, and as many columns as `sum`, which is no part of them.
    fn add_products(sum: &mut [f32], left: Rows, right: Rows, rows: usize) = add_products_in_blocks
        of block
}

in_widest_vectors! {
    /// `out[m, n] (+)= Σ_k left[m, k] · right[k, n]` for at most [`columns_of_panels`] columns.
    ///
    /// # Safety
    /// The operands and the result have elements at all indices; `right` has whole vectors of columns,
    /// `out` those that are asked for. `out` is no part of the operands.
    fn multiply_panel(out: Target, left: Left, right: Rows, sizes: Sizes) = multiply_vectors of panel
}

in_widest_vectors! {
    /// Columns whose sums of rows stay in registers.
    ///
    /// # Safety
    /// None.
    fn columns_of_sums() -> usize = columns of summed
}

in_widest_vectors! {
    /// Columns that are multiplied together.
    ///
    /// # Safety
    /// None.
    fn columns_of_panels() -> usize = columns of panel
}

in_widest_vectors! {
    /// `out[m, n] (+)= Σ_k left[m, k] · right[k, n]`, row by row: for few rows or few terms.
    ///
    /// # Safety
    /// As for [`multiply_panel`], but for any number of columns.
    fn multiply_row_by_row(out: Target, left: Left, right: Rows, sizes: Sizes) = combine_in_blocks
        of block
}

/// For a row of a result the indices of others, ascending.
#[derive(Clone, Copy)]
pub(super) struct Chosen {
    pub list: *const u32,
    pub count: usize,
}

/// Where a product goes.
#[derive(Clone, Copy)]
pub(super) struct Target {
    pub start: *mut f32,
    pub stride: isize,
    /// The product is added to what is there.
    pub accumulate: bool,
}

/// A matrix of any form.
#[derive(Clone, Copy)]
pub(super) struct Left {
    pub start: *const f32,
    /// Elements from row to row and from column to column.
    pub row: isize,
    pub column: isize,
}

#[derive(Clone, Copy)]
pub(super) struct Sizes {
    pub rows: usize,
    pub columns: usize,
    pub depth: usize,
}

/// As many bits as a word has, and as many columns as stay in registers.
pub(super) const BLOCK: usize = 64;

/// Whatever the number of lanes.
const fn block(_: usize) -> usize {
    BLOCK
}

/// An addition takes as long as eight of them that do not wait for each other.
const fn summed(lanes: usize) -> usize {
    if 8 * lanes > BLOCK { 8 * lanes } else { BLOCK }
}

/// The vectors of a row of a panel; see [`Vector::ROWS`].
const fn panel(lanes: usize) -> usize {
    if 2 * lanes > 16 { 2 * lanes } else { 16 }
}

/// # Safety
/// None: it is so for its callers' sake.
#[inline(always)]
unsafe fn columns<V: Vector, const N: usize>() -> usize {
    N * V::LANES
}

#[inline(always)]
unsafe fn sum_block<V: Vector, const N: usize>(
    out: Target,
    rows: Rows,
    chosen: &[Chosen],
    columns: usize,
    readable: usize,
) {
    // SAFETY: by the contract of `sum_chosen`, for all.
    unsafe {
        match columns.div_ceil(V::LANES) {
            1 => sum_vectors::<V, 1>(out, rows, chosen, columns, readable),
            2 => sum_vectors::<V, 2>(out, rows, chosen, columns, readable),
            3 | 4 => sum_vectors::<V, 4>(out, rows, chosen, columns, readable),
            5 | 6 => sum_vectors::<V, 6>(out, rows, chosen, columns, readable),
            _ => sum_vectors::<V, N>(out, rows, chosen, columns, readable),
        }
    }
}

/// # Safety
/// As for [`sum_chosen`], with at most N vectors of columns.
#[inline(always)]
unsafe fn sum_vectors<V: Vector, const N: usize>(
    out: Target,
    rows: Rows,
    chosen: &[Chosen],
    columns: usize,
    readable: usize,
) {
    let all = N * V::LANES;
    for (m, chosen) in chosen.iter().enumerate() {
        // SAFETY: by the contract.
        let indices = unsafe { std::slice::from_raw_parts(chosen.list, chosen.count) };
        let target = out.start.wrapping_offset(m as isize * out.stride);
        // SAFETY: by the contract, for all.
        unsafe {
            let mut sums: [V; N] = match out.accumulate {
                true => load_first(target, columns),
                false => [V::splat(0.0); N],
            };
            match readable >= all {
                true => add_rows(&mut sums, rows, indices, all),
                false => add_rows(&mut sums, rows, indices, readable),
            }
            store_first(sums, target, columns);
        }
    }
}

/// # Safety
/// As for [`sum_chosen`].
#[inline(always)]
unsafe fn add_rows<V: Vector, const N: usize>(
    sums: &mut [V; N],
    rows: Rows,
    indices: &[u32],
    readable: usize,
) {
    for index in indices {
        // SAFETY: by the contract.
        let row: [V; N] =
            unsafe { load_first(rows.row(*index as usize, readable).as_ptr(), readable) };
        for (sum, value) in sums.iter_mut().zip(row) {
            *sum = sum.plus(value);
        }
    }
}

/// So many rows are added up by themselves, which keeps the rounding of long sums small.
const ROWS_AT_ONCE: usize = 256;

#[inline(always)]
unsafe fn add_products_in_blocks<V: Vector, const N: usize>(
    sum: &mut [f32],
    left: Rows,
    right: Rows,
    rows: usize,
) {
    let columns = sum.len();
    for first in (0..rows).step_by(ROWS_AT_ONCE) {
        let last = rows.min(first + ROWS_AT_ONCE);
        // SAFETY: by the contract of `add_products`.
        let row = |row: usize| unsafe { (left.row(row, columns), right.row(row, columns)) };
        let mut start = 0;
        let (blocks, rest) = sum.as_chunks_mut::<BLOCK>();
        for block in blocks {
            let mut registers = [V::splat(0.0); N];
            for at in first..last {
                let (a, b) = row(at);
                // SAFETY: the rows have this block, which is N vectors long.
                let (a, b): ([V; N], [V; N]) =
                    unsafe { (load(a.as_ptr().add(start)), load(b.as_ptr().add(start))) };
                for (register, (a, b)) in registers.iter_mut().zip(a.into_iter().zip(b)) {
                    *register = register.plus_product(a, b);
                }
            }
            // SAFETY: a block is N vectors long.
            unsafe { store_row(registers, block.as_mut_ptr(), BLOCK, true) }
            start += BLOCK;
        }
        for (at, sum) in rest.iter_mut().enumerate() {
            let products = (first..last).map(|k| row(k).0[start + at] * row(k).1[start + at]);
            *sum += products.sum::<f32>();
        }
    }
}

#[inline(always)]
unsafe fn add_chosen_in_blocks<V: Vector, const N: usize>(
    sum: &mut [f32],
    left: Rows,
    chosen: BitRows,
    rows: usize,
) {
    let columns = sum.len();
    // SAFETY: by the contract of `add_chosen`.
    let row = |row: usize| unsafe { left.row(row, columns) };
    for first in (0..rows).step_by(ROWS_AT_ONCE) {
        let rows = first..rows.min(first + ROWS_AT_ONCE);
        let (blocks, rest) = sum.as_chunks_mut::<BLOCK>();
        for (block, start) in blocks.iter_mut().zip((0..).step_by(BLOCK)) {
            let mut registers = [V::splat(0.0); N];
            for at in rows.clone() {
                // SAFETY: the rows have this block, which is N vectors long, and its bits.
                let (values, bits): ([V; N], u64) = unsafe {
                    let bits = read_word(chosen.byte(at, start), BLOCK);
                    (load(row(at).as_ptr().add(start)), bits)
                };
                for (n, (register, value)) in registers.iter_mut().zip(values).enumerate() {
                    *register = register.plus(value.chosen(bits >> (n * V::LANES)));
                }
            }
            // SAFETY: a block is N vectors long.
            unsafe { store_row(registers, block.as_mut_ptr(), BLOCK, true) }
        }
        let start = columns - rest.len();
        for (column, sum) in (start..).zip(rest) {
            // SAFETY: by the contract of `add_chosen`.
            let terms = rows.clone().filter(|at| unsafe { chosen.is_set(*at, column) });
            *sum += terms.map(|at| row(at)[column]).sum::<f32>();
        }
    }
}

/// Positions that may be written after the last one.
pub(super) const SLACK: usize = 16;

/// For each byte the positions of the bits that are set.
static POSITIONS: [[u8; 8]; 256] = {
    let mut all = [[0; 8]; 256];
    let mut byte = 0;
    while byte < 256 {
        let (mut bit, mut count) = (0, 0);
        while bit < 8 {
            if byte >> bit & 1 == 1 {
                all[byte][count] = bit;
                count += 1;
            }
            bit += 1;
        }
        byte += 1;
    }
    all
};

/// [`Vector::list_word`], eight at a time.
///
/// # Safety
/// As for that.
#[inline(always)]
unsafe fn list_bytes(word: u64, first: usize, positions: *mut u32) -> usize {
    let mut count = 0;
    let mut start = [first as u32; 8];
    for byte in word.to_le_bytes() {
        let found = &POSITIONS[usize::from(byte)];
        let found: [u32; 8] = std::array::from_fn(|at| u32::from(found[at]) + start[at]);
        // SAFETY: by the contract.
        unsafe { positions.add(count).cast::<[u32; 8]>().write_unaligned(found) };
        count += byte.count_ones() as usize;
        start = start.map(|start| start + 8);
    }
    count
}

#[inline(always)]
unsafe fn list_in_words<V: Vector, const N: usize>(elements: &[f32], positions: *mut u32) -> usize {
    let mut count = 0;
    for (word, chunk) in elements.chunks(BLOCK).enumerate() {
        // SAFETY: it needs nothing.
        let bits = unsafe { nonzero_bits::<V, N>(chunk) };
        // SAFETY: there is room for as many positions as elements, and more.
        count += unsafe { V::list_word(bits, BLOCK * word, positions.add(count)) };
    }
    count
}

#[inline(always)]
unsafe fn list_bits_in_words<V: Vector, const N: usize>(
    bits: *const u8,
    count: usize,
    positions: *mut u32,
) -> usize {
    let mut found = 0;
    for first in (0..count).step_by(BLOCK) {
        let rest = (count - first).min(BLOCK);
        // SAFETY: by the contract of `list_bits`, for both.
        unsafe {
            let word = read_word(bits.add(first / 8), rest);
            found += V::list_word(word, first, positions.add(found));
        }
    }
    found
}

#[inline(always)]
unsafe fn list_words<V: Vector, const N: usize>(
    words: &mut [u64; BLOCK],
    first: usize,
    lists: *mut u32,
    room: usize,
    counts: &mut [usize],
) {
    transpose(words);
    for (column, (count, word)) in counts.iter_mut().zip(words).enumerate() {
        let list = lists.wrapping_add(column * room + *count);
        // SAFETY: by the contract of `list_columns`.
        *count += unsafe { V::list_word(*word, first, list) };
    }
}

/// Bit `n` of word `m` and bit `m` of word `n` change places: first whole quarters of the matrix, then
/// those of each quarter (Warren, Hacker's Delight, 7-3).
#[inline(always)]
fn transpose(words: &mut [u64; BLOCK]) {
    let mut mask = u64::MAX;
    for size in [32, 16, 8, 4, 2, 1] {
        mask ^= mask << size;
        for pair in words.chunks_exact_mut(2 * size) {
            let (low, high) = pair.split_at_mut(size);
            for (low, high) in low.iter_mut().zip(high) {
                let swapped = (*low >> size ^ *high) & mask;
                *low ^= swapped << size;
                *high ^= swapped;
            }
        }
    }
}

/// So many bits, and zeros.
///
/// # Safety
/// There are as many, in whole bytes.
#[inline(always)]
pub(super) unsafe fn read_word(bits: *const u8, count: usize) -> u64 {
    // SAFETY: by the contract, for both.
    if count == BLOCK {
        return u64::from_le(unsafe { bits.cast::<u64>().read_unaligned() });
    }
    let bytes = (0..count.div_ceil(8)).rev();
    let word = bytes.fold(0, |word, at| word << 8 | u64::from(unsafe { *bits.add(at) }));
    word & ((1 << count) - 1)
}

#[inline(always)]
unsafe fn unpack_bytes<V: Vector, const N: usize>(bits: *const u8, elements: &mut [f32]) {
    for (byte, elements) in elements.chunks_mut(8).enumerate() {
        // SAFETY: by the contract of `unpack`.
        let byte = unsafe { *bits.add(byte) };
        for (bit, element) in elements.iter_mut().enumerate() {
            *element = f32::from(byte >> bit & 1);
        }
    }
}

/// Of a block, or of fewer elements.
///
/// # Safety
/// None: it is so for its callers' sake.
#[inline(always)]
unsafe fn nonzero_bits<V: Vector, const N: usize>(chunk: &[f32]) -> u64 {
    let Some(block) = chunk.first_chunk::<BLOCK>() else {
        let set = chunk.iter().enumerate();
        return set.fold(0, |set, (at, value)| set | u64::from(*value != 0.0) << at);
    };
    // SAFETY: a block is N vectors long.
    let vectors: [V; N] = unsafe { load(block.as_ptr()) };
    let parts = vectors.into_iter().enumerate();
    parts.fold(0, |word, (at, vector)| word | vector.nonzero() << (at * V::LANES))
}

#[inline(always)]
unsafe fn multiply_vectors<V: Vector, const N: usize>(
    out: Target,
    left: Left,
    right: Rows,
    sizes: Sizes,
) {
    // SAFETY: by the contract of `multiply_panel`.
    unsafe {
        match sizes.columns.div_ceil(V::LANES) {
            1 => multiply_rows::<V, 1>(out, left, right, sizes),
            _ => multiply_rows::<V, N>(out, left, right, sizes),
        }
    }
}

/// # Safety
/// As for [`multiply_panel`], with at most N vectors of columns.
#[inline(always)]
unsafe fn multiply_rows<V: Vector, const N: usize>(
    out: Target,
    left: Left,
    right: Rows,
    sizes: Sizes,
) {
    let mut first = 0;
    while first < sizes.rows {
        let out = Target { start: out.start.wrapping_offset(first as isize * out.stride), ..out };
        let left = Left { start: left.start.wrapping_offset(first as isize * left.row), ..left };
        // Parts of about the same size: a small one would not keep the pipes busy.
        let rest = sizes.rows - first;
        let rows = rest.div_ceil(rest.div_ceil(V::ROWS));
        // SAFETY: by the contract of `multiply_panel`, for these rows.
        unsafe {
            match rows {
                1 => multiply_block::<V, N, 1>(out, left, right, sizes),
                2 => multiply_block::<V, N, 2>(out, left, right, sizes),
                3 => multiply_block::<V, N, 3>(out, left, right, sizes),
                4 => multiply_block::<V, N, 4>(out, left, right, sizes),
                5 => multiply_block::<V, N, 5>(out, left, right, sizes),
                6 => multiply_block::<V, N, 6>(out, left, right, sizes),
                7 => multiply_block::<V, N, 7>(out, left, right, sizes),
                _ => multiply_block::<V, N, 8>(out, left, right, sizes),
            }
        }
        first += rows;
    }
}

#[inline(always)]
unsafe fn combine_in_blocks<V: Vector, const N: usize>(
    out: Target,
    left: Left,
    right: Rows,
    sizes: Sizes,
) {
    for first in (0..sizes.columns).step_by(BLOCK) {
        let width = BLOCK.min(sizes.columns - first);
        let right = right.starting_at(first);
        for m in 0..sizes.rows as isize {
            let target = out.start.wrapping_offset(m * out.stride).wrapping_add(first);
            // SAFETY: by the contract, for all.
            unsafe {
                let mut sums: [V; N] = match out.accumulate {
                    true => load_first(target, width),
                    false => [V::splat(0.0); N],
                };
                for k in 0..sizes.depth {
                    let at = m * left.row + k as isize * left.column;
                    let factor = V::splat(*left.start.offset(at));
                    let row: [V; N] = load_first(right.row(k, width).as_ptr(), width);
                    for (sum, value) in sums.iter_mut().zip(row) {
                        *sum = sum.plus_product(factor, value);
                    }
                }
                store_first(sums, target, width);
            }
        }
    }
}

#[inline(always)]
unsafe fn multiply_block<V: Vector, const N: usize, const ROWS: usize>(
    out: Target,
    left: Left,
    right: Rows,
    sizes: Sizes,
) {
    let mut sums = [[V::splat(0.0); N]; ROWS];
    for k in 0..sizes.depth as isize {
        // SAFETY: by the contract of `multiply_panel`.
        let row: [V; N] = unsafe { load(right.start.offset(k * right.stride)) };
        for (m, sums) in sums.iter_mut().enumerate() {
            // SAFETY: by the contract of `multiply_panel`.
            let factor = unsafe { *left.start.offset(m as isize * left.row + k * left.column) };
            for (sum, value) in sums.iter_mut().zip(row) {
                *sum = sum.plus_product(V::splat(factor), value);
            }
        }
    }
    for (m, sums) in sums.into_iter().enumerate() {
        let target = out.start.wrapping_offset(m as isize * out.stride);
        // SAFETY: by the contract of `multiply_panel`.
        unsafe { store_row(sums, target, sizes.columns, out.accumulate) }
    }
}

/// # Safety
/// There are so many columns at `target`, at most a panel.
#[inline(always)]
unsafe fn store_row<V: Vector, const N: usize>(
    mut row: [V; N],
    target: *mut f32,
    columns: usize,
    accumulate: bool,
) {
    // SAFETY: by the contract.
    unsafe {
        if accumulate {
            let before: [V; N] = load_first(target, columns);
            row.iter_mut().zip(before).for_each(|(sum, before)| *sum = sum.plus(before));
        }
        store_first(row, target, columns);
    }
}

/// The first of N vectors, and zeros.
///
/// # Safety
/// There are so many elements.
#[inline(always)]
unsafe fn load_first<V: Vector, const N: usize>(from: *const f32, count: usize) -> [V; N] {
    // SAFETY: by the contract.
    unsafe {
        match count == N * V::LANES {
            true => load(from),
            false => std::array::from_fn(|at| {
                let before = at * V::LANES;
                let count = count.saturating_sub(before).min(V::LANES);
                V::load_first(from.wrapping_add(before), count)
            }),
        }
    }
}

/// # Safety
/// There is room for so many elements.
#[inline(always)]
unsafe fn store_first<V: Vector, const N: usize>(vectors: [V; N], to: *mut f32, count: usize) {
    // SAFETY: by the contract.
    unsafe {
        if count == N * V::LANES {
            return store(vectors, to);
        }
        for (at, vector) in vectors.into_iter().enumerate() {
            let before = at * V::LANES;
            let count = count.saturating_sub(before).min(V::LANES);
            vector.store_first(to.wrapping_add(before), count);
        }
    }
}

/// # Safety
/// There are as many elements.
#[inline(always)]
unsafe fn load<V: Vector, const N: usize>(from: *const f32) -> [V; N] {
    // SAFETY: by the contract.
    std::array::from_fn(|at| unsafe { V::load(from.add(at * V::LANES)) })
}

/// # Safety
/// There is room for as many elements.
#[inline(always)]
unsafe fn store<V: Vector, const N: usize>(vectors: [V; N], to: *mut f32) {
    for (at, vector) in vectors.into_iter().enumerate() {
        // SAFETY: by the contract.
        unsafe { vector.store(to.add(at * V::LANES)) }
    }
}

/// Numbers that are computed with at once. Where a width has instructions of its own, values of its
/// type are made only in functions that are compiled for it.
trait Vector: Copy {
    const LANES: usize;
    /// As many rows of a product are computed at once, at most 8: there are registers for their sums, a
    /// row of a panel and a factor, and enough sums that do not wait for each other.
    const ROWS: usize;
    fn splat(value: f32) -> Self;
    /// # Safety
    /// There are so many elements.
    unsafe fn load(from: *const f32) -> Self;
    /// # Safety
    /// There is room for so many elements.
    unsafe fn store(self, to: *mut f32);
    /// The first lanes, and zeros.
    ///
    /// # Safety
    /// There are so many elements, at most as many as lanes.
    unsafe fn load_first(from: *const f32, count: usize) -> Self;
    /// The first lanes.
    ///
    /// # Safety
    /// There is room for so many elements, at most as many as lanes.
    unsafe fn store_first(self, to: *mut f32, count: usize);
    fn plus(self, other: Self) -> Self;
    /// `self + a · b`
    fn plus_product(self, a: Self, b: Self) -> Self;
    /// A bit for each lane: whether it is not 0.
    fn nonzero(self) -> u64;
    /// The lanes whose bit is set, and zeros.
    fn chosen(self, bits: u64) -> Self;
    /// Writes the positions of the bits of a word from `first` on, and says how many there are. Without
    /// a branch that depends on them: several are written at a time, and those count that the next ones
    /// do not write over.
    ///
    /// # Safety
    /// There is room for them and [`SLACK`] more.
    unsafe fn list_word(word: u64, first: usize, positions: *mut u32) -> usize;
}

/// Four numbers, on any machine.
#[derive(Clone, Copy)]
struct Four([f32; 4]);

impl Vector for Four {
    const LANES: usize = 4;
    const ROWS: usize = 6;

    #[inline(always)]
    fn splat(value: f32) -> Four {
        Four([value; 4])
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Four {
        // SAFETY: by the contract.
        Four(unsafe { from.cast::<[f32; 4]>().read_unaligned() })
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: by the contract.
        unsafe { to.cast::<[f32; 4]>().write_unaligned(self.0) }
    }

    #[inline(always)]
    unsafe fn load_first(from: *const f32, count: usize) -> Four {
        let mut lanes = [0.0; 4];
        // SAFETY: by the contract.
        unsafe { std::ptr::copy_nonoverlapping(from, lanes.as_mut_ptr(), count) };
        Four(lanes)
    }

    #[inline(always)]
    unsafe fn store_first(self, to: *mut f32, count: usize) {
        // SAFETY: by the contract.
        unsafe { std::ptr::copy_nonoverlapping(self.0.as_ptr(), to, count) }
    }

    #[inline(always)]
    fn plus(self, other: Four) -> Four {
        Four(std::array::from_fn(|lane| self.0[lane] + other.0[lane]))
    }

    #[inline(always)]
    fn plus_product(self, a: Four, b: Four) -> Four {
        let lane = |lane: usize| match cfg!(target_arch = "aarch64") {
            true => a.0[lane].mul_add(b.0[lane], self.0[lane]),
            false => self.0[lane] + a.0[lane] * b.0[lane],
        };
        Four(std::array::from_fn(lane))
    }

    #[inline(always)]
    fn nonzero(self) -> u64 {
        let lanes = self.0.iter().enumerate();
        lanes.fold(0, |set, (lane, value)| set | u64::from(*value != 0.0) << lane)
    }

    #[inline(always)]
    fn chosen(self, bits: u64) -> Four {
        let lane = |lane: usize| if bits >> lane & 1 == 1 { self.0[lane] } else { 0.0 };
        Four(std::array::from_fn(lane))
    }

    #[inline(always)]
    unsafe fn list_word(word: u64, first: usize, positions: *mut u32) -> usize {
        // SAFETY: by the contract.
        unsafe { list_bytes(word, first, positions) }
    }
}

#[cfg(target_arch = "x86_64")]
mod wide {
    use std::arch::x86_64::*;

    use super::{Vector, list_bytes};

    macro_rules! vector {
        (
            $ty:ty, $lanes:literal, rows: $rows:literal, $splat:ident, $load:ident, $store:ident, $add:ident, $fma:ident,
            first($count:ident) = $mask:expr, $load_first:ident, $store_first:ident,
            nonzero($vector:ident) = $nonzero:expr,
            chosen($values:ident, $bits:ident) = $chosen:expr,
            list: $list:ident
        ) => {
            impl Vector for $ty {
                const LANES: usize = $lanes;
                const ROWS: usize = $rows;

                #[inline(always)]
                fn splat(value: f32) -> $ty {
                    // SAFETY: the function that this is part of is compiled for the instructions.
                    unsafe { $splat(value) }
                }

                #[inline(always)]
                unsafe fn load(from: *const f32) -> $ty {
                    // SAFETY: as above, and by the contract.
                    unsafe { $load(from) }
                }

                #[inline(always)]
                unsafe fn store(self, to: *mut f32) {
                    // SAFETY: as above, and by the contract.
                    unsafe { $store(to, self) }
                }

                #[inline(always)]
                unsafe fn load_first(from: *const f32, $count: usize) -> $ty {
                    // SAFETY: as above, and by the contract.
                    unsafe { $load_first($mask, from) }
                }

                #[inline(always)]
                unsafe fn store_first(self, to: *mut f32, $count: usize) {
                    // SAFETY: as above, and by the contract.
                    unsafe { $store_first(to, $mask, self) }
                }

                #[inline(always)]
                fn plus(self, other: $ty) -> $ty {
                    // SAFETY: as above.
                    unsafe { $add(self, other) }
                }

                #[inline(always)]
                fn plus_product(self, a: $ty, b: $ty) -> $ty {
                    // SAFETY: as above.
                    unsafe { $fma(a, b, self) }
                }

                #[inline(always)]
                fn nonzero(self) -> u64 {
                    let $vector = self;
                    // SAFETY: as above.
                    unsafe { $nonzero }
                }

                #[inline(always)]
                fn chosen(self, $bits: u64) -> $ty {
                    let $values = self;
                    // SAFETY: as above.
                    unsafe { $chosen }
                }

                #[inline(always)]
                unsafe fn list_word(word: u64, first: usize, positions: *mut u32) -> usize {
                    // SAFETY: as above, and by the contract.
                    unsafe { $list(word, first, positions) }
                }
            }
        };
    }

    /// All ones in so many lanes.
    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn first_of_eight(count: usize) -> __m256i {
        static LANES: [i32; 16] = [-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0];
        // SAFETY: the count is at most 8.
        unsafe { _mm256_loadu_si256(LANES.as_ptr().add(8 - count).cast()) }
    }

    /// With the operands in the order of the other instructions.
    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn load_first_of_eight(mask: __m256i, from: *const f32) -> __m256 {
        // SAFETY: by the contract of `load_first`.
        unsafe { _mm256_maskload_ps(from, mask) }
    }

    vector!(
        __m256,
        8,
        rows: 6,
        _mm256_set1_ps,
        _mm256_loadu_ps,
        _mm256_storeu_ps,
        _mm256_add_ps,
        _mm256_fmadd_ps,
        first(count) = first_of_eight(count),
        load_first_of_eight,
        _mm256_maskstore_ps,
        nonzero(vector) = u64::from(_mm256_movemask_ps(_mm256_cmp_ps::<_CMP_NEQ_UQ>(
            vector,
            _mm256_setzero_ps()
        )) as u32),
        chosen(values, bits) = {
            let lanes = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
            let set = _mm256_and_si256(_mm256_set1_epi32(bits as i32), lanes);
            let mask = _mm256_cmpeq_epi32(set, lanes);
            _mm256_and_ps(values, _mm256_castsi256_ps(mask))
        },
        list: list_bytes
    );

    /// [`Vector::list_word`], sixteen at a time.
    ///
    /// # Safety
    /// As for that.
    #[inline]
    #[target_feature(enable = "avx512f,popcnt")]
    unsafe fn list_sixteens(word: u64, first: usize, positions: *mut u32) -> usize {
        let lanes = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
        let mut at = _mm512_add_epi32(_mm512_set1_epi32(first as i32), lanes);
        let mut count = 0;
        for part in 0..4 {
            let bits = (word >> (16 * part)) as u16;
            let found = _mm512_maskz_compress_epi32(bits, at);
            // SAFETY: by the contract.
            unsafe { _mm512_storeu_si512(positions.add(count).cast(), found) };
            count += bits.count_ones() as usize;
            at = _mm512_add_epi32(at, _mm512_set1_epi32(16));
        }
        count
    }

    vector!(
        __m512,
        16,
        rows: 8,
        _mm512_set1_ps,
        _mm512_loadu_ps,
        _mm512_storeu_ps,
        _mm512_add_ps,
        _mm512_fmadd_ps,
        first(count) = ((1u32 << count) - 1) as u16,
        _mm512_maskz_loadu_ps,
        _mm512_mask_storeu_ps,
        nonzero(vector) = u64::from(_mm512_cmp_ps_mask::<_CMP_NEQ_UQ>(vector, _mm512_setzero_ps())),
        chosen(values, bits) = _mm512_maskz_mov_ps(bits as u16, values),
        list: list_sixteens
    );
}
