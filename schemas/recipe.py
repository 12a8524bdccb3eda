"""The recipe: what each stage was asked to do. Everything that decides an output's bytes is here, paths are not.

A stage's options come from the command line or from a YAML recipe, and are written into its manifest.
"""

from __future__ import annotations

import re
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator, model_validator

from schemas.errors import InputError

Fraction = Annotated[float, Field(gt=0, le=100)]
Positive = Annotated[int, Field(gt=0)]
Seed = Annotated[int, Field(ge=0)]
Seconds = Annotated[float, Field(gt=0)]


_UNITS = {"": 1, "K": 10**3, "M": 10**6, "B": 10**9}


def parse_size(text: str) -> int:
    """A number of pairs as the paper writes it: ``250``, ``10M``, ``3.4B``."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([KMB]?)", text)
    size = Decimal(match[1]) * _UNITS[match[2]] if match else None
    if size is None or size != int(size):
        raise ValueError(f"{text!r} is not a whole number of pairs, as 250, 10M or 3.4B")
    return int(size)


Count = Annotated[
    int, BeforeValidator(lambda value: parse_size(value) if isinstance(value, str) else value), Field(gt=0)
]


def size_name(size: int) -> str:
    """The shortest exact name of a number of pairs, `parse_size`'s inverse: 10_000_000 is ``10M``, 1500 is ``1500``."""
    for unit, scale in (("B", 10**9), ("M", 10**6)):
        scaled = Decimal(size) / scale
        if scaled >= 1 and scaled == round(scaled, 1):
            return f"{scaled.normalize():f}{unit}"
    return str(size)


