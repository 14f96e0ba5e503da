"""What convolutions of one to three dimensions have in common."""

from torch import nn

Conv = nn.Conv1d | nn.Conv2d | nn.Conv3d


def padding_amounts(layer: Conv) -> list[int]:
    """The layer's padding in the order of `torch.nn.functional.pad`: last dimension first, before and after."""
    if layer.padding == "same":
        total = [d * (k - 1) for d, k in zip(layer.dilation, layer.kernel_size, strict=True)]
        pairs = [(t // 2, t - t // 2) for t in total]
    elif layer.padding == "valid":
        pairs = [(0, 0)] * len(layer.kernel_size)
    else:
        pairs = [(int(p), int(p)) for p in layer.padding]
    return [amount for pair in reversed(pairs) for amount in pair]
