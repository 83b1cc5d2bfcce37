//! Numbers too small for full precision count as zero while kernels run: arithmetic on them takes a
//! processor a hundred times as long, and the tails of a Gaussian are full of them.

/// Restores the mode of the thread when it goes.
pub(super) struct FlushDenormals {
    before: Mode,
}

impl FlushDenormals {
    pub fn start() -> FlushDenormals {
        let before = mode();
        set_mode(before | FLUSH);
        FlushDenormals { before }
    }
}

impl Drop for FlushDenormals {
    fn drop(&mut self) {
        set_mode(self.before);
    }
}

#[cfg(target_arch = "x86_64")]
mod machine {
    use std::arch::asm;

    pub type Mode = u32;
    /// Results are flushed (bit 15), operands are zero (bit 6).
    pub const FLUSH: Mode = 1 << 15 | 1 << 6;

    pub fn mode() -> Mode {
        let mut mode: Mode = 0;
        // SAFETY: it only writes the control word to where it is told.
        unsafe { asm!("stmxcsr [{}]", in(reg) &raw mut mode, options(nostack, preserves_flags)) };
        mode
    }

    pub fn set_mode(mode: Mode) {
        // SAFETY: the word comes from the register; only the two bits may differ.
        unsafe { asm!("ldmxcsr [{}]", in(reg) &raw const mode, options(nostack, preserves_flags)) };
    }
}

#[cfg(target_arch = "aarch64")]
mod machine {
    use std::arch::asm;

    pub type Mode = u64;
    /// Operands and results are flushed.
    pub const FLUSH: Mode = 1 << 24;

    pub fn mode() -> Mode {
        let mode: Mode;
        // SAFETY: it only reads the control register.
        unsafe { asm!("mrs {}, fpcr", out(reg) mode, options(nomem, nostack, preserves_flags)) };
        mode
    }

    pub fn set_mode(mode: Mode) {
        // SAFETY: the word comes from the register; only the one bit may differ.
        unsafe { asm!("msr fpcr, {}", in(reg) mode, options(nomem, nostack, preserves_flags)) };
    }
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
mod machine {
    pub type Mode = u32;
    pub const FLUSH: Mode = 0;

    pub fn mode() -> Mode {
        0
    }

    pub fn set_mode(_: Mode) {}
}

use machine::{FLUSH, Mode, mode, set_mode};

#[cfg(test)]
mod tests {
    use std::hint::black_box;

    use super::*;

    #[test]
    fn the_mode_is_restored() {
        let tiny = || black_box(f32::MIN_POSITIVE) * black_box(0.5);
        assert_ne!(tiny(), 0.0);
        let before = mode();
        {
            let _flush = FlushDenormals::start();
            assert_eq!(tiny() == 0.0, FLUSH != 0);
        }
        assert_eq!(mode(), before);
        assert_ne!(tiny(), 0.0);
    }
}
