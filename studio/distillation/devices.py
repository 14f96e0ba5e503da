"""Where training runs: found out at run time, because the same installation serves machines with and without."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Literal

import torch
from torch import Tensor, fx

from studio.errors import TrainingError
from studio.models.layer import Layer


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
    a step of ResNet-20 took 0.6 of the time. With bfloat16 (P. Micikevicius et al., Mixed precision training, arXiv
    1710.03740; its exponents need no scaling of the loss) products are computed in 8 bits of mantissa and added up in
    float32; what rounds weights and activations computes in float32 (`studio.compression.ops`).

    Args:
        device: where they run.
        precision: ``float32``, ``bfloat16``, or ``auto`` for the latter where it is faster (`gains_by_bfloat16`).
        layers: of the networks.

    Raises:
        TrainingError: the device has no such arithmetic.
    """

    def __init__(self, device: torch.device, precision: str = "float32", layers: Sequence[Layer] = ()) -> None:
        self.device = device
        self._is_mixed = precision == "bfloat16" or (precision == "auto" and gains_by_bfloat16(device, layers))
        if self._is_mixed and not (device.type == "cpu" or has_bfloat16(device)):
            raise TrainingError(f"precision: bfloat16 is not there on this machine's '{device.type}'; choose float32.")

    @property
    def precision(self) -> Literal["float32", "bfloat16"]:
        """In which the networks multiply."""
        return "bfloat16" if self._is_mixed else "float32"

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


def has_bfloat16(device: torch.device) -> bool:
    """Whether a device has instructions that make products of bfloat16 faster than those of float32.

    On CPUs these are AMX's. AVX-512 has some too, with which training was slower: a step of a ResNet of 20 layers took
    0.39 of the time of float32 with AMX, 1.36 of it with AVX512-BF16 and 3.2 with neither (oneDNN held to each of
    these on one CPU, one thread).
    """
    if device.type == "cpu":
        known: Mapping[str, object] = getattr(torch.cpu, "get_capabilities", dict)()  # not in older releases
        return bool(known.get("amx_tile") and known.get("amx_bf16"))
    return device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)


def gains_by_bfloat16(device: torch.device, layers: Sequence[Layer]) -> bool:
    """Whether networks of such layers train faster in bfloat16: a matter of what is there, not of a measured time.

    On CPUs those do whose multiplications are mostly convolutions' (0.4 to 0.8 of the time of float32). Products of
    matrices have to be large for it: a linear layer of 256 inputs and a batch of 32 took 1.1 of the time.
    """
    if not has_bfloat16(device):
        return False
    convolved = sum(layer.macs for layer in layers if layer.kind.startswith("conv"))
    return device.type != "cpu" or 2 * convolved > sum(layer.macs for layer in layers)
