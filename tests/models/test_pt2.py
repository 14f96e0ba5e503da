"""Archives of torch.export: what is lifted, and what is refused before it can run."""

import io
import json
import pickle
import zipfile
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from studio.errors import ModelFileError
from studio.models.open import open_model
from studio.models.pt2_scan import is_plain_expression, scan

BATCH = torch.export.Dim("batch")


@pytest.fixture
def opened(tmp_path):
    """Exports a network with a free batch and opens the file."""

    def open_exported(network, *inputs):
        program = torch.export.export(network.eval(), inputs, dynamic_shapes=tuple({0: BATCH} for _ in inputs))
        torch.export.save(program, tmp_path / "model.pt2")
        return open_model(tmp_path / "model.pt2")

    return open_exported


class Tied(nn.Module):
    """A table used for looking up and as the last layer, and a weight of its own at the top."""

    def __init__(self):
        super().__init__()
        self.emb, self.head = nn.Embedding(9, 4), nn.Linear(4, 9, bias=False)
        self.head.weight = self.emb.weight
        self.weight = nn.Parameter(torch.randn(4, 4))

    def forward(self, ids):
        return self.head(F.linear(self.emb(ids), self.weight))


class Twice(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3)

    def forward(self, x):
        return self.norm(self.conv(self.conv(x)))


@pytest.mark.parametrize(
    ("layer", "shape", "kind"),
    [
        (nn.Conv1d(3, 4, 3, padding="same"), (2, 3, 9), "conv1d"),
        (nn.Conv2d(4, 6, 3, 2, 1, groups=2), (2, 4, 9, 9), "conv2d"),
        (nn.Conv2d(3, 4, 4, padding="same", dilation=2, bias=False), (2, 3, 9, 9), "conv2d"),
        (nn.Conv3d(2, 3, 3), (2, 2, 5, 5, 5), "conv3d"),
        (nn.ConvTranspose1d(4, 6, 3, 2, 1, 1, groups=2), (2, 4, 7), "conv_transpose1d"),
        (nn.ConvTranspose2d(4, 3, 3, 2, dilation=2), (2, 4, 5, 5), "conv_transpose2d"),
        (nn.Linear(5, 3), (2, 4, 5), "linear"),
    ],
)
def test_every_kind_of_layer_is_lifted_at_its_path(opened, layer, shape, kind):
    network, x = nn.Sequential(nn.Identity(), layer), torch.randn(shape)
    model = opened(network, x)
    assert [(found.name, found.kind) for found in model.info.layers] == [("1", kind)]
    torch.testing.assert_close(model.graph(x), network(x))


def test_tied_weights_stay_one_parameter_and_top_level_ones_become_layers(opened):
    network, ids = Tied(), torch.randint(0, 9, (2, 5))
    model = opened(network, ids)
    torch.testing.assert_close(model.graph(ids), network(ids))
    kinds = {layer.name: layer.kind for layer in model.info.layers}
    assert kinds["emb"] == "embedding"
    assert sorted(kinds.values()) == ["embedding", "linear", "linear"]
    assert model.module("head").weight is model.module("emb").weight
    assert model.info.parameters == 9 * 4 + 16


def test_a_layer_called_twice_is_one_layer_and_keeps_the_norm_behind_it(opened):
    network, x = Twice(), torch.randn(2, 3, 6, 6)
    network.norm.running_mean.fill_(0.5)
    model = opened(network, x)
    (layer,) = model.info.layers
    assert layer.macs == 2 * 36 * 81
    assert isinstance(model.module("norm"), nn.BatchNorm2d)
    torch.testing.assert_close(model.graph(x), network(x))


def test_double_precision_becomes_float32(opened):
    network = nn.Linear(4, 3).double()
    x = torch.randn(2, 4)
    model = opened(network, x.double())
    assert model.info.inputs[0].dtype == "float32"
    torch.testing.assert_close(model.graph(x), network.float()(x))


@pytest.fixture
def forged(exported, tmp_path):
    """A good archive with some of its parts changed, added (or left out: None)."""

    def forge(**changes):
        source = zipfile.ZipFile(exported("resnet", "export.pt2"))
        top = source.namelist()[0].partition("/")[0]
        parts = {name.removeprefix(f"{top}/"): source.read(name) for name in source.namelist()}
        source.close()
        parts.update({key.replace("__", "/").replace("DOT", "."): value for key, value in changes.items()})
        path = tmp_path / "forged.pt2"
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in parts.items():
                if content is not None:
                    archive.writestr(f"{top}/{name}", content)
        return path, parts

    return forge


