"""ONNX's recurrent operators: what they read becomes a linear layer for each direction, the steps are written out.

The input's matrix W is so a layer like any other. The matrix R multiplies what the step before gave, many times a run;
it trains along, but is no layer.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import fx, nn

from studio.models import recurrent
from studio.models.onnx_graph import Table, Workbench
from studio.models.onnx_names import generated
from studio.models.onnx_nodes import Operator

RECURRENT = Table()

#: By operator, how many gates it has, and what they and its states are squashed with.
_GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}
_SQUASHING = {"RNN": ("tanh",), "GRU": ("sigmoid", "tanh"), "LSTM": ("sigmoid", "tanh", "tanh")}
_FUNCTIONS: dict[str, Callable[..., Any]] = {"RNN": recurrent.rnn, "GRU": recurrent.gru, "LSTM": recurrent.lstm}

#: By what a network calls its directions, which of them go backwards.
_BACKWARDS = {"forward": (False,), "reverse": (True,), "bidirectional": (False, True)}


@RECURRENT("RNN", "GRU", "LSTM")
def recur(bench: Workbench, op: Operator) -> Any:
    """``[steps, N, in]`` → all states ``[steps, directions, N, hidden]``, and the last ``[directions, N, hidden]``."""
    _check(bench, op)
    batch_first = bool(op.get("layout", 0))
    x = _swapped(bench, bench.tensor(op, 0), batch_first)
    squash = _squashing(op)
    each = [
        _direction(bench, op, x, place, backwards, squash, batch_first)
        for place, backwards in enumerate(_BACKWARDS[op.get("direction", "forward")])
    ]
    outputs, *states = zip(*each, strict=True)
    ends = [bench.call(torch.stack, list(state), 1 if batch_first else 0) for state in states]
    every = bench.call(torch.stack, list(outputs), 1)
    return (bench.call(torch.permute, every, (2, 0, 1, 3)) if batch_first else every, *ends)


def _check(bench: Workbench, op: Operator) -> None:
    """Refuses what cannot be written out.

    Raises:
        ModelFileError: saying what is in the way.
    """
    if isinstance(bench.value(op, 0), torch.Tensor) or any(bench.constant(op, i) is None for i in (1, 2)):
        raise op.refuse("only constant weights on an input that is none are supported")
    if bench.value(op, 3) is not None and bench.constant(op, 3) is None:
        raise op.refuse("only constant biases are supported")
    if op.get("clip") or op.get("input_forget"):
        raise op.refuse("clipped or coupled gates are not supported")
    shape = bench.type_of(op.inputs[0]).shape
    if shape is None or shape[1 if op.get("layout", 0) else 0] is None:
        raise op.refuse("its steps are written out, and the file does not say how many there are")


def _squashing(op: Operator) -> tuple[tuple[str, ...], ...]:
    """For each direction, the names of its functions.

    Raises:
        ModelFileError: one of them is not known.
    """
    default, count = _SQUASHING[op.type], len(_BACKWARDS[op.get("direction", "forward")])
    names = [_text(name).lower() for name in op.get("activations", ())] or list(default) * count
    if len(names) != len(default) * count or not set(names) <= set(recurrent.SQUASHING):
        raise op.refuse(f"the activations {', '.join(names)} are not supported")
    return tuple(tuple(names[i * len(default) : (i + 1) * len(default)]) for i in range(count))


def _text(name: Any) -> str:
    return name.decode() if isinstance(name, bytes) else str(name)


def _swapped(bench: Workbench, value: Any, batch_first: bool) -> Any:
    """Whole sequences behind each other in the file become steps behind each other."""
    return bench.call(torch.transpose, value, 0, 1) if batch_first and value is not None else value


def _direction(
    bench: Workbench, op: Operator, x: Any, place: int, backwards: bool, squash: Any, batch_first: bool
) -> tuple[Any, ...]:
    """What one direction gives: every state, and the last ones."""
    bias, behind_reset = _biases(bench, op, place)
    projected = _projection(bench, op, x, place, bias)
    hidden = _swapped(bench, bench.tensor(op, 5), batch_first)
    more: tuple[Any, ...] = ()
    if op.type == "GRU":
        more = (behind_reset,)
    elif op.type == "LSTM":
        more = (_swapped(bench, bench.tensor(op, 6), batch_first), bench.tensor(op, 7))
    arguments = (projected, bench.tensor(op, 2), hidden, bench.tensor(op, 4), place, backwards, squash[place], *more)
    return bench.parts(_FUNCTIONS[op.type], 3 if op.type == "LSTM" else 2, *arguments)


def _biases(bench: Workbench, op: Operator, place: int) -> tuple[torch.Tensor | None, torch.Tensor | None]:
    """What is added to every step, and what a GRU whose reset gate comes late adds before that gate."""
    both, late = bench.constant(op, 3), op.type == "GRU" and bool(op.get("linear_before_reset", 0))
    size = op.get("hidden_size")
    if both is None:
        return None, torch.zeros(size) if late else None
    of_input, of_hidden = both[place].chunk(2)
    if not late:
        return of_input + of_hidden, None
    gates = torch.cat((of_hidden[: 2 * size], torch.zeros(size)))
    return of_input + gates, of_hidden[2 * size :].clone()


def _projection(bench: Workbench, op: Operator, x: Any, place: int, bias: torch.Tensor | None) -> fx.Node:
    """The layer ``[steps, N, in]`` → ``[steps, N, gates · hidden]`` of one direction."""
    weight = bench.constant(op, 1)
    if weight is None or weight.shape[1] != _GATES[op.type] * op.get("hidden_size", 0):
        raise op.refuse("its weight does not fit its hidden_size")
    with torch.device("meta"):
        module = nn.Linear(weight.shape[2], weight.shape[1], bias is not None)
    module.weight = nn.Parameter(weight[place].clone())
    if bias is not None:
        module.bias = nn.Parameter(bias.clone())
    direction = "" if weight.shape[0] == 1 else ("_forward", "_backward")[place]
    sources = {"weight": f"{op.inputs[1]}[{place}]"} | (
        {"bias": f"{op.inputs[3]}[{place}]"} if bias is not None else {}
    )
    return bench.layer(op, f"{_path(op)}.input{direction}", module, sources, x)


def _path(op: Operator) -> str:
    """Where the layers hang: what their weight's name or the node's tells."""
    weight = op.inputs[1]
    if "." in weight and not generated(weight):
        return weight.rsplit(".", 1)[0]
    parts = [part for part in op.name.split("/") if part]
    return ".".join(parts[:-1] if len(parts) > 1 and op.name.startswith("/") else parts) or op.type
