//! Sums of rows, for products whose left side is 0 or 1, in the widest vectors of the machine.

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
    unsafe fn row<'a>(self, index: usize, columns: usize) -> &'a [f32] {
        // SAFETY: by the contract.
        unsafe {
            std::slice::from_raw_parts(self.start.offset(index as isize * self.stride), columns)
        }
    }
}

/// The same function for each width of vectors.
macro_rules! in_widest_vectors {
    ($(#[$doc:meta])* fn $name:ident($($arg:ident: $ty:ty),* $(,)?) = $body:ident) => {
        $(#[$doc])*
        pub(super) unsafe fn $name($($arg: $ty),*) {
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx512f")]
                unsafe fn avx512($($arg: $ty),*) {
                    // SAFETY: by the contract.
                    unsafe { $body($($arg),*) }
                }
                #[target_feature(enable = "avx2")]
                unsafe fn avx2($($arg: $ty),*) {
                    // SAFETY: by the contract.
                    unsafe { $body($($arg),*) }
                }
                if is_x86_feature_detected!("avx512f") {
                    // SAFETY: by the contract; the machine has the instructions.
                    return unsafe { avx512($($arg),*) };
                }
                if is_x86_feature_detected!("avx2") {
                    // SAFETY: by the contract; the machine has the instructions.
                    return unsafe { avx2($($arg),*) };
                }
            }
            // SAFETY: by the contract.
            unsafe { $body($($arg),*) }
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
    /// For each row `k` of `choices`, in order, adds row `k` of `rows` to the rows `m` of `sums`
    /// where `choices[k, m]` is not 0.
    ///
    /// # Safety
    /// `rows` has `sizes.columns` columns and as many rows as `choices`, `sizes.depth`; `choices` has
    /// `sizes.rows` columns; `sums` has `sizes.rows` rows of `sizes.columns` columns and is no part of
    /// either.
    fn add_to_rows(sums: *mut f32, stride: isize, sizes: Sizes, choices: Rows, rows: Rows)
        = add_to_chosen
}

/// The sizes of matrices for [`add_to_rows`].
#[derive(Clone, Copy)]
pub(super) struct Sizes {
    pub rows: usize,
    pub columns: usize,
    pub depth: usize,
}

/// As many columns as stay in registers.
const BLOCK: usize = 64;

#[inline(always)]
unsafe fn add_in_blocks(sum: &mut [f32], rows: Rows, indices: &[u32]) {
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

#[inline(always)]
unsafe fn add_to_chosen(sums: *mut f32, stride: isize, sizes: Sizes, choices: Rows, rows: Rows) {
    for first in (0..sizes.rows).step_by(64) {
        let last = sizes.rows.min(first + 64);
        for k in 0..sizes.depth {
            // SAFETY: by the contract of `add_to_rows`.
            let (choice, row) = unsafe { (choices.row(k, sizes.rows), rows.row(k, sizes.columns)) };
            let bits = choice[first..last].iter().enumerate();
            let mut chosen =
                bits.fold(0u64, |set, (at, value)| set | u64::from(*value != 0.0) << at);
            while chosen != 0 {
                let m = first + chosen.trailing_zeros() as usize;
                chosen &= chosen - 1;
                // SAFETY: by the contract of `add_to_rows`.
                let sum = unsafe {
                    std::slice::from_raw_parts_mut(sums.offset(m as isize * stride), sizes.columns)
                };
                add(sum, row);
            }
        }
    }
}
