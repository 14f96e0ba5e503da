"""Where training runs."""

import pytest
import torch

from studio.distillation import devices
from studio.distillation.devices import available_devices, choose_device
from studio.errors import TrainingError


def test_the_cpu_is_always_there() -> None:
    assert choose_device("cpu") == torch.device("cpu")
    assert available_devices()[-1] == "cpu"


def test_auto_takes_the_fastest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "available_devices", lambda: ["cuda", "cpu"])

    assert choose_device("auto") == torch.device("cuda")


def test_a_device_that_is_not_there_is_refused_with_those_that_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "available_devices", lambda: ["mps", "cpu"])

    with pytest.raises(TrainingError, match="this machine has no 'cuda'; it has mps, cpu"):
        choose_device("cuda")
