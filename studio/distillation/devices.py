"""Where training runs: found out at run time, because the same installation serves machines with and without."""

import torch

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
