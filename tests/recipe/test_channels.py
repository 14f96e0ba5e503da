import pytest

from studio.errors import RecipeError
from studio.models.layer import OK, Axis, Layer, ModelInfo, Share
from studio.recipe.channels import kept_channels, narrowed
from studio.recipe.cost import model_cost
from studio.recipe.recipe import Recipe
from studio.recipe.settings import ChannelSettings, LayerSettings

CAN = dict.fromkeys(("prune", "channels", "n_m", "rank", "quantize"), OK)


def layer(name: str, outputs: int, inputs: int, gives: str = "", takes: str = "") -> Layer:
    """A convolution of 3×3 at 16 places."""
    weights = outputs * inputs * 9
    return Layer(
        name,
        "conv2d",
        (outputs, inputs, 3, 3),
        1,
        True,
        weights + outputs,
        4 * (weights + outputs),
        16 * weights,
        CAN,
        (Share(gives, 0, outputs, 1),) if gives else (),
        (Share(takes, 0, inputs, 1),) if takes else (),
        (Axis(4, 4, padding=1),) * 2,
    )


#: `a` and `b` lose the same channels, `b` and `c` take them.
LAYERS = (layer("a", 16, 3, "a"), layer("b", 16, 16, "a", "a"), layer("c", 4, 16, "", "a"))


def recipe(**layers: object) -> Recipe:
    return Recipe.model_validate({"layers": layers})


def shapes(chosen: Recipe) -> dict[str, tuple[int, ...]]:
    return {name: rest.shape[:2] for name, rest in chosen.narrowed(LAYERS).items()}


def test_one_layer_of_a_group_is_enough_to_say_it() -> None:
    assert shapes(recipe(b={"channels": {"ratio": 0.25}})) == {"a": (12, 3), "b": (12, 12), "c": (4, 12)}


def test_channels_can_be_asked_for_as_a_kind_of_pruning() -> None:
    chosen = LayerSettings.model_validate({"prune": {"kind": "channels", "ratio": 0.25, "multiple_of": 8}})
    assert chosen == LayerSettings(channels=ChannelSettings(ratio=0.25, multiple_of=8))
    with pytest.raises(ValueError, match="either prune with kind channels, or channels"):
        LayerSettings.model_validate({"prune": {"kind": "channels", "ratio": 0.25}, "channels": {"ratio": 0.5}})


@pytest.mark.parametrize(
    ("settings", "kept"),
    [
        (ChannelSettings(ratio=0.25), {("a", 0): 12}),
        (ChannelSettings(ratio=0.3, multiple_of=8), {}),
        (ChannelSettings(ratio=0.6, multiple_of=4), {("a", 0): 8}),
        (ChannelSettings(ratio=0.99), {("a", 0): 1}),
        (ChannelSettings(ratio=0.01), {}),
    ],
)
def test_what_stays_is_rounded_up_to_a_multiple_and_never_nothing(
    settings: ChannelSettings, kept: dict[tuple[str, int], int]
) -> None:
    assert kept_channels(LAYERS, {"a": settings}) == kept


def test_two_choices_for_the_same_channels_are_refused_with_both_names() -> None:
    both = recipe(a={"channels": {"ratio": 0.25}}, b={"channels": {"ratio": 0.5}})
    with pytest.raises(RecipeError, match="'b' and 'a' lose the same channels") as raised:
        both.check(LAYERS)
    assert raised.value.place == ("layers", "b", "channels")


def test_a_layer_named_exactly_goes_before_the_default() -> None:
    chosen = Recipe.model_validate(
        {"default": {"channels": {"ratio": 0.25}}, "layers": {"b": {"channels": {"ratio": 0.5}}}}
    )
    assert shapes(chosen)["a"] == (8, 3)


@pytest.mark.parametrize("kept", ["a", "c"])
def test_a_kept_layer_holds_the_channels_it_gives_or_takes(kept: str) -> None:
    chosen = recipe(b={"channels": {"ratio": 0.25}}, **{kept: {"keep": True}})
    assert shapes(chosen) == {"a": (16, 3), "b": (16, 16), "c": (4, 16)}


def test_arithmetic_parameters_and_ranks_are_those_of_what_stays() -> None:
    rest = narrowed(LAYERS[1], {("a", 0): 12})
    assert (rest.parameters, rest.macs) == (12 * 12 * 9 + 12, 16 * 12 * 12 * 9)
    info = ModelInfo("m.onnx", "onnx", "f" * 64, (), (), LAYERS, 3216, 13000, sum(x.macs for x in LAYERS))
    chosen = recipe(a={"channels": {"ratio": 0.75}}, b={"rank": {"rank": 16, "form": "matrix"}})
    cost = model_cost(info, chosen, {}, 14000)
    assert cost.layers["b"].parameters == 4 * (4 * 9 + 4) + 4
    assert cost.layers["c"].macs == 16 * 4 * 4 * 9
