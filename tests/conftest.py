"""What every test may use: the built-in sample, and cores that are not fought over."""

import os

# before anything imports numpy or torch, whose thread pools read it once; child processes inherit it
os.environ.setdefault("OMP_NUM_THREADS", "1" if "PYTEST_XDIST_WORKER" in os.environ else "2")
os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from torch import fx

from studio.compression.walk import execute
from studio.evaluation import replay
from studio.resources import Sample, samples


@pytest.fixture(scope="session")
def digits() -> Sample:
    """The built-in sample: a residual network for handwritten digits with its test and training data."""
    return samples()["digits"]


@pytest.fixture(scope="session")
def text_sample() -> Sample:
    """The second built-in sample: a transformer that continues text, with chapters it has not seen."""
    return samples()["text"]


@pytest.fixture
def executed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the nodes that replays run."""
    names: list[str] = []

    def noted(interpreter: fx.Interpreter, node: fx.Node, *rest: object) -> object:
        names.append(node.name)
        return execute(interpreter, node, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(replay, "execute", noted)
    return names


@pytest.fixture
def two_layers(tmp_path: Path) -> Path:
    """A model of the linear layers ``first`` and ``second``, small enough to be written in no time."""
    random, shapes = np.random.default_rng(0), {"first": (16, 8), "second": (4, 16)}
    arrays = {f"{name}.weight": random.normal(size=shape) for name, shape in shapes.items()}
    arrays |= {f"{name}.bias": random.normal(size=shape[:1]) for name, shape in shapes.items()}
    graph = helper.make_graph(
        [
            helper.make_node("Gemm", ["x", "first.weight", "first.bias"], ["a"], transB=1),
            helper.make_node("Relu", ["a"], ["b"]),
            helper.make_node("Gemm", ["b", "second.weight", "second.bias"], ["y"], transB=1),
        ],
        "two",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["batch", 8])],
        [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["batch", 4])],
        [numpy_helper.from_array(array.astype(np.float32), name) for name, array in arrays.items()],
    )
    path = tmp_path / "two.onnx"
    path.write_bytes(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)]).SerializeToString())
    return path


@pytest.fixture(scope="session")
def gated(digits: Sample, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The digits network with its last layer in one branch of an If, which the studio cannot build."""
    model = onnx.load(digits.model)
    graph, name = model.graph, model.graph.output[0].name
    last = onnx.NodeProto.FromString(graph.node[-1].SerializeToString())
    last.output[0] = "branch"
    del graph.node[-1]
    given = [helper.make_tensor_value_info("branch", onnx.TensorProto.FLOAT, None)]
    zeros = numpy_helper.from_array(np.zeros((1, 10), np.float32), "zeros")
    then = helper.make_graph([last], "then", [], given)
    otherwise = helper.make_graph([helper.make_node("Identity", ["zeros"], ["branch"])], "else", [], given, [zeros])
    graph.initializer.append(numpy_helper.from_array(np.asarray(0), "none"))
    graph.node.extend(
        [
            helper.make_node("Shape", [graph.input[0].name], ["shape"]),
            helper.make_node("Gather", ["shape", "none"], ["count"]),
            helper.make_node("Greater", ["count", "none"], ["some"]),
            helper.make_node("If", ["some"], [name], "gate", then_branch=then, else_branch=otherwise),
        ]
    )
    path = tmp_path_factory.mktemp("gated") / "gated.onnx"
    onnx.save(model, path)
    return path
