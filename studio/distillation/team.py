"""Processes that train one student together, each on its share of every step's samples.

Process 0 leads: it alone has the optimizer, measures, and keeps checkpoints. For every step it hands the student's
values to the others, and adds their gradients to its own, so that a step is that of the whole batch (synchronous
stochastic gradient descent, P. Goyal et al., arXiv 1706.02677). What a helper holds comes anew with every step, so that
nothing can drift apart.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta

import torch
from torch import Tensor, nn
from torch import distributed as dist

from studio.errors import TrainingError

#: How long a helper waits for the next step: the leader measures and writes files in between.
_PATIENCE = timedelta(days=1)

#: In place of a step's number when there are no more.
_DONE = -1


class Team:
    """The processes of a run; alone unless it says otherwise.

    Args:
        rank: number of this process, 0 leads.
        size: how many there are.
    """

    def __init__(self, rank: int = 0, size: int = 1) -> None:
        self.rank = rank
        self.size = size

    @property
    def leads(self) -> bool:
        """Whether this process has the student for good."""
        return self.rank == 0

    def share(self, samples: int) -> slice:
        """Which of a step's samples are this process's; the last shares may be smaller or empty."""
        each = -(-samples // self.size)
        return slice(min(samples, self.rank * each), min(samples, (self.rank + 1) * each))

    def hand_out(self, step: int, values: Sequence[Tensor]) -> int:
        """Gives step number and values to all helpers, in place.

        Returns:
            The step's number, below 0 when there are no more.

        Raises:
            TrainingError: another process has ended.
        """
        if self.size == 1:
            return step
        number = torch.tensor(step, device=values[0].device)
        packed = torch.cat([_bytes_of(value) for value in values])
        with _connected():
            dist.broadcast(number, 0)
            if int(number) > _DONE:
                dist.broadcast(packed, 0)
        if not self.leads and int(number) > _DONE:
            for value, part in zip(values, torch.split(packed, [_size_of(one) for one in values]), strict=True):
                value.copy_(part.clone().view(value.dtype).reshape(value.shape))
        return int(number)

    def dismiss(self, like: Tensor) -> None:
        """Tells the helpers that there are no more steps; `like` is where the student is."""
        self.hand_out(_DONE, [like])

    def add_up(self, loss: float, parameters: Sequence[nn.Parameter]) -> float:
        """Adds all helpers' gradients and losses to those of the leader.

        Raises:
            TrainingError: another process has ended.
        """
        if self.size == 1:
            return loss
        gradients = [torch.zeros_like(one) if one.grad is None else one.grad for one in parameters]
        told = torch.tensor([loss], device=gradients[0].device)
        packed = torch.cat([told, *(one.reshape(-1) for one in gradients)])
        with _connected():
            dist.reduce(packed, 0)
        if self.leads:
            for parameter, part in zip(
                parameters, torch.split(packed[1:], [one.numel() for one in parameters]), strict=True
            ):
                parameter.grad = part.reshape(parameter.shape).clone()
        return float(packed[0])


@contextmanager
def joined(device: torch.device) -> Iterator[Team]:
    """The team that the environment tells of, as ``torchrun`` sets it (RANK, WORLD_SIZE, MASTER_ADDR, MASTER_PORT).

    Args:
        device: where this process trains: accelerators speak NCCL, CPUs Gloo.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield Team()
        return
    if device.type == "cuda":
        torch.accelerator.set_device_index(int(os.environ.get("LOCAL_RANK", "0")))
    with _connected():
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=_PATIENCE)
    try:
        yield Team(dist.get_rank(), size)
    finally:
        dist.destroy_process_group()


@contextmanager
def _connected() -> Iterator[None]:
    """Turns a lost connection into one line.

    Raises:
        TrainingError: another process has ended.
    """
    try:
        yield
    except (dist.DistError, RuntimeError) as error:
        raise TrainingError("Another process of the run has ended; go on from the checkpoint.") from error


def _bytes_of(value: Tensor) -> Tensor:
    return value.detach().contiguous().reshape(-1).view(torch.uint8)


def _size_of(value: Tensor) -> int:
    return value.numel() * value.element_size()
