"""Output statistics brought back to the original's: by hand on tiny layers, and through whole models."""

import pytest
import torch
from torch import fx, nn

from studio.analysis.calibration import Calibration
from studio.compression.compress import CompressedModel, compress
from studio.compression.modules import CompressedLinear, Factored, compressed_like
from studio.compression.recalibrate import recalibrated
from studio.compression.stored import DenseWeight, IntegerWeight
from studio.models.model import Model
from studio.recipe.recipe import Recipe
from studio.recipe.settings import LayerSettings, Options, PruneSettings, QuantizeSettings, RankSettings

SPARSE = LayerSettings(prune=PruneSettings(ratio=0.7))


def statistics(outputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and spread per channel; convolutions ``[batch, out, …]``."""
    rows = outputs.double() if outputs.dim() == 2 else outputs.double().transpose(0, 1).flatten(1).mT
    return rows.mean(0), rows.std(0, correction=0)


def test_factor_and_shift_are_those_of_the_formula() -> None:
    layer = nn.Linear(1, 1)
    with torch.no_grad():
        layer.weight.fill_(2.0)
        layer.bias.fill_(1.0)
    x = torch.tensor([[0.0], [2.0]])
    # outputs 1 and 5 (mean 3, spread 2) shall have mean 10 and spread 6: s = 3, b = 10 − 3·(3 − 1) = 4
    changed = recalibrated(layer, [torch.tensor([[4.0], [16.0]])], [layer(x)])
    assert isinstance(changed, nn.Linear)
    assert changed.weight.item() == pytest.approx(6.0)
    assert changed.bias.item() == pytest.approx(4.0)
    assert layer.weight.item() == 2.0


def integers(scale: torch.Tensor, block_size: int = 0) -> IntegerWeight:
    q = torch.randint(-7, 8, (3, 4), dtype=torch.int8, generator=torch.Generator().manual_seed(0))
    return IntegerWeight(q, scale, 4, block_size, (3, 4))


@pytest.mark.parametrize(
    "stored",
    [
        DenseWeight(torch.randn(3, 4), torch.ones(3, 4, dtype=torch.bool)),
        integers(torch.rand(3) + 0.1),
        integers(torch.rand(3, 2) + 0.1, 2),
    ],
    ids=["floats", "a scale a channel", "a scale a group"],
)
def test_what_has_scales_by_channel_gets_mean_and_spread(stored: DenseWeight | IntegerWeight) -> None:
    torch.manual_seed(0)
    layer, x = compressed_like(nn.Linear(4, 3), stored, torch.zeros(3)), torch.randn(50, 4)
    wanted = 3 * torch.randn(50, 3) + 2
    changed = recalibrated(layer, [wanted[:20], wanted[20:]], [layer(x[:20]), layer(x[20:])])
    torch.testing.assert_close(statistics(changed(x)), statistics(wanted), atol=1e-5, rtol=1e-5)
    if isinstance(stored, IntegerWeight):
        assert isinstance(changed, CompressedLinear)
        assert torch.equal(changed.stored.q, stored.q)


def test_one_scale_for_the_tensor_stays_and_only_the_mean_is_brought_back() -> None:
    layer, x = compressed_like(nn.Linear(4, 3), integers(torch.tensor(0.2)), torch.zeros(3)), torch.randn(50, 4)
    wanted = 3 * torch.randn(50, 3) + 2
    changed = recalibrated(layer, [wanted], [layer(x)])
    torch.testing.assert_close(changed.effective_weight(), layer.effective_weight())  # type: ignore[operator]
    torch.testing.assert_close(statistics(changed(x))[0], statistics(wanted)[0], atol=1e-5, rtol=1e-5)


def test_of_factors_the_last_one_changes() -> None:
    torch.manual_seed(0)
    first, second = DenseWeight(torch.randn(2, 4)), DenseWeight(torch.randn(3, 2))
    parts = [CompressedLinear(first, None), CompressedLinear(second, torch.zeros(3))]
    layer, x = Factored("matrix", parts), torch.randn(50, 4)
    wanted = 3 * torch.randn(50, 3) + 2
    changed = recalibrated(layer, [wanted], [layer(x)])
    torch.testing.assert_close(statistics(changed(x)), statistics(wanted), atol=1e-5, rtol=1e-5)
    assert isinstance(changed, Factored)
    assert torch.equal(changed.parts[0].effective_weight(), first())


def test_a_channel_that_is_constant_keeps_its_scale() -> None:
    layer = nn.Linear(2, 2)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[1.0, 0.0], [0.0, 0.0]]))
    x = torch.randn(20, 2)
    changed = recalibrated(layer, [torch.randn(20, 2)], [layer(x)])
    assert isinstance(changed, nn.Linear)
    assert torch.equal(changed.weight[1], torch.zeros(2))


def test_a_layer_without_bias_stays_as_it_is() -> None:
    layer = nn.Linear(2, 2, bias=False)
    assert recalibrated(layer, [torch.randn(5, 2)], [torch.randn(5, 2)]) is layer


class Outputs(fx.Interpreter):
    """Keeps what every layer gives."""

    def call_module(self, target, args, kwargs):
        self.seen[target] = super().call_module(target, args, kwargs)
        return self.seen[target]


def outputs(graph: fx.GraphModule, x: torch.Tensor) -> dict[str, torch.Tensor]:
    run = Outputs(graph)
    run.seen = {}
    with torch.no_grad():
        run.run(x)
    return run.seen


def recipe(fit: str, **options: bool) -> Recipe:
    chosen = {
        "stem": SPARSE,
        "depthwise": LayerSettings(quantize=QuantizeSettings(weight_bits=3)),
        "hidden": LayerSettings(rank=RankSettings(parameters=0.3)),
    }
    return Recipe(options=Options.model_validate({"fit": fit, **options})).with_layers(chosen)


@pytest.mark.parametrize("fit", ["layer", "sequential"])
def test_every_layer_with_a_bias_has_the_originals_statistics(
    fit: str, model: Model, samples: torch.Tensor, calibration: Calibration
) -> None:
    before = {name: parameter.clone() for name, parameter in model.graph.named_parameters()}
    made = compress(model, recipe(fit, norm_recalibration=True), calibration=calibration)
    wanted, given = outputs(model.graph, samples), outputs(made.graph, samples)
    for name in ("stem", "depthwise", "hidden", "head"):
        torch.testing.assert_close(statistics(given[name]), statistics(wanted[name]), atol=1e-4, rtol=1e-4)
    assert made.graph.get_submodule("down") is model.graph.get_submodule("down")  # it has no bias
    assert made.graph.get_submodule("head") is not model.graph.get_submodule("head")
    assert all(torch.equal(parameter, before[name]) for name, parameter in model.graph.named_parameters())


def same_values(one: CompressedModel, other: CompressedModel) -> bool:
    left, right = one.graph.state_dict(), other.graph.state_dict()
    return list(left) == list(right) and all(torch.equal(left[name], right[name]) for name in left)


@pytest.mark.parametrize("fit", ["layer", "sequential"])
def test_layers_taken_over_are_recalibrated_as_if_made_anew(fit: str, model: Model, calibration: Calibration) -> None:
    first = recipe(fit, norm_recalibration=True)
    edited = first.with_layer("depthwise", SPARSE)
    previous = compress(model, first, calibration=calibration)
    anew = compress(model, edited, calibration=calibration)
    assert same_values(compress(model, edited, calibration=calibration, previous=previous), anew)


def test_layers_before_the_first_change_are_those_of_the_model(model: Model, calibration: Calibration) -> None:
    late = Recipe(options=Options(norm_recalibration=True)).with_layer("hidden", SPARSE)
    made = compress(model, late, calibration=calibration)
    assert made.graph.get_submodule("stem") is model.graph.get_submodule("stem")


@pytest.mark.parametrize("fit", ["layer", "sequential"])
def test_without_bias_correction_biases_stay(fit: str, model: Model, calibration: Calibration) -> None:
    made = compress(model, recipe(fit, bias_correction=False), calibration=calibration)
    corrected = compress(model, recipe(fit), calibration=calibration)
    for name in ("stem", "depthwise", "hidden"):
        bias = model.graph.get_submodule(name).bias
        assert torch.equal(made.graph.get_submodule(name).effective_bias(), bias)
        assert not torch.equal(corrected.graph.get_submodule(name).effective_bias(), bias)


def test_without_fit_to_data_no_data_makes_a_difference(model: Model, calibration: Calibration) -> None:
    plain = recipe("layer", data_aware=False)
    cared = recipe("layer", data_aware=False, norm_recalibration=True)
    assert same_values(compress(model, plain), compress(model, cared, calibration=calibration))
