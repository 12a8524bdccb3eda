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


def _split_names(value: Any) -> Any:
    """``A,B`` as A and B, within a list too."""
    values = [value] if isinstance(value, str) else value
    if not isinstance(values, (list, tuple)):
        return value
    return tuple(name for text in values for name in str(text).split(",") if name)


Names = Annotated[tuple[str, ...], BeforeValidator(_split_names)]


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


STORED = "stored"
"""The reference that is no model: image and text embeddings that lie in the folder already."""
HeadFile = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*=.+\.safetensors$")]


class ScoreOptions(Options):
    """How pairs get their similarity."""

    references: tuple[str, ...] = Field(
        ("builtin",),
        min_length=1,
        description="builtin, open_clip:MODEL/PRETRAINED, open_clip:MODEL@FILE or a model folder; the first gives "
        "similarity, further ones similarity_2 and so on; stored: embeddings in clip-retrieval's layout",
    )
    precision: Literal["fp32", "bf16"] = Field(
        "fp32", description="what the references compute in; similarities are stored in fp32 either way"
    )
    batch_size: Positive = Field(64, description="pairs in a forward pass; another may change a score's last digits")
    heads: tuple[HeadFile, ...] = Field(
        (), description="NAME=FILE.safetensors: a linear head on the first reference's image embeddings, column NAME"
    )
    language: bool = Field(False, description="identify the captions' language")
    embeddings: bool = Field(False, description="keep image and text embeddings in fp16 beside the scores")

    @model_validator(mode="after")
    def _stored_has_no_model(self) -> ScoreOptions:
        if STORED in self.references and (len(self.references) > 1 or self.embeddings or self.precision != "fp32"):
            raise ValueError("stored embeddings are scored as they are: no other reference, embeddings or precision")
        return self


def parse_combination(text: str) -> tuple[float, int]:
    """The percentage and the size of a sample within a subset: ``top40_10M`` is 10M pairs of the best 40%."""
    match = re.fullmatch(r"top(\d+(?:\.\d{1,2})?)_(.+)", text)
    if not match or not 0 < float(match[1]) <= 100 or parse_size(match[2]) <= 0:
        raise ValueError(f"{text!r} is not a sample within a subset, as top40_10M")
    return float(match[1]), parse_size(match[2])


class FilterOptions(Options):
    """Which pairs may be selected at all."""

    rules: tuple[str, ...] = Field(
        ("basic",),
        description='a named rule or set, as basic, or a condition, as "few_words: caption_words > 4"; see --list',
    )


class DedupOptions(Options):
    """Which pairs repeat another."""

    methods: tuple[Literal["exact", "perceptual", "thumbnail", "semantic"], ...] = Field(
        ("exact", "perceptual", "thumbnail"),
        min_length=1,
        description="exact (bytes, uid), perceptual (hashes), thumbnail (pixels; finds crops) or semantic (embeddings)",
    )
    max_hamming: Annotated[int, Field(ge=0, le=12)] = Field(
        4, description="perceptual: most bits of 64 in which two hashes may differ"
    )
    min_cosine: Annotated[float, Field(gt=0, le=1)] = Field(
        0.97, description="semantic: least cosine of two image embeddings"
    )
    seed: Seed = Field(0, description="decides the clusters in which near vectors are looked for")


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
    allow_missing: bool = Field(False, description="leave out, and count, members that are not in the shards")


class TokenizerOptions(Options):
    """How a SentencePiece model is trained."""

    vocab_size: Positive = Field(32_000, description="pieces, the special ones included")
    canonicalize: bool = Field(False, description="captions in lower case, without punctuation, as big_vision has them")
    captions: Count = Field(10_000_000, description="captions to train on, drawn where there are more")
    seed: Seed = Field(0, description="decides which captions are drawn")


