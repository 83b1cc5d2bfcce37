//! What shaders are planned by: how fast a device reads, and how much an invocation keeps.

use super::Limits;

/// A weight read from the cache takes as long as so many multiplications with it. A core of a large GPU
/// reads 16 numbers a cycle from the cache that all cores share, and multiplies 128. Mesa's software
/// driver takes about 13.
pub(super) const READ: i64 = 8;

/// How many sums an invocation keeps at most. What it reads for them is the less the more there are, as
/// long as they stay in fast memory: the registers of a GPU; the cache of a processor that imitates one,
/// which is told from a GPU by the few workgroups that it computes at once.
pub(super) fn sums(limits: &Limits) -> i64 {
    if limits.parallel_workgroups < 8 { PROCESSOR_SUMS } else { 64 }
}

pub(super) const PROCESSOR_SUMS: i64 = 256;
