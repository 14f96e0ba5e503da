"""How a layer's weight is split into factors: the forms there are, their shapes, and what fits a budget.

A weight ``[out, in, *kernel]`` becomes a chain of thinner layers (torch-free; `studio.compression.rank` finds the
values):

- ``matrix``: ``[r, in, *kernel]`` then ``[out, r, 1 …]``: the weight as a matrix of rank r;
- ``spatial``: ``[r, in, k, 1 …]`` then ``[out, r, 1, k …]``: along the kernel's first axis, then along the others
  (Jaderberg et al. 2014, arXiv 1405.3866);
- ``tucker``: ``[b, in, 1 …]``, ``[a, b, *kernel]``, ``[out, a, 1 …]``: fewer channels around a small convolution
  (Kim et al. 2016, arXiv 1511.06530).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from math import isqrt, prod
from typing import Literal

from studio.recipe.settings import RankSettings

Form = Literal["matrix", "spatial", "tucker"]
Shape = tuple[int, ...]

FORMS: tuple[Form, ...] = ("matrix", "spatial", "tucker")

#: Names of the factors within their layer, in the order they run.
PARTS = ("first", "second", "third")


@dataclass(frozen=True)
class Factorization:
    """One way to split a weight.

    Attributes:
        form: one of `FORMS`.
        ranks: what passes from factor to factor: one number, with ``tucker`` two.
    """

    form: Form
    ranks: tuple[int, ...]

    def shapes(self, shape: Shape) -> tuple[Shape, ...]:
        """Shapes of the factors of a weight of `shape` ``[out, in, *kernel]``."""
        out, inputs, *kernel = shape
        ones = (1,) * len(kernel)
        if self.form == "tucker":
            narrow, wide = self.ranks
            return (narrow, inputs, *ones), (wide, narrow, *kernel), (out, wide, *ones)
        (rank,) = self.ranks
        if self.form == "spatial":
            return (rank, inputs, kernel[0], *ones[1:]), (out, rank, 1, *kernel[1:])
        return (rank, inputs, *kernel), (out, rank, *ones)

    def weights(self, shape: Shape) -> int:
        """How many weights the factors hold in all."""
        return sum(map(prod, self.shapes(shape)))


def has_form(shape: Shape, form: Form) -> bool:
    """Whether a weight of `shape` can take that form at all: it takes a kernel, ``spatial`` one in two directions."""
    kernel = shape[2:]
    if form == "spatial":
        return len(kernel) > 1 and kernel[0] > 1 and prod(kernel[1:]) > 1
    return form == "matrix" or prod(kernel) > 1


def carrier(form: Form, axis: int) -> int:
    """Which factor moves along a kernel axis, with its stride, padding and dilation."""
    return {"matrix": 0, "spatial": min(axis, 1), "tucker": 1}[form]


def budget(settings: RankSettings, shape: Shape, rank: int | None = None) -> int | None:
    """The weights that the settings allow the factors of a weight of `shape`; `rank` is what an energy comes to.

    A rank stands for the weights that the matrix form of that rank holds. None while an energy is not known.
    """
    if settings.parameters is not None:
        return int(settings.parameters * prod(shape))
    rank = settings.rank or rank
    return None if rank is None else rank * (shape[0] + prod(shape[1:]))


def largest(form: Form, shape: Shape, weights: int) -> Factorization:
    """The factorization of that form with the largest ranks whose factors hold at most `weights`; ranks are 1 at least.

    The two ranks of ``tucker`` are the same share of the inputs and the outputs.
    """
    out, inputs, *kernel = shape
    if form != "tucker":
        first, second = Factorization(form, (1,)).shapes(shape)
        most = min(prod(first[1:]), out * prod(second[2:]))
        return Factorization(form, (max(1, min(weights // (prod(first) + prod(second)), most)),))
    core, ends = out * inputs * prod(kernel), inputs * inputs + out * out
    share = (isqrt(ends * ends + 4 * core * weights) - ends) / (2 * core)  # core · t² + ends · t = weights
    ranks = tuple(max(1, min(int(share * size), size)) for size in (inputs, out))
    return Factorization(form, ranks)


def candidates(settings: RankSettings, shape: Shape, weights: int) -> Iterator[Factorization]:
    """The factorizations that the settings leave open within a budget; the matrix form where no other is possible."""
    wanted = FORMS if settings.form == "auto" else (settings.form,)
    possible = [form for form in wanted if has_form(shape, form)] or ["matrix"]
    for form in possible:
        found = largest(form, shape, weights)
        if form == possible[0] or found.weights(shape) <= weights:
            yield found
