"""Files that mean harm run nothing, read nothing outside their folder, and take no memory for what they only claim.

Code in checkpoints and in ``.pt2`` archives, and weights outside a model's folder, are in ``tests/models``.
"""

import json
import re
import struct
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from studio.errors import DataError, ModelFileError, RecipeError, StudioError
from studio.evaluation.data import open_data
from studio.models.open import open_model
from studio.recipe.files import load_recipe

TAG = "!!python/object/apply:pathlib.Path.touch [{0}]"
LAUGHS = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{chr(98 + n)}: &{chr(98 + n)} [{', '.join([f'*{chr(97 + n)}'] * 9)}]\n" for n in range(12)
)
DESCRIPTION = "source: {source}\ninput: x\nkind: tensor\n"


def refused(kind: type[StudioError], open_it: Callable[[Path], object], path: Path) -> str:
    """The one line that refuses a file."""
    with pytest.raises(kind) as error:
        open_it(path)
    assert "\n" not in str(error.value).strip()
    return str(error.value)


pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux lets a process reset its peak of memory")


@pytest.fixture
def peak() -> Callable[[], int]:
    """How many bytes of memory the process has held at most beyond what it held when the test began."""
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")

    def highest() -> int:
        status = Path("/proc/self/status").read_text(encoding="ascii")
        return 1024 * int(re.findall(r"VmHWM:\s+(\d+) kB", status)[0])

    before = highest()
    return lambda: highest() - before


def claiming(path: Path, constants: list[onnx.TensorProto], nodes: list[onnx.NodeProto]) -> Path:
    """A model of a few hundred bytes."""
    given = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 4])]
    found = [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)]
    graph = helper.make_graph(nodes, "net", given, found, constants)
    path.write_bytes(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)]).SerializeToString())
    assert path.stat().st_size < 1024
    return path


@pytest.mark.parametrize(("kind", "open_it"), [(RecipeError, load_recipe), (DataError, open_data)])
def test_a_tag_that_makes_objects_makes_none(
    tmp_path: Path, kind: type[StudioError], open_it: Callable[[Path], object]
):
    path, touched = tmp_path / "evil.yaml", tmp_path / "touched"
    path.write_text(f"studio: {TAG.format(touched)}\n", encoding="utf-8")
    assert "evil.yaml" in refused(kind, open_it, path)
    assert not touched.exists()


@pytest.mark.parametrize(("kind", "open_it"), [(RecipeError, load_recipe), (DataError, open_data)])
def test_aliases_of_aliases_are_refused_before_they_are_spelt_out(
    tmp_path: Path, kind: type[StudioError], open_it: Callable[[Path], object], peak: Callable[[], int]
):
    (tmp_path / "laughs.yaml").write_text(LAUGHS, encoding="utf-8")
    message = refused(kind, open_it, tmp_path / "laughs.yaml")
    assert "laughs.yaml" in message
    assert len(message) < 1000
    assert peak() < 100 << 20


def test_a_weight_of_ten_gigabytes_without_bytes_is_refused(tmp_path: Path, peak: Callable[[], int]):
    weight = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[4, 625_000_000])
    path = claiming(tmp_path / "big.onnx", [weight], [helper.make_node("MatMul", ["x", "w"], ["y"])])
    assert "big.onnx" in refused(ModelFileError, open_model, path)
    assert peak() < 100 << 20


def test_a_constant_that_is_filled_to_ten_gigabytes_is_refused(tmp_path: Path, peak: Callable[[], int]):
    shape = numpy_helper.from_array(np.array([4, 625_000_000]), "shape")
    nodes = [helper.make_node("ConstantOfShape", ["shape"], ["w"]), helper.make_node("MatMul", ["x", "w"], ["y"])]
    assert "big.onnx" in refused(ModelFileError, open_model, claiming(tmp_path / "big.onnx", [shape], nodes))
    assert peak() < 100 << 20


def test_a_tensor_of_ten_gigabytes_in_a_small_safetensors_file_is_refused(tmp_path: Path, peak: Callable[[], int]):
    entry = {"w": {"dtype": "F32", "shape": [50_000, 50_000], "data_offsets": [0, 10_000_000_000]}}
    header = json.dumps(entry).encode()
    (tmp_path / "big.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + bytes(64))
    assert "big.safetensors" in refused(ModelFileError, open_model, tmp_path / "big.safetensors")
    assert peak() < 100 << 20


def test_a_safetensors_header_longer_than_the_file_is_refused(tmp_path: Path, peak: Callable[[], int]):
    (tmp_path / "long.safetensors").write_bytes(struct.pack("<Q", 1 << 40) + b"{}")
    assert "long.safetensors" in refused(ModelFileError, open_model, tmp_path / "long.safetensors")
    assert peak() < 100 << 20


def test_an_archive_that_unpacks_to_more_than_its_header_says_is_refused(tmp_path: Path, peak: Callable[[], int]):
    bomb = tmp_path / "bomb.npz"
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("x.npy", "w") as stream:
        np.lib.format.write_array_header_1_0(stream, {"descr": "<f4", "fortran_order": False, "shape": (2, 4)})
        for _ in range(200):
            stream.write(bytes(1 << 20))
    assert bomb.stat().st_size < 1 << 20
    (tmp_path / "bomb.data.yaml").write_text(DESCRIPTION.format(source="bomb.npz"), encoding="utf-8")
    assert "bomb.npz" in refused(DataError, open_data, tmp_path / "bomb.data.yaml")
    assert peak() < 100 << 20
