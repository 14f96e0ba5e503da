"""What a student is told: how far its answers are from the teacher's and from the labels."""

import torch.nn.functional as F
from torch import Tensor


def hinton_loss(student: Tensor, teacher: Tensor, labels: Tensor | None, *, beta: float, temperature: float) -> Tensor:
    """``β · T² · KL(softmax(z_t / T) ‖ softmax(z_s / T)) + (1 - β) · CE(y, z_s)``, averaged over the batch.

    G. Hinton, O. Vinyals and J. Dean, Distilling the knowledge in a neural network, arXiv 1503.02531. T² keeps the
    size of the teacher's gradient the same when T changes.

    Args:
        student: logits ``z_s`` ``[batch, classes]``.
        teacher: logits ``z_t`` of the same shape.
        labels: classes ``y`` ``[batch]``; None leaves the teacher alone to teach (β = 1).
        beta: weight of the teacher, 0..1.
        temperature: T > 0, softens both answers.
    """
    soft = F.kl_div(
        F.log_softmax(student / temperature, 1),
        F.log_softmax(teacher / temperature, 1),
        reduction="batchmean",
        log_target=True,
    )
    taught = temperature**2 * soft
    if labels is None or beta == 1:
        return taught
    return beta * taught + (1 - beta) * F.cross_entropy(student, labels)


def regression_loss(student: Tensor, teacher: Tensor, targets: Tensor | None, *, beta: float) -> Tensor:
    """``β · MSE(z_t, z_s) + (1 - β) · MSE(y, z_s)`` for outputs that are not scores of classes.

    Args:
        student: outputs ``z_s`` ``[batch, …]``.
        teacher: outputs ``z_t`` of the same shape.
        targets: wanted values ``y``, as many as outputs; None leaves the teacher alone to teach (β = 1).
        beta: weight of the teacher, 0..1.
    """
    taught = F.mse_loss(student, teacher)
    if targets is None or beta == 1:
        return taught
    return beta * taught + (1 - beta) * F.mse_loss(student, targets.reshape(student.shape))


def distillation_loss(
    student: Tensor, teacher: Tensor, labels: Tensor | None, *, beta: float, temperature: float
) -> Tensor:
    """`hinton_loss` where the outputs are scores of classes, `regression_loss` otherwise.

    Outputs count as scores when there are several for each sample and the labels, if any, are classes.
    """
    by_class = labels is None or not labels.is_floating_point()
    if by_class and student.flatten(1).shape[1] > 1:
        return hinton_loss(student.flatten(1), teacher.flatten(1), labels, beta=beta, temperature=temperature)
    return regression_loss(student, teacher, None if by_class else labels, beta=beta)
