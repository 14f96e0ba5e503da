import onnx
import pytest
from onnx import TensorProto, helper

from studio.models.layer import OK, Layer, ModelInfo
from studio.recipe.cost import layer_cost, model_cost
from studio.recipe.factorization import Factorization
from studio.recipe.protobuf import node_size, tensor_size, varint_size
from studio.recipe.recipe import Recipe
from studio.recipe.settings import LayerSettings

LINEAR = Layer(
    "head",
    "linear",
    (64, 64),
    1,
    True,
    64 * 64 + 64,
    4 * (64 * 64 + 64),
    64 * 64,
    dict.fromkeys(("prune", "rank", "quantize"), OK),
)
CONV = Layer(
    "conv", "conv2d", (16, 8, 3, 3), 1, False, 1152, 4608, 1152 * 100, dict.fromkeys(("prune", "rank", "quantize"), OK)
)


def _settings(**methods):
    return LayerSettings.model_validate(methods)


def _info(*layers):
    parameters = sum(layer.parameters for layer in layers) + 10
    return ModelInfo("", "onnx", "", (), (), layers, parameters, 4 * parameters, sum(layer.macs for layer in layers))


@pytest.mark.parametrize(("number", "size"), [(0, 1), (127, 1), (128, 2), (16383, 2), (16384, 3)])
def test_varints_take_seven_bits_a_byte(number, size):
    assert varint_size(number) == size


def test_sizes_are_those_of_protobuf_itself():
    tensor = helper.make_tensor("layer.weight", TensorProto.INT8, [300, 2], b"\0" * 600, raw=True)
    node = helper.make_node("Conv", ["x", "layer.weight"], ["y"], name="layer", kernel_shape=[3, 300])
    graph = onnx.GraphProto(initializer=[tensor], node=[node])
    predicted = tensor_size("layer.weight", (300, 2), 600)
    predicted += node_size("layer", "Conv", ("x", "layer.weight"), "y", {"kernel_shape": (3, 300)})
    assert graph.ByteSize() == predicted


def test_an_unchanged_layer_costs_what_it_is():
    cost = layer_cost(CONV, LayerSettings())
    assert (cost.bytes, cost.parameters, cost.nonzeros, cost.macs, cost.notes) == (4608, 1152, 1152, 115200, ())
    assert layer_cost(CONV, LayerSettings(keep=True)) == cost


def test_eight_bits_save_three_bytes_a_weight_but_scales_and_names():
    cost = layer_cost(CONV, _settings(quantize={"weight_bits": 8}))
    assert 0 < cost.bytes - (1152 + 16 * 4) < 200
    assert (cost.parameters, cost.macs) == (1152, 115200)
    assert "arithmetic does not" in cost.notes[0]


def test_four_bits_take_half_of_what_eight_bits_take_of_weights():
    eight, four = (layer_cost(CONV, _settings(quantize={"weight_bits": bits})).bytes for bits in (8, 4))
    assert eight - four == 1152 // 2


def test_smaller_groups_take_more_scales():
    sizes = [
        layer_cost(CONV, _settings(quantize={"granularity": "group", "group_size": size})).bytes for size in (16, 36)
    ]
    assert sizes[0] - sizes[1] == 4 * 16 * (5 - 2)


def test_a_rank_stores_two_factors():
    cost = layer_cost(LINEAR, _settings(rank={"rank": 8}))
    assert cost.parameters == 8 * 64 + 64 * 8 + 64
    assert cost.macs == 8 * 64 + 64 * 8
    assert 0 < cost.bytes - 4 * cost.parameters < 150
    assert cost.notes == ()


def test_a_rank_above_break_even_says_so():
    cost = layer_cost(LINEAR, _settings(rank={"rank": 40}))
    assert cost.bytes > LINEAR.bytes
    assert cost.notes == ("rank 40 is above break-even 32.0: the factors are no smaller than the layer",)


def test_zeros_are_stored():
    cost = layer_cost(CONV, _settings(prune={"ratio": 0.25}))
    assert (cost.bytes, cost.parameters, cost.nonzeros) == (4608, 1152, 864)
    assert cost.notes == ("zeros are stored and multiplied: neither the file nor the arithmetic shrinks",)


