"""A whole run, as a YAML file says it: the stages, each with its options."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import Field, field_validator, model_validator

from clipsieve.schemas.errors import InputError
from clipsieve.schemas.options import (
    DedupOptions,
    DownloadOptions,
    DriftOptions,
    EvaluateOptions,
    FilterOptions,
    IndexOptions,
    Options,
    PackOptions,
    ReshardOptions,
    ScoreOptions,
    SelectOptions,
    TokenizerOptions,
    TrainOptions,
    parse_options,
)


class TrainStage(TrainOptions):
    """A named training run of a recipe; its folder is models/NAME."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    subset: str | dict[str, Annotated[float, Field(gt=0)]] | None = Field(
        None, description="a subset's or sample's name, or several with their weights; none: every scored pair"
    )
    initial: str | None = Field(None, description="the name of a run above, or as on the command line")

    @field_validator("subset", mode="before")
    @classmethod
    def _one_form(cls, subset: Any) -> Any:
        if isinstance(subset, (list, tuple)):
            raise ValueError("several subsets are written with their weights, as {top20: 0.7, top80: 0.3}")
        return subset

    def options(self) -> TrainOptions:
        return TrainOptions(**self.model_dump(exclude={"name", "subset"}))

    def weighted_subsets(self) -> list[tuple[str, str]]:
        """The names of the subsets, each with what follows its path on the command line: nothing, or ``=WEIGHT``."""
        if isinstance(self.subset, dict):
            return [(name, f"={weight:g}") for name, weight in self.subset.items()]
        return [(self.subset, "")] if self.subset else []


class ReshardStage(ReshardOptions):
    """A subset of a recipe to write as shards; its folder is resharded/SUBSET."""

    subset: str

    def options(self) -> ReshardOptions:
        return ReshardOptions(**self.model_dump(exclude={"subset"}))


class DriftStage(DriftOptions):
    """The comparison of a recipe's images with what their publisher saw; the filters' rule ``drifted`` reads it."""

    published: str = Field(description="the pool's published table: a Parquet file, or a folder of them")

    def options(self) -> DriftOptions:
        return DriftOptions(**self.model_dump(exclude={"published"}))


class FilterStage(FilterOptions):
    """The filters of a recipe; `select` then keeps to them."""

    targets: str | None = Field(None, description="embeddings of a target set, for image_based")

    def options(self) -> FilterOptions:
        return FilterOptions(**self.model_dump(exclude={"targets"}))


class DedupStage(DedupOptions):
    """The repeats of a recipe; `select` then leaves them out."""

    tasks: str | None = Field(None, description="folder of evaluation tasks whose images no pair may repeat")

    def options(self) -> DedupOptions:
        return DedupOptions(**self.model_dump(exclude={"tasks"}))


class PackStage(PackOptions):
    """The local pictures of a recipe as shards."""

    root: str | None = Field(
        None,
        description="folder below which the pictures are; looked up next to the recipe; none: theirs, or the table's",
    )

    def options(self) -> PackOptions:
        return PackOptions(**self.model_dump(exclude={"root"}))


class EvaluateStage(EvaluateOptions):
    """The evaluation of every model of a recipe; its folder is evaluations/MODEL."""

    data: str = Field("builtin", description="a folder of task folders; builtin: the tasks that come with clipsieve")

    def options(self) -> EvaluateOptions:
        return EvaluateOptions(**self.model_dump(exclude={"data"}))


class Recipe(Options):
    """A whole run: the stages that are named run in this order, those left out do not."""

    pairs: str | None = Field(None, description="the table of pairs; a relative path is looked up next to the recipe")
    shards: tuple[str, ...] = Field((), description="folders of tars that another tool wrote, instead of `pairs`")
    pictures: str | None = Field(
        None,
        description="a folder or a table of local pictures with captions, instead of `pairs`; looked up as they are",
    )
    opt_out: str | None = Field(None, description="list of what no stage may use; looked up as the table is")
    download: DownloadOptions | None = None
    index: IndexOptions | None = Field(None, description="how `shards` are read; left out: by the defaults")
    pack: PackStage | None = Field(None, description="how `pictures` are packed; left out: by the defaults")
    score: ScoreOptions | None = None
    drift: DriftStage | None = None
    filter: FilterStage | None = None
    dedup: DedupStage | None = None
    select: SelectOptions | None = None
    reshard: tuple[ReshardStage, ...] = ()
    tokenizer: TokenizerOptions | None = Field(None, description="trained on the shards' captions for all runs")
    train: tuple[TrainStage, ...] = ()
    jobs: Annotated[int, Field(gt=0)] | None = Field(
        None, description="training runs at a time, where several run on a CPU; none: one for each core"
    )
    evaluate: EvaluateStage | None = None
    report: bool = False

    @model_validator(mode="after")
    def _runs_in_order(self) -> Recipe:
        sources = {"pairs": self.download, "shards": self.index, "pictures": self.pack}
        named = [source for source in sources if getattr(self, source)]
        if len(named) != 1:
            raise ValueError("a recipe names `pairs`, `shards` or `pictures`, one of them")
        if any(stage for source, stage in sources.items() if source not in named):
            raise ValueError("`download` goes with `pairs`, `index` with `shards`, and `pack` with `pictures`")
        names = [run.name for run in self.train]
        if len(set(names)) < len(names):
            raise ValueError("two training runs have one name")
        for index, run in enumerate(self.train):
            if run.initial in names[index:]:
                raise ValueError(f"train {run.name}: its initial run {run.initial!r} has to stand before it")
            if self.tokenizer and (run.tokenizer or run.canonicalize):
                raise ValueError(f"train {run.name}: the recipe's tokenizer says the run's tokenizer and canonicalize")
        return self


def load_recipe(path: str | Path) -> Recipe:
    """Read a YAML recipe, its relative paths made such as lead there from here.

    A field that is wrong or unknown is an InputError that names it.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such recipe")
    try:
        content = yaml.safe_load(path.read_text("utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict):
        raise InputError(f"{path}: a recipe is a mapping of stages, as in docs/recipes.md")
    recipe: Recipe = parse_options(Recipe, content, str(path))
    paths = {name: getattr(recipe, name) for name in ("pairs", "pictures", "opt_out")}
    found = {name: _beside(path, given) for name, given in paths.items() if given}
    shards = tuple(_beside(path, folder) for folder in recipe.shards)
    index = (recipe.index or IndexOptions()) if shards else None
    pack = (recipe.pack or PackStage()) if recipe.pictures else None
    if pack and pack.root:
        pack = pack.model_copy(update={"root": _beside(path, pack.root)})
    return recipe.model_copy(update={**found, "shards": shards, "index": index, "pack": pack})


def _beside(recipe_file: Path, path: str) -> str:
    return path if "://" in path else str(recipe_file.parent / path)
