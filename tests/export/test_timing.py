"""Latency in ONNX Runtime: whose work its nodes are, and what a stopwatch in a process of its own brings back."""

import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from studio.compression.compress import compress
from studio.errors import ExportError
from studio.export.attribution import Attribution, by_layer
from studio.export.latency import LatencySettings
from studio.export.onnx_file import onnx_bytes
from studio.export.stopwatch import FEWEST, memory_held, timed_blocks
from studio.export.timing import measure_latency
from studio.progress import Cancelled
from studio.recipe.recipe import Recipe

LAYERS = ("stem", "stage.0", "stage.01", "head")
QUICK = LatencySettings(seconds=0.05)


def node(operator: str, name: str, inputs: list[str], output: str) -> onnx.NodeProto:
    return helper.make_node(operator, inputs, [output], name=name)


@pytest.fixture
def attribution() -> Attribution:
    return Attribution(
        [
            node("QuantizeLinear", "levels_0000.quantize", ["x"], "q"),
            node("Conv", "stem", ["q"], "a"),
            node("Relu", "Relu", ["a"], "b"),
            node("DequantizeLinear", "stage.0.weight_dequantize", ["w"], "v"),
            node("Conv", "stage.0", ["b", "v"], "c"),
            node("Add", "Add", ["c", "b"], "d"),
            node("MatMul", "head.first", ["d"], "e"),
            node("Gemm", "head_1", ["e"], "f"),
        ],
        LAYERS,
    )


@pytest.mark.parametrize(
    ("operator", "name", "layer"),
    [
        ("Conv", "stem", "stem"),
        ("QLinearConv", "stem_token_2", "stem"),  # numbered when its neighbours are rounded
        ("Conv", "stage.0_nchwc", "stage.0"),  # laid out anew
        ("Conv", "Relu_nchwc", "stem"),  # fused with the activation behind it, whose name it takes
        ("DequantizeLinear", "stage.0.weight_dequantize", "stage.0"),
        ("MatMul", "head.first", "head"),
        ("FusedGemm", "fused head_1", "head"),  # a layer that is used twice
        ("Add", "Add", None),
        ("QLinearAdd", "Add_token_7", None),
        ("QuantizeLinear", "levels_0000.quantize", None),
        ("ReorderOutput", "ReorderOutput", None),  # the runtime's own
    ],
)
def test_a_node_of_the_runtime_is_led_back_to_its_layer(attribution, operator, name, layer):
    assert attribution.layer(operator, name) == layer


def test_times_of_a_layer_s_nodes_are_summed_and_the_rest_kept_apart(attribution):
    times = {"MatMul:head.first": 2.0, "FusedGemm:fused head_1": 3.0, "Conv:Relu_nchwc": 5.0, "Add:Add": 0.5}
    assert by_layer(times, attribution) == ({"head": 5.0, "stem": 5.0}, 0.5)


def test_a_compressed_model_is_timed_beside_the_original_with_all_of_its_layers(make_model):
    model = make_model("waves")
    half = compress(model, Recipe.model_validate({"default": {"rank": {"rank": 2, "form": "matrix"}}}))
    files = [onnx_bytes(graph, model.info) for graph in (model.graph, half.graph)]
    shares = []
    found = measure_latency(model, files, LatencySettings(seconds=0.05, batch=3), lambda p: shares.append(p.fraction))
    names = {layer.name for layer in model.info.layers}
    assert found.layers.keys() == found.original_layers.keys() == names
    for timing, layers, rest in (
        (found.now, found.layers, found.rest),
        (found.original, found.original_layers, found.original_rest),
    ):
        assert 0 < timing.low <= timing.ms <= timing.high
        assert timing.runs >= FEWEST
        assert sum(layers.values()) + rest == pytest.approx(timing.ms)
    assert found.faster.low <= found.faster.value <= found.faster.high
    assert sum(found.share(name) or 0 for name in names) == pytest.approx(1 - found.rest / found.now.ms)
    assert (found.batch, found.threads, found.runtime.split()[0]) == (3, 1, "ONNX")
    assert shares == sorted(shares)


def test_a_model_as_it_is_is_as_fast_as_itself(make_model):
    model = make_model("waves")
    found = measure_latency(model, [onnx_bytes(model.graph, model.info)], QUICK)
    assert found.now == found.original
    assert found.faster.value == 1
    assert found.share("no such layer") is None


def test_what_the_runtime_refuses_is_told_in_its_own_words(make_model):
    with pytest.raises(ExportError, match=r"The latency cannot be measured in ONNX Runtime: .*[Pp]rotobuf"):
        measure_latency(make_model("waves"), [b"no model"], QUICK)


def test_cancelling_ends_the_stopwatch(make_model):
    def stop(_progress):
        raise Cancelled

    model = make_model("waves")
    with pytest.raises(Cancelled):
        measure_latency(model, [onnx_bytes(model.graph, model.info)], LatencySettings(seconds=600), stop)


class Clocked:
    """Stands for a session; notes its name at every run."""

    def __init__(self, name: str, runs: list[str]) -> None:
        self._name, self._runs = name, runs

    def run(self, _outputs: None, _feed: dict[str, np.ndarray]) -> None:
        self._runs.append(self._name)


def test_files_take_turns_and_change_who_is_first(monkeypatch):
    monkeypatch.setattr("studio.export.stopwatch.BLOCK", 0.0)
    monkeypatch.setattr("studio.export.stopwatch.WARM_SECONDS", 0.0)
    runs: list[str] = []
    blocks = list(timed_blocks([Clocked("a", runs), Clocked("b", runs)], {}, seconds=1e-9))
    assert len(blocks) == FEWEST
    assert "".join(runs) == "aaabbb" + "abba" * (FEWEST // 2)


def product(path: Path, columns: int) -> str:
    """A product with a weight of ``[1024, columns]`` floats."""
    weight = numpy_helper.from_array(np.ones((1024, columns), dtype=np.float32), "w")
    given = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 1024])]
    found = [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", columns])]
    graph = helper.make_graph([helper.make_node("MatMul", ["x", "w"], ["y"])], "net", given, found, [weight])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), path)
    return str(path)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells what a process holds")
def test_memory_is_that_of_the_weights_whichever_file_comes_first(tmp_path):
    small, large = product(tmp_path / "small.onnx", 1024), product(tmp_path / "large.onnx", 16384)
    feed = {"x": np.ones((1, 1024), dtype=np.float32)}
    one, other = memory_held([small, large], 1, feed), memory_held([large, small], 1, feed)
    weights = 4 * 1024 * (16384 - 1024)
    for grown in (one[1] - one[0], other[0] - other[1]):
        assert 0.85 * weights < grown < 2.2 * weights  # the runtime may keep a copy in its own layout
