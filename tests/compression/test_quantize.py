import pytest
import torch

from studio.compression.quantize import Grid, find_grid, fit_to_grid, quantize
from studio.compression.scales import fitted_scale
from studio.compression.solver import row_errors
from studio.compression.stored import INTEGER_RANGE, IntegerWeight, integer_range


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


@pytest.mark.parametrize("bits", [8, 4, 3, 2])
@pytest.mark.parametrize("granularity", ["tensor", "channel", "group"])
def test_searched_scales_are_never_worse_than_the_largest_weights(bits: int, granularity: str) -> None:
    W = weights(12, 33)
    grid = find_grid(W, bits, granularity, 8)
    high = INTEGER_RANGE[bits][1]
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


@pytest.mark.parametrize(("bits", "low", "high"), [(8, -127, 127), (4, -8, 7), (3, -4, 3), (2, -2, 1)])
def test_integers_stay_in_range(bits: int, low: int, high: int) -> None:
    q = quantize(10 * weights(1, 6, 10), moment(1, 10), find_grid(weights(6, 10), bits, "channel", 2))
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


def test_few_bits_leave_few_values_which_are_those_at_hand() -> None:
    W = torch.tensor([[-2.0, 1.0, 0.0, -1.0], [-4.0, 2.0, 1.9, 0.1]], dtype=torch.float64)
    grid = find_grid(W, 2, "channel", 32)
    assert quantize(W[None], None, grid).tolist() == [[-2, 1, 0, -1], [-2, 1, 1, 0]]
    torch.testing.assert_close(grid.scale, torch.tensor([1.0, 1.98]), atol=0.1, rtol=0)


@pytest.mark.parametrize("bits", [3, 2])
@pytest.mark.parametrize("granularity", ["tensor", "channel", "group"])
def test_no_more_values_share_a_scale_than_bits_can_tell_apart(bits: int, granularity: str) -> None:
    W = weights(1, 6, 64)
    grid = find_grid(W[0], bits, granularity, 32)
    weight = quantize(W, moment(1, 64), grid).double() * grid.steps(6, 64)
    sharing = {"tensor": weight.reshape(1, -1), "channel": weight, "group": weight.reshape(12, 32)}[granularity]
    assert max(len(row.unique()) for row in sharing) <= 2**bits


def test_the_scale_of_few_bits_is_near_the_best_one() -> None:
    """Against a fine search by brute force: normal weights call for clipping a good part of them."""
    W = weights(5, 400)
    low, high = INTEGER_RANGE[3]
    scales = torch.linspace(0.02, 4, 2000, dtype=torch.float64)[:, None, None]
    errors = (W - (W / scales).round().clamp(low, high) * scales).square().sum(-1).amin(0)
    grid = find_grid(W, 3, "channel", 2)
    found = (W - quantize(W[None], None, grid).double() * grid.steps(5, 400)).square().sum(-1)
    assert (found <= 1.01 * errors).all()


def test_two_bits_sweep_better_than_nearest_rounding_and_not_far_from_the_best_of_all() -> None:
    """All 4³ roundings of rows of 3 weights with the same scales."""
    W, H = weights(1, 20, 3), moment(1, 3)
    grid = find_grid(W[0], 2, "channel", 2)
    steps = grid.steps(20, 3)
    swept, nearest = (row_errors(W - quantize(W, given, grid).double() * steps, H) for given in (H, None))
    choices = torch.cartesian_prod(*[torch.arange(-2.0, 2.0, dtype=torch.float64)] * 3)
    best = torch.stack([row_errors(W - choice * steps, H) for choice in choices]).amin(0)
    assert (best <= swept + 1e-12).all()
    assert (swept <= nearest).all()
    assert swept.sum() <= 1.5 * best.sum()


@pytest.mark.parametrize("bits", [8, 4, 3, 2])
def test_fitted_scales_make_no_row_worse_and_few_bits_better(bits: int) -> None:
    W, H = weights(2, 8, 30), moment(2, 30)
    before = find_grid(W.flatten(0, 1), bits, "channel", 2)
    integers, after = fit_to_grid(W, H, before)
    start, fitted = (
        row_errors(W - (q.double() * grid.steps(16, 30)).reshape(W.shape), H)
        for q, grid in ((quantize(W, H, before), before), (integers, after))
    )
    assert (fitted <= start).all()
    assert fitted.sum() < (1.0 if bits == 8 else 0.97) * start.sum()
    assert (after.scale > 0).all()


