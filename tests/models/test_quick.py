"""Listing safetensors files by their headers: the same as opening them, without torch and within little memory."""

import json
import os
import struct
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from studio.engine.light import LightEngine
from studio.engine.requests import OpenModel, ViewSpectrum
from studio.errors import ModelFileError
from studio.models import quick
from studio.models.open import open_model
from studio.models.quick import quick_info
from studio.recipe.packed import METADATA

STATE = {
    "conv.weight": torch.randn(6, 3, 3, 3),
    "conv.bias": torch.randn(6),
    "bn.running_mean": torch.randn(6),
    "bn.num_batches_tracked": torch.tensor(7),
    "depth.weight": torch.randn(6, 1, 3, 3),
    "up.weight": torch.randn(6, 4, 2, 2),
    "up.bias": torch.randn(4),
    "tok_emb.weight": torch.randn(20, 8),
    "att.in_proj_weight": torch.randn(24, 8),
    "head.weight": torch.randn(5, 8).half(),
    "empty": torch.zeros(0, 3),
}


def test_a_header_tells_what_opening_the_file_does(tmp_path: Path):
    path = tmp_path / "m.safetensors"
    save_file(STATE, path)
    assert quick_info(path) == open_model(path).info


def test_so_do_those_of_shards_with_names_behind_a_wrapper(tmp_path: Path):
    state = {f"module.{name}": value for name, value in STATE.items()}
    names, index = list(state), tmp_path / "m.safetensors.index.json"
    shards = {"a.safetensors": names[:4], "b.safetensors": names[4:]}
    for file, some in shards.items():
        save_file({name: state[name] for name in some}, tmp_path / file)
    index.write_text(json.dumps({"weight_map": {name: file for file, some in shards.items() for name in some}}))
    assert quick_info(index) == open_model(index).info


@pytest.mark.parametrize("name", ["half.weight", "a b.weight", "__class__.weight", "training.weight"])
def test_names_that_opening_would_change_are_left_to_it(tmp_path: Path, name: str):
    path = tmp_path / "m.safetensors"
    save_file({name: torch.randn(3, 2)}, path)
    assert quick_info(path) is None


def test_one_layer_inside_another_is_left_to_it(tmp_path: Path):
    path = tmp_path / "m.safetensors"
    save_file({"a.weight": torch.randn(3, 2), "a.b.weight": torch.randn(3, 2)}, path)
    assert quick_info(path) is None


def test_all_names_that_modules_have_of_their_own_are_known():
    assert {name for name in dir(nn.Module) if not name.startswith("_")} <= quick._RESERVED


def test_packed_weights_and_other_formats_are_left_to_it(tmp_path: Path):
    save_file({"a.weight": torch.randn(3, 2)}, tmp_path / "m.safetensors", {METADATA: "{}"})
    torch.save({"a.weight": torch.randn(3, 2)}, tmp_path / "m.pth")
    assert [quick_info(tmp_path / name) for name in ("m.safetensors", "m.pth", "none.safetensors")] == [None] * 3


@pytest.mark.parametrize("content", [b"", b"\xff" * 20, struct.pack("<Q", 2) + b"[]", struct.pack("<Q", 2) + b"{}"])
def test_a_damaged_file_is_refused_in_the_same_words(tmp_path: Path, content: bytes):
    path = tmp_path / "m.safetensors"
    path.write_bytes(content)
    with pytest.raises(ModelFileError) as quickly:
        quick_info(path)
    with pytest.raises(ModelFileError) as wholly:
        open_model(path)
    assert str(quickly.value) == str(wholly.value)


class Behind:
    """Stands for the engine that takes long to load."""

    def __init__(self) -> None:
        self.asked: list[object] = []

    def start(self, request: object, **_how: object) -> str:
        self.asked.append(request)
        return "behind"

    def close(self) -> None:
        self.asked.append("close")


def test_the_light_engine_loads_the_other_for_what_it_cannot_answer(tmp_path: Path):
    path, behind, made = tmp_path / "m.safetensors", Behind(), []
    save_file(STATE, path)
    engine = LightEngine(lambda: made.append(behind) or behind)  # type: ignore[func-returns-value, arg-type, return-value]
    assert engine.start(OpenModel(str(path))).result().layer("conv").kind == "conv2d"
    engine.close()
    assert (made, behind.asked) == ([], [])
    (tmp_path / "empty.safetensors").touch()
    refused = engine.start(OpenModel(str(tmp_path / "empty.safetensors")))
    with pytest.raises(ModelFileError, match=r"empty\.safetensors"):
        refused.result()
    spectrum, skeleton = ViewSpectrum(str(path), "conv"), OpenModel(str(path), "net.onnx")
    assert [engine.start(request) for request in (skeleton, spectrum)] == ["behind", "behind"]
    engine.close()
    assert (made, behind.asked) == ([behind], [skeleton, spectrum, "close"])


@pytest.mark.skipif(sys.platform != "linux", reason="asks Linux for the peak of memory")
def test_a_file_of_two_gigabytes_is_listed_within_200_megabytes_and_without_torch(tmp_path: Path):
    shape = [1 << 11, 1 << 12]
    size, entries = 4 * shape[0] * shape[1], {}
    for i in range(64):  # 2 GiB, of which the disk holds a header
        entries[f"{i}.weight"] = {"dtype": "F32", "shape": shape, "data_offsets": [i * size, (i + 1) * size]}
    header = json.dumps(entries).encode()
    with (tmp_path / "m.safetensors").open("wb") as file:
        file.write(struct.pack("<Q", len(header)) + header)
        file.truncate(8 + len(header) + 64 * size)
    code = (
        "import sys\n"
        f"sys.argv = ['studio', 'inspect', '--json', {str(tmp_path / 'm.safetensors')!r}]\n"
        "from studio.cli import cli\n"
        "cli(standalone_mode=False)\n"
        "assert 'torch' not in sys.modules\n"
        "from pathlib import Path\n"
        "print([line for line in Path('/proc/self/status').read_text().splitlines() if line.startswith('VmHWM')][0])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=os.environ, check=False)
    assert done.returncode == 0, done.stderr
    answer, peak = done.stdout.splitlines()
    assert len(json.loads(answer)["layers"]) == 64
    assert int(peak.split()[1]) * 1024 < 200e6
