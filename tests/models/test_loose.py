"""Files of weights without a network: layers by names and shapes alone, mapped and not loaded."""

import json
import struct

import pytest
import torch
from safetensors.torch import save_file

from studio.errors import ModelFileError
from studio.models.layer import ABILITIES, OK
from studio.models.mapped import mapped_tensors
from studio.models.open import open_model

STATE = {
    "conv.weight": torch.randn(6, 3, 3, 3),
    "conv.bias": torch.randn(6),
    "bn.weight": torch.randn(6),
    "bn.running_mean": torch.randn(6),
    "bn.num_batches_tracked": torch.tensor(7),
    "depth.weight": torch.randn(6, 1, 3, 3),
    "up.weight": torch.randn(6, 4, 2, 2),
    "up.bias": torch.randn(4),
    "tok_emb.weight": torch.randn(20, 8),
    "att.in_proj_weight": torch.randn(24, 8),
    "att.in_proj_bias": torch.randn(24),
    "head.weight": torch.randn(5, 8).half(),
}


@pytest.fixture
def alone(tmp_path):
    torch.save(
        {"epoch": 2, "state_dict": {f"module.{name}": value for name, value in STATE.items()}}, tmp_path / "m.pth"
    )
    return open_model(tmp_path / "m.pth")


def test_layers_are_told_by_names_and_shapes(alone):
    assert [(layer.name, layer.kind, layer.shape, layer.has_bias) for layer in alone.info.layers] == [
        ("conv", "conv2d", (6, 3, 3, 3), True),
        ("depth", "conv2d", (6, 1, 3, 3), False),
        ("up", "conv_transpose2d", (4, 6, 2, 2), True),
        ("tok_emb", "embedding", (20, 8), False),
        ("att.in_proj_weight", "linear", (24, 8), True),
        ("head", "linear", (5, 8), False),
    ]
    assert alone.info.layer("head").bytes == 2 * 5 * 8
    assert alone.info.parameters == 162 + 6 + 6 + 54 + 96 + 4 + 160 + 192 + 24 + 40  # the running mean is none


def test_all_that_needs_a_network_says_why_not(alone):
    assert not alone.info.has_network
    assert set(alone.info.lacks) == set(ABILITIES)
    conv, depth = alone.info.layer("conv"), alone.info.layer("depth")
    assert {method: conv.allows(method) for method in conv.methods} == {
        "prune": True, "n_m": True, "rank": True, "quantize": True, "activations": False, "channels": False,
    }  # fmt: skip
    assert conv.methods["channels"] == "the file holds weights alone: choose its network"
    assert "single input channel" in depth.methods["rank"]
    with pytest.raises(ModelFileError, match=r"m\.pth: .* choose its network \(--skeleton FILE\)"):
        alone.info.require("measure")


def test_weights_are_those_of_the_file(alone):
    for name, value in STATE.items():
        assert torch.equal(alone.weights.tensors[name], value)
    assert alone.module("head").weight.dtype == torch.float16


def test_tied_weights_count_once(tmp_path):
    table = torch.randn(20, 8)
    torch.save({"emb.weight": table, "head.weight": table}, tmp_path / "m.pth")
    assert open_model(tmp_path / "m.pth").info.parameters == 160


def test_a_file_without_a_layer_is_refused(tmp_path):
    save_file({"norm.weight": torch.ones(3)}, tmp_path / "m.safetensors")
    with pytest.raises(ModelFileError, match=r"m\.safetensors: it holds no weight of a layer"):
        open_model(tmp_path / "m.safetensors")


def test_a_file_larger_than_memory_is_mapped(tmp_path):
    shape = [1 << 14, 1 << 14]
    size, entries = 4 * shape[0] * shape[1], {}
    for i in range(64):  # 64 GiB, of which the disk holds a header
        entries[f"{i}.weight"] = {"dtype": "F32", "shape": shape, "data_offsets": [i * size, (i + 1) * size]}
    header = json.dumps(entries).encode()
    header += b" " * (-len(header) % 8)
    with (tmp_path / "m.safetensors").open("wb") as file:
        file.write(struct.pack("<Q", len(header)) + header)
        file.truncate(8 + len(header) + 64 * size)
    model = open_model(tmp_path / "m.safetensors")
    assert model.info.parameters == 64 << 28
    assert float(model.module("63").weight[-1, -1]) == 0


def test_unaligned_tensors_are_read_like_others(tmp_path):
    entries = {"a": {"dtype": "U8", "shape": [3], "data_offsets": [0, 3]}}
    entries |= {"b": {"dtype": "F32", "shape": [2], "data_offsets": [3, 11]}}
    header = json.dumps(entries).encode()
    data = bytes([1, 2, 3]) + struct.pack("<2f", 1.5, -2)
    (tmp_path / "m.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + data)
    tensors, _ = mapped_tensors(tmp_path / "m.safetensors")
    assert tensors["a"].tolist() == [1, 2, 3]
    assert tensors["b"].tolist() == [1.5, -2.0]


def test_methods_of_a_weight_that_has_several_columns_are_all_ok(alone):
    layer = alone.info.layer("att.in_proj_weight")
    assert [layer.methods[name] for name in ("prune", "n_m", "rank", "quantize")] == [OK] * 4