def test_n_of_m_says_who_makes_use_of_the_pattern():
    cost = layer_cost(CONV, _settings(prune={"kind": "n_m", "n": 1, "m": 4}))
    assert (cost.bytes, cost.nonzeros) == (4608, 1152 // 4)
    assert "neither the file nor the arithmetic shrinks" in cost.notes[0]
    assert cost.notes[1].startswith("runtimes on a CPU make no use of 1:4 zeros")


def test_n_of_m_counts_the_rows_of_each_factor():
    cost = layer_cost(CONV, _settings(rank={"rank": 6}, prune={"kind": "n_m", "n": 2, "m": 4}))
    assert cost.parameters - cost.nonzeros == 6 * 36 + 16 * 2


def test_a_shorter_last_group_is_told():
    nine = Layer("depthwise", "conv2d", (8, 1, 3, 3), 8, False, 72, 288, 72, {"n_m": OK})
    cost = layer_cost(nine, _settings(prune={"kind": "n_m", "n": 2, "m": 4}))
    assert cost.nonzeros == 8 * (2 + 2 + 1)
    assert "the last group of a row's 9 weights holds only 1, of which 1 stay" in cost.notes


def test_n_of_m_that_leaves_everything_says_so():
    short = Layer("short", "linear", (8, 2), 1, False, 16, 64, 16, {"n_m": OK})
    cost = layer_cost(short, _settings(prune={"kind": "n_m", "n": 2, "m": 4}))
    assert cost.nonzeros == 16
    assert cost.notes[-1] == "no row holds more than 2 weights: 2:4 leaves all of them"


@pytest.mark.parametrize("bits", [3, 2])
def test_fewer_than_four_bits_take_four_and_say_so(bits):
    four, fewer = (layer_cost(CONV, _settings(quantize={"weight_bits": count})) for count in (4, bits))
    assert fewer.bytes == four.bytes
    assert any(note.startswith(f"{bits}-bit weights take 4 bits each") for note in fewer.notes)
    assert not any("4 bits each" in note for note in four.notes)


def test_an_energy_needs_its_rank_and_says_so_until_then():
    settings = _settings(rank={"energy": 0.9})
    assert layer_cost(LINEAR, settings).bytes == LINEAR.bytes
    assert "not known" in layer_cost(LINEAR, settings).notes[0]
    assert layer_cost(LINEAR, settings, Factorization("matrix", (8,))) == layer_cost(
        LINEAR, _settings(rank={"rank": 8})
    )


def test_a_layer_too_small_to_gain_says_so():
    tiny = Layer("tiny", "conv2d", (2, 1, 1, 1), 1, False, 2, 8, 2, {"quantize": OK})
    cost = layer_cost(tiny, _settings(quantize={}))
    assert cost.bytes > tiny.bytes
    assert "so small" in cost.notes[-1]


def test_a_group_longer_than_a_row_says_so():
    notes = layer_cost(CONV, _settings(quantize={"granularity": "group", "group_size": 512})).notes
    assert any("a row holds only 72 weights" in note for note in notes)


def test_the_model_costs_the_uncompressed_file_and_what_each_layer_changes():
    recipe = Recipe.model_validate({"layers": {"conv": {"prune": {"ratio": 0.5}, "quantize": {}}}})
    info = _info(CONV, LINEAR)
    cost = model_cost(info, recipe, {}, 30_000)
    assert cost.bytes == 30_000 + cost.layers["conv"].bytes - CONV.bytes
    assert cost.layers["head"].bytes == LINEAR.bytes
    assert (cost.parameters, cost.nonzeros) == (info.parameters, info.parameters - 576)
    assert cost.macs == info.macs


def test_an_empty_recipe_costs_the_uncompressed_file():
    assert model_cost(_info(CONV, LINEAR), Recipe(), {}, 12345).bytes == 12345


def test_16_bit_floats_take_two_bytes_each_and_say_that_only_the_file_shrinks():
    cost = layer_cost(CONV, _settings(quantize={"weight_bits": 16}))
    saved = CONV.bytes - cost.bytes
    assert 2 * 1152 - 100 < saved < 2 * 1152
    assert cost.notes == ("runtimes widen 16-bit weights to 32 bits when they load the file: only the file shrinks",)


def test_zero_points_take_a_byte_each_and_keep_the_layer_from_integers():
    plain, asymmetric = (
        layer_cost(CONV, _settings(quantize={"symmetric": symmetric, "activation_bits": 8, "weight_bits": bits}))
        for symmetric, bits in ((True, 4), (False, 8))
    )
    assert asymmetric.bytes - plain.bytes > 1152 / 2
    assert "only whole layers with symmetric 8-bit weights without groups run in integers" in asymmetric.notes
