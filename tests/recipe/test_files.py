"""Recipes on disk: what is written comes back equal, what is wrong is named with its line."""

from pathlib import Path

import pytest

from studio.errors import RecipeError
from studio.models.layer import Layer
from studio.recipe.files import load_recipe, save_recipe
from studio.recipe.recipe import Recipe
from studio.recipe.settings import LayerSettings, PruneSettings

DESIGN = """\
studio: 1
default: {}
kinds:
  linear: {quantize: {weight_bits: 4, granularity: group, group_size: 32}}
layers:
  layer1.0.conv1: {prune: {kind: unstructured, ratio: 0.5}}
  "layer3.*":     {rank: {energy: 0.9}, quantize: {weight_bits: 8, granularity: channel}}
  layer2.0.conv1: {prune: {kind: n_m, n: 2, m: 4}}
  linear:         {keep: true}
options: {data_aware: true, fit: sequential, calibration_samples: 512, seed: 0}
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "my.recipe.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_the_documented_form_is_read(tmp_path: Path):
    recipe = load_recipe(written(tmp_path, DESIGN))
    assert recipe.layers["layer1.0.conv1"] == LayerSettings(prune=PruneSettings(ratio=0.5))
    assert recipe.layers["layer2.0.conv1"] == LayerSettings(prune=PruneSettings(kind="n_m", n=2, m=4))
    assert recipe.kinds["linear"].quantize is not None
    assert recipe.kinds["linear"].quantize.group_size == 32
    assert recipe.layers["linear"].keep
    assert recipe.options.fit == "sequential"


def test_a_saved_recipe_comes_back_equal(tmp_path: Path):
    recipe = load_recipe(written(tmp_path, DESIGN)).with_layer("a", LayerSettings(keep=True))
    save_recipe(recipe, tmp_path / "copy.yaml")
    assert load_recipe(tmp_path / "copy.yaml") == recipe


def test_an_explicit_null_survives_saving(tmp_path: Path):
    recipe = Recipe.model_validate({"layers": {"a": {"quantize": None}}})
    save_recipe(recipe, tmp_path / "null.yaml")
    assert "quantize" in load_recipe(tmp_path / "null.yaml").layers["a"].model_fields_set


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("studio: 1\nlayers:\n  a:\n    prun: {ratio: 0.5}\n", ":4: layers.a.prun: unknown field"),
        ("studio: 1\nlayers:\n  a:\n    prun: {ratio: 0.5}\n", "Did you mean 'prune'?"),
        ("layers:\n  a: {prune: {ratio: 1.5}}\n", ":2: layers.a.prune.ratio"),
        ("default: {quantize: {weight_bits: 5}}\n", ":1: default.quantize.weight_bits"),
        ("layers:\n  a: {prune: {kind: nm, n: 2, m: 4}}\n", ":2: layers.a.prune.kind: Input should be"),
        ("layers:\n  a: {prune: {kind: nm, n: 2, m: 4}}\n", "(given: 'nm'). Did you mean 'n_m'?"),
        ("layers: {a: {prune: {kind: n_m, n: 2, M: 4}}}\n", "M: unknown field; valid: kind, ratio, n, m."),
        ("layers: {a: {prune: {kind: n_m, n: 4, m: 4}}}\n", ":1: layers.a.prune: n must be less than m: 4 of 4"),
        ("layers: {a: {prune: {kind: n_m, n: 0, m: 4}}}\n", ":1: layers.a.prune.n: Input should be greater"),
        ("layers: {a: {prune: {kind: n_m, n: 2, m: 64}}}\n", ":1: layers.a.prune.m: Input should be less"),
        ("layers: {a: {prune: {kind: n_m, ratio: 0.5}}}\n", "'ratio' does not go with kind n_m, which takes n and m"),
        ("layers: {a: {prune: {n: 2, m: 4}}}\n", "'m' does not go with kind unstructured, which takes ratio"),
        ("layers: {a: {quantize: {granularity: chanel}}}\n", "Did you mean 'channel'?"),
        ("layers: {a: {prune: {}}}\n", ":1: layers.a.prune: kind unstructured needs ratio"),
        ("layers: {a: {prune: {kind: n_m, n: 2}}}\n", ":1: layers.a.prune: kind n_m needs n and m"),
        ("layers: {a: {rank: {}}}\n", "give one of rank, energy and parameters"),
        ("layers: {a: {rank: {rank: 3, energy: 0.5}}}\n", "give one of rank, energy and parameters"),
        ("studio: 2\n", ":1: studio"),
        ("default: [\n", "is not valid YAML"),
        ("- 1\n", "holds no recipe"),
        ("", "holds no recipe"),
        ("a: !!python/object/apply:os.system ['true']\n", "is not valid YAML"),
    ],
)
def test_a_mistake_is_named_with_file_line_and_place(tmp_path: Path, text: str, message: str):
    path = written(tmp_path, text)
    with pytest.raises(RecipeError) as error:
        load_recipe(path)
    assert str(error.value).startswith(str(path))
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_layer_the_model_does_not_have_is_named_with_its_line(tmp_path: Path):
    path = written(tmp_path, "studio: 1\nlayers:\n  stem: {keep: true}\n  haed: {keep: true}\n")
    layers = [Layer(name, "linear", (4, 4), 1, True, 20, 80, 16, {}) for name in ("stem", "head")]
    with pytest.raises(RecipeError) as error:
        load_recipe(path, layers)
    assert str(error.value) == f"{path}:4: layers: the model has no layer 'haed'. Did you mean 'head'?"


def test_a_missing_file_and_a_binary_file_are_named(tmp_path: Path):
    with pytest.raises(RecipeError, match="cannot be read: No such file"):
        load_recipe(tmp_path / "none.yaml")
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(RecipeError, match="not a text file"):
        load_recipe(tmp_path / "binary.yaml")


def test_saving_into_a_missing_folder_is_one_clear_line(tmp_path: Path):
    with pytest.raises(RecipeError, match="cannot be written: No such file"):
        save_recipe(Recipe(), tmp_path / "none" / "r.yaml")
