"""Opening whole networks, in every form that torch writes them."""

import copy
import hashlib
import warnings

import numpy as np
import onnxruntime as ort
import pytest
import torch
from torch import nn

from studio.errors import ModelFileError
from studio.models.model import weight_matrix
from studio.models.open import open_model
from studio.progress import Cancelled

FORMS = ["dynamo.onnx", "plain.onnx", "legacy.onnx", "free.onnx", "export.pt2"]
NAMES = {
    "resnet": ["stem", *[f"layer1.{b}.conv{c}" for b in (0, 1) for c in (1, 2)], "linear"],
    "mobilenet": ["stem.0", "depth.0", "squeeze", "excite", "head.3"],
    "transformer": ["emb", "att.q", "att.k", "att.v", "att.o", "f1", "f2", "head"],
}
EVERY = [(network, form) for network in NAMES for form in FORMS]


@pytest.mark.parametrize(("network", "form"), EVERY)
def test_every_form_gives_the_outputs_of_the_network_it_came_from(networks, exported, network, form):
    original, x = networks[network]
    model = open_model(exported(network, form))
    torch.testing.assert_close(model.graph(x), original(x), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("network", "form"), [pair for pair in EVERY if pair[1] != "export.pt2"])
def test_an_imported_graph_equals_onnx_runtime(exported, network, form):
    model = open_model(exported(network, form))
    inputs = model.example(batch=3, seed=5)
    session = ort.InferenceSession(exported(network, form))
    feed = {spec.name: x.numpy() for spec, x in zip(model.info.inputs, inputs, strict=True)}
    np.testing.assert_allclose(model.graph(*inputs).detach().numpy(), session.run(None, feed)[0], atol=1e-5)


@pytest.mark.parametrize(("network", "form"), EVERY)
def test_layers_keep_their_names_in_running_order(exported, network, form):
    layers = open_model(exported(network, form)).info.layers
    assert [layer.name for layer in layers] == NAMES[network]


def test_both_formats_tell_the_same_of_every_layer(exported):
    onnx = open_model(exported("resnet", "dynamo.onnx")).info
    pt2 = open_model(exported("resnet", "export.pt2")).info
    assert onnx.layers == pt2.layers
    assert (onnx.parameters, onnx.macs) == (pt2.parameters, pt2.macs)


def test_the_info_tells_what_the_file_is(exported):
    path = exported("resnet", "dynamo.onnx")
    info = open_model(path).info
    assert info.format == "onnx"
    assert info.bytes == path.stat().st_size
    assert info.fingerprint == hashlib.sha256(path.read_bytes()).hexdigest()
    assert info.inputs[0].shape == (None, 3, 8, 8)
    assert info.inputs[0].dtype == "float32"
    assert info.outputs[0].shape == (None, 5)
    assert info.parameters == sum(layer.parameters for layer in info.layers)


def test_multiply_accumulates_are_those_counted_by_hand(exported):
    info = open_model(exported("resnet", "dynamo.onnx")).info
    by_hand = {
        "stem": 64 * 4 * 27,
        "layer1.0.conv1": 64 * 4 * 36,
        "layer1.1.conv1": 16 * 8 * 36,
        "layer1.1.conv2": 16 * 8 * 72,
        "linear": 40,
    }
    assert {name: info.layer(name).macs for name in by_hand} == by_hand


@pytest.mark.parametrize("form", FORMS)
def test_batch_norms_are_folded_where_a_layer_stands_before_them(exported, form):
    model = open_model(exported("mobilenet", form))
    left = [name for name, module in model.graph.named_modules() if isinstance(module, nn.BatchNorm2d)]
    assert left == ["norm"]
    assert model.info.layer("stem.0").has_bias


@pytest.mark.parametrize(("network", "form"), EVERY)
def test_every_parameter_of_a_copy_can_be_trained(exported, network, form):
    model = open_model(exported(network, form))
    before = {name: p.clone() for name, p in model.graph.named_parameters()}
    graph = copy.deepcopy(model.graph).train()
    graph(*model.example()).square().mean().backward()
    assert [name for name, p in graph.named_parameters() if p.grad is None] == []
    assert all(torch.equal(p, before[name]) for name, p in model.graph.named_parameters())