class Bomb:
    """Leaves a mark on disk when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):
        return Path.touch, (self.mark,)


def refused(path):
    with pytest.raises(ModelFileError) as caught:
        open_model(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def edited(parts, name, edit):
    tree = json.loads(parts[name])
    edit(tree)
    return json.dumps(tree).encode()


def torch_saved(value):
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


def test_a_forged_archive_without_changes_opens(forged):
    assert len(open_model(forged()[0]).info.layers) == 6


@pytest.mark.parametrize("save", [pickle.dumps, torch_saved], ids=["pickle", "torch.save"])
def test_pickled_sample_inputs_never_run(forged, tmp_path, save):
    mark = tmp_path / "mark"
    path, _ = forged(data__sample_inputs__modelDOTpt=save(Bomb(mark)))
    assert "sample inputs" in refused(path)
    assert not mark.exists()


def test_pickled_weights_never_run(forged, tmp_path):
    mark, name = tmp_path / "mark", "data/weights/model_weights_config.json"
    _, parts = forged()

    def edit(tree):
        next(iter(tree["config"].values()))["use_pickle"] = True

    path, _ = forged(**{name: edited(parts, name, edit), "data/weights/weight_0": torch_saved(Bomb(mark))})
    assert "pickled weights" in refused(path)
    assert not mark.exists()


def test_code_in_a_shape_expression_never_runs(forged, tmp_path):
    mark = tmp_path / "mark"
    _, parts = forged()
    content = parts["models/model.json"].decode()
    assert '"expr_str": "' in content
    start = content.index('"expr_str": "') + len('"expr_str": "')
    attack = f"__import__('pathlib').Path('{mark}').touch()"
    path, _ = forged(models__modelDOTjson=(content[:start] + attack + content[content.index('"', start) :]).encode())
    assert "shape expression" in refused(path)
    assert not mark.exists()


@pytest.mark.parametrize(
    "target", ["torch.os.system", "torch.hub.load", "torch.ops.aten.from_file.default", "torch.ops.prim.Print.default"]
)
def test_an_operator_that_reaches_outside_is_refused(forged, target):
    _, parts = forged()

    def edit(tree):
        tree["graph_module"]["graph"]["nodes"][0]["target"] = target

    path, _ = forged(**{"models/model.json": edited(parts, "models/model.json", edit)})
    assert target in refused(path)


def test_guards_are_code_and_are_left_out(forged):
    _, parts = forged()

    def edit(tree):
        tree["guards_code"] = ["__import__('os').abort()"]

    path, _ = forged(**{"models/model.json": edited(parts, "models/model.json", edit)})
    with zipfile.ZipFile(io.BytesIO(scan(path.read_bytes()))) as clean:
        (model,) = [name for name in clean.namelist() if name.endswith("models/model.json")]
        assert json.loads(clean.read(model))["guards_code"] == []


@pytest.mark.parametrize("name", ["data/constants/custom_obj_0", "data/aotinductor/model/a.so", "code/run.py"])
def test_a_part_that_no_honest_archive_needs_is_refused(forged, name):
    assert name in refused(forged(**{name: b"x"})[0])


def test_a_weight_file_elsewhere_is_refused(forged):
    name = "data/weights/model_weights_config.json"
    _, parts = forged()

    def edit(tree):
        next(iter(tree["config"].values()))["path_name"] = "../../secret"

    assert "../../secret" in refused(forged(**{name: edited(parts, name, edit)})[0])


def test_a_compressed_part_is_refused(forged, tmp_path):
    path, _ = forged()
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(tmp_path / "small.pt2", "w", zipfile.ZIP_DEFLATED) as small:
        for name in source.namelist():
            small.writestr(name, source.read(name))
    assert "compressed" in refused(tmp_path / "small.pt2")


def test_a_truncated_archive_is_named_in_one_line(exported, tmp_path):
    content = exported("resnet", "export.pt2").read_bytes()
    (tmp_path / "half.pt2").write_bytes(content[: len(content) // 2])
    assert "damaged" in refused(tmp_path / "half.pt2")


def test_a_missing_weight_is_named_as_damage(forged):
    assert "damaged" in refused(forged(**{"data/weights/weight_0": None})[0])


def test_damage_that_the_loader_has_no_words_for_is_named_by_the_kind_of_its_error(forged, monkeypatch):
    def speechless(_file):
        raise AssertionError

    monkeypatch.setattr(torch.export, "load", speechless)
    assert "The .pt2 archive is damaged: AssertionError" in refused(forged()[0])


@pytest.mark.parametrize("text", ["s0", "2*s0 + 1", "Max(1, s0)", "-s0//2", "Symbol('s0', positive=True)", "u3 <= 4"])
def test_arithmetic_on_sizes_is_plain(text):
    assert is_plain_expression(text)


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os')",
        "s0.real",
        "().__class__",
        "exec('1')",
        "[1]",
        "lambda: 1",
        "os",
        "f'{s0}'",
        "s0(",
        "1" * 5000,
    ],
)
def test_anything_else_is_not(text):
    assert not is_plain_expression(text)
