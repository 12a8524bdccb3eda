"""Contrastive losses of some rows against all, in tiles, so that memory does not grow with rows times columns.

The logits of b queries with N keys are computed in tiles of at most `TILE` numbers. One tile is kept for the backward
pass, as usual; of several, each is computed again there (`torch.utils.checkpoint`), so that one is held at a time.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

TILE = 1 << 24
"""Logits of a tile: 64 MiB in fp32. A batch of 4,096 in one process, or 1,024 of 16,384, is one tile."""


def softmax_loss(queries: Tensor, keys: Tensor, first: int, others: Tensor | None = None) -> Tensor:
    """The mean cross-entropy of each query's own key among all: float[].

    ``queries``: [b, D], scaled; ``keys``: [N, D], of which query i's own is ``first`` + i. With ``others``, [N, D],
    those are keys too, but for query i's row ``first`` + i.
    """
    own = torch.arange(first, first + len(queries), device=queries.device)
    candidates = len(keys) * (1 if others is None else 2)
    if len(queries) * candidates <= TILE:
        logits = queries @ keys.T
        if others is not None:
            logits = torch.cat([logits, _logits_but_own(queries, others, own)], dim=1)
        return F.cross_entropy(logits, own)
    sums = _over_tiles(_log_sum, queries, keys, own)
    if others is not None:
        sums += _over_tiles(_log_sum_but_own, queries, others, own)
    positives = (queries * keys[first : first + len(queries)]).sum(dim=1)
    return (torch.logsumexp(torch.stack(sums), dim=0) - positives).mean()


def sigmoid_loss(queries: Tensor, keys: Tensor, first: int, bias: Tensor) -> Tensor:
    """The mean over queries of the sum over keys of -log sigmoid(±(logit + bias)), + for a query's own: float[].

    Arguments as for `softmax_loss`.
    """
    own = torch.arange(first, first + len(queries), device=queries.device)

    def judge(queries: Tensor, keys: Tensor, own: Tensor) -> Tensor:
        logits = queries @ keys.T + bias
        signs = 2 * _is_own(own, len(keys)).to(logits.dtype) - 1
        return -F.logsigmoid(signs * logits).sum()

    return torch.stack(_over_tiles(judge, queries, keys, own)).sum() / len(queries)


def _over_tiles(
    function: Callable[[Tensor, Tensor, Tensor], Tensor], queries: Tensor, keys: Tensor, own: Tensor
) -> list[Tensor]:
    """``function`` of the queries, the keys of a tile, and where in the tile each query's own key is, for each tile."""
    width = max(1, TILE // len(queries))
    if len(keys) <= width:
        return [function(queries, keys, own)]
    return [
        checkpoint(function, queries, part, own - number * width, use_reentrant=False, preserve_rng_state=False)
        for number, part in enumerate(keys.split(width))
    ]


def _log_sum(queries: Tensor, keys: Tensor, _: Tensor) -> Tensor:
    return torch.logsumexp(queries @ keys.T, dim=1)


def _log_sum_but_own(queries: Tensor, keys: Tensor, own: Tensor) -> Tensor:
    return torch.logsumexp(_logits_but_own(queries, keys, own), dim=1)


def _logits_but_own(queries: Tensor, keys: Tensor, own: Tensor) -> Tensor:
    logits = queries @ keys.T
    # Not -inf: a tile may hold a query's own key alone, whose logarithm would then have no gradient.
    return logits.masked_fill(_is_own(own, len(keys)), torch.finfo(logits.dtype).min)


def _is_own(own: Tensor, width: int) -> Tensor:
    """bool[b, width]: whether a key of the tile is the query's own."""
    return torch.arange(width, device=own.device) == own[:, None]
