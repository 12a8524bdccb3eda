"""What can be evaluated: every task that is known or found under a data folder."""

from __future__ import annotations

from collections.abc import Iterator

from clipsieve.evaluation.datasets.catalogue import BY_SLUG, KNOWN
from clipsieve.evaluation.datasets.layouts.find import has_training_split, layout_of
from clipsieve.evaluation.datasets.read import data_sets
from clipsieve.schemas import files

_LOOKED_FOR = "wds_TASK (tar files), TASK (folders of classes, or Parquet) or TASK.parquet"


def task_lines(data: str) -> Iterator[str]:
    """Lines of text: the tasks that ``data`` has and under which name, then those it lacks and where they are had.

    Each says what it needs. What is found is not read: whether it has what it needs, its evaluation tells.
    """
    found = data_sets(data)
    here = {known.slug: path for known in KNOWN if (path := found.get(known.data_slug))}
    here |= {slug: path for slug, path in found.items() if slug not in BY_SLUG}
    width = max([len(known.slug) for known in KNOWN] + [len(slug) for slug in here])
    yield f"In {data}:" if here else f"In {data}: no task."
    for slug, path in here.items():
        needs = BY_SLUG[slug].needs if slug in BY_SLUG else "no published counts"
        yield f"  {slug:{width}}  {needs}"
        yield f"    {_place(path)}"
    missing = [known for known in KNOWN if known.slug not in here]
    if missing:
        yield f"\nNot in {data}. Each is looked for as {_LOOKED_FOR}:"
    for known in missing:
        yield f"  {known.slug:{width}}  {known.needs}"
        yield f"    {known.where}"


def _place(path: str) -> str:
    layout = layout_of(path)
    assert layout is not None  # noqa: S101
    training = "with a training split" if has_training_split(path) else "no training split"
    return f"{files.name_of(path)} ({layout.value}, {training})"