def test_a_fitted_scale_is_the_least_squares_one() -> None:
    """Rows whose integers are all 1 at most: with white inputs the scale is the mean of what they stand for."""
    W = torch.tensor([[[1.0, 0.9, 0.8, 0.0]]], dtype=torch.float64)
    H = torch.eye(4, dtype=torch.float64)[None]
    integers, grid = fit_to_grid(W, H, Grid(torch.tensor([1.0]), 2, 0))
    assert integers.tolist() == [[1, 1, 1, 0]]
    torch.testing.assert_close(grid.scale, torch.tensor([0.9]))


@pytest.mark.parametrize("granularity", ["tensor", "channel", "group"])
def test_scales_stay_where_the_inputs_are_not_known(granularity: str) -> None:
    W = weights(1, 6, 20)
    grid = find_grid(W[0], 2, granularity, 8)
    assert fit_to_grid(W, None, grid)[1] is grid


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("granularity", ["tensor", "group"])
def test_scales_of_tensor_and_groups_are_fitted_to_the_outputs(granularity: str, symmetric: bool) -> None:
    W, H = weights(2, 8, 30), moment(2, 30)
    before = find_grid(W.flatten(0, 1), 3, granularity, 7, symmetric=symmetric)
    integers, after = fit_to_grid(W, H, before)
    errors = [
        row_errors(W - (grid.levels(q) * grid.steps(16, 30)).reshape(W.shape), H)
        for q, grid in ((quantize(W, H, before), before), (integers, after))
    ]
    assert errors[1].sum() < 0.99 * errors[0].sum()
    if granularity == "group":
        assert (errors[1] <= errors[0]).all()
    assert (after.scale > 0).all()


def test_the_scales_of_a_rows_groups_are_those_of_least_squares_together() -> None:
    """Coupled inputs: moving one scale after the other comes to the solution of the normal equations."""
    H = moment(1, 6)
    levels = torch.tensor([[[3.0, -1.0, 2.0, 1.0, -2.0, 3.0]]], dtype=torch.float64)
    W = levels * torch.tensor([0.5, 0.5, 0.5, 0.2, 0.2, 0.2]) + 0.1 * weights(1, 1, 6)
    scale = torch.tensor([[0.3, 0.4]])
    for _ in range(100):
        scale = fitted_scale(W, H, levels, scale, 3)
    blocks = torch.block_diag(levels[0, :, :3], levels[0, :, 3:])
    expected = torch.linalg.solve(blocks @ H[0] @ blocks.mT, blocks @ H[0] @ W[0, 0])
    torch.testing.assert_close(scale[0].double(), expected, rtol=1e-4, atol=0)


def test_zero_points_reach_weights_that_lie_to_one_side() -> None:
    W = torch.tensor([[0.0, 1.0, 2.0, 3.0], [-15.0, 0.0, -3.0, -7.0]], dtype=torch.float64)
    for bits, row in ((2, W[:1]), (4, W[1:])):
        grid = find_grid(row, bits, "channel", 2, symmetric=False)
        q = quantize(row[None], None, grid)
        torch.testing.assert_close(grid.levels(q) * grid.steps(1, 4), row)


@pytest.mark.parametrize("bits", [8, 4, 3, 2])
@pytest.mark.parametrize("granularity", ["tensor", "channel", "group"])
def test_zero_points_never_do_worse_than_none(bits: int, granularity: str) -> None:
    W = weights(6, 20) + 0.5
    errors = []
    for symmetric in (True, False):
        grid = find_grid(W, bits, granularity, 8, symmetric=symmetric)
        q = quantize(W[None], None, grid)
        low, high = integer_range(bits, symmetric=symmetric)
        assert low <= q.min()
        assert q.max() <= high
        errors.append(float((W - grid.levels(q) * grid.steps(6, 20)).square().sum()))
    assert errors[1] < errors[0]


def test_fitting_keeps_zeros_of_pruned_weights_and_of_empty_rows() -> None:
    W = weights(1, 6, 20)
    W[0, 2] = 0
    keep = torch.rand(W.shape, generator=torch.Generator().manual_seed(1)) > 0.5
    integers, grid = fit_to_grid(W * keep, moment(1, 20), find_grid(W[0], 2, "channel", 8), keep)
    assert not integers[~keep[0]].any()
    assert not integers[2].any()
    assert grid.scale.isfinite().all()
