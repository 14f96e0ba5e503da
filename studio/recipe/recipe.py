"""The recipe: what the user chose for every layer, immutable, resolved by a fixed precedence."""

from collections.abc import Callable, Iterable, Mapping
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Any, Literal

from pydantic import Field

from studio.errors import RecipeError, did_you_mean
from studio.models.layer import Layer
from studio.recipe.channels import group_settings, kept_channels, narrowed
from studio.recipe.factorization import has_form
from studio.recipe.graph_form import refusal
from studio.recipe.settings import ChannelSettings, LayerSettings, Options, PruneSettings, QuantizeSettings, Settings

#: Methods of `LayerSettings`.
SETTABLE = ("channels", "prune", "rank", "quantize")

#: A share of the weights that is not zero, and of which no layer has a whole weight.
_NO_WEIGHT = 1e-12


class Recipe(Settings):
    """Settings by layer, with more specific ones laid over more general ones, method by method.

    Precedence: exact layer name > glob (a later one beats an earlier one) > `kinds` > `default`. A method that the
    more specific entry does not mention is taken from the next more general one; ``quantize: null`` switches a
    method off, ``keep: true`` all of them. Defaults, kinds and globs apply to a layer only where the method can be
    applied at all; naming a layer exactly and asking for the impossible is an error.
    """

    studio: Literal[1] = 1
    default: LayerSettings = LayerSettings()
    kinds: Mapping[str, LayerSettings] = Field(default_factory=dict)
    layers: Mapping[str, LayerSettings] = Field(default_factory=dict)
    options: Options = Options()

    def settings_for(self, layer: Layer) -> LayerSettings:
        """The settings that apply to `layer`, in canonical form (`LayerSettings.normalised`)."""
        return self.settings_of((layer,))[layer.name]

    def settings_of(self, layers: Iterable[Layer]) -> dict[str, LayerSettings]:
        """`settings_for` of many layers by name; general entries are resolved once for all layers that are alike.

        Entries that an edit leaves alone are the same objects in the new recipe and are not resolved again.
        """
        globs = self._globs()
        general: dict[tuple[str, tuple[str, ...], tuple[str, ...]], _Entry] = {}
        settings: dict[str, LayerSettings] = {}
        for layer in layers:
            matching = tuple(pattern for pattern in globs if fnmatchcase(layer.name, pattern))
            like = (layer.kind, matching, layer.barred)
            if like not in general:
                general[like] = _Entry(_general(self._chain(layer.kind, matching), layer.barred))
            own = self.layers.get(layer.name)
            found = general[like].settings if own is None else _resolved(_Entry(own), general[like])
            settings[layer.name] = found if layer.held is None else _writable(layer, found)
        return settings

    def _globs(self) -> list[str]:
        return [name for name in self.layers if _is_glob(name)]

    def _chain(self, kind: str, patterns: Iterable[str]) -> "tuple[_Entry, ...]":
        """Default, kind and globs, the more general first."""
        kinds = (self.kinds[kind],) if kind in self.kinds else ()
        return tuple(map(_Entry, (self.default, *kinds, *(self.layers[pattern] for pattern in patterns))))

    def groups_of(self, layers: Iterable[Layer]) -> dict[str, ChannelSettings]:
        """What is chosen for each group of coupled channels, see `group_settings`.

        Raises:
            RecipeError: two layers of one group are named with different choices.
        """
        layers = tuple(layers)
        return group_settings(layers, self.settings_of(layers), self.layers)

    def narrowed(self, layers: Iterable[Layer]) -> dict[str, Layer]:
        """All layers by name as they are without the channels that go.

        Raises:
            RecipeError: two layers of one group are named with different choices.
        """
        layers = tuple(layers)
        if all(entry.channels is None for entry in (self.default, *self.kinds.values(), *self.layers.values())):
            return {layer.name: layer for layer in layers}  # asked at every move of a slider
        kept = kept_channels(layers, self.groups_of(layers))
        return {layer.name: narrowed(layer, kept) for layer in layers}

    def locked(self, layers: Iterable[Layer]) -> frozenset[str]:
        """Names of the layers that a search leaves as they are."""
        globs = self._globs()
        return frozenset(layer.name for layer in layers if self._is_locked(layer, globs))

    def _is_locked(self, layer: Layer, globs: Iterable[str]) -> bool:
        """What the most specific entry that mentions the lock says of it."""
        chain = self._chain(layer.kind, (pattern for pattern in globs if fnmatchcase(layer.name, pattern)))
        own = self.layers.get(layer.name)
        entries = [entry.settings for entry in chain] + ([own] if own is not None else [])
        return next((entry.locked for entry in reversed(entries) if "locked" in entry.model_fields_set), False)

    def with_locks(self, names: Iterable[str], locked: bool = True) -> "Recipe":
        """A recipe in which the layers of these names are locked, or not; their settings stay."""
        entries = dict(self.layers)
        for name in names:
            entries[name] = entries.get(name, LayerSettings()).model_copy(update={"locked": locked})
        return self.model_copy(update={"layers": entries})

    def with_layer(self, name: str, settings: LayerSettings) -> "Recipe":
        """A recipe in which exactly `settings` hold for the layer called `name`, whatever the general entries say.

        A lock stays as it is.
        """
        return self.with_layers({name: settings})

    def with_layers(self, settings: Mapping[str, LayerSettings]) -> "Recipe":
        """`with_layer` for several layers at once."""
        entries = {name: self._explicit(name, chosen) for name, chosen in settings.items()}
        return self.model_copy(update={"layers": {**self.layers, **entries}})

    def _explicit(self, name: str, settings: LayerSettings) -> LayerSettings:
        """The entry that leaves nothing of a layer but its lock to more general ones."""
        explicit = {field: getattr(settings, field) for field in LayerSettings.model_fields if field != "locked"}
        own = self.layers.get(name)
        if own is not None and "locked" in own.model_fields_set:
            explicit["locked"] = own.locked
        return LayerSettings(**explicit)

    def with_options(self, **options: Any) -> "Recipe":
        """A recipe with some of its options changed."""
        return self.model_copy(update={"options": self.options.model_copy(update=options)})

    def without_activations(self) -> "Recipe":
        """The recipe with activations left as they are, which makes no difference to weights fitted layer by layer."""

        def weights_only(settings: LayerSettings) -> LayerSettings:
            if settings.quantize is None:
                return settings
            return settings.model_copy(
                update={"quantize": settings.quantize.model_copy(update={"activation_bits": None})}
            )

        return self._with_each(weights_only)

    def before_pruning(self) -> "Recipe":
        """The recipe with unstructured shares so small that no weight goes, while layers take the form they will have.

        Gradual pruning begins there.
        """

        def whole(settings: LayerSettings) -> LayerSettings:
            if settings.prune is None or settings.prune.kind != "unstructured" or not settings.prune.ratio:
                return settings
            return settings.model_copy(update={"prune": settings.prune.model_copy(update={"ratio": _NO_WEIGHT})})

        return self._with_each(whole)

    def with_channel_share(self, share: float) -> "Recipe":
        """The recipe with so large a part, 0..1, of the channels gone that it takes away."""

        def milder(settings: LayerSettings) -> LayerSettings:
            if settings.channels is None:
                return settings
            ratio = settings.channels.ratio * share
            return settings.model_copy(update={"channels": settings.channels.model_copy(update={"ratio": ratio})})

        return self._with_each(milder)

    def _with_each(self, change: Callable[[LayerSettings], LayerSettings]) -> "Recipe":
        """The recipe with every entry changed."""
        kinds = {kind: change(settings) for kind, settings in self.kinds.items()}
        layers = {name: change(settings) for name, settings in self.layers.items()}
        return self.model_copy(update={"default": change(self.default), "kinds": kinds, "layers": layers})

    def check(self, layers: Iterable[Layer]) -> None:
        """Checks that every entry finds its layer and that a layer named exactly can take what is asked of it.

        Raises:
            RecipeError: an unknown layer, kind or pattern, an impossible method, a rank beyond the full rank, or two
                choices for the same channels.
        """
        known = {layer.name: layer for layer in layers}
        for kind in self.kinds:
            kinds = sorted({layer.kind for layer in known.values()})
            if kind not in kinds:
                raise RecipeError(
                    f"kinds: the model has no '{kind}' layers; it has {', '.join(kinds)}.{did_you_mean(kind, kinds)}",
                    ("kinds", kind),
                )
        for name, settings in self.layers.items():
            if _is_glob(name):
                if not any(fnmatchcase(layer, name) for layer in known):
                    raise RecipeError(f"layers: the pattern '{name}' matches no layer of the model.", ("layers", name))
            elif name not in known:
                raise RecipeError(
                    f"layers: the model has no layer '{name}'.{did_you_mean(name, known)}", ("layers", name)
                )
            else:
                _check_layer(known[name], settings)
        self.groups_of(known.values())

    def plain(self) -> dict[str, Any]:
        """The recipe as nested plain values, fields that were never set left out; `Recipe.model_validate` reads it."""
        return {"studio": self.studio, **self.model_dump(mode="json", exclude_unset=True)}


