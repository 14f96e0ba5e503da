import pytest
import torch

from studio.compression.prune import prune
from studio.compression.solver import row_errors


def weights(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)


def moment(groups: int, size: int) -> torch.Tensor:
    mixing = torch.randn(groups, size, size, generator=torch.Generator().manual_seed(7), dtype=torch.float64)
    return mixing @ mixing.mT / size


def test_without_data_the_smallest_weights_go_and_the_others_stay() -> None:
    W = torch.tensor([[[3.0, -1.0], [0.5, -2.0]]], dtype=torch.float64)
    pruned, keep = prune(W, None, 0.5)
    assert pruned.tolist() == [[[3.0, 0.0], [0.0, -2.0]]]
    assert keep.tolist() == [[[True, False], [False, True]]]


@pytest.mark.parametrize("ratio", [0.1, 0.33, 0.5, 0.9])
@pytest.mark.parametrize("known", [False, True])
def test_exactly_the_wanted_number_of_weights_goes(ratio: float, known: bool) -> None:
    W = weights(2, 5, 9)
    pruned, keep = prune(W, moment(2, 9) if known else None, ratio)
    assert int((~keep).sum()) == round(ratio * 90) == int((pruned == 0).sum())


def test_equal_weights_still_give_the_exact_count() -> None:
    _, keep = prune(torch.ones(1, 4, 4, dtype=torch.float64), None, 0.25)
    assert int((~keep).sum()) == 4


def test_white_inputs_choose_as_no_data_does() -> None:
    W = weights(1, 6, 10)
    plain, keep = prune(W, None, 0.5)
    known, same = prune(W, torch.eye(10, dtype=torch.float64)[None], 0.5)
    assert torch.equal(keep, same)
    torch.testing.assert_close(known, plain, atol=1e-6, rtol=1e-6)


def test_uncorrelated_inputs_weigh_each_weight_by_their_power() -> None:
    """With diagonal H the cost of a zero is w² h: 2²·1 < 1²·9, although 2 > 1."""
    W = torch.tensor([[[2.0, 1.0]]], dtype=torch.float64)
    H = torch.diag(torch.tensor([1.0, 9.0], dtype=torch.float64))[None]
    pruned, _ = prune(W, H, 0.5)
    torch.testing.assert_close(pruned, torch.tensor([[[0.0, 1.0]]], dtype=torch.float64), atol=1e-6, rtol=0)


def test_known_inputs_give_a_far_smaller_error_than_magnitude() -> None:
    W, H = weights(1, 16, 40), moment(1, 40)
    plain, known = (prune(W, given, 0.6)[0] for given in (None, H))
    assert row_errors(W - known, H).sum() < 0.5 * row_errors(W - plain, H).sum()
