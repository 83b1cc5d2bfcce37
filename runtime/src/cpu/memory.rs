//! Aligned memory.

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::ptr::NonNull;

/// The numbers of a cache line.
pub(super) const LINE: usize = 16;

/// Bytes that start at a cache line, zero at first.
pub(super) struct Memory {
    start: NonNull<u8>,
    layout: Layout,
}

// SAFETY: the memory belongs to this value alone.
unsafe impl Send for Memory {}
// SAFETY: a shared reference only reads.
unsafe impl Sync for Memory {}

impl Default for Memory {
    fn default() -> Memory {
        Memory::empty()
    }
}

impl Memory {
    pub fn empty() -> Memory {
        Memory { start: NonNull::dangling(), layout: Layout::new::<()>() }
    }

    /// `None` if there is not as much.
    pub fn zeroed(bytes: usize) -> Option<Memory> {
        if bytes == 0 {
            return Some(Memory::empty());
        }
        let layout = Layout::from_size_align(bytes, 4 * LINE).ok()?;
        // SAFETY: the layout is not empty.
        let start = NonNull::new(unsafe { alloc_zeroed(layout) })?;
        Some(Memory { start, layout })
    }

    pub fn len(&self) -> usize {
        self.layout.size()
    }

    pub fn start(&self) -> *mut u8 {
        self.start.as_ptr()
    }

    pub fn bytes(&self) -> &[u8] {
        // SAFETY: all bytes were set when they were allocated.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.len()) }
    }

    pub fn floats(&self) -> &[f32] {
        bytemuck::cast_slice(self.bytes())
    }

    pub fn floats_mut(&mut self) -> &mut [f32] {
        bytemuck::cast_slice_mut(self.bytes_mut())
    }

    pub fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above, and nobody else has a reference.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.len()) }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        if self.len() > 0 {
            // SAFETY: allocated with this layout.
            unsafe { dealloc(self.start.as_ptr(), self.layout) }
        }
    }
}
