//! Sums of rows and products of few rows, in the widest vectors of the machine.

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

    /// From a column on.
    pub fn starting_at(self, column: usize) -> Rows {
        Rows { start: self.start.wrapping_add(column), ..self }
    }
}

/// The same function for each width of vectors.
macro_rules! in_widest_vectors {
    ($(#[$doc:meta])* fn $name:ident($($arg:ident: $ty:ty),* $(,)?) = $body:ident) => {
        $(#[$doc])*
        pub(super) unsafe fn $name($($arg: $ty),*) {
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx512f,fma")]
                unsafe fn avx512($($arg: $ty),*) {
                    // SAFETY: by the contract.
                    unsafe { $body::<true>($($arg),*) }
                }
                #[target_feature(enable = "avx2,fma")]
                unsafe fn avx2($($arg: $ty),*) {
                    // SAFETY: by the contract.
                    unsafe { $body::<true>($($arg),*) }
                }
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
            unsafe { $body::<{ cfg!(target_arch = "aarch64") }>($($arg),*) }
        }
    };
}

in_widest_vectors! {
    /// Adds the rows of these indices to `sum`, in order.
    ///
    /// # Safety
    /// The rows are inside of the matrix, which has as many columns as `sum`; `sum` is no part of it.
    fn add_rows(sum: &mut [f32], rows: Rows, indices: &[u32]) = add_in_blocks
}

in_widest_vectors! {
    /// `out[m, n] (+)= Σ_k left[m, k] · right[k, n]` for the columns of a panel.
    ///
    /// # Safety
    /// The operands and the result have elements at all indices; `right` has [`PANEL`] columns, `out`
    /// those that are asked for. `out` is no part of the operands.
    fn multiply_panel(out: Target, left: Left, right: Rows, sizes: Sizes) = multiply_rows
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

/// Columns that are multiplied together.
pub(super) const PANEL: usize = 16;

/// As many columns as stay in registers.
pub(super) const BLOCK: usize = 64;

#[inline(always)]
unsafe fn add_in_blocks<const FMA: bool>(sum: &mut [f32], rows: Rows, indices: &[u32]) {
    let columns = sum.len();
    let mut start = 0;
    let (blocks, rest) = sum.as_chunks_mut::<BLOCK>();
    for block in blocks {
        let mut registers = *block;
        for index in indices {
            // SAFETY: by the contract of `add_rows`.
            let row = unsafe { rows.row(*index as usize, columns) };
            add(&mut registers, &row[start..start + BLOCK]);
        }
        *block = registers;
        start += BLOCK;
    }
    if rest.is_empty() {
        return;
    }
    for index in indices {
        // SAFETY: by the contract of `add_rows`.
        let row = unsafe { rows.row(*index as usize, columns) };
        add(rest, &row[start..]);
    }
}

#[inline(always)]
fn add(sum: &mut [f32], row: &[f32]) {
    for (sum, value) in sum.iter_mut().zip(row) {
        *sum += value;
    }
}

/// A bit for each element, 64 a word: whether it is not 0.
pub(super) fn find_nonzero(elements: &[f32], bits: &mut [u64]) {
    let (chunks, rest) = elements.as_chunks::<64>();
    let words = chunks.iter().map(nonzero_bits);
    let last = (!rest.is_empty()).then(|| {
        let set = rest.iter().enumerate();
        set.fold(0, |set, (at, value)| set | u64::from(*value != 0.0) << at)
    });
    for (bits, word) in bits.iter_mut().zip(words.chain(last)) {
        *bits = word;
    }
}

#[cfg(target_arch = "x86_64")]
fn nonzero_bits(chunk: &[f32; 64]) -> u64 {
    use std::arch::x86_64::{_mm_cmpneq_ps, _mm_loadu_ps, _mm_movemask_ps, _mm_setzero_ps};
    let lanes = chunk.as_chunks::<4>().0.iter().enumerate();
    lanes.fold(0, |word, (at, lanes)| {
        // SAFETY: every processor of this kind has the instructions; four elements are read.
        let set = unsafe {
            _mm_movemask_ps(_mm_cmpneq_ps(_mm_loadu_ps(lanes.as_ptr()), _mm_setzero_ps()))
        };
        word | (set as u64) << (4 * at)
    })
}

#[cfg(not(target_arch = "x86_64"))]
fn nonzero_bits(chunk: &[f32; 64]) -> u64 {
    let set = chunk.iter().enumerate();
    set.fold(0, |set, (at, value)| set | u64::from(*value != 0.0) << at)
}

#[inline(always)]
unsafe fn multiply_rows<const FMA: bool>(out: Target, left: Left, right: Rows, sizes: Sizes) {
    let mut first = 0;
    while first < sizes.rows {
        let out = Target { start: out.start.wrapping_offset(first as isize * out.stride), ..out };
        let left = Left { start: left.start.wrapping_offset(first as isize * left.row), ..left };
        let rows = (sizes.rows - first).min(6);
        // Eight rows are two times four: that keeps both pipes as busy as six and two.
        let rows = if sizes.rows - first == 8 { 4 } else { rows };
        // SAFETY: by the contract of `multiply_panel`, for these rows.
        unsafe {
            match rows {
                1 => multiply_block::<FMA, 1>(out, left, right, sizes),
                2 => multiply_block::<FMA, 2>(out, left, right, sizes),
                3 => multiply_block::<FMA, 3>(out, left, right, sizes),
                4 => multiply_block::<FMA, 4>(out, left, right, sizes),
                5 => multiply_block::<FMA, 5>(out, left, right, sizes),
                _ => multiply_block::<FMA, 6>(out, left, right, sizes),
            }
        }
        first += rows;
    }
}

#[inline(always)]
unsafe fn multiply_block<const FMA: bool, const ROWS: usize>(
    out: Target,
    left: Left,
    right: Rows,
    sizes: Sizes,
) {
    let mut sums = [[0f32; PANEL]; ROWS];
    for k in 0..sizes.depth {
        // SAFETY: by the contract of `multiply_panel`.
        let row = unsafe { &*right.start.offset(k as isize * right.stride).cast::<[f32; PANEL]>() };
        for (m, sums) in sums.iter_mut().enumerate() {
            let at = m as isize * left.row + k as isize * left.column;
            // SAFETY: by the contract of `multiply_panel`.
            let factor = unsafe { *left.start.offset(at) };
            for (sum, value) in sums.iter_mut().zip(row) {
                *sum = if FMA { factor.mul_add(*value, *sum) } else { *sum + factor * value };
            }
        }
    }
    for (m, sums) in sums.iter().enumerate() {
        // SAFETY: by the contract of `multiply_panel`.
        let target = unsafe {
            let start = out.start.offset(m as isize * out.stride);
            std::slice::from_raw_parts_mut(start, sizes.columns)
        };
        if sizes.columns == PANEL {
            let Some(target) = target.first_chunk_mut::<PANEL>() else { return };
            for (target, sum) in target.iter_mut().zip(sums) {
                *target = if out.accumulate { *target + sum } else { *sum };
            }
            continue;
        }
        // Only the copy has elements that are picked one by one: the sums stay in registers.
        let mut line = [0f32; PANEL];
        line.copy_from_slice(sums);
        for (target, sum) in target.iter_mut().zip(&line) {
            *target = if out.accumulate { *target + sum } else { *sum };
        }
    }
}
