"""Whether a file of arrays holds samples or the weights of a model: by its names and shapes, free of torch."""

import re
from pathlib import Path

from studio.errors import DataError
from studio.evaluation.arrays import array_shapes

#: Arrays of a data set at most: what goes in, what comes out, and a little about each sample.
MOST_ARRAYS = 12

#: What weights are called and samples are not.
_WEIGHTS = re.compile(r"(^|[._])(weight|bias|gamma|beta|kernel|running_(mean|var)|scale|zero_point)s?$", re.IGNORECASE)


def holds_samples(path: Path) -> bool:
    """Whether a ``.safetensors`` file is data: a few arrays of the same length, none of which is called a weight.

    A file that cannot be read holds none: whoever opens it as a model says what is wrong.
    """
    try:
        shapes = [(name, shape) for name, (shape, _) in array_shapes(path).items()]
    except DataError:
        return False  # also types that data cannot have, such as bfloat16
    lengths = {shape[:1] for _, shape in shapes}
    if len(lengths) != 1 or lengths <= {(), (0,), (1,)} or len(shapes) > MOST_ARRAYS:
        return False
    return not any(_WEIGHTS.search(name) or "." in name for name, _ in shapes)
