//! Memory for packed weights: aligned to cache lines, on huge pages where the system has them.

#![allow(unsafe_code, reason = "madvise is a system call")]

/// Alignment of the first strip.
pub(super) const ALIGNMENT: usize = 64;

/// Zeroed memory for `bytes` bytes and the offset of its first aligned byte.
///
/// Nothing is touched yet: pages appear when the strips are written.
pub(crate) fn allocate(bytes: usize) -> (Vec<u8>, usize) {
    let data = vec![0_u8; bytes + ALIGNMENT];
    advise_huge_pages(&data);
    let offset = data.as_ptr().align_offset(ALIGNMENT);
    (data, offset)
}

#[cfg(target_os = "linux")]
fn advise_huge_pages(data: &[u8]) {
    const HUGE_PAGE: usize = 2 << 20;
    const MADV_HUGEPAGE: i32 = 14;
    unsafe extern "C" {
        fn madvise(address: *mut std::ffi::c_void, length: usize, advice: i32) -> i32;
    }
    // Small matrices share huge pages with their neighbours, so the advice covers whole ones.
    let start = data.as_ptr().addr() / HUGE_PAGE * HUGE_PAGE;
    let end = (data.as_ptr().addr() + data.len()).next_multiple_of(HUGE_PAGE);
    if data.len() < HUGE_PAGE / 8 {
        return;
    }
    // SAFETY: MADV_HUGEPAGE changes no content of any page, whoever owns it. A refusal only costs
    // speed, so the result is not looked at.
    let _ = unsafe {
        madvise(std::ptr::with_exposed_provenance_mut(start), end - start, MADV_HUGEPAGE)
    };
}

#[cfg(not(target_os = "linux"))]
fn advise_huge_pages(_: &[u8]) {}
