"""Losses worked out by hand and their gradients."""

import math

import pytest
import torch
from torch.nn import functional as F

from studio.distillation.losses import distillation_loss, hinton_loss, regression_loss

STUDENT = [[0.0, 0.0]]
TEACHER = [[2 * math.log(3.0), 0.0]]  # at T = 2: softmax (3/4, 1/4)


def test_hinton_s_loss_equals_the_case_worked_out_by_hand() -> None:
    loss = hinton_loss(torch.tensor(STUDENT), torch.tensor(TEACHER), torch.tensor([0]), beta=0.9, temperature=2.0)

    kl = 0.75 * math.log(0.75 / 0.5) + 0.25 * math.log(0.25 / 0.5)
    assert loss.item() == pytest.approx(0.9 * 4 * kl + 0.1 * math.log(2))


def test_its_gradient_is_the_difference_of_the_answers() -> None:
    # d/dz_s of T² KL is T (softmax(z_s / T) - softmax(z_t / T)), of CE softmax(z_s) - onehot(y)
    student = torch.tensor(STUDENT, requires_grad=True)

    hinton_loss(student, torch.tensor(TEACHER), torch.tensor([0]), beta=0.9, temperature=2.0).backward()

    expected = 0.9 * 2 * (0.5 - 0.75) + 0.1 * (0.5 - 1)
    assert student.grad is not None
    assert student.grad[0].tolist() == pytest.approx([expected, -expected])


def test_gradients_hold_numerically_for_many_classes() -> None:
    generator = torch.Generator().manual_seed(0)
    student = torch.randn(3, 5, generator=generator, dtype=torch.float64, requires_grad=True)
    teacher = torch.randn(3, 5, generator=generator, dtype=torch.float64)

    assert torch.autograd.gradcheck(
        lambda z: hinton_loss(z, teacher, torch.tensor([0, 4, 2]), beta=0.6, temperature=3.0), (student,)
    )


def test_without_labels_the_teacher_alone_teaches() -> None:
    student, teacher = torch.tensor(STUDENT), torch.tensor(TEACHER)

    alone = hinton_loss(student, teacher, None, beta=0.3, temperature=2.0)

    assert alone.item() == hinton_loss(student, teacher, torch.tensor([1]), beta=1.0, temperature=2.0).item()


def test_with_beta_zero_the_labels_alone_teach() -> None:
    student, labels = torch.tensor([[1.0, -1.0, 0.5]]), torch.tensor([2])

    loss = hinton_loss(student, torch.zeros(1, 3), labels, beta=0.0, temperature=4.0)

    assert loss.item() == pytest.approx(F.cross_entropy(student, labels).item())


def test_a_student_that_answers_as_the_teacher_has_no_loss() -> None:
    answers = torch.tensor([[3.0, -1.0, 2.0]])

    assert hinton_loss(answers, answers, None, beta=1.0, temperature=4.0).item() == pytest.approx(0.0, abs=1e-7)


def test_regression_weighs_squared_errors() -> None:
    loss = regression_loss(
        torch.tensor([[1.0, 3.0]]), torch.tensor([[0.0, 3.0]]), torch.tensor([[1.0, 1.0]]), beta=0.75
    )

    assert loss.item() == pytest.approx(0.75 * 0.5 + 0.25 * 2.0)


def test_numbers_as_labels_or_a_single_output_make_it_a_regression() -> None:
    student, teacher = torch.tensor([[1.0], [2.0]]), torch.tensor([[0.0], [2.0]])

    assert distillation_loss(student, teacher, None, beta=0.5, temperature=4.0).item() == pytest.approx(0.5)
    targets = torch.tensor([1.0, 4.0])
    assert distillation_loss(student, teacher, targets, beta=0.5, temperature=4.0).item() == pytest.approx(0.25 + 1.0)


def test_the_squared_difference_of_the_scores_is_added_with_its_weight() -> None:
    student, teacher, labels = torch.tensor([[1.0, 3.0]]), torch.tensor([[0.0, 3.0]]), torch.tensor([1])
    settings = {"beta": 0.5, "temperature": 2.0}

    added = distillation_loss(student, teacher, labels, **settings, logit_weight=3.0)
    plain = distillation_loss(student, teacher, labels, **settings)

    assert (added - plain).item() == pytest.approx(0.5 * 3.0 * 0.5)


def test_scores_for_every_token_are_compared_token_by_token() -> None:
    generator = torch.Generator().manual_seed(0)
    student, teacher = (torch.randn(2, 3, 5, generator=generator) for _ in range(2))
    labels = torch.tensor([[0, 1, 2], [3, 4, 0]])

    whole = distillation_loss(student, teacher, labels, beta=0.7, temperature=2.0)

    each = [
        hinton_loss(student[i, t][None], teacher[i, t][None], labels[i, t][None], beta=0.7, temperature=2.0)
        for i in range(2)
        for t in range(3)
    ]
    assert whole.item() == pytest.approx(float(torch.stack(each).mean()))


def test_tokens_that_do_not_count_teach_nothing_and_parts_still_add_up() -> None:
    generator = torch.Generator().manual_seed(0)
    student, teacher = (torch.randn(2, 3, 5, generator=generator, requires_grad=True) for _ in range(2))
    labels = torch.tensor([[0, 1, -100], [3, -100, -100]])
    settings = {"beta": 0.7, "temperature": 2.0, "logit_weight": 0.5}

    whole = distillation_loss(student, teacher, labels, **settings)
    whole.backward()

    parts = [distillation_loss(student[i][None], teacher[i][None], labels[i][None], **settings) for i in range(2)]
    counted = [(0, 0), (0, 1), (1, 0)]
    each = [
        distillation_loss(student[i, t][None], teacher[i, t][None], labels[i, t][None], **settings) for i, t in counted
    ]
    assert whole.item() == pytest.approx(sum(one.item() for one in each) / 6)
    assert whole.item() == pytest.approx(sum(one.item() for one in parts) / 2)
    assert student.grad is not None
    assert student.grad[0, 2].abs().max() == 0
    assert distillation_loss(student, teacher, torch.full((2, 3), -100), **settings).item() == 0