class _Entry:
    """Settings by identity, as a key: equal ones may differ in the methods they mention, and hashing them is slow."""

    __slots__ = ("settings",)

    def __init__(self, settings: LayerSettings) -> None:
        self.settings = settings

    def __hash__(self) -> int:
        return id(self.settings)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Entry) and other.settings is self.settings


@lru_cache(maxsize=8192)  # one edit changes one entry
def _resolved(own: _Entry, general: _Entry) -> LayerSettings:
    """What an entry of one layer comes to over the general ones."""
    return own.settings.over(general.settings).normalised()


@lru_cache(maxsize=256)
def _general(chain: tuple[_Entry, ...], barred: tuple[str, ...]) -> LayerSettings:
    """What default, kind and globs come to for a layer that cannot take the `barred` techniques."""
    settings = LayerSettings()
    for entry in chain:
        settings = entry.settings.over(settings)
    refused = [method for method in SETTABLE if technique_of(method, getattr(settings, method)) in barred]
    return settings.model_copy(update=dict.fromkeys(refused)).normalised()


def _writable(layer: Layer, settings: LayerSettings) -> LayerSettings:
    """What is left of the settings of a layer whose graph is written as it was: only forms that it can hold."""
    if layer.held is None or settings.quantize is None:
        return settings
    for quantize in (settings.quantize, settings.quantize.model_copy(update={"product": "portable"})):
        if not refusal(layer.held, layer.shape, layer.dtype or "F32", quantize):
            return settings if quantize is settings.quantize else settings.model_copy(update={"quantize": quantize})
    return settings.model_copy(update={"quantize": None})


