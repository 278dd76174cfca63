//! Memory in large pages.

/// What is smaller is left as it is: it may hold no whole large page.
#[cfg(target_os = "linux")]
const WORTH_IT: usize = 4 << 20;

/// Asks the system for large pages where `room` lies, before it is written to for the first time: it then takes a page
/// fault for each 2 MiB, and not for each 4 KiB, and the processor finds what lies there faster.
///
/// A system that is set to give none, or has none, goes on as before.
#[cfg(target_os = "linux")]
pub(crate) fn prefer_large_pages<T>(room: &mut [T]) {
    use rustix::mm::{Advice, madvise};

    let bytes = size_of_val(room);
    if bytes < WORTH_IT {
        return;
    }
    let page = rustix::param::page_size();
    let begin = room.as_mut_ptr().cast::<u8>();
    // Whole pages that hold nothing else.
    let skipped = begin.align_offset(page);
    let Some(length) = bytes.checked_sub(skipped) else {
        return;
    };
    let length = length / page * page;
    // SAFETY: the range lies within `room`, which is borrowed alone, and this advice changes no content: it only tells
    // the system how to back pages.
    #[allow(unsafe_code)]
    let advised = unsafe { madvise(begin.add(skipped).cast(), length, Advice::LinuxHugepage) };
    if let Err(error) = advised {
        tracing::trace!(%error, "no large pages");
    }
}

/// Elsewhere the system decides by itself.
#[cfg(not(target_os = "linux"))]
pub(crate) fn prefer_large_pages<T>(_room: &mut [T]) {}
