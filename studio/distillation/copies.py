"""Narrower and shallower copies of a model: students that are built like their teacher."""

import copy
from dataclasses import dataclass, replace

from torch import fx

from studio.compression.channels import with_arguments
from studio.compression.compressed import with_layers
from studio.compression.plan import make_plan
from studio.distillation.blocks import Block, repeated_blocks
from studio.distillation.copy_settings import CopySettings
from studio.distillation.new_weights import draw
from studio.errors import TrainingError
from studio.models.layers import layer_table
from studio.models.model import Model
from studio.recipe.recipe import Recipe

#: Random samples that show how large the signals of new weights are.
_EXAMPLES = 32


@dataclass(frozen=True, eq=False)
class Copy:
    """A smaller model.

    Attributes:
        graph: the network, its layers at the paths they have in the original.
        notes: what could not be made smaller and why, a line each.
    """

    graph: fx.GraphModule
    notes: tuple[str, ...]


def smaller_copy(model: Model, settings: CopySettings) -> Copy:
    """A copy with fewer blocks and channels, as A. Howard et al., MobileNets, arXiv 1704.04861, scale theirs.

    Blocks go from every run of equal ones, evenly; then every group of coupled channels keeps its share, the channels
    with the largest weights. New weights are those of `draw`; values that belong to no layer, such as embeddings
    of places, are taken over in any case.

    Raises:
        TrainingError: nothing about the model can be made smaller as the settings ask.
    """
    notes = list[str]()
    shallow = _with_fewer_blocks(model, settings.depth, notes) if settings.depth < 1 else model
    graph = _narrowed(shallow, settings.width, notes) if settings.width < 1 else shallow.graph
    if graph is model.graph:
        raise TrainingError(" ".join(notes) or "width, depth: at 100 % a copy is no smaller; choose less.")
    graph = copy.deepcopy(graph)
    if settings.start == "new":
        draw(graph, settings.seed, model.example(_EXAMPLES))
    return Copy(graph, tuple(notes))


def _with_fewer_blocks(model: Model, depth: float, notes: list[str]) -> Model:
    """The model without some of its repeated blocks; the model itself where none can go."""
    graph = fx.GraphModule(model.graph, copy.deepcopy(model.graph.graph))
    runs = repeated_blocks(graph, model.example())
    gone = [block for run in runs for block in _left_out(run, depth)]
    if not gone:
        several = f"runs of {', '.join(str(len(run)) for run in runs)} blocks lose none at this share"
        notes.append(f"depth: {several if runs else 'no block repeats and keeps its shape'}; all blocks stay.")
        return model
    for block in reversed(gone):  # the entry of one may be the exit of the one before
        block.exit.replace_all_uses_with(block.entry)
    graph.graph.eliminate_dead_code()
    graph.recompile()
    graph.delete_all_unused_submodules()
    return Model(graph.eval(), replace(model.info, layers=layer_table(graph, model.example())), model.free_size)


def _left_out(run: list[Block], depth: float) -> list[Block]:
    """The blocks of a run that go; what stays, at least one, is spread evenly and begins with the first."""
    stay = max(1, round(depth * len(run)))
    kept = {round(place * (len(run) - 1) / max(1, stay - 1)) for place in range(stay)}
    return [block for number, block in enumerate(run) if number not in kept]


def _narrowed(model: Model, width: float, notes: list[str]) -> fx.GraphModule:
    """The graph with a share of its channels; the graph itself where all must stay."""
    channels = {"kind": "channels", "ratio": 1 - width, "importance": "magnitude"}
    recipe = Recipe.model_validate({"studio": 1, "default": {"prune": channels}})
    plan = make_plan(model, recipe, model.graph, None, {})
    whole = [layer for layer in model.info.layers if layer.name not in plan.cuts]
    if whole:
        first = whole[0]
        notes.append(
            f"width: {len(whole)} of {len(model.info.layers)} layers keep their shape, {first.name} because "
            f"{first.methods['channels']}."
        )
    if not plan.cuts:
        return model.graph
    layers = {name: plan.layer(name) for name in plan.cuts}
    return with_layers(with_arguments(plan.graph, plan.arguments), layers)
