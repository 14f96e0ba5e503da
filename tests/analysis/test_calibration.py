from collections.abc import Callable, Iterator

import pytest
import torch
import torch.nn.functional as F
from torch import fx, nn

from studio.analysis import calibration
from studio.analysis.calibration import RunningMoments, calibrate, calibration_fingerprint
from studio.analysis.inputs import input_rows, output_rows
from studio.errors import DataError
from studio.models.layer import ModelInfo, TensorSpec
from studio.models.layers import layer_table
from studio.models.model import Model
from studio.progress import Cancelled, Progress

LAYERS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "linear": (lambda: nn.Linear(6, 4), (5, 6)),
    "linear over tokens": (lambda: nn.Linear(6, 4), (5, 3, 6)),
    "conv1d": (lambda: nn.Conv1d(4, 6, 3, stride=2, padding=1), (5, 4, 11)),
    "conv2d": (lambda: nn.Conv2d(4, 6, 3, stride=(2, 1), padding=(1, 0), dilation=2), (5, 4, 9, 10)),
    "depthwise conv2d": (lambda: nn.Conv2d(4, 4, 3, stride=2, padding=1, groups=4), (5, 4, 7, 8)),
    "grouped conv2d": (lambda: nn.Conv2d(4, 6, 3, padding=1, groups=2), (5, 4, 7, 7)),
    "same padding": (lambda: nn.Conv2d(4, 6, (3, 2), padding="same"), (5, 4, 7, 7)),
    "conv3d": (lambda: nn.Conv3d(2, 3, 2, padding=1), (5, 2, 4, 5, 6)),
}


@pytest.mark.parametrize("kind", LAYERS)
def test_rows_times_the_weight_matrix_are_the_layers_output(kind: str) -> None:
    make, shape = LAYERS[kind]
    torch.manual_seed(0)
    layer, x = make(), torch.randn(shape)
    groups = getattr(layer, "groups", 1)
    matrix = layer.weight.flatten(1).unflatten(0, (groups, -1))
    bias = layer.bias.reshape(groups, 1, -1)
    torch.testing.assert_close(input_rows(layer, x) @ matrix.mT + bias, output_rows(layer, layer(x)))


def test_rows_of_a_convolution_are_those_of_unfold() -> None:
    layer, x = nn.Conv2d(4, 6, 3, stride=2, padding=1), torch.randn(5, 4, 7, 7)
    assert torch.equal(input_rows(layer, x)[0], F.unfold(x, 3, padding=1, stride=2).mT.flatten(0, 1))


def test_moments_of_two_rows_by_hand() -> None:
    moments = RunningMoments(nn.Linear(2, 1))
    moments.add(torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0]]))
    moments.add(torch.tensor([[3.0, 0.0]]), torch.tensor([[1.0]]))
    assert moments.second.tolist() == [[[5.0, 1.0], [1.0, 2.0]]]
    assert moments.mean.tolist() == [[2.0, 1.0]]
    assert moments.cross.tolist() == [[[3.0, 3.0]]]
    assert moments.output_mean.tolist() == [[2.0]]


def test_large_inputs_are_taken_in_slices_with_the_same_result(monkeypatch: pytest.MonkeyPatch) -> None:
    layer, x = nn.Conv2d(4, 6, 3, padding=1), torch.randn(7, 4, 6, 6)
    y = layer(x).detach()
    whole, sliced = RunningMoments(layer), RunningMoments(layer)
    whole.add(x, y)
    monkeypatch.setattr(calibration, "_SLICE", 2 * x[0].numel() * 9)
    assert [len(part) for part in calibration.slices(layer, x)] == [2, 2, 2, 1]
    sliced.add(x, y)
    torch.testing.assert_close(sliced.second, whole.second, atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(sliced.cross, whole.cross, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("offset", [0.0, 3.0])
def test_moments_are_as_exact_as_the_module_says(offset: float) -> None:
    """Against float64 throughout, over far more rows than a batch has; inputs all of one sign are the worst case."""
    torch.manual_seed(0)
    moments = RunningMoments(nn.Linear(24, 2))
    reference, rows = torch.zeros(24, 24, dtype=torch.float64), 0
    for _ in range(4):
        x = torch.relu(torch.randn(60_000, 24) + offset)
        moments.add(x)
        reference += x.double().mT @ x.double()
        rows += len(x)
    reference /= rows
    size = reference.diagonal().sqrt()
    error = (moments.second[0] - reference).abs() / (size[:, None] * size)
    assert 0 < error.max() < 2e-6


class TwiceUsed(nn.Module):
    """One layer called twice, and a grouped convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(4, 4, 3, padding=1, groups=2)
        self.shared = nn.Linear(8, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.shared(torch.relu(self.shared(self.conv(x))))


def small_model() -> Model:
    torch.manual_seed(0)
    graph = fx.symbolic_trace(TwiceUsed()).eval()
    layers = layer_table(graph, (torch.zeros(2, 4, 8),))
    return Model(graph, ModelInfo("m", "onnx", "ab", (TensorSpec("x", "float32", (None, 4, 8)),), (), layers, 0, 0, 0))


def test_every_layer_gets_the_moment_of_all_that_it_saw() -> None:
    model, x = small_model(), torch.randn(10, 4, 8)
    seen: list[Progress] = []
    found = calibrate(model, [(x[:6],), (x[6:],)], seen.append)
    with torch.no_grad():
        once = model.module("conv")(x)
        rows = torch.cat([once, torch.relu(model.module("shared")(once))]).reshape(-1, 8)
    torch.testing.assert_close(found.moments["shared"], rows.mT @ rows / len(rows))
    torch.testing.assert_close(found.means["shared"], rows.mean(0))
    assert found.moments["conv"].shape == (2, 6, 6)
    assert found.means["conv"].shape == (2, 6)
    assert found.samples == 10
    assert [(p.done, p.total) for p in seen] == [(1, 2), (2, 2)]


def test_the_fingerprint_follows_the_samples() -> None:
    model, x = small_model(), torch.randn(4, 4, 8)
    prints = [calibrate(model, [(given,)]).fingerprint for given in (x, x.clone(), x + 1)]
    assert prints[0] == prints[1] != prints[2]
    assert calibration_fingerprint(model, [(x,)]) == prints[0]


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_samples_that_are_not_finite_are_refused(value: float) -> None:
    x = torch.randn(10, 4, 8)
    x[3, 1, 2] = value
    with pytest.raises(DataError, match="values that are not finite"):
        calibrate(small_model(), [(x,)])


def test_a_layer_whose_inputs_become_infinite_is_named() -> None:
    model = small_model()
    model.module("conv").weight.data.fill_(3e38)
    with pytest.raises(DataError, match="shared: what the layer is given"):
        calibrate(model, [(torch.full((10, 4, 8), 10.0),)])


def test_samples_are_asked_for_batch_by_batch_and_can_be_cancelled() -> None:
    class Counted(list[tuple[torch.Tensor, ...]]):
        asked = 0

        def __iter__(self) -> Iterator[tuple[torch.Tensor, ...]]:
            for batch in super().__iter__():
                self.asked += 1
                yield batch

    def stop(_progress: Progress) -> None:
        raise Cancelled

    batches = Counted([(torch.randn(4, 4, 8),)] * 3)
    with pytest.raises(Cancelled):
        calibrate(small_model(), batches, stop)
    assert batches.asked == 1
