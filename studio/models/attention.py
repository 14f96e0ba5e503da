"""Attention and rotary positions as ONNX defines them (``ai.onnx`` 23 and newer), for graphs to call.

At module level, because a graph names its functions by import path; nothing here branches on a free size.
"""

import math

import torch
from torch import Tensor


def attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None,
    past_key: Tensor | None,
    past_value: Tensor | None,
    lengths: Tensor | None,
    heads: tuple[int | None, int | None],
    scale: float | None,
    causal: bool,
    softcap: float,
    window: tuple[int, int],
    shown: int,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """``softmax(scale · q kᵀ + bias) v``, head by head.

    Args:
        query: ``[batch, heads, tokens, width]``, or ``[batch, tokens, heads · width]``; key and value likewise.
        key: of the same rank; its heads are shared by as many of the query as there are more of those.
        value: see `key`.
        mask: what is added to the scores, or where they count; broadcasts to ``[batch, heads, tokens, all tokens]``,
            and what it leaves out at the end does not count.
        past_key: ``[batch, key heads, earlier tokens, width]``, put in front of the keys; past_value likewise.
        past_value: see `past_key`.
        lengths: how many of the keys count for each sample, ``[batch]``.
        heads: of query and key where the rank is 3.
        scale: of the scores, by default ``1 / √width``.
        causal: whether a token sees itself and earlier ones only.
        softcap: scores are squeezed to ±softcap; 0 leaves them.
        window: how many tokens before and behind itself a token sees; -1 sees all.
        shown: what the last result is: scores (0), squeezed (1), with the bias (2), or weights (3).

    Returns:
        What comes out, of the query's rank; all keys; all values; and what `shown` says.
    """
    joined = query.dim() == 3
    if joined:
        query, key, value = (_apart(x, count) for x, count in zip((query, key, value), (*heads, heads[1]), strict=True))
    keys = key if past_key is None else torch.cat((past_key, key), 2)
    values = value if past_value is None else torch.cat((past_value, value), 2)
    bias, blind = _bias(query, keys, mask, _first_place(query, past_key, lengths), causal, lengths, window)
    times = query.shape[1] // keys.shape[1]
    of_all, carried = (x if times == 1 else x.repeat_interleave(times, 1) for x in (keys, values))
    scores = query @ of_all.transpose(2, 3) * (1 / math.sqrt(query.shape[3]) if scale is None else scale)
    if softcap > 0:
        scores = softcap * torch.tanh(scores / softcap)
    biased = scores if bias is None else scores + bias
    weights = torch.softmax(biased, -1)
    if blind is not None:  # who sees nobody gets nothing, and not what 0 / 0 is
        weights = torch.where(blind, 0.0, torch.softmax(torch.where(blind, 0.0, biased), -1))
    result = weights @ carried
    return _together(result) if joined else result, keys, values, (scores, scores, biased, weights)[shown]


def _apart(x: Tensor, heads: int | None) -> Tensor:
    """``[batch, tokens, heads · width]`` → ``[batch, heads, tokens, width]``."""
    return x.reshape(x.shape[0], x.shape[1], heads or 1, -1).transpose(1, 2)


def _together(x: Tensor) -> Tensor:
    """The inverse of `_apart`."""
    return x.transpose(1, 2).flatten(2)


def _first_place(query: Tensor, past_key: Tensor | None, lengths: Tensor | None) -> Tensor | int:
    """The place of the first token of the query among the keys: one for all, or ``[batch, 1, 1, 1]``."""
    if past_key is not None:
        return past_key.shape[2]
    return 0 if lengths is None else (lengths.reshape(-1, 1, 1, 1) - query.shape[2])


def _bias(
    query: Tensor,
    keys: Tensor,
    mask: Tensor | None,
    first: Tensor | int,
    causal: bool,
    lengths: Tensor | None,
    window: tuple[int, int],
) -> tuple[Tensor | None, Tensor | None]:
    """What is added to the scores, and which tokens see nobody; None where every token sees all."""
    bias = None
    if mask is not None:
        bias = torch.where(mask, 0.0, -math.inf) if mask.dtype == torch.bool else mask
        bias = torch.nn.functional.pad(bias, (0, keys.shape[2] - bias.shape[-1]), value=-math.inf)
    places = torch.arange(keys.shape[2])
    ahead = places - torch.arange(query.shape[2]).reshape(-1, 1) - first  # how far a key lies behind a token
    seen = [ahead <= 0] if causal else []
    seen += [-ahead <= window[0]] if window[0] >= 0 else []
    seen += [ahead <= window[1]] if window[1] >= 0 else []
    seen += [places < lengths.reshape(-1, 1, 1, 1)] if lengths is not None else []
    for allowed in seen:
        limit = torch.where(allowed, 0.0, -math.inf)
        bias = limit if bias is None else bias + limit
    return bias, None if bias is None else bias.amax(-1, keepdim=True) == -math.inf


def rotate(
    x: Tensor, cosines: Tensor, sines: Tensor, places: Tensor | None, heads: int, width: int, interleaved: bool
) -> Tensor:
    """Turns pairs of values by an angle that grows with the token's place.

    Args:
        x: ``[batch, heads, tokens, size]`` or ``[batch, tokens, heads · size]``.
        cosines: by place ``[places, width / 2]``, or by token ``[batch, tokens, width / 2]``; sines likewise.
        sines: see `cosines`.
        places: of the tokens, ``[batch, tokens]``.
        heads: where the rank is 3.
        width: how many values of a head are turned, the first ones; 0 for all.
        interleaved: whether neighbours make a pair, instead of a value of the first half and one of the second.
    """
    joined = x.dim() == 3
    split = _apart(x, heads) if joined else x
    width = width or split.shape[3]
    cos, sin = ((table if places is None else table[places]).unsqueeze(1) for table in (cosines, sines))
    turned, rest = split[..., :width], split[..., width:]
    first, second = (turned[..., ::2], turned[..., 1::2]) if interleaved else turned.chunk(2, -1)
    pair = (cos * first - sin * second, sin * first + cos * second)
    turned = torch.stack(pair, -1).flatten(3) if interleaved else torch.cat(pair, -1)
    result = torch.cat((turned, rest), -1)
    return _together(result) if joined else result


def joined_attention(
    joined: Tensor,
    mask: Tensor | None,
    lengths: Tensor | None,
    sizes: tuple[int, int, int],
    heads: int,
    scale: float | None,
    causal: bool,
    filler: float,
) -> Tensor:
    """Attention whose query, key and value stand behind one another, as ONNX Runtime fuses it.

    Args:
        joined: ``[batch, tokens, sum of sizes]``.
        mask: 1 where a key counts and 0 where not, ``[batch, keys]`` or ``[batch, tokens, keys]``.
        lengths: how many of the keys count for each sample, ``[batch]``.
        sizes: of the three.
        heads: how many each has.
        scale: see `attention`.
        causal: see `attention`.
        filler: added to scores that do not count.
    """
    query, key, value = torch.split(joined, list(sizes), -1)
    bias = None
    if mask is not None:
        masked = (1 - mask.to(joined.dtype)) * filler
        bias = masked.unsqueeze(1) if mask.dim() == 3 else masked.reshape(masked.shape[0], 1, 1, -1)
    none = (-1, -1)
    pair = (heads, heads)
    return attention(query, key, value, bias, None, None, lengths, pair, scale, causal, 0.0, none, 0)[0]


def places_of(ids: Tensor) -> Tensor:
    """The places 0, 1, … of tokens ``[batch, tokens]``, one row for all samples."""
    return torch.arange(ids.shape[1]).unsqueeze(0)
