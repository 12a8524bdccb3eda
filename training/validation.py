"""The loss on pairs that a run is not trained on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing

import torch

from clipsieve.schemas.errors import InputError
from clipsieve.schemas.members import WeightedMembers, as_raw
from clipsieve.schemas.options import TrainOptions
from clipsieve.schemas.training_data import WeightedSubset
from clipsieve.training.data.loader import PairReader, load_batches
from clipsieve.training.data.normalise import Normalise
from clipsieve.training.data.order import make_order
from clipsieve.training.data.plan import plan_samples
from clipsieve.training.runtime import Runtime
from clipsieve.training.strategies.base import CAPTION_VIEW
from clipsieve.training.strategies.registry import make_strategy
from clipsieve.training.towers.tower import ClipModel, Tower

_PAIRS_AT_ONCE = 256
"""In a forward pass."""


class HeldOutPairs:
    """Pairs of a run's shards that its subsets do not hold."""

    def __init__(self, shards: str, path: str, subsets: Sequence[WeightedSubset], opt_out: str | None) -> None:
        """Those that the subset file ``path`` names, less those that the file ``opt_out`` lists.

        Raises InputError where one of them is trained on.
        """
        _refuse_overlap(path, subsets)
        self._plan = plan_samples(shards, [path], opt_out)

    def loss(self, model: ClipModel, tower: Tower, options: TrainOptions, device: torch.device) -> float:
        """The contrastive loss of a run's strategy, without masks and augmentation, as the mean over its batches.

        These are of the run's size, or one of all pairs where there are fewer; what is left of the pairs is not used.
        The pairs of a batch are the same each time.
        """
        size = min(options.batch_size, len(self._plan))
        batches = len(self._plan) // size
        plain = {"augment": "none", "image_mask": "none", "text_mask": "truncate", "lock_image": False, "accumulate": 1}
        loss = "siglip" if options.strategy == "siglip" else "clip"
        options = options.model_copy(update={**plain, "strategy": loss})
        strategy = make_strategy(options, tower, model, Runtime(0, 1, device, None)).to(device).eval()
        order = make_order(self._plan, [1.0], options.seed, 1)
        reader = PairReader(order, tower, strategy.views, options.text_mask, is_exact=True)
        shares = [share for number in range(batches) for share in _parts(number * size, size)]
        normalise, losses, features = Normalise(tower.preprocess_cfg, device), [], []
        with closing(load_batches(reader, shares, options.workers)) as read, torch.inference_mode():
            for share, batch in zip(shares, read, strict=True):
                images = normalise(batch.images[CAPTION_VIEW].to(device))
                features.append(strategy({CAPTION_VIEW: images}, batch.texts.to(device)))
                if share.stop % size == 0:
                    whole = {name: torch.cat([part[name] for part in features]) for name in features[0]}
                    losses.append(strategy.loss(whole)["loss"].item())
                    features = []
        return sum(losses) / len(losses)


def _parts(start: int, size: int) -> Iterator[range]:
    for first in range(start, start + size, _PAIRS_AT_ONCE):
        yield range(first, min(first + _PAIRS_AT_ONCE, start + size))


def _refuse_overlap(path: str, subsets: Sequence[WeightedSubset]) -> None:
    if not subsets:
        raise InputError(f"`validation` {path}: the run trains on every pair of its shards; name others by `subset`")
    held_out = as_raw(WeightedMembers(path).uids)
    for subset in subsets:
        shared = int((WeightedMembers(str(subset.path)).find(held_out) >= 0).sum())
        if shared:
            whole = len(held_out)
            raise InputError(f"`validation` {path}: {shared} of its {whole} pairs are trained on, by {subset.path}")
