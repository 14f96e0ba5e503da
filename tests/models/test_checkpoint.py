"""Checkpoints: weights of one file in the network of another."""

import json
import struct
import zipfile

import pytest
import torch
from safetensors.torch import save_file

from studio.errors import ModelFileError
from studio.models.open import open_model

SKELETONS = ["dynamo.onnx", "plain.onnx", "legacy.onnx", "export.pt2"]


@pytest.fixture
def state(networks):
    """Other weights than the skeleton files hold, and the outputs of the network that has them."""
    return {
        name: value + 0.25 * torch.rand(value.shape) if value.is_floating_point() else value
        for name, value in networks["resnet"][0].state_dict().items()
    }


def expected_output(networks, state):
    network, x = networks["resnet"]
    before = {name: value.clone() for name, value in network.state_dict().items()}
    network.load_state_dict(state)
    with torch.no_grad():
        y = network(x)
    network.load_state_dict(before)
    return x, y


def written(folder, state, form):
    path = folder / form
    if form.endswith(".index.json"):
        names = list(state)
        parts = {"a.safetensors": names[::2], "b.safetensors": names[1::2]}
        for file, part in parts.items():
            save_file({name: state[name] for name in part}, folder / file)
        index = {name: file for file, part in parts.items() for name in part}
        path.write_text(json.dumps({"metadata": {}, "weight_map": index}))
    elif form.endswith(".safetensors"):
        save_file(state, path)
    else:
        torch.save(
            {"epoch": 3, "state_dict": {f"module.{name}": value for name, value in state.items()}},
            path,
            _use_new_zipfile_serialization=form != "old.th",
        )
    return path


@pytest.mark.parametrize("skeleton", SKELETONS)
@pytest.mark.parametrize("form", ["m.safetensors", "m.safetensors.index.json", "m.pth", "old.th"])
def test_a_checkpoint_in_its_skeleton_is_the_network_that_was_saved(
    networks, exported, state, tmp_path, skeleton, form
):
    x, y = expected_output(networks, state)
    model = open_model(written(tmp_path, state, form), skeleton=exported("resnet", skeleton))
    torch.testing.assert_close(model.graph(x), y, atol=1e-4, rtol=1e-4)
    assert model.info.format == ("safetensors" if "safetensors" in form else "state_dict")
    assert model.info.skeleton == str(exported("resnet", skeleton))


@pytest.mark.parametrize("zipped", [True, False])
def test_a_checkpoint_saved_on_an_apple_device_loads_here(state, tmp_path, monkeypatch, zipped):
    monkeypatch.setattr(torch.serialization, "location_tag", lambda _storage: "mps:0")  # as there, for every storage
    torch.save(state, path := tmp_path / "m.pth", _use_new_zipfile_serialization=zipped)
    assert b"mps:0" in path.read_bytes()
    model = open_model(path)
    torch.testing.assert_close(model.module("linear").weight, state["linear.weight"], atol=0, rtol=0)


def test_the_fingerprint_tells_checkpoints_and_skeletons_apart(exported, state, tmp_path):
    one = written(tmp_path, state, "one.pth")
    other = written(tmp_path, {**state, "linear.bias": state["linear.bias"] + 1}, "other.pth")
    pairs = [(one, "export.pt2"), (other, "export.pt2"), (one, "plain.onnx")]
    assert len({open_model(p, skeleton=exported("resnet", s)).info.fingerprint for p, s in pairs}) == 3


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda s: s.pop("linear.bias"), "'linear.bias' is missing"),
        (lambda s: s.update(extra=torch.ones(2)), "'extra' is not part of the skeleton"),
        (lambda s: s.update({"linear.weight": torch.ones(5, 9)}), "shape 5×9, the skeleton's has 5×8"),
        (lambda s: s.update({"linear.bias": torch.ones(5, dtype=torch.int8)}), "holds integers"),
    ],
)
def test_what_does_not_fit_the_skeleton_is_named(exported, state, tmp_path, change, said):
    change(state)
    path = written(tmp_path, state, "m.pth")
    with pytest.raises(ModelFileError, match=said) as caught:
        open_model(path, skeleton=exported("resnet", "export.pt2"))
    assert str(caught.value).startswith("m.pth does not fit the skeleton resnet.export.pt2: ")


def test_a_norm_without_a_place_in_a_folded_skeleton_is_named(exported, state, tmp_path):
    state |= {f"other.{name}": torch.ones(3) for name in ("weight", "bias", "running_mean", "running_var")}
    path = written(tmp_path, state, "m.pth")
    with pytest.raises(ModelFileError, match="the norm 'other' is not part of the skeleton"):
        open_model(path, skeleton=exported("resnet", "dynamo.onnx"))


class Payload:
    """Unpickling it would write a file."""

    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return open, (str(self.target), "w")


def test_code_in_a_checkpoint_is_refused_and_not_run(exported, tmp_path):
    torch.save({"state_dict": Payload(tmp_path / "run")}, tmp_path / "bad.pth")
    with pytest.raises(ModelFileError, match="holds more than weights"):
        open_model(tmp_path / "bad.pth", skeleton=exported("resnet", "export.pt2"))
    assert not (tmp_path / "run").exists()


def hostile(folder, name):
    path = folder / name
    if name == "lies.safetensors":
        header = json.dumps({"w": {"dtype": "F32", "shape": [10**9], "data_offsets": [0, 4 * 10**9]}}).encode()
        path.write_bytes(struct.pack("<Q", len(header)) + header)
    elif name == "bomb.pth":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("bomb/data.pkl", bytes(10**6))
    elif name == "out.safetensors.index.json":
        path.write_text('{"weight_map": {"w": "../secret.safetensors"}}')
    elif name == "gone.safetensors.index.json":
        path.write_text('{"weight_map": {"w": "gone.safetensors"}}')
    elif name == "deep.safetensors.index.json":
        path.write_text("[" * 100_000)
    else:
        torch.save([1, 2], path)
    return path


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("lies.safetensors", "is damaged"),
        ("bomb.pth", "declares more bytes than it has"),
        ("out.safetensors.index.json", "reaches out of the folder"),
        ("gone.safetensors.index.json", "is missing beside it"),
        ("deep.safetensors.index.json", "not an index of weights"),
        ("list.pt", "holds no weights by name"),
    ],
)
def test_a_bad_checkpoint_is_named_in_one_line(exported, tmp_path, name, said):
    with pytest.raises(ModelFileError, match=said) as caught:
        open_model(hostile(tmp_path, name), skeleton=exported("resnet", "export.pt2"))
    assert str(caught.value).startswith(name)


def test_a_model_needs_no_skeleton(exported):
    path = exported("resnet", "export.pt2")
    with pytest.raises(ModelFileError, match="needs no skeleton"):
        open_model(path, skeleton=exported("resnet", "dynamo.onnx"))
