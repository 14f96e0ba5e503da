"""Searching with channels: what layers spend at every width, locks, and recipes that are never worse than without."""

from itertools import product

import pytest

from studio.evaluation.sensitivity import Scan
from studio.models.layer import METHODS, OK, Layer, ModelInfo, Share, TensorSpec
from studio.recipe.recipe import Recipe
from studio.recipe.settings import ChannelSettings, LayerSettings
from studio.search.model import AdditiveModel
from studio.search.problem import Problem
from studio.search.run import search
from studio.search.target import Target
from studio.search.widths import RATIOS, widths_of
from tests.search.conftest import Additive, bits, point, rank

#: Layers in a chain: the outputs of ``a`` are inputs of ``b``, those of ``b`` of ``c``.
SIZES = {"a": (64, 32), "b": (48, 64), "c": (10, 48)}

#: By group and share, the distortion of its channels.
CHANNELS = {"a": {0.125: 1e-4, 0.25: 4e-4, 0.5: 2e-3}, "b": {0.125: 1e-3, 0.25: 1e-2, 0.5: 0.2}}


def fewer(ratio: float) -> LayerSettings:
    return LayerSettings(channels=ChannelSettings(ratio=ratio))


@pytest.fixture
def info() -> ModelInfo:
    layers, before = list[Layer](), tuple[Share, ...]()
    for name, (out, width) in SIZES.items():
        gives = (Share(name, 0, out, 1),) if name != "c" else ()
        count = out * width + out
        verdicts = dict.fromkeys(METHODS, OK)
        layers.append(
            Layer(name, "linear", (out, width), 1, True, count, 4 * count, out * width, verdicts, gives, before)
        )
        before = gives
    spec, total = (TensorSpec("x", "float32", (None, 32)),), sum(layer.parameters for layer in layers)
    macs = sum(layer.macs for layer in layers)
    return ModelInfo("model.onnx", "onnx", "f" * 64, spec, spec, tuple(layers), total, 4 * total + 700, macs)


@pytest.fixture
def scan(info: ModelInfo) -> Scan:
    points = [
        point(layer, method, settings, distortion)
        for layer in info.layers
        for method, settings, distortion in (
            ("quantize", bits(8), 1e-5), ("quantize", bits(4), 2e-3), ("rank", rank(0.75), 5e-3),
            ("rank", rank(0.5), 5e-2), ("rank", rank(0.25), 0.5),
        )
    ]  # fmt: skip
    for name, curve in CHANNELS.items():
        points += [point(info.layer(name), "channels", fewer(ratio), lost) for ratio, lost in curve.items()]
    return Scan(key="k", points=tuple(points))


class WithChannels(Additive):
    """Adds the distortions of channels too, times a factor."""

    def __init__(self, info: ModelInfo, scan: Scan, factor: float = 1.0) -> None:
        super().__init__(info, scan)
        self._scan, self._factor = scan, factor

    def distortion(self, recipe: Recipe) -> float:
        """Of layers as if they were whole, and of each group."""
        groups = recipe.groups_of(self._layers)
        whole = [
            (name, settings.model_copy(update={"channels": None}))
            for name, settings in recipe.settings_of(self._layers).items()
        ]
        lost = sum(self._losses[name](settings) or 0.0 for name, settings in whole)
        return lost + self._factor * sum(
            self._losses[name].of_channels(chosen.ratio) or 0.0 for name, chosen in groups.items()
        )


def problem(info: ModelInfo, kind: str, limit: float, base: Recipe | None = None) -> Problem:
    return Problem(info, base or Recipe(), info.bytes, Target(kind, limit))


@pytest.mark.parametrize("kind", ["size", "macs", "nonzeros"])
def test_what_layers_spend_at_their_widths_adds_up_to_what_the_recipe_spends(info: ModelInfo, scan: Scan, kind: str):
    task = problem(info, kind, 1.0)
    widths = widths_of(task, scan)
    assert [width.group.name for width in widths.all] == ["a", "b"]
    versions = {layer.name: dict(widths.versions(layer)) for layer in info.layers}
    settings = {"a": bits(8), "b": rank(0.5), "c": LayerSettings()}
    for shares in product(range(len(RATIOS)), repeat=2):
        chosen = dict(settings)
        for name, channels in widths.settings(shares).items():
            chosen[name] = chosen[name].model_copy(update={"channels": channels})
        recipe = task.recipe(chosen)
        presumed = {"a": shares[:1], "b": shares, "c": shares[1:]}
        added = sum(
            task.spent_by(info.layer(name), settings[name], versions[name][presumed[name]]) for name in settings
        )
        # of the file, the length of the graph within it may take a byte less
        assert abs(task.fixed + added - task.spent(recipe, task.widest(recipe))) <= (kind == "size")


