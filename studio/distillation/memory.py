"""How much memory training takes, and in how many parts the samples of a step pass so that it stays within a limit."""

import ctypes
import math
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import zip_longest

import torch
from torch import Tensor

from studio.errors import TrainingError

_C = ctypes.CDLL(None) if sys.platform == "linux" else None

#: Bytes of the unit that limits are given in.
MEGABYTE = 1_000_000

#: Tensors as large as the largest that a step needs beside those it keeps: gradients and what kernels work in. With
#: it 1.03 MB are counted for a sample of ResNet-20, of which resident memory grew by 1.1 to 1.3 MB.
_WORK = 4

#: What a CPU's allocators say when they have no more; accelerators have a class for it.
_WORDS = ("can't allocate memory", "not enough memory", "bad_alloc")

#: What may be raised when memory is short; `is_out_of_memory` tells it from other errors.
MEMORY_ERRORS = (RuntimeError, MemoryError)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory was short."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _WORDS)


@dataclass(frozen=True)
class Footprint:
    """Bytes that training takes, those of the program itself and of the samples not counted.

    Attributes:
        fixed: of networks, gradients and optimizer.
        each: of every sample that passes at once: all that the way back needs, and `_WORK` times the largest of it
            for the gradients on that way.
    """

    fixed: int
    each: int

    def parts(self, samples: int, limit: int, share: float = 1.0) -> int:
        """In how many parts so many samples pass within `share` of `limit` bytes, as few as can be.

        Raises:
            TrainingError: not even one sample at a time would.
        """
        room = int(limit * share - self.fixed) // max(1, self.each)
        if room < 1:
            least = math.ceil((self.fixed + self.each) / share / MEGABYTE)
            raise TrainingError(
                f"memory_limit: training this model takes {_shown(self.fixed)} for networks and optimizer and "
                f"{_shown(self.each)} for every sample; {least} MB is the least limit."
            )
        return math.ceil(samples / min(samples, room))


def footprint(fixed: int, forward: Callable[[int], object], samples: int) -> Footprint:
    """Measures what a sample adds, by what the way back keeps of one part and of another twice as large.

    Counted, not timed or looked up: the same on every machine and device.

    Args:
        fixed: see `Footprint`.
        forward: takes that many samples to a loss, which is let go.
        samples: of the larger part, 2 or more; a single one is taken for what it adds.
    """
    many, few = max(1, samples // 2 * 2), samples // 2
    smaller, larger = _kept(forward, few) if few else [], _kept(forward, many)
    # tensors come in the same order; weights are as large in both
    grown = [after - before for before, after in zip_longest(smaller, larger, fillvalue=0)]
    return Footprint(fixed, (sum(grown) + _WORK * max(grown, default=0)) // (many - few))


def _kept(forward: Callable[[int], object], samples: int) -> list[int]:
    """Bytes of all tensors that the way back needs, in the order they are kept."""
    with _watched() as sizes:
        loss = forward(samples)  # what is kept is freed with it, so that no address counts twice
    del loss
    return list(sizes.values())


@contextmanager
def _watched() -> Iterator[dict[int, int]]:
    """Collects the sizes of the memory that autograd keeps while the block runs, by its address."""
    sizes = dict[int, int]()

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        sizes[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        yield sizes


def give_back() -> None:
    """Has the allocator hand what is free back to the system, where it is one that keeps it for later (glibc's).

    Measuring and training want blocks of different sizes, so that what one has left lies idle beside the other's.
    """
    if _C is not None and hasattr(_C, "malloc_trim"):
        _C.malloc_trim(0)


def bytes_of(tensors: Iterable[Tensor]) -> int:
    """Bytes of tensors."""
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def _shown(size: int) -> str:
    return f"{size / MEGABYTE:.3g} MB"
