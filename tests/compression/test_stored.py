import pytest
import torch

from studio.compression.stored import DenseWeight, IntegerWeight, StoredWeight


def integer_weight(mask: bool = True) -> IntegerWeight:
    q = torch.tensor([[7, 0, -3], [0, 2, -8]], dtype=torch.int8)
    kept = (q != 0).reshape(2, 3, 1) if mask else None
    return IntegerWeight(q, torch.tensor([0.5, 0.25]), 4, 0, (2, 3, 1), kept)


def train(stored: StoredWeight, steps: int = 5) -> None:
    """Steps that pull every weight towards one."""
    optimiser = torch.optim.SGD(stored.parameters(), lr=0.3, momentum=0.9, weight_decay=0.01)
    for _ in range(steps):
        optimiser.zero_grad()
        (stored() - 1).square().sum().backward()
        optimiser.step()


def test_integers_yield_their_multiples_in_the_shape_of_the_weight() -> None:
    assert integer_weight()().tolist() == [[[3.5], [0.0], [-1.5]], [[0.0], [0.5], [-2.0]]]


def test_training_starts_at_the_stored_values() -> None:
    stored = integer_weight()
    assert torch.equal(stored.trainable()(), stored())
    dense = DenseWeight(torch.tensor([1.0, 0.0]), torch.tensor([True, False]))
    assert torch.equal(dense.trainable()(), dense())


def test_training_keeps_integers_on_their_grid_and_zeros_zero() -> None:
    training = integer_weight().trainable()
    train(training)
    weight = training().detach()
    multiples = weight.flatten(1) / torch.tensor([[0.5], [0.25]])
    assert torch.equal(multiples, multiples.round())
    assert multiples.min() >= -8
    assert multiples.max() <= 7
    assert weight[0, 1] == weight[1, 0] == 0
    assert not torch.equal(weight, integer_weight()())


def test_freezing_yields_bit_for_bit_what_training_saw() -> None:
    training = integer_weight().trainable()
    train(training)
    frozen = training.frozen()
    assert isinstance(frozen, IntegerWeight)
    assert frozen.q.dtype == torch.int8
    assert torch.equal(frozen(), training())
    assert not list(frozen.parameters())


def test_no_gradient_reaches_what_is_out_of_range_or_pruned() -> None:
    training = integer_weight().trainable()
    latent = training.get_parameter("latent")
    with torch.no_grad():
        latent[0, 0] = 9.0  # largest value of the row is 7 · 0.5
    training().sum().backward()
    assert latent.grad is not None
    assert latent.grad.flatten().tolist() == [0, 0, 1, 0, 1, 1]


def test_pruned_floats_stay_zero_through_training_and_freezing() -> None:
    mask = torch.tensor([[True, False], [False, True]])
    training = DenseWeight(torch.tensor([[2.0, 0.0], [0.0, 3.0]]), mask).trainable()
    train(training)
    frozen = training.frozen()
    assert torch.equal(frozen() != 0, mask)
    assert torch.equal(frozen(), training())
    assert frozen.mask is not None


@pytest.mark.parametrize("stored", [DenseWeight(torch.ones(2)), integer_weight(mask=False)], ids=["floats", "integers"])
def test_frozen_forms_hold_nothing_that_trains(stored: StoredWeight) -> None:
    assert not any(parameter.requires_grad for parameter in stored.parameters())
    assert stored.frozen() is stored
