"""What a student is told: how far its answers are from the teacher's and from the labels."""

import torch.nn.functional as F
from torch import Tensor

from studio.evaluation.metric_kinds import IGNORED


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


def logit_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """``mean (z_s − z_t)²``, the squared difference of the scores.

    J. Ba and R. Caruana, Do deep nets really need to be deep?, arXiv 1312.6184.

    Args:
        student: logits ``z_s`` ``[batch, classes]``.
        teacher: logits ``z_t`` of the same shape.
    """
    return F.mse_loss(student, teacher)


def distillation_loss(
    student: Tensor,
    teacher: Tensor,
    labels: Tensor | None,
    *,
    beta: float,
    temperature: float,
    logit_weight: float = 0.0,
) -> Tensor:
    """`hinton_loss` plus ``β · w · logit_loss`` where the outputs are scores of classes, `regression_loss` otherwise.

    Outputs count as scores when there are several for each sample and the labels, if any, are classes. Outputs of
    three dimensions are scores for every token of a text (Y. Kim and A. Rush, Sequence-level knowledge distillation,
    arXiv 1606.07947, the word level), with labels, if any, of two. Tokens that a label says do not count, such as those
    that fill a text up, teach nothing and add zero to the mean over all tokens, which so is the same in parts.

    Args:
        student: outputs ``z_s`` ``[batch, …]``.
        teacher: outputs ``z_t`` of the same shape.
        labels: classes or targets; None leaves the teacher alone to teach (β = 1).
        beta: weight of the teacher, 0..1.
        temperature: T > 0.
        logit_weight: w ≥ 0.
    """
    by_class = labels is None or not labels.is_floating_point()
    if not by_class or student.flatten(1).shape[1] == 1:
        return regression_loss(student, teacher, None if by_class else labels, beta=beta)
    tokens = student.dim() == 3
    student, teacher = ((z.flatten(0, 1) if tokens else z.flatten(1)) for z in (student, teacher))
    share = 1.0
    if labels is not None:
        labels = labels.flatten()
        counted = labels != IGNORED
        share = float(counted.float().mean())
        if not share:
            return student.sum() * 0.0
        if share < 1:
            student, teacher, labels = student[counted], teacher[counted], labels[counted]
    loss = hinton_loss(student, teacher, labels, beta=beta, temperature=temperature)
    if logit_weight:
        loss = loss + (1.0 if labels is None else beta) * logit_weight * logit_loss(student, teacher)
    return share * loss
