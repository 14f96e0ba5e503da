"""What a model's layers get to see: the second moments of their inputs over calibration samples.

With ``H = E[x xᵀ]`` the error that replacing W by Ŵ makes at a layer's output is ``tr((W − Ŵ) H (W − Ŵ)ᵀ)``: all
that the compression methods need to know of the data. This module gathers the moments; `studio.compression` uses
them.

Products are taken in float32 over one batch (or slice of it) at a time and summed up in float64. An entry of H is
therefore off by no more than that of one batch: in theory rows · 2⁻²⁴ of ``√(Hᵢᵢ Hⱼⱼ)``, in practice below 2·10⁻⁶ of
it, as the sums inside a matrix product are blocked (the tests hold it to that). In float64 throughout it would take
more than ten times as long.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx

from studio.analysis.inputs import HasRows, input_rows, output_rows
from studio.errors import DataError
from studio.models.model import Model
from studio.progress import Progress, Report, silent

Batch = tuple[Tensor, ...]

#: Floats of an unfolded input that are held at once (64 MiB): larger ones are taken in slices of the batch.
_SLICE = 16 * 2**20


@dataclass(frozen=True, eq=False)
class Calibration:
    """The inputs of every layer in short.

    Attributes:
        moments: by layer ``E[x xᵀ]`` over all samples and positions, float32, ``[n, n]`` with n = in·k·k as in
            ``weight.flatten(1)``; grouped convolutions ``[groups, n, n]``. Embeddings and layers that were never
            reached are absent.
        means: by layer ``E[x]``, ``[n]`` or ``[groups, n]``.
        samples: how many samples were seen.
        batches: the samples, for fits that follow the compressed model; a lazy sequence holds none of them.
        fingerprint: hexadecimal hash of the model and the samples.
        scores: whether the model's outputs are taken for scores of classes, as they are unless labels say otherwise.
    """

    moments: Mapping[str, Tensor]
    means: Mapping[str, Tensor]
    samples: int
    batches: Sequence[Batch]
    fingerprint: str
    scores: bool = True


@torch.no_grad()
def calibrate(model: Model, batches: Sequence[Batch], report: Report = silent) -> Calibration:
    """Runs samples through a model and gathers the moments of every layer's input.

    One batch is held at a time, so that memory is that of the moments and one batch's activations.

    Args:
        model: the original.
        batches: the model's inputs, first dimension the batch.
        report: told of every batch; raising `Cancelled` from it stops the work.

    Raises:
        DataError: a sample, or what a layer makes of it, is not finite.
    """
    gather, digest, samples = _Gather(model), _Digest(model), 0
    for done, batch in enumerate(batches, start=1):
        gather.run(*batch)
        digest.add(batch)
        samples += len(batch[0])
        report(Progress(done, len(batches), "Learning what the layers see"))
    _check_finite(gather.moments, batches)
    return Calibration(
        {name: _ungrouped(moment.second) for name, moment in gather.moments.items()},
        {name: _ungrouped(moment.mean) for name, moment in gather.moments.items()},
        samples,
        batches,
        digest.text,
    )


def _check_finite(moments: Mapping[str, "RunningMoments"], batches: Sequence[Batch]) -> None:
    """Refuses samples that nothing can be fitted to.

    Raises:
        DataError: a sample, or what a layer makes of it, is not finite.
    """
    strange = next((name for name, moment in moments.items() if not moment.second.isfinite().all()), None)
    if strange is None:
        return
    if any(part.is_floating_point() and not part.isfinite().all() for batch in batches for part in batch):
        raise DataError("The data to fit to hold values that are not finite (NaN or infinite): take them out.")
    raise DataError(
        f"{strange}: what the layer is given on the data to fit to is not finite (NaN or infinite): the weights before "
        "it, or the data's scale, are at fault."
    )


def calibration_fingerprint(model: Model, batches: Sequence[Batch]) -> str:
    """The `Calibration.fingerprint` that these would give, without running the model."""
    digest = _Digest(model)
    for batch in batches:
        digest.add(batch)
    return digest.text


class RunningMoments:
    """Means of ``x xᵀ`` and x, and of ``y xᵀ`` and y where outputs are given too, over a layer's rows so far."""

    def __init__(self, layer: HasRows) -> None:
        self._layer = layer
        self._rows = 0
        self._sums = {key: torch.zeros((), dtype=torch.float64) for key in ("xx", "x", "yx", "y")}

    def add(self, x: Tensor, y: Tensor | None = None) -> None:
        """Takes in a batch of the layer's inputs and, where wanted, of outputs to go with them."""
        parts = slices(self._layer, x)
        wanted = torch.split(y, [len(part) for part in parts]) if y is not None else (None,) * len(parts)
        for part, output in zip(parts, wanted, strict=True):
            rows = input_rows(self._layer, part)
            self._rows += rows.shape[1]
            self._add(xx=rows.mT @ rows, x=rows.sum(1))
            if output is not None:
                targets = output_rows(self._layer, output)
                self._add(yx=targets.mT @ rows, y=targets.sum(1))

    @property
    def second(self) -> Tensor:
        """``E[x xᵀ]``, float64 ``[groups, n, n]``."""
        return self._sums["xx"] / self._rows

    @property
    def mean(self) -> Tensor:
        """``E[x]``, ``[groups, n]``."""
        return self._sums["x"] / self._rows

    @property
    def cross(self) -> Tensor:
        """``E[y xᵀ]``, ``[groups, out / groups, n]``."""
        return self._sums["yx"] / self._rows

    @property
    def output_mean(self) -> Tensor:
        """``E[y]``, ``[groups, out / groups]``."""
        return self._sums["y"] / self._rows

    def _add(self, **sums: Tensor) -> None:
        for key, value in sums.items():
            self._sums[key] = self._sums[key] + value.double()


