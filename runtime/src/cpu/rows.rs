//! Sums of rows, for products whose left side is 0 or 1, in the widest vectors of the machine.

use std::sync::OnceLock;

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

type AddRows = unsafe fn(&mut [f32], Rows, &[u32]);

/// Adds the rows of these indices, in order.
///
/// # Safety
/// All the rows are inside of the matrix, with as many columns as `sum` has, and `sum` is no part of it.
pub(super) unsafe fn add_rows(sum: &mut [f32], rows: Rows, indices: &[u32]) {
    static BEST: OnceLock<AddRows> = OnceLock::new();
    let best = BEST.get_or_init(best);
    // SAFETY: by the contract; the machine has the instructions.
    unsafe { best(sum, rows, indices) }
}

fn best() -> AddRows {
    #[cfg(target_arch = "x86_64")]
    {
        if is_x86_feature_detected!("avx512f") {
            return avx512;
        }
        if is_x86_feature_detected!("avx2") {
            return avx2;
        }
    }
    portable
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
unsafe fn avx512(sum: &mut [f32], rows: Rows, indices: &[u32]) {
    // SAFETY: by the contract of `add_rows`.
    unsafe { blocks::<128>(sum, rows, indices) }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
unsafe fn avx2(sum: &mut [f32], rows: Rows, indices: &[u32]) {
    // SAFETY: by the contract of `add_rows`.
    unsafe { blocks::<64>(sum, rows, indices) }
}

unsafe fn portable(sum: &mut [f32], rows: Rows, indices: &[u32]) {
    // SAFETY: by the contract of `add_rows`.
    unsafe { blocks::<32>(sum, rows, indices) }
}

/// Blocks of columns are summed in registers.
#[inline(always)]
unsafe fn blocks<const WIDTH: usize>(sum: &mut [f32], rows: Rows, indices: &[u32]) {
    let columns = sum.len();
    let mut start = 0;
    let (blocks, rest) = sum.as_chunks_mut::<WIDTH>();
    for block in blocks {
        let mut registers = *block;
        for index in indices {
            // SAFETY: by the contract of `add_rows`.
            let row = unsafe { rows.row(*index as usize, columns) };
            let row = &row[start..start + WIDTH];
            for (sum, value) in registers.iter_mut().zip(row) {
                *sum += value;
            }
        }
        *block = registers;
        start += WIDTH;
    }
    for index in indices {
        // SAFETY: by the contract of `add_rows`.
        let row = unsafe { rows.row(*index as usize, columns) };
        for (sum, value) in rest.iter_mut().zip(&row[start..]) {
            *sum += value;
        }
    }
}