class Options(BaseModel):
    """Base of every stage's options: unknown keys are refused, values do not change once read."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    may_change: ClassVar[frozenset[str]] = frozenset()
    """Fields that may have another value when a folder is gone on with, for they decide nothing of what is made."""


class DownloadOptions(Options):
    """How pairs become shards. What img2dataset has too bears its name and means the same."""

    may_change = frozenset(
        {
            "attempts",
            "connect_timeout",
            "read_timeout",
            "total_timeout",
            "concurrency",
            "host_concurrency",
            "host_rate",
            "max_retry_after",
            "network_patience",
            "dns_servers",
            "max_failure_share",
        }
    )
    """How to ask: how often, how long, how fast, and when to give up. All others say what to make."""

    shard_size: Positive = Field(10_000, description="rows of the input table in a shard")

    image_size: Positive = Field(256, description="pixels of the side that resize_mode sets")
    resize_mode: Literal["keep_ratio", "center_crop", "border", "keep_ratio_largest", "no"] = Field(
        "keep_ratio", description="keep_ratio, center_crop, border, keep_ratio_largest or no, as img2dataset's"
    )
    resize_only_if_bigger: bool = Field(True, description="leave smaller images as they are")
    decode: Literal["exact", "fast"] = Field(
        "exact", description="exact: img2dataset's pixels; fast: JPEGs decoded at a reduced scale"
    )
    encode_format: Literal["jpg", "png", "webp"] = Field("jpg", description="format of the stored image")
    encode_quality: Annotated[int, Field(ge=0, le=100)] = Field(
        95, description="of JPEG and WebP from 1 to 100; of PNG the compression, 0 to 9"
    )
    skip_reencode: bool = Field(False, description="keep the file as served where nothing needs to change in it")
    min_image_size: Annotated[int, Field(ge=0)] = Field(0, description="least pixels of the shorter side")
    max_aspect_ratio: Annotated[float, Field(ge=1)] | None = Field(None, description="longest side by shortest")
    max_pixels: Positive = Field(100_000_000, description="largest image in pixels, judged before decoding")
    bbox_col: str | None = Field(None, description="column of boxes to blur, [[x0, y0, x1, y1], ...] in 0 to 1")
    verify_sha256: bool = Field(True, description="refuse bytes other than a sha256 column of the input says")

    max_bytes: Positive = Field(20_000_000, description="largest answer in bytes")
    max_redirects: Annotated[int, Field(ge=0, le=20)] = Field(5, description="redirects followed to an image")
    attempts: Annotated[int, Field(ge=1, le=10)] = Field(2, description="tries of a URL whose failure may pass")
    connect_timeout: Seconds = Field(5.0, description="seconds to a connection, name resolution included")
    read_timeout: Seconds = Field(10.0, description="seconds without a byte")
    total_timeout: Seconds = Field(30.0, description="seconds from the first request to the last byte, per attempt")
    concurrency: Positive = Field(64, description="URLs asked for at a time, per worker")
    host_concurrency: Positive = Field(16, description="URLs asked of one host at a time, per worker")
    host_rate: Annotated[float, Field(gt=0)] | None = Field(
        None, description="requests a second to one host, per worker"
    )
    max_retry_after: Seconds = Field(60.0, description="longest wait that a host's Retry-After may ask for")
    network_patience: Seconds = Field(900.0, description="seconds to wait for a network that is gone before giving up")
    dns_servers: tuple[str, ...] = Field((), description="HOST[:PORT] of a name server; none: the system's")
    allow_hosts: tuple[str, ...] = Field((), description="HOST:PORT that may be a private address")
    user_agent: Annotated[str, Field(pattern=r"^[A-Za-z_-]+$")] = Field(
        "clipsieve", description="name told to servers, and looked up in robots.txt and X-Robots-Tag"
    )
    robots_txt: bool = Field(True, description="ask each host's robots.txt first and keep to it")

    max_failure_share: Annotated[float, Field(ge=0, le=1)] = Field(1.0, description="share of rows that may fail")

    @model_validator(mode="after")
    def _quality_of_format(self) -> DownloadOptions:
        low, high = (0, 9) if self.encode_format == "png" else (1, 100)
        if not low <= self.encode_quality <= high:
            raise ValueError(f"encode_quality of {self.encode_format} is from {low} to {high}")
        return self


class ScoreOptions(Options):
    """How pairs get their similarity."""

    reference: str = Field("builtin", description="builtin, open_clip:MODEL/PRETRAINED or open_clip:MODEL@FILE")
    batch_size: Positive = 64
    embeddings: bool = Field(False, description="keep image and text embeddings in fp16 beside the scores")


def parse_combination(text: str) -> tuple[float, int]:
    """The percentage and the size of a sample within a subset: ``top40_10M`` is 10M pairs of the best 40%."""
    match = re.fullmatch(r"top(\d+(?:\.\d{1,2})?)_(.+)", text)
    if not match or not 0 < float(match[1]) <= 100 or parse_size(match[2]) <= 0:
        raise ValueError(f"{text!r} is not a sample within a subset, as top40_10M")
    return float(match[1]), parse_size(match[2])


class SelectOptions(Options):
    """Which subsets and samples are cut from the scores."""

    may_change = frozenset({"subsets"})

    fractions: tuple[Fraction, ...] = Field((20, 40, 60, 80), description="percentages of the pairs that score best")
    sizes: tuple[Count, ...] = Field((), description="pairs in each nested sample, as 250 or 10M")
    combinations: tuple[str, ...] = Field((), description="samples within a subset: top40_10M is 10M of the best 40%")
    seed: Seed = Field(0, description="decides which pairs are drawn")
    score_column: str = Field("similarity", description="column of the score files that ranks the pairs")
    where: str = Field("", description="condition on their columns, as \"original_width >= 200 and language == 'en'\"")
    subsets: bool = Field(True, description="write each subset and sample beside the selection table")

    @field_validator("fractions")
    @classmethod
    def _whole_hundredths(cls, fractions: tuple[float, ...]) -> tuple[float, ...]:
        for fraction in fractions:
            if round(fraction, 2) != fraction:
                raise ValueError(f"a fraction has at most two decimals, not {fraction}")
        return tuple(sorted(set(fractions)))

    @field_validator("combinations")
    @classmethod
    def _named_alike(cls, combinations: tuple[str, ...]) -> tuple[str, ...]:
        parsed = sorted({parse_combination(text) for text in combinations})
        return tuple(f"top{percent:g}_{size_name(size)}" for percent, size in parsed)


class ReshardOptions(Options):
    """How a subset becomes shards of its own."""

    shard_size: Positive = Field(10_000, description="samples in a shard")
    seed: Seed = Field(0, description="decides the order of the samples")


class TrainOptions(Options):
    """One training run."""

    tower: str = Field("vit-tiny-64", description="a tower of training/towers, or the path of an open_clip config")
    samples: Count = Field(100_000, description="samples seen in the whole run, as 100000 or 10M")
    batch_size: Positive = Field(256, description="pairs in a step over all processes")
    optimizer: Literal["adamw", "adafactor"] = "adamw"
    learning_rate: Annotated[float, Field(gt=0)] = 1e-3
    weight_decay: Annotated[float, Field(ge=0)] = 0.2
    betas: tuple[float, float] = (0.9, 0.98)
    warmup_steps: Annotated[int, Field(ge=0)] = 50
    grad_clip: Annotated[float, Field(gt=0)] | None = 1.0
    precision: Literal["fp32", "bf16"] = "fp32"
    augment: Literal["none", "crop_flip"] = Field("none", description="none: squash to the tower's size")
    workers: Positive = Field(1, description="decoding threads")
    checkpoint_steps: Positive = Field(500, description="steps between checkpoints")
    log_steps: Positive = Field(20, description="steps between log lines")
    seed: Seed = 0


class EvaluateOptions(Options):
    """One evaluation of a model."""

    tasks: tuple[str, ...] = Field((), description="names of task folders under --data; none: all that are there")
    batch_size: Positive = 128


class TrainStage(TrainOptions):
    """A named training run of a recipe; its folder is models/NAME."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    subset: str | None = Field(None, description="a subset's or sample's name, as top40; none: every scored pair")

    def options(self) -> TrainOptions:
        return TrainOptions(**self.model_dump(exclude={"name", "subset"}))


