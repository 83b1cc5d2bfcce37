//! How much memory there is, and whether something fits into it.

use std::sync::OnceLock;

use fgi_compiler::ir::graph::Elem;
use fgi_compiler::ir::kernel::Storage;

use crate::Error;

/// The bytes that a process may have on this machine: its memory and swap space, or less where a
/// container has less.
pub fn machine_memory() -> u64 {
    static MEMORY: OnceLock<u64> = OnceLock::new();
    *MEMORY.get_or_init(|| {
        // Where the system does not tell, anything may fit.
        let Ok(mut system) = sysinfo::System::new() else { return u64::MAX };
        system.refresh_memory();
        let whole = system.total_memory().saturating_add(system.total_swap());
        let container = system.cgroup_limits().map_or(whole, |limits| limits.total_memory);
        [whole, container].into_iter().filter(|bytes| *bytes > 0).min().unwrap_or(u64::MAX)
    })
}

/// An error for more bytes than this machine has, before anything is allocated for them.
pub(crate) fn check(needed: u128) -> Result<(), Error> {
    let available = machine_memory();
    match needed <= u128::from(available) {
        true => Ok(()),
        false => Err(Error::Memory { needed, available }),
    }
}

/// The bytes of an array, however many they are.
pub(crate) fn bytes(elem: Elem, shape: &[usize]) -> u128 {
    let element = Storage::of(elem).bytes(1) as u128;
    shape.iter().fold(element, |bytes, axis| bytes.saturating_mul(*axis as u128))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_this_machine_has_fits() {
        assert!(machine_memory() > 1 << 20);
        assert!(check(bytes(Elem::F32, &[2, 3])).is_ok());
        let error = check(bytes(Elem::F32, &[1 << 40, 1 << 30])).unwrap_err().to_string();
        assert!(error.starts_with("4722366482869645213696 bytes"), "{error}");
        assert!(check(bytes(Elem::I32, &[usize::MAX; 8])).is_err());
    }
}