def test_a_layer_between_two_groups_loses_rows_and_columns(info: ModelInfo, scan: Scan):
    task = problem(info, "macs", 0.5)
    versions = dict(widths_of(task, scan).versions(info.layer("b")))
    assert versions[4, 2].shape == (36, 32)  # half of 64 columns, three quarters of 48 rows
    assert task.spent_by(info.layer("b"), LayerSettings(), versions[4, 2]) == 36 * 32


def test_the_solution_is_the_best_of_all_widths_and_settings(info: ModelInfo, scan: Scan):
    task = problem(info, "macs", 0.6)
    limit, model = 0.6 * task.original, AdditiveModel(task, scan)
    found = model.solve(limit)
    assert found is not None
    assert found.narrows
    widths, best = widths_of(task, scan), float("inf")
    versions = [dict(widths.versions(layer)) for layer in info.layers]
    measured = WithChannels(info, scan)
    shares = [LayerSettings(), *(rank(share) for share in (0.75, 0.5, 0.375, 0.25))]
    for one, two in product(range(len(RATIOS)), repeat=2):
        rests = (versions[0][one,], versions[1][one, two], versions[2][two,])
        lost = widths.all[0].losses[one] + widths.all[1].losses[two]
        for settings in product(shares, repeat=3):
            named = list(zip(info.layers, settings, rests, strict=True))
            if sum(task.spent_by(layer, chosen, rest) for layer, chosen, rest in named) <= limit:
                best = min(best, lost + sum(measured._losses[la.name](s) or 0.0 for la, s, _ in named))
    assert found.loss == pytest.approx(best)
    assert task.spent(found.recipe, task.widest(found.recipe)) <= limit


def test_channels_go_where_they_cost_least_and_all_layers_of_a_group_say_so(info: ModelInfo, scan: Scan):
    task = problem(info, "macs", 0.7)
    found, plain = search(task, scan, WithChannels(info, scan)), AdditiveModel(task, scan, channels=False)
    assert found.best.recipe.groups_of(info.layers)["a"].ratio >= 0.25
    whole = plain.solve(0.7 * info.macs)
    assert found.best.loss is not None
    assert whole is not None
    assert found.best.loss < whole.loss
    assert found.best.macs <= 0.7 * info.macs
    assert not whole.recipe.groups_of(info.layers)


def test_channels_that_cost_more_than_the_scan_tells_leave_the_search_as_good_as_without(info: ModelInfo, scan: Scan):
    found = search(problem(info, "macs", 0.7), scan, WithChannels(info, scan, 100.0))
    plain = search(problem(info, "macs", 0.7), scan, WithChannels(info, scan, 100.0), channels=False)
    assert not found.best.recipe.groups_of(info.layers)
    assert found.best.recipe == plain.best.recipe


def test_within_a_drop_narrower_layers_buy_a_smaller_file(info: ModelInfo, scan: Scan):
    found = search(problem(info, "drop", 1.0), scan, WithChannels(info, scan))
    assert found.best.judged <= 1.0
    assert found.best.recipe.groups_of(info.layers)
    whole = AdditiveModel(problem(info, "size", 1.0), scan, channels=False).solve(found.best.bytes)
    assert whole is None or whole.loss > 0.01  # a point is lost at a distortion of a hundredth


@pytest.mark.parametrize("held", ["a", "b"])
def test_a_locked_layer_keeps_the_channels_that_it_gives_and_takes(info: ModelInfo, scan: Scan, held: str):
    task = problem(info, "macs", 0.8, Recipe().with_locks([held]))
    left = {"a": ["b"], "b": []}  # b takes the channels of a
    assert [width.group.name for width in widths_of(task, scan).all] == left[held]
    measure = WithChannels(info, scan)
    found = search(task, scan, measure)
    assert all(recipe.narrowed(info.layers)[held] == info.layer(held) for recipe in measure.asked)
    assert found.best.macs <= 0.8 * info.macs


def test_without_points_of_channels_all_stay(info: ModelInfo, scan: Scan):
    bare = Scan(key="k", points=tuple(point for point in scan.points if point.method != "channels"))
    assert not AdditiveModel(problem(info, "macs", 0.8), bare).narrows


def test_the_least_with_channels_can_be_reached(info: ModelInfo, scan: Scan):
    task = problem(info, "size", 0.5)
    model, whole = AdditiveModel(task, scan), AdditiveModel(task, scan, channels=False)
    assert model.least < whole.least
    assert model.most == whole.most
    solution = model.solve(model.least)
    assert solution is not None
    assert task.spent(solution.recipe, task.widest(solution.recipe)) <= model.least
