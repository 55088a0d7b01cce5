"""Threads of torch: one while small networks play, a thread for each core while a language model does."""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import contextmanager


@contextmanager
def threads_for(reads_text: bool) -> Generator[None]:
    """Inside this context torch has a thread for each core if ``reads_text``, and otherwise those that it had.

    The products of a language model are large enough for several threads; those of small networks are not.
    """
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(os.cpu_count() or 1 if reads_text else before)
    try:
        yield
    finally:
        torch.set_num_threads(before)
