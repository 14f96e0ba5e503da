"""Where training runs: found out at run time, because the same installation serves machines with and without."""

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, fx

from studio.errors import TrainingError


def available_devices() -> list[str]:
    """Devices that training can run on here, the fastest first: the accelerator if there is one, and the CPU."""
    accelerator = torch.accelerator.current_accelerator(check_available=True)
    return [accelerator.type, "cpu"] if accelerator is not None else ["cpu"]


def choose_device(wanted: str) -> torch.device:
    """The device called `wanted`, or the fastest there is for ``auto``.

    Raises:
        TrainingError: it is not there; the message names those that are.
    """
    devices = available_devices()
    if wanted == "auto":
        return torch.device(devices[0])
    if wanted not in devices:
        raise TrainingError(f"device: this machine has no '{wanted}'; it has {', '.join(devices)}.")
    return torch.device(wanted)


class Arithmetic:
    """Where and in what precision networks run while they train; parameters, gradients and losses stay float32.

    Images run with their channels last in memory, which convolutions take without reordering: on a CPU with AVX-512
    a step of ResNet-20 took 0.6 of the time, and with bfloat16 (P. Micikevicius et al., Mixed precision training,
    arXiv 1710.03740; its exponents need no scaling of the loss) a third.

    Args:
        device: where they run.
        precision: ``float32``, ``bfloat16``, or ``auto`` for the latter on accelerators that have it.

    Raises:
        TrainingError: the device has no such arithmetic.
    """

    def __init__(self, device: torch.device, precision: str = "float32") -> None:
        self.device = device
        self._is_mixed = precision == "bfloat16" or (precision == "auto" and has_bfloat16(device))
        if self._is_mixed and not (device.type == "cpu" or has_bfloat16(device)):
            raise TrainingError(f"precision: bfloat16 is not there on this machine's '{device.type}'; choose float32.")

    def prepared(self, graph: fx.GraphModule) -> fx.GraphModule:
        """The very network, where and as it runs."""
        network: fx.GraphModule = graph.to(self.device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        return network

    def placed(self, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Inputs where and how the networks take them."""
        return tuple(
            part.to(self.device, memory_format=torch.channels_last) if part.dim() == 4 else part.to(self.device)
            for part in inputs
        )

    def context(self) -> AbstractContextManager[object]:
        """What a forward pass runs in."""
        return torch.autocast(self.device.type, torch.bfloat16) if self._is_mixed else nullcontext()


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether an error says that memory was short: accelerators have a class for it, a CPU only words."""
    return isinstance(error, torch.OutOfMemoryError) or "not enough memory" in str(error)


def has_bfloat16(device: torch.device) -> bool:
    """Whether an accelerator computes in bfloat16; on CPUs it depends on more than can be asked."""
    return device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
