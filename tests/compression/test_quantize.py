import pytest
import torch

from studio.compression.quantize import Grid, find_grid, quantize
from studio.compression.solver import row_errors
from studio.compression.stored import IntegerWeight


def weights(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)


def moment(groups: int, size: int) -> torch.Tensor:
    mixing = torch.randn(groups, size, size, generator=torch.Generator().manual_seed(7), dtype=torch.float64)
    return mixing @ mixing.mT / size


def test_weights_that_lie_on_a_grid_are_stored_exactly() -> None:
    W = torch.tensor([[-7.0, 3.0, 0.0], [0.5, 3.5, -1.0]], dtype=torch.float64)
    grid = find_grid(W, 4, "channel", 32)
    assert grid.scale.tolist() == [1.0, 0.5]
    assert quantize(W[None], None, grid).tolist() == [[-7, 3, 0], [1, 7, -2]]


@pytest.mark.parametrize(
    ("granularity", "shape"), [("tensor", ()), ("channel", (6,)), ("group", (6, 3))], ids=["tensor", "channel", "group"]
)
def test_scales_have_the_shape_that_onnx_stores(granularity: str, shape: tuple[int, ...]) -> None:
    grid = find_grid(weights(6, 10), 4, granularity, 4)
    assert grid.scale.shape == shape
    assert grid.scale.dtype == torch.float32
    assert grid.block_size == (4 if granularity == "group" else 0)


def test_the_last_group_may_be_shorter_and_has_a_scale_of_its_own() -> None:
    W = torch.tensor([[7.0, 0.0, 0.7]], dtype=torch.float64)
    grid = find_grid(W, 4, "group", 2)
    torch.testing.assert_close(grid.steps(1, 3), torch.tensor([[1.0, 1.0, 0.1]], dtype=torch.float64))
    assert quantize(W[None], None, grid).tolist() == [[7, 0, 7]]


@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("granularity", ["tensor", "channel", "group"])
def test_searched_scales_are_never_worse_than_the_largest_weights(bits: int, granularity: str) -> None:
    W = weights(12, 33)
    grid = find_grid(W, bits, granularity, 8)
    high = 127 if bits == 8 else 7
    blocks = {"tensor": W.reshape(1, -1, 1), "channel": W[:, :, None], "group": None}[granularity]
    if blocks is None:
        steps = torch.cat([part.abs().amax(1, keepdim=True).expand_as(part) for part in W.split(8, dim=1)], dim=1)
    else:
        steps = blocks.abs().amax(1).expand(12, 33)
    largest = Grid((steps / high).float(), bits, 1)
    errors = [
        (W - quantize(W[None], None, g).double() * g.steps(12, 33)).square().sum().item() for g in (grid, largest)
    ]
    assert errors[0] <= errors[1]


@pytest.mark.parametrize("bits", [8, 4])
def test_integers_stay_in_range(bits: int) -> None:
    q = quantize(10 * weights(1, 6, 10), moment(1, 10), find_grid(weights(6, 10), bits, "channel", 2))
    low, high = (-127, 127) if bits == 8 else (-8, 7)
    assert q.dtype == torch.int8
    assert (int(q.min()), int(q.max())) == (low, high)


def test_rows_of_zeros_stay_zero() -> None:
    W = torch.zeros(1, 3, 4, dtype=torch.float64)
    grid = find_grid(W[0], 8, "channel", 2)
    assert quantize(W, moment(1, 4), grid).abs().sum() == 0
    assert (grid.scale > 0).all()


@pytest.mark.parametrize("granularity", ["tensor", "channel", "group"])
def test_no_row_is_worse_than_with_rounding_to_the_nearest(granularity: str) -> None:
    W, H = weights(2, 6, 20), moment(2, 20)
    grid = find_grid(W.flatten(0, 1), 4, granularity, 8)
    steps = grid.steps(12, 20).reshape(W.shape)
    errors = [row_errors(W - quantize(W, given, grid).double().reshape(W.shape) * steps, H) for given in (None, H)]
    assert (errors[1] <= errors[0]).all()
    assert errors[1].sum() < 0.8 * errors[0].sum()


def test_white_inputs_round_to_the_nearest() -> None:
    W = weights(1, 6, 20)
    grid = find_grid(W[0], 4, "channel", 8)
    assert torch.equal(quantize(W, torch.eye(20, dtype=torch.float64)[None], grid), quantize(W, None, grid))


@pytest.mark.parametrize("known", [False, True])
def test_pruned_weights_stay_exactly_zero(known: bool) -> None:
    W = weights(1, 6, 20)
    keep = torch.rand(W.shape, generator=torch.Generator().manual_seed(1)) > 0.5
    q = quantize(W * keep, moment(1, 20) if known else None, find_grid(W[0], 4, "channel", 8), keep)
    assert not q[~keep[0]].any()


def test_the_stored_weight_is_the_integers_times_their_steps() -> None:
    W = weights(1, 4, 10)
    grid = find_grid(W[0], 4, "group", 4)
    q = quantize(W, None, grid)
    stored = IntegerWeight(q, grid.scale, 4, 4, (4, 10))
    torch.testing.assert_close(stored(), (q.double() * grid.steps(4, 10)).float(), rtol=0, atol=0)
