"""Variants, and what measurements tell of them."""

from studio.evaluation.result import Measurement, Result
from studio.recipe.recipe import Recipe
from studio.recipe.settings import LayerSettings, QuantizeSettings
from studio.session.project import Choice
from studio.session.variants import Variants


def test_the_original_is_known_from_what_is_measured_beside_it_even_where_nobody_goes_there() -> None:
    variants = Variants()
    variants.add("Original", Choice(), 1000, None)
    value, original = (Measurement("top1", one, one - 1, one + 1, 100) for one in (97.0, 98.0))
    result = Result(value, original, Measurement("top1", 1.0, 0.5, 1.5, 100), 100, True, fit="sequential")
    eight = Choice(Recipe(default=LayerSettings(quantize=QuantizeSettings(weight_bits=8))))
    variants.measured(eight, result, 300)
    known = variants.all[0].result
    assert known is not None
    assert (known.metric, variants.all[0].bytes) == (original, 1000)
    own = Result(original, original, None, 100, True)
    variants.measured(Choice(), own, 1000)
    variants.measured(eight, result, 300)
    assert variants.all[0].result == own
