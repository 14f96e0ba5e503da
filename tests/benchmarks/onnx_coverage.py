"""How much of ONNX is understood: the `onnx` package's own node tests through the importer, counted by operator.

Run with ``python tests/benchmarks/onnx_coverage.py``. A test passes when the outputs agree within its own tolerance. It
is unsupported when the importer refuses it, both as it stands and with every input but the first held as a constant,
as weights are in real files. Anything else is wrong.
"""

import logging
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from onnx.backend.test.loader import load_model_tests

from studio.errors import ModelFileError
from studio.models.onnx_file import import_onnx

PASSED, UNSUPPORTED, WRONG = "passed", "unsupported", "wrong"


def judge(case: Any) -> tuple[str, str]:
    """The verdict on one test, and the reason of any but the first."""
    reason = ""
    for model, inputs in forms(case.model, case.data_sets[0][0]):
        try:
            graph, _, _ = import_onnx(model.SerializeToString(), Path())
        except ModelFileError as error:
            reason = str(error)
            continue
        except Exception as error:  # whatever it is, the importer should have refused in words
            return WRONG, f"importing: {type(error).__name__}: {error}"
        return compare(graph, inputs, case)
    return UNSUPPORTED, reason


def forms(model: onnx.ModelProto, inputs: list[Any]) -> Iterator[tuple[onnx.ModelProto, list[Any]]]:
    """The test as it stands, and with all inputs but the first as constants."""
    yield model, inputs
    if len(inputs) > 1 and all(isinstance(value, np.ndarray) for value in inputs):
        fixed = onnx.ModelProto()
        fixed.CopyFrom(model)
        for spec, value in zip(model.graph.input[1:], inputs[1:], strict=True):
            fixed.graph.initializer.append(numpy_helper.from_array(value, spec.name))
        del fixed.graph.input[1:]
        yield fixed, inputs[:1]


def compare(graph: torch.fx.GraphModule, inputs: list[Any], case: Any) -> tuple[str, str]:
    """Whether the graph's outputs are the expected ones."""
    try:
        with torch.no_grad():
            found = graph(*(torch.from_numpy(np.array(value)) for value in inputs))
    except Exception as error:  # a graph that was accepted must run
        return WRONG, f"running: {type(error).__name__}: {error}"
    found = found if isinstance(found, (tuple, list)) else (found,)
    for value, expected in zip(found, case.data_sets[0][1], strict=False):
        actual = value.numpy() if isinstance(value, torch.Tensor) else np.asarray(value)
        if actual.shape != np.shape(expected):
            return WRONG, f"the shape is {actual.shape}, not {np.shape(expected)}"
        if not np.allclose(actual, expected, rtol=case.rtol, atol=max(case.atol, 1e-6), equal_nan=True):
            return WRONG, "the values differ"
    return PASSED, ""


def main() -> None:
    """Prints the counts by operator, and every wrong test with its reason."""
    warnings.simplefilter("ignore")
    np.seterr(all="ignore")
    logging.disable(logging.WARNING)
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    wrong = []
    for case in load_model_tests(kind="node"):
        verdict, reason = judge(case)
        counts[case.model.graph.node[-1].op_type][verdict] += 1
        if verdict == WRONG:
            wrong.append(f"{case.name}: {reason.splitlines()[0][:150]}")
    for operator in sorted(counts):
        print(f"{operator:32}", *(f"{counts[operator][kind]:4} {kind}" for kind in (PASSED, UNSUPPORTED, WRONG)))
    total = sum(counts.values(), Counter())
    print(", ".join(f"{total[kind]} {kind}" for kind in (PASSED, UNSUPPORTED, WRONG)))
    print("\n".join(wrong))


if __name__ == "__main__":
    main()
