"""What a layer is fitted to: the weight it stands for, and what its inputs and outputs look like."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from studio.analysis.calibration import Calibration
from studio.analysis.inputs import HasRows
from studio.compression.channels import Cut
from studio.compression.solver import damped

#: Share of its second moment that an input's variance may be by rounding alone: moments are summed from products in
#: single precision (`studio.analysis.calibration`).
_ROUNDING = 1e-6


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


def layer_fit(name: str, layer: HasRows, calibration: Calibration | None, bias_correction: bool = True) -> Fit:
    """Nearest to what the layer does to its inputs in the original model; `plain_fit` where those are unknown.

    Without `bias_correction` the bias stays as it is.
    """
    plain = plain_fit(layer)
    if calibration is None or name not in calibration.moments:
        return plain
    groups, _, columns = plain.weight.shape
    second = calibration.moments[name].double().reshape(groups, columns, columns)
    mean = calibration.means[name].double().reshape(groups, columns)
    if plain.bias is None or not bias_correction:
        return Fit(plain.weight, plain.bias, second, mean, None)
    output_mean = (plain.weight @ mean[..., None]).flatten() + plain.bias.double()
    return Fit(plain.weight, plain.bias, covariance(second, mean), mean, output_mean)


def covariance(second: Tensor, mean: Tensor) -> Tensor:
    """``E[x xᵀ] − E[x] E[x]ᵀ``, ``[groups, n, n]``; zero for inputs that vary no more than rounding lets them."""
    found = second - mean[..., :, None] * mean[..., None, :]
    varies = found.diagonal(dim1=-2, dim2=-1) > _ROUNDING * second.diagonal(dim1=-2, dim2=-1)
    return found * varies[..., :, None] * varies[..., None, :]


def _grouped(layer: HasRows) -> Tensor:
    groups = 1 if isinstance(layer, nn.Linear) else layer.groups
    return layer.weight.detach().double().reshape(groups, len(layer.weight) // groups, -1)


def fit_of_rest(fit: Fit, layer: HasRows, cut: Cut) -> Fit:
    """The task of what stays of a layer: the outputs that stay, from the inputs that stay.

    The inputs that stay make up for the others as well as the samples allow, ``W_k + W_r H_rk H_kk⁻¹``; the bias
    follows from the means. Without data they count as before.

    Args:
        fit: of the whole layer.
        layer: the whole layer.
        cut: what stays of it.
    """
    rows = list(cut.outputs)
    bias, output_mean = (None if value is None else value[rows] for value in (fit.bias, fit.output_mean))
    if len(fit.weight) > 1:  # depthwise: a channel goes with the one input it sees
        moment, mean = (None if value is None else value[rows] for value in (fit.moment, fit.input_mean))
        return Fit(fit.weight[rows], bias, moment, mean, output_mean)
    stays = torch.zeros(layer.weight.shape[1:], dtype=torch.bool)
    stays[list(cut.inputs)] = True
    kept, gone = (torch.nonzero(mask)[:, 0] for mask in (stays.flatten(), ~stays.flatten()))
    W = fit.weight[:, rows]
    if fit.moment is None or fit.input_mean is None:
        return Fit(W[..., kept], bias)
    H = fit.moment[0]
    inner = H[kept][:, kept]
    makes_up = torch.linalg.solve(damped(inner), H[kept][:, gone])  # [kept, gone]
    return Fit(W[..., kept] + W[..., gone] @ makes_up.mT, bias, inner[None], fit.input_mean[:, kept], output_mean)
