"""Networks that the studio cannot build are tried in ONNX Runtime: what runs can be measured, the rest says why not."""

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper

from studio.evaluation.runtime import predict_of
from studio.models import onnx_trial
from studio.models.open import open_model

RANDOM = np.random.default_rng(0)
WEIGHT = RANDOM.normal(size=(6, 5)).astype(np.float32)


def opened(folder, nodes, shape=("N", 6), constants=None, given=TensorProto.FLOAT, gives=None):
    """The model of nodes from `x` to `y`, of the same type unless it is said, that hold `WEIGHT`."""
    held = {"w": WEIGHT, **(constants or {})}
    graph = helper.make_graph(
        nodes,
        "test",
        [helper.make_tensor_value_info("x", given, shape)],
        [helper.make_tensor_value_info("y", gives or given, None)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in held.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, folder / "net.onnx")
    return open_model(folder / "net.onnx")


def chosen(condition, then, otherwise, gives=TensorProto.FLOAT):
    """An If over two branches of one node."""
    branches = [
        helper.make_graph(
            [helper.make_node(kind, ["x", "w"] if kind == "MatMul" else ["one"], ["b"])],
            kind,
            [],
            [helper.make_tensor_value_info("b", gives, None)],
        )
        for kind in (then, otherwise)
    ]
    return helper.make_node("If", [condition], ["y"], then_branch=branches[0], else_branch=branches[1])


FEW = [
    helper.make_node("Shape", ["x"], ["shape"]),
    helper.make_node("Gather", ["shape", "zero"], ["count"]),
    helper.make_node("Greater", ["count", "zero"], ["some"]),
    chosen("some", "MatMul", "Identity"),
]
CONSTANTS = {"zero": np.asarray(0), "one": np.ones((1, 5), np.float32)}


def test_a_network_with_branches_is_measured_in_onnx_runtime(tmp_path):
    model = opened(tmp_path, FEW, constants=CONSTANTS)
    assert model.info.runtime
    assert model.info.has_network
    assert not model.info.counts_macs
    assert set(model.info.lacks) == {"fit", "train"}
    assert model.info.lacks["train"].startswith("it runs in ONNX Runtime alone: the ONNX operator If")
    assert (model.info.inputs[0].shape, model.info.outputs[0].shape) == ((None, 6), (None, 5))
    x = torch.from_numpy(RANDOM.normal(size=(7, 6)).astype(np.float32))
    np.testing.assert_allclose(predict_of(model)((x,)), x.numpy() @ WEIGHT, rtol=1e-5, atol=1e-6)


def test_a_network_that_runs_at_one_size_alone_opens_as_its_weights(tmp_path):
    nodes = [
        helper.make_node("Reshape", ["x", "sizes"], ["r"]),
        helper.make_node("MatMul", ["r", "w"], ["y"]),
    ]
    model = opened(tmp_path, nodes, shape=("N", "T", 6), constants={"sizes": np.array([2 * 9, 6])})
    assert [(layer.name, layer.shape) for layer in model.info.layers] == [("w", (5, 6))]
    assert not model.info.has_network
    assert model.info.lacks["measure"].startswith("only its weights are open: the model does not run on random input")


def test_a_network_for_so_many_samples_at_once_runs_on_any_number_of_them(tmp_path):
    model = opened(tmp_path, FEW, shape=(3, 6), constants=CONSTANTS)
    assert (model.info.inputs[0].shape, model.onnx.batch) == ((None, 6), 3)
    assert model.info.lacks["time"] == "it takes 3 samples at once, and times are those of one"
    x = torch.from_numpy(RANDOM.normal(size=(7, 6)).astype(np.float32))
    np.testing.assert_allclose(predict_of(model)((x,)), x.numpy() @ WEIGHT, rtol=1e-5, atol=1e-6)


def test_weights_of_16_bits_are_opened_as_such_and_their_network_takes_the_data_it_wants(tmp_path):
    halves = {**CONSTANTS, "w": WEIGHT.astype(np.float16), "one": CONSTANTS["one"].astype(np.float16)}
    nodes = [*FEW[:3], chosen("some", "MatMul", "Identity", TensorProto.FLOAT16)]
    model = opened(tmp_path, nodes, constants=halves, given=TensorProto.FLOAT16)
    (layer,) = model.info.layers
    assert (layer.dtype, layer.bytes) == ("F16", 2 * WEIGHT.size)
    x = torch.from_numpy(RANDOM.normal(size=(2, 6)).astype(np.float32))
    np.testing.assert_allclose(predict_of(model)((x,)), x.numpy() @ WEIGHT, rtol=2e-2, atol=2e-2)


def test_a_loop_without_end_is_ended_and_leaves_the_weights(tmp_path, monkeypatch):
    monkeypatch.setattr(onnx_trial, "LONGEST", 0.3)
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["on"]), helper.make_node("Add", ["sum", "sum"], ["next"])],
        "body",
        [
            helper.make_tensor_value_info("step", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("sum", TensorProto.FLOAT, None),
        ],
        [
            helper.make_tensor_value_info("on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("next", TensorProto.FLOAT, None),
        ],
    )
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["h"], "head"),
        helper.make_node("Loop", ["", "true", "h"], ["y"], body=body),
    ]
    model = opened(tmp_path, nodes, constants={"true": np.asarray(True)})
    assert not model.info.has_network
    assert [layer.name for layer in model.info.layers] == ["head"]
    assert "terminate" in model.info.lacks["measure"]


