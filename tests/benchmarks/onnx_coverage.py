"""How much of ONNX is understood: the `onnx` package's own node tests through the importer, counted by operator.

Run with ``python tests/benchmarks/onnx_coverage.py``. A test passes when the outputs agree within its own tolerance. It
is unsupported when the importer refuses it as it stands, with every input but the first held as a constant, as weights
are in real files, and with all of them. Anything else is wrong.
"""

import logging
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import torch
from onnx import numpy_helper
from onnx.backend.test.loader import load_model_tests
from rich.console import Console
from rich.table import Table

from studio.errors import ModelFileError
from studio.models.layer import TensorSpec
from studio.models.onnx_file import import_onnx

PASSED, UNSUPPORTED, WRONG = "passed", "unsupported", "wrong"


def judge(case: Any) -> tuple[str, str]:
    """The verdict on one test, and the reason of any but the first."""
    reason = ""
    for model, inputs in forms(case.model, case.data_sets[0][0]):
        try:
            graph, specs, _ = import_onnx(model.SerializeToString(), Path())
        except ModelFileError as error:
            reason = str(error)
            continue
        except Exception as error:  # whatever it is, the importer should have refused in words
            return WRONG, f"importing: {type(error).__name__}: {error}"
        return compare(graph, specs, inputs, case)
    return UNSUPPORTED, reason


def forms(model: onnx.ModelProto, inputs: list[Any]) -> Iterator[tuple[onnx.ModelProto, list[Any]]]:
    """The test as it stands, with all inputs but the first as constants, and with all of them."""
    yield model, inputs
    if not all(isinstance(value, (np.ndarray, np.generic)) for value in inputs):
        return
    for free in range(min(len(inputs) - 1, 1), -1, -1):
        fixed = onnx.ModelProto()
        fixed.CopyFrom(model)
        for spec, value in zip(model.graph.input[free:], inputs[free:], strict=True):
            fixed.graph.initializer.append(numpy_helper.from_array(np.asarray(value), spec.name))
        del fixed.graph.input[free:]
        yield fixed, inputs[:free]


def compare(graph: torch.fx.GraphModule, specs: Sequence[TensorSpec], inputs: list[Any], case: Any) -> tuple[str, str]:
    """Whether the graph's outputs are the expected ones, in the types that the test tells."""
    given = [
        torch.from_numpy(array(value)).to(getattr(torch, spec.dtype)) for value, spec in zip(inputs, specs, strict=True)
    ]
    try:
        with torch.no_grad():
            found = graph(*given)
    except Exception as error:  # a graph that was accepted must run
        if any(value.numel() == 0 for value in given):
            return UNSUPPORTED, "a size of 0 stands for a free one"
        return WRONG, f"running: {type(error).__name__}: {error}"
    found = found if isinstance(found, (tuple, list)) else (found,)
    for value, wanted in zip(found, case.data_sets[0][1], strict=True):
        actual, expected, tolerance = value.numpy(), array(wanted), 2 * resolution(wanted)
        if actual.shape != expected.shape:
            return WRONG, f"the shape is {actual.shape}, not {expected.shape}"
        if not np.allclose(actual, expected, max(case.rtol, tolerance), max(case.atol, tolerance), equal_nan=True):
            return WRONG, "the values differ"
    return PASSED, ""


def array(value: Any) -> np.ndarray:
    """A test's value as numpy knows it: half-precision formats of others become float32."""
    found = np.asarray(numpy_helper.to_array(value) if isinstance(value, onnx.TensorProto) else value)
    return found.astype(np.float32) if found.dtype.kind not in "fiub" or found.dtype == np.float16 else found.copy()


def resolution(value: Any) -> float:
    """Relative distance of neighbouring numbers in the type of a test's value, that of float32 where it is finer."""
    found = np.asarray(numpy_helper.to_array(value) if isinstance(value, onnx.TensorProto) else value)
    return 1e-6 if found.dtype.kind in "iub" else max(float(ml_dtypes.finfo(found.dtype).eps), 1e-6)


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
    out, table = Console(), Table("operator", PASSED, UNSUPPORTED, WRONG)
    total = sum(counts.values(), Counter())
    for operator, count in [*sorted(counts.items()), ("all", total)]:
        table.add_row(operator, *(str(count[kind]) for kind in (PASSED, UNSUPPORTED, WRONG)))
    out.print(table)
    out.print("\n".join(wrong))


if __name__ == "__main__":
    main()
