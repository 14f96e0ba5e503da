"""Many matrices decomposed at once, each by one thread.

The decomposition of a layer of some hundred columns gains little from a second thread, two layers gain all of it.
"""

from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch
from torch import Tensor

Found = TypeVar("Found")

#: Weights of a matrix that is worth all threads; it is decomposed alone, as its workspace is large too.
_LARGE = 8 * 2**20

#: Weights of all matrices together below which one thread is done before others have begun.
_LITTLE = 2**19


def side_by_side(matrices: Sequence[Tensor], decompose: Callable[[Tensor], Found]) -> Generator[Found]:
    """What `decompose` gives for each matrix, in their order; as many at a time as torch has threads.

    Closing the iterator early gives up those that were not begun.

    Args:
        matrices: the large ones first.
        decompose: lets go of the interpreter's lock, as torch does.
    """
    threads = torch.get_num_threads()
    alone = sum(matrix.numel() >= _LARGE for matrix in matrices) if threads > 1 else len(matrices)
    yield from map(decompose, matrices[:alone])
    if alone == len(matrices):
        return
    others = matrices[alone:]
    if sum(map(torch.numel, others)) < _LITTLE:
        yield from _by_one_thread(others, decompose, threads)
        return
    with ThreadPoolExecutor(threads, "spectra", torch.set_num_threads, (1,)) as pool:
        try:
            yield from pool.map(decompose, others)
        finally:
            torch.set_num_threads(threads)  # what threads to come begin with, which the pool's have lowered


def _by_one_thread(matrices: Sequence[Tensor], decompose: Callable[[Tensor], Found], threads: int) -> list[Found]:
    """All of them before the first is handed on: whoever takes it has all of torch's threads again."""
    torch.set_num_threads(1)
    try:
        return list(map(decompose, matrices))
    finally:
        torch.set_num_threads(threads)
