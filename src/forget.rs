//! Forgetting. What is freed is cleared; so is the part of the stack that is no longer in use.
//!
//! A stranger's address and data are nowhere in this program after they were looked at: an
//! [`Advertisement`](crate::engine::Advertisement) is dropped before the next one is awaited. To a
//! debugger, a core file or a page that is swapped out, dropped memory still holds what it held.
//! Two things here change that:
//! - [`Forgetful`], the program's allocator, overwrites every block before it gives it back, and
//!   so keys, tokens and addresses that passed through somebody else's buffers go as well;
//! - [`burn_stack`] overwrites the stack below its caller, where functions that have returned left
//!   their variables.
//!
//! What it costs: one pass of `memset` over what is freed, at some 10 bytes a nanosecond (3 on a
//! Pi 4); blocks that grow are always copied, which is what happens to small ones anyway. An
//! advertisement takes one block of 7 octets more than its data: a few nanoseconds of the 250 or
//! more that the engine needs for it.
//!
//! What it does not reach: memory that C code frees by itself. The only C here that sees
//! advertisements is libdbus, on the D-Bus plane alone; the systemd unit makes the C library
//! overwrite what it frees, all but the last eight octets of a block (`GLIBC_TUNABLES`).

use std::{
    alloc::{GlobalAlloc, Layout, System},
    mem::MaybeUninit,
    ptr, slice,
};

use zeroize::Zeroize;

/// The system's allocator, which clears each block before it is given back.
#[derive(Debug)]
pub struct Forgetful;

/// Here and not in `main.rs`, so that every program and test of this package has it.
#[global_allocator]
static ALLOCATOR: Forgetful = Forgetful;

/// How much of the stack is overwritten. Deeper than anything that handles an advertisement goes
/// (`tests/privacy` looks); without optimisation that is several times as deep.
const BURNT: usize = if cfg!(debug_assertions) { 64 * 1024 } else { 16 * 1024 };

/// How much of it where something is only put in its place: a schedule of AES takes 704 octets, and
/// is moved two or three times.
const BURNT_ABOVE: usize = if cfg!(debug_assertions) { 16 * 1024 } else { 4 * 1024 };

#[expect(unsafe_code, reason = "an allocator is unsafe by definition")]
// SAFETY: every method hands its arguments on to `System` unchanged, or combines calls of `System`
// as the provided methods of the trait do; clearing touches only a block that its owner gives up.
unsafe impl GlobalAlloc for Forgetful {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller keeps the same contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller keeps the same contract.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the block is the caller's to give up, of that size, and not used any more.
        unsafe {
            wipe(block, layout.size());
            System.dealloc(block, layout);
        }
    }

    /// Never in place: the system's allocator may move a block, and leave the old one as it was.
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller promises that `size` is not zero and fits with the alignment.
        let larger = unsafe { Layout::from_size_align_unchecked(size, layout.align()) };
        // SAFETY: as above. The two blocks are different and have room for what is copied; the old
        // one is given up only if there is a new one.
        unsafe {
            let moved = System.alloc(larger);
            if !moved.is_null() {
                ptr::copy_nonoverlapping(block, moved, layout.size().min(size));
                self.dealloc(block, layout);
            }
            moved
        }
    }
}

/// Overwrites what the functions that were called before from the same place left on the stack.
///
/// To be called when a batch of advertisements, or a key, was looked at, and before anything is made
/// that lasts: a value is moved with its padding and with the room of its other variants, and so carries
/// what lay on the stack to wherever it is kept. Takes less than a microsecond (four on a Pi 4).
#[inline(never)]
pub fn burn_stack() {
    burn::<BURNT>();
}

/// The same, but less deep: before a key is put among others, by functions that do little else.
///
/// To be called for each of many keys, where [`burn_stack`] would take longer than all the rest.
#[inline(never)]
pub fn burn_stack_above() {
    burn::<BURNT_ABOVE>();
}

/// In the frame of whoever is called from outside, or that frame would stay as it is.
#[inline(always)]
#[expect(clippy::inline_always, reason = "see above")]
#[expect(unsafe_code, reason = "memory that is not initialised is overwritten")]
fn burn<const DEPTH: usize>() {
    let mut below = [const { MaybeUninit::<u8>::uninit() }; DEPTH];
    // SAFETY: the array is of that size and belongs to this call.
    unsafe { wipe(below.as_mut_ptr().cast(), DEPTH) };
}

/// Overwrites the room behind the last of a vector's values: that of what was taken out last.
///
/// A value that is dropped or moved out leaves its octets where it was, and a vector keeps the room.
/// `values` is how many have gone since. Values that clear themselves on drop clear what they mean,
/// and not what lies between.
pub fn clear_behind<T>(vector: &mut Vec<T>, values: usize) {
    let room = vector.spare_capacity_mut();
    let last = values.min(room.len());
    if let Some(gone) = room.get_mut(..last) {
        gone.zeroize();
    }
}

