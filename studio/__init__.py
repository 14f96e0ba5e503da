"""Compression Studio: compress neural networks by eye, layer by layer, with measured accuracy.

The engine's verbs are importable from here and loaded only when used, so that ``import studio`` brings in neither
torch nor Qt::

    from studio import Recipe, compress, evaluate, export, open_model
"""

from importlib import import_module

__version__ = "0.1.0"

_VERBS = {
    "open_model": "studio.models.open",
    "Recipe": "studio.recipe.recipe",
    "compress": "studio.compression.compress",
    "evaluate": "studio.evaluation.evaluate",
    "export": "studio.export.export",
}
__all__ = ["Recipe", "__version__", "compress", "evaluate", "export", "open_model"]


def __getattr__(name: str) -> object:
    """Loads a verb on first use (PEP 562)."""
    if name not in _VERBS:
        raise AttributeError(f"module 'studio' has no attribute {name!r}")
    return getattr(import_module(_VERBS[name]), name)
