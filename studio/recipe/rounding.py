"""Which activations a recipe rounds to 8 bits: those that its layers read and give, and the sums between them."""

from collections.abc import Collection, Iterable, Mapping

from studio.models.layer import IntegerOperator, Layer
from studio.recipe.settings import LayerSettings, Product


def rounded_layers(settings: Mapping[str, LayerSettings]) -> set[str]:
    """Layers whose inputs and outputs are rounded."""
    return {name for name, chosen in settings.items() if chosen.quantize and chosen.quantize.activation_bits}


def integer_layers(settings: Mapping[str, LayerSettings]) -> set[str]:
    """Those of them that run in integers: runtimes have kernels for symmetric 8-bit weights without groups only."""
    return {name for name in rounded_layers(settings) if runs_in_integers(settings[name])}


def runs_in_integers(settings: LayerSettings) -> bool:
    """Whether a layer with such settings runs in integers."""
    chosen = settings.quantize
    return bool(
        chosen
        and chosen.activation_bits
        and chosen.weight_bits == 8
        and chosen.granularity != "group"
        and chosen.symmetric
        and settings.rank is None
    )


def rounded_sites(operators: Iterable[IntegerOperator], layers: Collection[str]) -> set[int]:
    """Numbers of the sites that are rounded where `layers` are: theirs, and sums of two that are rounded before."""
    rounded = set[int]()
    for one in operators:
        if one.layer in layers or (one.layer is None and rounded.issuperset(one.inputs)):
            rounded.update(one.inputs)
            if one.output is not None:
                rounded.add(one.output)
    return rounded


def guarded_layers(operators: Iterable[IntegerOperator], settings: Mapping[str, LayerSettings]) -> set[str]:
    """Whole layers with float weights whose inputs are rounded: a runtime must be kept from rounding their weights."""
    operators = tuple(operators)
    rounded = rounded_sites(operators, rounded_layers(settings))
    return {
        one.layer
        for one in operators
        if one.layer is not None and one.inputs[0] in rounded and _has_float_weight(settings[one.layer])
    }


def nbits_layers(layers: Iterable[Layer], settings: Mapping[str, LayerSettings]) -> dict[str, Product]:
    """Layers that are written as ONNX Runtime's own products, and as which."""
    chosen = ((layer, settings[layer.name].quantize) for layer in layers if layer.name in settings)
    products = {layer.name: quantize.product_of(layer.shape) for layer, quantize in chosen if quantize is not None}
    return {name: product for name, product in products.items() if product != "portable"}


def _has_float_weight(settings: LayerSettings) -> bool:
    return settings.rank is None and (settings.quantize is None or settings.quantize.weight_bits == 16)
