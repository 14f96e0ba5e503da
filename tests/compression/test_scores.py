import pytest
import torch
from torch import fx, nn

from studio.compression.modules import compressed_like, factored_like
from studio.compression.rank import factor
from studio.compression.scores import fitted_to_scores, gives_scores
from studio.compression.stored import DenseWeight, IntegerWeight


def classifier() -> tuple[nn.Linear, torch.Tensor]:
    """A layer whose scores are large along axes of their own and small along a circle, and its inputs."""
    torch.manual_seed(0)
    classes = 6
    layer = nn.Linear(8, classes)
    angles = torch.arange(classes) * 2 * torch.pi / classes
    nn.init.zeros_(layer.weight)
    layer.weight.data[:, :classes] = torch.diag(torch.tensor([9.0, 8.0, 6.0, 6.0, 6.0, 6.0]))
    layer.weight.data[:, 6:] = torch.stack([angles.cos(), angles.sin()], 1)
    chosen = torch.arange(240) % classes
    x = torch.cat([torch.eye(classes)[chosen], torch.stack([angles.cos(), angles.sin()], 1)[chosen]], 1)
    return layer, x + 0.1 * torch.randn(240, 8)


def factored(layer: nn.Linear, rank: int) -> nn.Module:
    first, second = factor(layer.weight.detach().double(), None, rank)
    return factored_like(layer, "matrix", [DenseWeight(first.float()), DenseWeight(second.float())], layer.bias)


@torch.no_grad()
def test_two_factors_tell_six_classes_apart_once_fitted_to_the_scores() -> None:
    layer, x = classifier()
    wanted = layer(x)
    nearest = factored(layer, 2)
    fitted = fitted_to_scores(nearest, [x[:100], x[100:]], [wanted[:100], wanted[100:]])
    right = [float((one(x).argmax(1) == wanted.argmax(1)).float().mean()) for one in (nearest, fitted)]
    assert right[0] < 0.9
    assert right[1] > 0.98
    assert [part.effective_weight().shape for part in fitted.parts] == [(2, 8), (6, 2)]
    assert not any(parameter.requires_grad for parameter in fitted.parameters())


@torch.no_grad()
def test_what_is_given_stays_and_so_does_a_bias_that_is_held() -> None:
    layer, x = classifier()
    nearest = factored(layer, 2)
    before = nearest.effective_weight().clone()
    fitted = fitted_to_scores(nearest, [x], [layer(x)], bias_correction=False)
    assert torch.equal(nearest.effective_weight(), before)
    assert not torch.equal(fitted.effective_weight(), before)
    assert torch.equal(fitted.effective_bias(), layer.bias)


@torch.no_grad()
def test_pruned_weights_stay_zero() -> None:
    layer, x = classifier()
    mask = torch.rand(6, 8) < 0.5
    pruned = compressed_like(layer, DenseWeight(layer.weight * mask, mask), layer.bias)
    fitted = fitted_to_scores(pruned, [x], [layer(x)])
    assert not fitted.effective_weight()[~mask].any()
    assert torch.equal(fitted.stored.mask, mask)


@torch.no_grad()
def test_integers_stay_what_they_are() -> None:
    layer, x = classifier()
    stored = IntegerWeight(layer.weight.round().to(torch.int8), torch.ones(6), 4, 0, layer.weight.shape)
    rounded = compressed_like(layer, stored, layer.bias)
    assert fitted_to_scores(rounded, [x], [layer(x)]) is rounded


class Headed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body, self.head, self.value = nn.Linear(4, 4), nn.Linear(4, 3), nn.Linear(3, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(torch.relu(self.body(x)))


@pytest.mark.parametrize(("name", "is_last"), [("body", False), ("head", True)])
def test_the_last_layer_alone_gives_scores(name: str, is_last: bool) -> None:
    assert gives_scores(fx.symbolic_trace(Headed()), name) is is_last


def test_a_single_output_is_no_score() -> None:
    assert not gives_scores(fx.symbolic_trace(nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 1))), "1")
