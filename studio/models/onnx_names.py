"""How a layer gets back the dotted path that it had before it was exported to ONNX."""

import ast
import re

#: Names that exporters make up for values: ``val_12``, ``onnx::Conv_207``, ``/layers/0/Constant_output_0``, ``231``.
_GENERATED = re.compile(r"(val_\d+|onnx::.*|/.*|\d+|_?constant.*)", re.IGNORECASE)

#: Names that exporters make up for what they compute, such as ``slice_1``.
_NUMBERED = re.compile(r"[a-z_]+_\d+")

#: ``module.weight`` and the like; the dynamo exporter adds ``_bias`` to the weight's name when it folds a BatchNorm.
_PARAMETER = re.compile(r"(?P<path>.+)\.(weight|bias|weight_bias|kernel|in_proj_weight)")


def generated(name: str) -> bool:
    """Whether an exporter made up this name."""
    return _GENERATED.fullmatch(name) is not None


def constant_path(name: str) -> str:
    """Where a constant hangs: at its own name, unless exporters could give that name to another value later."""
    return "constant" if generated(name) or _NUMBERED.fullmatch(name) else name


def layer_path(parameters: tuple[str, ...], node: str, scopes: tuple[str, ...]) -> str:
    """The path of a layer, from what still tells it.

    Args:
        parameters: names of its weight and bias in the file, the more telling first.
        node: name of its node; the legacy exporter writes ``/layer1/layer1.0/conv1/Conv``.
        scopes: module paths that the dynamo exporter noted in the node's metadata.
    """
    for name in parameters:
        match = _PARAMETER.fullmatch(name)
        if match and not generated(name):
            return match["path"]
    if node.startswith("/") and node.count("/") > 1:
        return _path_of_scopes(node.strip("/").split("/")[:-1])
    if len(scopes) > 1 and scopes[-2]:
        return scopes[-2]
    return next((name for name in parameters if name and not generated(name)), node)


def scopes(metadata: dict[str, str]) -> tuple[str, ...]:
    """The module paths in a node's metadata as the dynamo exporter writes it, outermost first."""
    try:
        noted = ast.literal_eval(metadata.get("pkg.torch.onnx.name_scopes", "[]"))
    except (ValueError, SyntaxError):
        return ()
    return tuple(str(scope) for scope in noted) if isinstance(noted, list) else ()


def _path_of_scopes(parts: list[str]) -> str:
    """``["layer1", "layer1.0", "conv1"]`` → ``layer1.0.conv1``: a child of a container repeats the container's name."""
    path: list[str] = []
    for part in parts:
        if path and part.startswith(f"{path[-1]}."):
            path.pop()
        path.append(part)
    return ".".join(path)
