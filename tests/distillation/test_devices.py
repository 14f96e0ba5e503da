"""Where training runs."""

import pytest
import torch

from studio.distillation import devices
from studio.distillation.devices import Arithmetic, available_devices, choose_device
from studio.errors import TrainingError
from studio.models.layer import Layer

CPU = torch.device("cpu")
AMX = {"avx512_bf16": True, "amx_tile": True, "amx_bf16": True}


def layer(kind: str, macs: int) -> Layer:
    return Layer("layer", kind, (4, 4), 1, True, 20, 80, macs)


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


@pytest.mark.parametrize(
    ("known", "kinds", "precision"),
    [
        (AMX, {"conv2d": 60, "linear": 40}, "bfloat16"),
        (AMX, {"conv1d": 40, "linear": 60}, "float32"),
        (AMX, {"linear": 60}, "float32"),
        ({**AMX, "amx_bf16": False}, {"conv2d": 60}, "float32"),
        ({}, {"conv2d": 60}, "float32"),
    ],
)
def test_auto_takes_bfloat16_for_convolutions_where_a_cpu_has_matrix_instructions_for_it(
    monkeypatch: pytest.MonkeyPatch, known: dict[str, bool], kinds: dict[str, int], precision: str
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: known)
    layers = [layer(*one) for one in kinds.items()]

    assert Arithmetic(CPU, "auto", layers).precision == precision
    assert Arithmetic(CPU, "float32", layers).precision == "float32"
    assert Arithmetic(CPU, "bfloat16", layers).precision == "bfloat16"  # who asks for it gets it on any CPU


def test_bfloat16_is_refused_where_an_accelerator_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: False)

    assert Arithmetic(torch.device("cuda"), "auto", [layer("conv2d", 1)]).precision == "float32"
    with pytest.raises(TrainingError, match="bfloat16 is not there on this machine's 'cuda'; choose float32"):
        Arithmetic(torch.device("cuda"), "bfloat16")
