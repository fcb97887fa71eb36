"""Freed memory of a training process stays with it, where tensors lie in the machine's memory."""

import ctypes

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4  # of mallopt(3)


def keep_freed_memory() -> None:
    """Let glibc reuse what a step has freed instead of giving it back to the kernel, which clears each page anew.

    Attention scores and hidden layers are larger than the 32 MB above which glibc maps every allocation by itself: in
    each step they came as fresh pages, a quarter to half of the processor's time. Does nothing under another allocator.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_MMAP_MAX, 0)
        mallopt(_TRIM_THRESHOLD, -1)