@pytest.mark.parametrize(
    ("network", "form"), [("resnet", "dynamo.onnx"), ("transformer", "legacy.onnx"), ("transformer", "export.pt2")]
)
def test_an_opened_graph_can_be_exported_again_with_a_free_batch(exported, network, form, tmp_path):
    model = open_model(exported(network, form))
    shapes = ({0: torch.export.Dim("batch")},)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.export.export(model.graph, model.example(2), dynamic_shapes=shapes)
        file = torch.onnx.export(model.graph, model.example(2), dynamo=True, verbose=False, dynamic_shapes=shapes)
    assert file is not None
    file.save(tmp_path / "again.onnx")
    inputs = model.example(5)
    expected = model.graph(*inputs)
    torch.testing.assert_close(program.module()(*inputs), expected)
    again = open_model(tmp_path / "again.onnx")
    torch.testing.assert_close(again.graph(*inputs), expected, atol=1e-5, rtol=1e-5)
    assert [layer.name for layer in again.info.layers] == [layer.name for layer in model.info.layers]


def test_example_inputs_are_the_same_for_the_same_seed(exported):
    model = open_model(exported("transformer", "dynamo.onnx"))
    assert torch.equal(model.example(3, seed=1)[0], model.example(3, seed=1)[0])
    assert not torch.equal(model.example(3, seed=1)[0], model.example(3, seed=2)[0])
    assert model.example(3)[0].shape == (3, 7)
    assert model.example(3)[0].max() < 20


def test_what_cannot_be_done_to_a_layer_has_a_reason(exported):
    info = open_model(exported("mobilenet", "dynamo.onnx")).info
    assert info.layer("stem.0").allows("rank")
    assert "depthwise" in info.layer("depth.0").methods["rank"]
    assert info.layer("depth.0").allows("quantize")
    assert "reach 'norm'" in info.layer("stem.0").methods["channels"]
    assert info.layer("stem.0").allows("n_m")
    embedding = open_model(exported("transformer", "dynamo.onnx")).info.layer("emb")
    assert embedding.kind == "embedding"
    assert not any(embedding.allows(method) for method in embedding.methods)


def test_the_matrix_of_a_transposed_convolution_has_a_row_for_each_output():
    layer = nn.ConvTranspose2d(4, 6, 3, groups=2)
    matrix = weight_matrix(layer)
    assert matrix.shape == (6, 2 * 9)
    # output channel 4 is the second of group 1, fed by input channels 2 and 3
    torch.testing.assert_close(matrix[4], layer.weight[2:4, 1].flatten())


def test_opening_stops_when_the_report_says_so(exported):
    def cancel(_progress):
        raise Cancelled

    with pytest.raises(Cancelled):
        open_model(exported("resnet", "dynamo.onnx"), report=cancel)


def bad_files(folder, good):
    (folder / "folder.onnx").mkdir()
    (folder / "empty.onnx").write_bytes(b"")
    (folder / "text.onnx").write_text("This is no model.\n" * 20)
    (folder / "text.pt2").write_text("This is no archive.\n")
    (folder / "text.txt").write_text("hello")
    (folder / "half.onnx").write_bytes(good.read_bytes()[: good.stat().st_size // 2])


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("nowhere.onnx", "There is no file"),
        ("folder.onnx", "is a folder"),
        ("empty.onnx", "is empty"),
        ("text.onnx", "not an ONNX file"),
        ("text.pt2", "not a .pt2 archive"),
        ("text.txt", "not a model file"),
        ("half.onnx", "damaged"),
    ],
)
def test_a_file_that_is_no_model_is_named_in_one_line(tmp_path, exported, name, said):
    bad_files(tmp_path, exported("resnet", "dynamo.onnx"))
    with pytest.raises(ModelFileError, match=said) as caught:
        open_model(tmp_path / name)
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


def answer(path):
    """None when the file opens, else what is said about it."""
    try:
        open_model(path)
    except ModelFileError as error:
        return str(error)
    return None


@pytest.mark.parametrize("form", ["dynamo.onnx", "export.pt2"])
def test_damaged_bytes_anywhere_give_one_clear_line_or_a_model(tmp_path, exported, form):
    good = exported("resnet", form).read_bytes()
    generator = np.random.default_rng(0)
    path = tmp_path / f"damaged.{form}"
    answers = []
    for _ in range(25):
        damaged = bytearray(good)
        for place in generator.integers(0, len(good), 8):
            damaged[place] = int(generator.integers(0, 256))
        path.write_bytes(bytes(damaged))
        answers.append(answer(path))
    assert any(answers)
    assert not [said for said in answers if said and "\n" in said]
