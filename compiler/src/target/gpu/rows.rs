//! How many rows of the batch a workgroup computes in a recurrence with matrix products.

use super::Limits;
use super::device_model::{PROCESSOR_SUMS, READ, sums};
use super::tile::{self, RowProduct};
use crate::ir::graph::Dim;
use crate::ir::kernel::{Kernel, Program};

/// The numbers of rows that there are shaders for, the most first.
pub const ROWS: [u32; 5] = [16, 8, 4, 2, 1];

/// Where a kernel is told how many rows the batch has only when it runs, they are taken to be so many.
const BATCH: i64 = 128;

/// The rows of a workgroup: one, unless they share products.
pub(super) fn rows(program: &Program, kernel: &Kernel, limits: &Limits) -> i64 {
    let stages = kernel.stages.iter();
    let products: Vec<RowProduct> =
        stages.flat_map(|stage| tile::row_products(program, kernel, stage)).collect();
    if products.is_empty() {
        return 1;
    }
    let batch = Dim::product(&kernel.stages[0].axes[..kernel.local_axes]).as_const();
    let most = limits.rows.map_or(i64::MAX, i64::from);
    let fits = |rows: i64| {
        let bytes: i64 = products.iter().map(|product| product.bytes(rows)).sum();
        rows == 1
            || rows <= most
                && batch.is_none_or(|batch| rows <= batch)
                && bytes <= i64::from(limits.workgroup_memory)
    };
    let mut fitting = ROWS.map(i64::from).into_iter().filter(|rows| fits(*rows));
    let best = match limits.rows {
        Some(_) => fitting.next(),
        None => fitting.min_by_key(|rows| time(*rows, batch.unwrap_or(BATCH), limits)),
    };
    best.unwrap_or(1)
}

/// How long a step takes, in multiplications of a weight: each workgroup reads each weight once for
/// all of its rows, and as many workgroups run at once as the device can. Few rows read the weights
/// often; many leave a part of the device without work.
fn time(rows: i64, batch: i64, limits: &Limits) -> i64 {
    let parallel = i64::from(limits.parallel_workgroups.max(1));
    let workgroups = (batch + rows - 1) / rows;
    let rounds = (workgroups + parallel - 1) / parallel;
    rounds * (READ + rows)
}

/// How many points of each row an invocation computes at most, where it computes several rows.
pub(super) fn columns(rows: i64, limits: &Limits) -> i64 {
    let most = if sums(limits) == PROCESSOR_SUMS { 16 } else { 4 };
    if rows == 1 { 1 } else { most }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_larger_device_gives_a_workgroup_fewer_rows() {
        let best = |parallel_workgroups, batch| {
            let limits = Limits { parallel_workgroups, ..Limits::WEBGPU };
            ROWS.into_iter().min_by_key(|rows| time(i64::from(*rows), batch, &limits))
        };
        assert_eq!(best(2, 128), Some(16));
        assert_eq!(best(16, 128), Some(8));
        assert_eq!(best(64, 128), Some(2));
        assert_eq!(best(128, 128), Some(1));
        assert_eq!(best(64, 1024), Some(16));
    }
}