def technique_of(method: str, chosen: Settings | None) -> str:
    """The verdict in `Layer.methods` that must allow what is `chosen` for a method of `LayerSettings`."""
    return chosen.technique if isinstance(chosen, PruneSettings | QuantizeSettings) else method


def _is_glob(name: str) -> bool:
    return any(character in name for character in "*?[")


def _check_layer(layer: Layer, settings: LayerSettings) -> None:
    """Refuses what `layer` cannot take.

    Raises:
        RecipeError: with the layer, the method and the reason.
    """
    for method in SETTABLE:
        chosen = getattr(settings, method)
        technique = technique_of(method, chosen)
        if chosen is not None and not layer.allows(technique):
            reason = layer.methods.get(technique, "not possible")
            raise RecipeError(f"layers.{layer.name}.{method}: {reason}", ("layers", layer.name, method))
    refused = refusal(layer.held, layer.shape, layer.dtype or "F32", settings.quantize) if layer.held else ""
    if refused:
        raise RecipeError(f"layers.{layer.name}.quantize: {refused}.", ("layers", layer.name, "quantize"))
    rank = settings.rank.rank if settings.rank else None
    if rank is not None and rank > layer.full_rank:
        raise RecipeError(
            f"layers.{layer.name}.rank: {rank} is more than the layer's full rank {layer.full_rank}.",
            ("layers", layer.name, "rank"),
        )
    form = settings.rank.form if settings.rank else "auto"
    if form != "auto" and not has_form(layer.shape, form):
        raise RecipeError(
            f"layers.{layer.name}.rank.form: {form} takes a kernel{' in two directions' * (form == 'spatial')}, "
            f"and the layer's weight is {'×'.join(map(str, layer.shape))}.",
            ("layers", layer.name, "rank", "form"),
        )