class ReshardStage(ReshardOptions):
    """A subset of a recipe to write as shards; its folder is resharded/SUBSET."""

    subset: str

    def options(self) -> ReshardOptions:
        return ReshardOptions(**self.model_dump(exclude={"subset"}))


class EvaluateStage(EvaluateOptions):
    """The evaluation of every model of a recipe; its folder is evaluations/MODEL."""

    data: str = Field("builtin", description="a folder of task folders; builtin: the tasks that come with clipsieve")

    def options(self) -> EvaluateOptions:
        return EvaluateOptions(**self.model_dump(exclude={"data"}))


class Recipe(Options):
    """A whole run: the stages that are named run in this order, those left out do not."""

    pairs: str = Field(description="the table of pairs; a relative path is looked up beside the recipe")
    opt_out: str | None = Field(None, description="list of what no stage may use; looked up as the table is")
    download: DownloadOptions | None = None
    score: ScoreOptions | None = None
    select: SelectOptions | None = None
    reshard: tuple[ReshardStage, ...] = ()
    train: tuple[TrainStage, ...] = ()
    evaluate: EvaluateStage | None = None
    report: bool = False


def load_recipe(path: str | Path) -> Recipe:
    """Read a YAML recipe; a field that is wrong or unknown is an InputError that names it."""
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such recipe")
    try:
        content = yaml.safe_load(path.read_text("utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict):
        raise InputError(f"{path}: a recipe is a mapping of stages, as in docs/recipes.md")
    return parse_options(Recipe, content, str(path))


def parse_options(model: type[Any], content: dict[str, Any], where: str) -> Any:
    """Validate ``content`` as ``model``; the first wrong field becomes a one-line InputError."""
    try:
        return model(**content)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"]) or "recipe"
        raise InputError(f"{where}: {field}: {first['msg']} (got {first.get('input')!r})") from error


STAGE_OPTIONS: dict[str, type[Options]] = {
    "download": DownloadOptions,
    "score": ScoreOptions,
    "select": SelectOptions,
    "reshard": ReshardOptions,
    "train": TrainOptions,
    "evaluate": EvaluateOptions,
}
