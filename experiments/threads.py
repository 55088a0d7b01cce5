"""Threads of torch: one while small networks play, a thread for each core while a language model does."""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import contextmanager


@contextmanager
def threads_for(reads_text: bool) -> Generator[None]:
    """Inside this context torch has a thread a core of this process if ``reads_text``, or as many as before.

    The products of a language model are large enough for several threads; those of small networks are not.
    """
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(len(os.sched_getaffinity(0)) if reads_text else before)
    try:
        yield
    finally:
        torch.set_num_threads(before)