def slices(layer: HasRows, x: Tensor) -> tuple[Tensor, ...]:
    """`x` cut along the batch so that one slice unfolded stays small."""
    unfolded = x.numel() * layer.weight[0].numel() // max(1, layer.weight.shape[1])
    parts = min(len(x), -(-unfolded // _SLICE))
    return x.chunk(max(1, parts))


class _Gather(fx.Interpreter):
    """Runs the graph and notes what goes into its layers."""

    def __init__(self, model: Model) -> None:
        super().__init__(model.graph)
        self._layers = {layer.name for layer in model.info.layers}
        self.moments: dict[str, RunningMoments] = {}

    def call_module(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        layer = self.fetch_attr(target)
        if target in self._layers and isinstance(layer, HasRows):
            self.moments.setdefault(target, RunningMoments(layer)).add(args[0])
        return layer(*args, **kwargs)


def _ungrouped(moment: Tensor) -> Tensor:
    return (moment[0] if len(moment) == 1 else moment).float()


class _Digest:
    """Hashes a model and samples as they come; how they are cut into batches makes a difference in the last bits."""

    def __init__(self, model: Model) -> None:
        self._sha = hashlib.sha256(model.info.fingerprint.encode())

    def add(self, batch: Batch) -> None:
        for tensor in batch:
            self._sha.update(f"{tensor.dtype} {tuple(tensor.shape)}".encode())
            self._sha.update(tensor.contiguous().numpy(force=True).data)

    @property
    def text(self) -> str:
        return self._sha.hexdigest()


def second_moment(calibration: Calibration | None, layer: str, about_mean: bool) -> Tensor | None:
    """The second moment of a layer's inputs, ``[n, n]`` or ``[groups, n, n]``, None where it was not measured.

    Args:
        calibration: what was measured, if anything was.
        layer: its name.
        about_mean: without what the mean input adds, which a bias can make up for.
    """
    if calibration is None or layer not in calibration.moments:
        return None
    mean = calibration.means[layer]
    return calibration.moments[layer] - (mean.unsqueeze(-1) * mean.unsqueeze(-2) if about_mean else 0.0)
