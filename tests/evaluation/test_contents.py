"""Files of arrays that may be data or weights are told apart by names and shapes."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from studio.evaluation.contents import holds_samples
from studio.evaluation.data_guess import role_of

IMAGES, LABELS = torch.zeros(10, 3, 4, 4, dtype=torch.uint8), torch.arange(10)


@pytest.mark.parametrize(
    ("tensors", "samples"),
    [
        ({"images": IMAGES, "labels": LABELS}, True),
        ({"x": torch.zeros(10, 5)}, True),
        ({"input_ids": torch.zeros(10, 8, dtype=torch.int64), "attention_mask": torch.ones(10, 8)}, True),
        ({"conv.weight": torch.zeros(4, 3, 3, 3), "conv.bias": torch.zeros(4)}, False),
        ({"weight": torch.zeros(4, 3), "bias": torch.zeros(4)}, False),
        ({"x": torch.zeros(10, 5), "y": torch.zeros(9)}, False),
        ({"x": torch.zeros(10, 5).bfloat16()}, False),
        ({"x": torch.zeros(())}, False),
        ({f"a{number}": torch.zeros(10) for number in range(20)}, False),
    ],
)
def test_samples_have_one_length_and_are_not_called_weights(
    tmp_path: Path, tensors: dict[str, Tensor], samples: bool
) -> None:
    save_file(tensors, tmp_path / "t.safetensors")
    assert holds_samples(tmp_path / "t.safetensors") is samples


def test_a_damaged_file_is_left_to_whoever_opens_it(tmp_path: Path) -> None:
    (tmp_path / "t.safetensors").write_bytes(b"none")
    assert not holds_samples(tmp_path / "t.safetensors")


@pytest.mark.parametrize(
    ("path", "role"),
    [
        ("/d/cifar10_train20k.data.yaml", "train"),
        ("/d/train", "train"),
        ("/train/set.npz", "test"),
        ("/d/Calibration.npz", "train"),
        ("/d/constraints.csv", "test"),
        ("/d/digits_test.data.yaml", "test"),
    ],
)
def test_a_name_tells_what_data_are_for(path: str, role: str) -> None:
    assert role_of(path) == role