class TrainOptions(Options):
    """One training run."""

    may_change = frozenset(
        {
            "workers",
            "checkpoint_steps",
            "checkpoint_minutes",
            "log_steps",
            "tensorboard",
            "collective_timeout",
            "any_code",
            "tokenizer",
            "initial",
        }
    )
    """The last two are paths; the manifest's inputs say what lies there."""

    tower: str = Field("vit-tiny-64", description="a tower of training/towers, or the path of an open_clip config")
    samples: Count = Field(100_000, description="samples seen in the whole run, as 100000 or 10M")
    batch_size: Positive = Field(256, description="pairs in a step over all processes")
    optimizer: Literal["adamw", "adafactor"] = "adamw"
    learning_rate: Annotated[float, Field(gt=0)] = Field(1e-3, description="at its peak")
    learning_rate_batch: Positive | None = Field(
        None, description="batch size that learning_rate is given for, as CLIPA's 256; none: the run's own"
    )
    weight_decay: Annotated[float, Field(ge=0)] = 0.2
    betas: tuple[float, float] = (0.9, 0.98)
    warmup_steps: Annotated[int, Field(ge=0)] = 50
    grad_clip: Annotated[float, Field(gt=0)] | None = 1.0
    precision: Literal["fp32", "bf16"] = "fp32"
    strategy: Literal["clip", "siglip", "slip"] = Field("clip", description="the loss: CLIP's, SigLIP's or SLIP's")
    slip_width: Positive = Field(4096, description="hidden width of SLIP's head")
    augment: Literal["none", "crop", "crop_flip", "randaugment", "stacked_randaugment"] = Field(
        "none", description="none (resize alone), crop (SLIP's), crop_flip, randaugment or stacked_randaugment"
    )
    initial: str | None = Field(
        None, description="model that the weights come from, a model folder or open_clip:MODEL@FILE; none: new weights"
    )
    tokenizer: str | None = Field(
        None, description="SentencePiece model, as `clipsieve tokenizer` makes one; none: as the tower says, or CLIP's"
    )
    canonicalize: bool = Field(False, description="captions in lower case, without punctuation, as big_vision has them")
    image_size: Positive | None = Field(None, description="pixels of the tower's input; none: as the tower says")
    context_length: Positive | None = Field(None, description="tokens of the text tower; none: as the tower says")
    image_mask: Literal["none", "random", "grid", "block"] = Field(
        "none", description="patches that a ViT trains on: random is FLIP's; grid keeps 1 of 4; block keeps a square"
    )
    image_mask_ratio: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.5, description="share of the patches that a random or block mask drops"
    )
    text_mask: Literal["truncate", "random", "block", "syntax"] = Field(
        "truncate", description="which tokens of a caption longer than the context the tower sees (CLIPA)"
    )
    lock_image: bool = Field(False, description="train the text tower alone, on an initial image tower (LiT)")
    accumulate: Positive = Field(1, description="micro-batches that a step's batch is computed in, with one loss")
    workers: Positive = Field(1, description="decoding threads")
    parallel: Literal["ddp", "fsdp"] = Field(
        "ddp", description="what several processes share: the batch (ddp), or weights and optimizer state too (fsdp)"
    )
    checkpoint_activations: bool = Field(
        False, description="keep each layer's input alone and compute the layer again for its gradient"
    )
    compile: bool = Field(False, description="compile the towers' layers with torch.compile")
    collective_timeout: Seconds = Field(600.0, description="seconds that a process waits for the others")
    checkpoint_steps: Positive = Field(500, description="steps between checkpoints, at most")
    checkpoint_minutes: Annotated[float, Field(gt=0)] = Field(10.0, description="minutes between checkpoints, at most")
    any_code: bool = Field(False, description="go on from a checkpoint that another version of the trainer wrote")
    log_steps: Positive = Field(20, description="steps between log lines")
    tensorboard: bool = Field(False, description="write the log to OUT/tensorboard too")
    seed: Seed = 0

    @property
    def peak_learning_rate(self) -> float:
        """``learning_rate``, scaled linearly from ``learning_rate_batch`` to the run's batch (CLIPA's tables)."""
        return self.learning_rate * self.batch_size / (self.learning_rate_batch or self.batch_size)

    @model_validator(mode="after")
    def _views_of_slip(self) -> TrainOptions:
        if self.strategy == "slip" and self.augment in ("none", "randaugment"):
            raise ValueError("strategy slip compares crops: give augment crop (the paper's), or another that crops")
        return self


class EvaluateOptions(Options):
    """One evaluation of a model."""

    may_change = frozenset({"batch_size"})

    tasks: Names = Field(
        (),
        description="tasks under --data, by folder or DataComp's name, commas between; none: all that are there",
        json_schema_extra={"flag": "--tasks"},
    )
    protocols: Names = Field(
        ("zeroshot", "retrieval", "multilabel"),
        description="what is done with each task that it fits, commas between: zeroshot, retrieval, multilabel, and "
        "where there is a training split linear_probe, few_shot_5, few_shot_10",
        json_schema_extra={"flag": "--protocols"},
    )
    preset: Literal["openclip", "paper"] = Field(
        "openclip", description="openclip: the model's own preprocessing; paper: big_vision's, and its prompts"
    )
    prompts: str = Field(
        "own", description="own (the task folder's), openai (80), simple (7), name, or a file of templates with {c}"
    )
    batch_size: Positive = 128


class TrainStage(TrainOptions):
    """A named training run of a recipe; its folder is models/NAME."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    subset: str | dict[str, Annotated[float, Field(gt=0)]] | None = Field(
        None, description="a subset's or sample's name, or several with their weights; none: every scored pair"
    )
    initial: str | None = Field(None, description="the name of a run above, or as on the command line")

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
    filter: FilterStage | None = None
    dedup: DedupStage | None = None
    select: SelectOptions | None = None
    reshard: tuple[ReshardStage, ...] = ()
    tokenizer: TokenizerOptions | None = Field(None, description="trained on the shards' captions for all runs")
    train: tuple[TrainStage, ...] = ()
    evaluate: EvaluateStage | None = None
    report: bool = False

    @model_validator(mode="after")
    def _runs_in_order(self) -> Recipe:
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
    "filter": FilterOptions,
    "dedup": DedupOptions,
    "select": SelectOptions,
    "reshard": ReshardOptions,
    "tokenizer": TokenizerOptions,
    "train": TrainOptions,
    "evaluate": EvaluateOptions,
}
