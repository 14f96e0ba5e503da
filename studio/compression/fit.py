"""What a layer is fitted to: the weight it stands for, and what its inputs and outputs look like."""

from dataclasses import dataclass

from torch import Tensor, nn

from studio.analysis.calibration import Calibration
from studio.analysis.inputs import HasRows


@dataclass(frozen=True, eq=False)
class Fit:
    """The task of compressing one layer: find Ŵ and b̂ with ``Ŵ x + b̂`` near to the wanted output for its inputs x.

    With a bias the best b̂ takes up the mean, so that what remains for Ŵ to match is the *covariance* of the inputs;
    without one it is their second moment.

    Attributes:
        weight: the wanted weight, float64 ``[groups, out / groups, n]``.
        bias: of the layer, ``[out]`` or None.
        moment: covariance (with bias) or second moment of the inputs, ``[groups, n, n]``; None without data.
        input_mean: ``[groups, n]``; None without data.
        output_mean: mean of the wanted outputs, ``[out]``; None without data.
    """

    weight: Tensor
    bias: Tensor | None
    moment: Tensor | None = None
    input_mean: Tensor | None = None
    output_mean: Tensor | None = None

    def bias_for(self, weight: Tensor) -> Tensor | None:
        """The bias with which `weight` ``[out, in / groups, *kernel]`` gives the wanted mean output."""
        if self.bias is None or self.input_mean is None or self.output_mean is None:
            return self.bias
        given = weight.double().reshape(self.weight.shape) @ self.input_mean[..., None]
        return (self.output_mean - given.flatten()).float()


def plain_fit(layer: HasRows) -> Fit:
    """Nearest to the layer's weight, all inputs counting alike."""
    bias = None if layer.bias is None else layer.bias.detach()
    return Fit(_grouped(layer), bias)


def layer_fit(name: str, layer: HasRows, calibration: Calibration | None) -> Fit:
    """Nearest to what the layer does to its inputs in the original model; `plain_fit` where those are unknown."""
    plain = plain_fit(layer)
    if calibration is None or name not in calibration.moments:
        return plain
    groups, _, columns = plain.weight.shape
    second = calibration.moments[name].double().reshape(groups, columns, columns)
    mean = calibration.means[name].double().reshape(groups, columns)
    if plain.bias is None:
        return Fit(plain.weight, None, second, mean, None)
    output_mean = (plain.weight @ mean[..., None]).flatten() + plain.bias.double()
    return Fit(plain.weight, plain.bias, covariance(second, mean), mean, output_mean)


def covariance(second: Tensor, mean: Tensor) -> Tensor:
    """``E[x xᵀ] − E[x] E[x]ᵀ``, ``[groups, n, n]``."""
    return second - mean[..., :, None] * mean[..., None, :]


def _grouped(layer: HasRows) -> Tensor:
    groups = 1 if isinstance(layer, nn.Linear) else layer.groups
    return layer.weight.detach().double().reshape(groups, len(layer.weight) // groups, -1)