def test_an_output_that_is_not_one_for_each_sample_is_not_measured(tmp_path):
    branch = helper.make_graph(
        [helper.make_node("Identity", ["s"], ["b"])],
        "branch",
        [],
        [helper.make_tensor_value_info("b", TensorProto.FLOAT, None)],
    )
    nodes = [
        *FEW[:3],
        helper.make_node("MatMul", ["x", "w"], ["p"]),
        helper.make_node("ReduceSum", ["p"], ["s"], keepdims=0),
        helper.make_node("If", ["some"], ["y"], then_branch=branch, else_branch=branch),
    ]
    model = opened(tmp_path, nodes, constants=CONSTANTS)
    assert "its first output is float32 [] for 2 samples" in model.info.lacks["measure"]
    assert model.info.layers


def test_an_input_without_a_batch_is_not_measured(tmp_path):
    nodes = [
        helper.make_node("Expand", ["x", "shape"], ["e"]),
        helper.make_node("Greater", ["x", "zero"], ["some"]),
        helper.make_node("MatMul", ["e", "w"], ["p"]),
        chosen("some", "Identity", "Identity"),
    ]
    constants = {**CONSTANTS, "zero": np.float32(0), "shape": np.array([2, 6])}
    model = opened(tmp_path, nodes, (), constants)
    assert "its input 'x' is a single value" in model.info.lacks["measure"]


def test_an_input_that_is_looked_up_in_a_table_gets_ids_that_it_has(tmp_path):
    nodes = [
        helper.make_node("Gather", ["table", "x"], ["e"], "words"),
        helper.make_node("ReduceMean", ["e"], ["h"], axes=[1], keepdims=0),
        helper.make_node("MatMul", ["h", "w"], ["p"]),
        helper.make_node("Shape", ["x"], ["shape"]),
        helper.make_node("Gather", ["shape", "zero"], ["count"]),
        helper.make_node("Greater", ["count", "zero"], ["some"]),
        chosen("some", "Identity", "Identity"),
    ]
    nodes[-1].attribute[0].g.node[0].input[0] = nodes[-1].attribute[1].g.node[0].input[0] = "p"
    table = RANDOM.normal(size=(3, 6)).astype(np.float32)
    constants = {**CONSTANTS, "table": table}
    model = opened(tmp_path, nodes, ("N", "T"), constants, TensorProto.INT64, TensorProto.FLOAT)
    assert model.info.runtime
    assert {layer.name: layer.kind for layer in model.info.layers}["words"] == "embedding"
    (ids,) = model.example(64)
    assert (ids.min(), ids.max()) == (0, 2)
