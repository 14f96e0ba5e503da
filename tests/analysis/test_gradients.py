"""Gradients by the gates of channels, against closed forms and against closing a gate a little."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from studio.analysis.gradient_cache import remembered_gradients
from studio.analysis.gradients import gather_gradients, summed_loss
from studio.models.layer import ModelInfo, TensorSpec
from studio.models.layers import layer_table
from studio.models.model import Model
from studio.progress import Cancelled, Progress


class Net(nn.Module):
    """A convolution, a shortcut, a linear layer over positions and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(2, 4, 3, padding=1)
        self.conv = nn.Conv2d(4, 4, 3, padding=1)
        self.mix = nn.Linear(4, 3)
        self.head = nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.stem(x))
        x = torch.relu(x + self.conv(x))
        return self.head(torch.relu(self.mix(x.flatten(2).transpose(1, 2))).mean(1))


@pytest.fixture(scope="module")
def model() -> Model:
    torch.manual_seed(0)
    graph = fx.symbolic_trace(Net()).eval()
    layers = layer_table(graph, (torch.zeros(2, 2, 5, 5),))
    spec = TensorSpec("x", "float32", (None, 2, 5, 5))
    return Model(graph, ModelInfo("net.onnx", "onnx", "e" * 64, (spec,), (), layers, 1, 4, 1))


@pytest.fixture(scope="module")
def samples() -> Tensor:
    return torch.randn(40, 2, 5, 5, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def labels() -> Tensor:
    return torch.arange(40) % 3


def test_the_gate_of_a_channel_stands_for_its_weights_and_bias(model: Model, samples: Tensor, labels: Tensor) -> None:
    gates = gather_gradients(model, [(samples,)], [labels]).gates
    one = samples[7:8]
    parameters = dict(model.graph.named_parameters())
    loss = F.cross_entropy(model.graph(one), labels[7:8])
    slopes = dict(zip(parameters, torch.autograd.grad(loss, list(parameters.values())), strict=True))
    for name in ("stem", "conv", "mix", "head"):
        products = {part: parameters[f"{name}.{part}"] * slopes[f"{name}.{part}"] for part in ("weight", "bias")}
        expected = products["weight"].flatten(1).sum(1) + products["bias"]
        assert gates[name][7] == pytest.approx(expected.detach(), abs=1e-6)


def test_batches_make_no_difference(model: Model, samples: Tensor, labels: Tensor) -> None:
    whole = gather_gradients(model, [(samples,)], [labels]).gates
    parts = gather_gradients(model, [(part,) for part in samples.split(7)], labels.split(7)).gates
    for name, slopes in whole.items():
        assert slopes.shape == (40, len(model.module(name).weight))
        assert torch.allclose(slopes, parts[name], atol=1e-6)


def test_drawn_labels_tell_the_curvature_of_the_divergence_from_the_models_own_answer(
    model: Model, samples: Tensor
) -> None:
    # KL(p ‖ p_ε) ≈ ½ ε² E_y[(∂ log p_y / ∂g)²] for a gate that is closed by ε = 0.02; 400 draws for each of 8 samples
    few = samples[:8]
    drawn = gather_gradients(model, [(few.repeat(400, 1, 1, 1),)], None)
    assert not drawn.labelled
    curvature = drawn.gates["conv"][:, 2].square().mean()
    with torch.no_grad():
        net = Net().double()
        net.load_state_dict(model.graph.state_dict())
        before = net(few.double()).log_softmax(1)
        net.conv.weight[2] *= 0.98
        net.conv.bias[2] *= 0.98
        after = net(few.double()).log_softmax(1)
    divergence = (before.exp() * (before - after)).sum(1).mean()
    assert float(0.5 * 0.02**2 * curvature) == pytest.approx(float(divergence), rel=0.15)


def test_the_same_labels_are_drawn_every_time(model: Model, samples: Tensor) -> None:
    first, second = (gather_gradients(model, [(samples,)], None).gates["stem"] for _ in range(2))
    assert torch.equal(first, second)


def test_losses_of_other_outputs() -> None:
    draw = torch.Generator().manual_seed(0)
    values, wanted = torch.tensor([[1.0, 2.0]]), torch.tensor([[0.0, 4.0]])
    assert float(summed_loss(values, wanted, draw)) == pytest.approx(2.5)  # (1² + 2²) / 2
    words = torch.zeros(2, 3, 4)  # every token costs ln 4
    assert float(summed_loss(words, torch.zeros(2, 3, dtype=torch.long), draw)) == pytest.approx(6 * 1.3862944)
    assert abs(float(summed_loss(torch.tensor([[3.0]]), None, draw))) == 3.0
    yes = summed_loss(torch.tensor([[0.0], [0.0]]), torch.tensor([0, 1]), draw)
    assert float(yes) == pytest.approx(2 * 0.6931472)


def test_they_are_remembered_for_the_same_samples_and_labels_only(
    model: Model, samples: Tensor, labels: Tensor, tmp_path: Path
) -> None:
    told: list[Progress] = []
    batches = [(part,) for part in samples.split(20)]
    first = remembered_gradients(model, batches, labels.split(20), told.append, tmp_path)
    again = remembered_gradients(model, batches, labels.split(20), told.append, tmp_path)
    assert len(told) == 2
    assert all(torch.equal(slopes, again.gates[name]) for name, slopes in first.gates.items())
    others = remembered_gradients(model, batches, (labels + 1).remainder(3).split(20), told.append, tmp_path)
    assert not torch.equal(others.gates["head"], first.gates["head"])
    unlabelled = remembered_gradients(model, batches, None, told.append, tmp_path)
    assert not unlabelled.labelled
    assert len(list(tmp_path.iterdir())) == 3


def test_gathering_can_be_cancelled(model: Model, samples: Tensor) -> None:
    def stop(_progress: Progress) -> None:
        raise Cancelled

    with pytest.raises(Cancelled):
        gather_gradients(model, [(samples,)], None, stop)