/// Gives memory back to the system that is free since something large was read.
///
/// The C library keeps what it was given for later; what a chain's registry leaves behind is more
/// than the gateway needs in all the time after.
#[expect(unsafe_code, reason = "malloc_trim has no safe binding; it looks at free memory alone")]
pub fn give_back() {
    // SAFETY: it may be called at any time, from any thread, and touches no block in use.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// From how many bytes on a block has pages of its own, which the system gets back with the block:
/// the tables of a chain's registry are, and what is made and given up all day is not.
const LARGE: libc::c_int = 1 << 20;

/// Lets large blocks have pages of their own, for as long as the program runs.
///
/// Left to itself the C library stops doing so for blocks of a size that was given up once, and the
/// tables of a chain's registry, which are made anew all day, then lie in between what is small: a
/// fifth of the gateway's memory is holes. To be called once, before anything large is made.
#[expect(
    unsafe_code,
    reason = "mallopt has no safe binding; it changes a number of the allocator's"
)]
pub fn separate_large_blocks() {
    // SAFETY: it may be called at any time before other threads are started.
    let done = unsafe { libc::mallopt(libc::M_MMAP_THRESHOLD, LARGE) };
    // It refuses only what is larger than half of a heap; then all is as it would have been.
    debug_assert_eq!(done, 1);
}

/// Clears memory, also if nobody reads it any more.
///
/// # Safety
/// The memory must be writable and nobody else's.
#[expect(unsafe_code, reason = "the memory has no type any more")]
unsafe fn wipe(start: *mut u8, length: usize) {
    // SAFETY: the caller promises that it may be written; then it is a slice of zeros.
    let cleared = unsafe {
        ptr::write_bytes(start, 0, length);
        slice::from_raw_parts(start, length)
    };
    // The compiler knows what `free` means, and would leave out what is written just before it.
    zeroize::optimization_barrier(cleared);
}

#[cfg(test)]
pub(crate) mod debugger;

#[cfg(test)]
mod tests {
    use std::hint::black_box;

    use super::{
        debugger::{Debugger, MARK, soil},
        *,
    };

    #[test]
    fn what_is_freed_is_cleared() {
        let debugger = Debugger::new();
        let block = black_box(vec![MARK; 4096]);
        let place = block.as_ptr().addr();
        assert_eq!(debugger.marks::<4096>(place), 512);
        drop(block);
        assert_eq!(debugger.marks::<4096>(place), 0);
    }

    #[test]
    fn a_block_that_grows_or_shrinks_leaves_nothing_where_it_was() {
        let debugger = Debugger::new();
        let mut block = black_box(vec![MARK; 1000]);
        for size in [1001, 3000, 100_000, 200, 8] {
            let (place, length) = (block.as_ptr().addr(), block.len());
            if size > length {
                block.reserve_exact(size - length);
                assert_eq!(block, vec![MARK; length]);
                block.resize(size, MARK);
            } else {
                block.truncate(size);
                block.shrink_to_fit();
            }
            assert_eq!(block, vec![MARK; size]);
            assert_ne!(block.as_ptr().addr(), place);
            assert_eq!(debugger.marks::<200>(place), 0, "{length} to {size}");
        }
    }

    #[test]
    fn a_burnt_stack_holds_nothing_of_what_has_returned() {
        #[inline(never)]
        fn deep(depth: usize) -> usize {
            let marks = black_box([MARK; 512]);
            if depth == 0 { marks.as_ptr().addr() } else { black_box(deep(depth - 1)) }
        }
        let debugger = Debugger::new();
        // A frame takes a kilobyte and a half at most.
        let places = [0, 5, BURNT / 2048].map(deep);
        assert!(debugger.marks::<512>(*places.last().unwrap()) > 50, "the test looks elsewhere");
        burn_stack();
        assert_eq!(places.map(|place| debugger.marks::<512>(place)), [0, 0, 0]);
    }

    #[test]
    fn a_stack_that_is_burnt_above_is_clean_as_far_as_something_small_goes() {
        const NEAR: usize = BURNT_ABOVE - 512;
        let debugger = Debugger::new();
        let begin = soil();
        assert!(
            debugger.soil_left_above::<NEAR>(begin) > NEAR / 8 - 200,
            "the test looks elsewhere"
        );
        burn_stack_above();
        assert_eq!(debugger.soil_left_above::<NEAR>(begin), 0);
    }

    #[test]
    fn what_was_taken_out_of_a_vector_is_cleared_behind_it() {
        let debugger = Debugger::new();
        let mut vector = black_box(vec![[MARK; 64]; 8]);
        let place = vector.as_ptr().addr();
        vector.truncate(5);
        assert_eq!(debugger.marks::<512>(place), 64, "that alone clears nothing");
        clear_behind(&mut vector, 2);
        assert_eq!(debugger.marks::<512>(place), 48, "the sixth and the seventh are cleared");
        clear_behind(&mut vector, 1000);
        assert_eq!(debugger.marks::<512>(place), 40);
        assert_eq!(vector, vec![[MARK; 64]; 5]);
    }
}
