"""Recurrent networks over one sequence in one direction, written out step by step.

What a step reads from the sequence was multiplied beforehand, ``x Wᵀ + b`` for all steps at once, by a linear layer of
its own. Gates stand in ONNX's order: input, output, forget, cell; update, reset, hidden.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

#: What a network may squash its values with, by ONNX's names.
SQUASHING: dict[str, Callable[[Tensor], Tensor]] = {
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "relu": torch.relu,
}


def rnn(
    projected: Tensor,
    recurrence: Tensor,
    hidden: Tensor | None,
    lengths: Tensor | None,
    direction: int,
    backwards: bool,
    squash: Sequence[str],
) -> tuple[Tensor, Tensor]:
    """``h ← f(x Wᵀ + h Rᵀ + b)``.

    Args:
        projected: ``[steps, N, hidden]``.
        recurrence: R of all directions, ``[directions, hidden, hidden]``.
        hidden: the first h of all directions, ``[directions, N, hidden]``; None for zeros.
        lengths: of every sequence, ``[N]``; None where all are whole.
        direction: which of the directions this is.
        backwards: whether it goes from the last step to the first.
        squash: name of f.

    Returns:
        Every h, ``[steps, N, hidden]``, and the last, ``[N, hidden]``.
    """
    weight, f = recurrence[direction].t(), SQUASHING[squash[0]]

    def step(x: Tensor, states: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return (f(x + states[0] @ weight),)

    first = _first(hidden, direction, projected, recurrence)
    outputs, (last,) = _steps(step, projected, (first,), lengths, backwards)
    return outputs, last


def gru(
    projected: Tensor,
    recurrence: Tensor,
    hidden: Tensor | None,
    lengths: Tensor | None,
    direction: int,
    backwards: bool,
    squash: Sequence[str],
    hidden_bias: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """Gated recurrent unit, ``h ← (1 − z) ĥ + z h``; arguments as in `rnn`, with three gates.

    Args:
        projected: ``[steps, N, 3 · hidden]``.
        recurrence: ``[directions, 3 · hidden, hidden]``.
        hidden: as in `rnn`.
        lengths: as in `rnn`.
        direction: as in `rnn`.
        backwards: as in `rnn`.
        squash: names of the functions of the gates and of ĥ.
        hidden_bias: ``[hidden]``, where the reset gate comes behind the product: ``r (h Rᵀ + b)``; None where it comes
            before, ``(r h) Rᵀ``.
    """
    f, g = (SQUASHING[name] for name in squash)
    size = recurrence.shape[-1]
    weight = recurrence[direction].t()
    gates, candidate = weight[:, : 2 * size], weight[:, 2 * size :]

    def step(x: Tensor, states: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        (h,) = states
        of_gates, of_candidate = x[:, : 2 * size], x[:, 2 * size :]
        z, r = f(of_gates + h @ gates).chunk(2, 1)
        turned = (r * h) @ candidate if hidden_bias is None else r * (h @ candidate + hidden_bias)
        return ((1 - z) * g(of_candidate + turned) + z * h,)

    first = _first(hidden, direction, projected, recurrence)
    outputs, (last,) = _steps(step, projected, (first,), lengths, backwards)
    return outputs, last


def lstm(
    projected: Tensor,
    recurrence: Tensor,
    hidden: Tensor | None,
    lengths: Tensor | None,
    direction: int,
    backwards: bool,
    squash: Sequence[str],
    cell: Tensor | None,
    peepholes: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Long short-term memory, ``c ← f c + i ĉ`` and ``h ← o tanh(c)``; arguments as in `rnn`, with four gates.

    Args:
        projected: ``[steps, N, 4 · hidden]``.
        recurrence: ``[directions, 4 · hidden, hidden]``.
        hidden: as in `rnn`.
        lengths: as in `rnn`.
        direction: as in `rnn`.
        backwards: as in `rnn`.
        squash: names of the functions of the gates, of ĉ, and of c.
        cell: the first c of all directions, ``[directions, N, hidden]``; None for zeros.
        peepholes: what input, output and forget gates see of c, ``[directions, 3 · hidden]``; None for nothing.

    Returns:
        Every h, the last h, and the last c.
    """
    weight = recurrence[direction].t()
    f, g, h_of = (SQUASHING[name] for name in squash)
    seen = (0.0, 0.0, 0.0) if peepholes is None else peepholes[direction].chunk(3)

    def step(x: Tensor, states: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        h, c = states
        i, o, forget, candidate = (x + h @ weight).chunk(4, 1)
        c_next = f(forget + seen[2] * c) * c + f(i + seen[0] * c) * g(candidate)
        return f(o + seen[1] * c_next) * h_of(c_next), c_next

    first = tuple(_first(state, direction, projected, recurrence) for state in (hidden, cell))
    outputs, (last, last_cell) = _steps(step, projected, first, lengths, backwards)
    return outputs, last, last_cell


def _first(state: Tensor | None, direction: int, projected: Tensor, recurrence: Tensor) -> Tensor:
    """The state ``[N, hidden]`` that a direction starts from."""
    if state is not None:
        return state[direction]
    return projected.new_zeros(projected.shape[1], recurrence.shape[-1])


def _steps(
    step: Callable[[Tensor, tuple[Tensor, ...]], tuple[Tensor, ...]],
    projected: Tensor,
    states: tuple[Tensor, ...],
    lengths: Tensor | None,
    backwards: bool,
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """All steps in order; behind the end of a sequence states stay and outputs are zero."""
    count = projected.shape[0]
    outputs = []
    for t in reversed(range(count)) if backwards else range(count):
        new = step(projected[t], states)
        if lengths is None:
            states, output = new, new[0]
        else:
            there = (t < lengths).unsqueeze(1)
            states = tuple(torch.where(there, one, old) for one, old in zip(new, states, strict=True))
            output = torch.where(there, new[0], torch.zeros_like(new[0]))
        outputs.append(output)
    return torch.stack(outputs[::-1] if backwards else outputs), states
