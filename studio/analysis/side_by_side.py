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
    with ThreadPoolExecutor(threads, "spectra", torch.set_num_threads, (1,)) as pool:
        try:
            yield from pool.map(decompose, matrices[alone:])
        finally:
            torch.set_num_threads(threads)  # what threads to come begin with, which the pool's have lowered
