"""Scales that train: values as stored, gradients as in the paper."""

from pathlib import Path

import pytest
import torch

from studio.analysis.calibration import Calibration
from studio.compression.activations import FOLDER, LearnedActivation, RoundedActivation
from studio.compression.compress import compress
from studio.compression.ranges import Levels
from studio.compression.stored import IntegerWeight, LearnedStepWeight
from studio.compression.trainable import freeze, trainable
from studio.compression.weights import load_weights, save_weights
from studio.models.model import Model
from studio.recipe.recipe import Recipe

ROUNDED = Recipe.model_validate({"default": {"quantize": {"weight_bits": 4, "activation_bits": 8}}})


def weight(scale: torch.Tensor, block_size: int = 0) -> LearnedStepWeight:
    q = torch.tensor([[3, -8, 0, 7], [1, 2, -3, 4]], dtype=torch.int8)
    return LearnedStepWeight(IntegerWeight(q, scale, 4, block_size, (2, 4)))


@pytest.mark.parametrize(
    ("scale", "block_size"),
    [(torch.tensor(0.5), 0), (torch.tensor([0.5, 0.25]), 0), (torch.tensor([[0.5, 0.1], [0.2, 0.3]]), 3)],
)
def test_it_begins_with_what_is_stored_and_freezes_to_what_it_computes(scale: torch.Tensor, block_size: int) -> None:
    learned = weight(scale, block_size)
    torch.testing.assert_close(learned(), learned.stored(), rtol=0, atol=1e-7)
    with torch.no_grad():
        learned.latent += torch.randn(2, 4, generator=torch.Generator().manual_seed(0))
        learned.ratio *= torch.rand(scale.shape, generator=torch.Generator().manual_seed(1)) + 0.5
    frozen = learned.frozen()
    assert isinstance(frozen, IntegerWeight)
    torch.testing.assert_close(frozen(), learned(), rtol=1e-6, atol=1e-7)


def test_gradients_are_those_of_the_paper() -> None:
    learned = weight(torch.tensor([0.5, 0.25]))
    with torch.no_grad():
        learned.latent.copy_(torch.tensor([[0.6, 9.0, -9.0, 0.0], [0.0, 0.0, 0.0, 0.0]]))
    learned().sum().backward()
    # in steps of 0.5: 1.2 is rounded to 1, the others are clipped to 7 and -8
    step = (1 - 1.2) + 7 - 8
    damping = (4 * 7) ** -0.5
    assert learned.latent.grad[0].tolist() == [1.0, 0.0, 0.0, 1.0]
    assert learned.ratio.grad[0].item() == pytest.approx(0.5 * step * damping, rel=1e-5)
    assert learned.ratio.grad[1].item() == 0.0


def test_activations_learn_the_distance_of_their_levels() -> None:
    learned = LearnedActivation(RoundedActivation(Levels(0.5, 10)))
    x = torch.tensor([[0.6, 500.0, -500.0]], requires_grad=True)
    torch.testing.assert_close(learned(x), RoundedActivation(Levels(0.5, 10))(x))
    learned(x).sum().backward()
    assert x.grad.tolist() == [[1.0, 0.0, 0.0]]
    assert learned.ratio.grad.item() == pytest.approx(0.5 * ((1 - 1.2) + 245 - 10) * (3 * 255) ** -0.5, rel=1e-4)
    with torch.no_grad():
        learned.ratio.fill_(1.5)
    assert (float(learned.frozen().scale), int(learned.frozen().zero_point)) == (0.75, 10)
    torch.testing.assert_close(learned.frozen()(x), learned(x))


def test_everything_that_rounds_trains_freezes_and_is_read_back(
    model: Model, calibration: Calibration, samples: torch.Tensor, tmp_path: Path
) -> None:
    compressed = compress(model, ROUNDED, calibration=calibration)
    graph = trainable(compressed, learn_steps=True)
    torch.testing.assert_close(graph(samples), compressed.graph(samples), rtol=1e-3, atol=1e-3)
    optimizer = torch.optim.Adam(graph.parameters(), lr=0.02)
    for _ in range(5):
        optimizer.zero_grad()
        graph(samples).square().mean().backward()
        optimizer.step()
    frozen = freeze(compressed, graph)

    assert frozen.graph.state_dict().keys() == compressed.graph.state_dict().keys()
    scales = [name for name in frozen.graph.state_dict() if name.endswith("scale")]
    moved = [n for n in scales if not torch.equal(frozen.graph.state_dict()[n], compressed.graph.state_dict()[n])]
    assert set(moved) == set(scales)
    assert any(name.startswith(FOLDER) for name in moved)
    torch.testing.assert_close(frozen.graph(samples), graph(samples), rtol=0.05, atol=0.02)
    path = save_weights(frozen, tmp_path)
    again = compress(model, ROUNDED, calibration=calibration, weights=path)
    assert load_weights(path, model).levels
    torch.testing.assert_close(again.graph(samples), frozen.graph(samples), rtol=0, atol=0)
