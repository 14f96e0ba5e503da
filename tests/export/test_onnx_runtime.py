"""What ONNX Runtime refuses is one line of the studio's own."""

from pathlib import Path

import onnx
import pytest
import torch
from onnx import TensorProto, helper

from studio.errors import ExportError
from studio.export.onnx_runtime import runtime_predict


@pytest.fixture
def doubling(tmp_path: Path) -> Path:
    """A file that adds two samples, no more and no less, to themselves."""
    shape = [2, 3]
    graph = helper.make_graph(
        [helper.make_node("Add", ["x", "x"], ["y"])],
        "doubling",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
    )
    path = tmp_path / "doubling.onnx"
    onnx.save(helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 18)]), path)
    return path


def test_a_file_runs_on_what_it_is_for(doubling: Path):
    assert torch.equal(runtime_predict(doubling, ["x"])((torch.ones(2, 3),)), torch.full((2, 3), 2.0))


def test_samples_that_a_file_does_not_take_are_one_line(doubling: Path):
    with pytest.raises(ExportError, match=r"^ONNX Runtime cannot run the exported file: [^\n]+$"):
        runtime_predict(doubling, ["x"])((torch.ones(4, 3),))
