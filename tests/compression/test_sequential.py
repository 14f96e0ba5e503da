import numpy as np
import pytest
import torch
from torch import fx, nn

from studio.analysis.calibration import Calibration
from studio.compression import sequential, walk
from studio.compression.plan import Plan
from studio.compression.sequential import called_once, fit_in_order, sequential_fit
from studio.models.model import Model
from studio.progress import silent
from studio.recipe.settings import LayerSettings, QuantizeSettings, RankSettings

FOUR_BITS = LayerSettings(quantize=QuantizeSettings(weight_bits=4))


def test_inputs_that_did_not_change_ask_for_the_layers_own_weight() -> None:
    torch.manual_seed(0)
    layer, x = nn.Conv2d(4, 6, 3, padding=1, groups=2), torch.randn(8, 4, 7, 7)
    y = layer(x).detach()
    fit = sequential_fit(layer, [x[:5], x[5:]], [y[:5], y[5:]])
    torch.testing.assert_close(fit.weight.flatten().float(), layer.weight.detach().flatten(), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(fit.bias_for(layer.weight.detach()), layer.bias.detach(), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("bias", [True, False])
def test_the_wanted_weight_is_the_least_squares_one(bias: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the pull towards the layer's own weight, numpy's least squares says the same."""
    monkeypatch.setattr(sequential, "damped", lambda H: H)
    torch.manual_seed(0)
    layer, original = nn.Linear(5, 3, bias=bias), torch.randn(200, 5) + 1
    changed = torch.relu(original + 0.3 * torch.randn(200, 5))
    y = layer(original).detach()
    fit = sequential_fit(layer, [changed], [y])
    columns = np.hstack([changed.numpy(), np.ones((200, 1))]) if bias else changed.numpy()
    expected = np.linalg.lstsq(columns, y.numpy(), rcond=None)[0].T
    np.testing.assert_allclose(fit.weight[0].numpy(), expected[:, :5], atol=1e-4)
    found = fit.bias_for(fit.weight[0].float())
    if bias:
        assert found is not None
        np.testing.assert_allclose(found.numpy(), expected[:, 5], atol=1e-4)
    else:
        assert found is None


def test_with_the_bias_held_the_weight_alone_is_fitted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sequential, "damped", lambda H: H)
    torch.manual_seed(0)
    layer, original = nn.Linear(5, 3), torch.randn(200, 5) + 1
    changed = torch.relu(original + 0.3 * torch.randn(200, 5))
    y = layer(original).detach()
    fit = sequential_fit(layer, [changed], [y], bias_correction=False)
    expected = np.linalg.lstsq(changed.numpy(), (y - layer.bias).detach().numpy(), rcond=None)[0].T
    np.testing.assert_allclose(fit.weight[0].numpy(), expected, atol=1e-4)
    assert torch.equal(fit.bias_for(fit.weight[0].float()), layer.bias)


class Repeated(nn.Module):
    """One layer that runs twice and one that runs once."""

    def __init__(self) -> None:
        super().__init__()
        self.shared = nn.Linear(4, 4)
        self.head = nn.Linear(4, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.shared(torch.relu(self.shared(x))))


def test_layers_that_run_twice_are_told_from_those_that_run_once() -> None:
    assert called_once(fx.symbolic_trace(Repeated())) == {"head"}


def test_layers_that_are_ready_are_followed_but_not_fitted_again(model: Model, calibration: Calibration) -> None:
    plan = dict.fromkeys(["stem", "down"], FOUR_BITS)
    first = fit_in_order(Plan(model.graph, plan), {}, calibration.batches, silent)
    second = fit_in_order(Plan(model.graph, plan), {"stem": first["stem"]}, calibration.batches, silent)
    assert list(second) == ["down"]
    assert torch.equal(second["down"].effective_weight(), first["down"].effective_weight())
    assert fit_in_order(Plan(model.graph, plan), first, calibration.batches, silent) == {}


def test_samples_that_do_not_fit_into_memory_are_left_out(
    model: Model, calibration: Calibration, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = {"stem": FOUR_BITS}
    limited = fit_in_order(Plan(model.graph, plan), {}, calibration.batches[:1], silent)
    monkeypatch.setattr(walk, "MEMORY", 1)
    fitted = fit_in_order(Plan(model.graph, plan), {}, calibration.batches, silent)
    assert torch.equal(fitted["stem"].effective_weight(), limited["stem"].effective_weight())


class Residual(nn.Module):
    """Two blocks of one layer each, whose outputs only a sum uses."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(6, 6), nn.Linear(6, 6)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.first(x)
        return self.second(x) + torch.flatten(x, 1)  # moved by a node that comes behind the layer


def test_the_last_layer_before_a_sum_makes_up_for_what_the_sum_has_lost() -> None:
    """The second layer sees the loss of the first, so that a full-rank fit gives the original's sums again."""
    torch.manual_seed(0)
    graph, x = fx.symbolic_trace(Residual()), torch.randn(400, 6)
    first, second = (LayerSettings(rank=RankSettings(rank=rank)) for rank in (2, 6))
    made = fit_in_order(Plan(graph, {"first": first, "second": second}), {}, [(x,)], silent)
    with torch.no_grad():
        between = x + made["first"](x)
        lost, left = graph(x) - between - graph.second(between), graph(x) - between - made["second"](between)
    assert left.square().mean() < 0.01 * lost.square().mean()
