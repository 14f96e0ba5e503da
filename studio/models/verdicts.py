"""What can be done to a layer by its kind and shape alone; free of torch."""

import math

from studio.models.layer import OK


def verdicts(kind: str, shape: tuple[int, ...], groups: int) -> dict[str, str]:
    """For each technique, `OK` or the reason in words why it cannot be applied to such a layer."""
    if kind == "embedding" or kind.startswith("conv_transpose"):
        plural = "embedding" if kind == "embedding" else "transposed convolution"
        return {
            "prune": f"pruning is not supported for {plural} layers",
            "n_m": f"pruning is not supported for {plural} layers",
            "rank": f"low rank is not supported for {plural} layers",
            "quantize": f"quantization is not supported for {plural} layers",
            "activations": f"quantization is not supported for {plural} layers",
        }
    return {
        "prune": OK,
        "n_m": OK if math.prod(shape[1:]) > 1 else "each output has a single weight: no neighbours to choose from",
        "rank": _rank_verdict(shape, groups),
        "quantize": OK,
        "activations": OK,
    }


def _rank_verdict(shape: tuple[int, ...], groups: int) -> str:
    if groups > 1 and shape[1] == 1:
        return "depthwise convolution: each group sees a single input channel, nothing to factor"
    if groups > 1:
        return "grouped convolution: its groups share no inputs to factor"
    if min(shape[0], math.prod(shape[1:])) < 2:
        return "the weight matrix has a single row or column: nothing to factor"
    return OK
