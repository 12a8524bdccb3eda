"""How a model is trained."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from clipsieve.schemas.options.base import Count, FailureShare, Options, Positive, Seconds, Seed


class TrainOptions(Options):
    """One training run."""

    may_change = frozenset(
        {
            "workers",
            "bad_samples",
            "threads",
            "checkpoint_steps",
            "checkpoint_minutes",
            "log_steps",
            "tensorboard",
            "wandb",
            "evaluate_steps",
            "evaluate_tasks",
            "validation",
            "collective_timeout",
            "any_code",
            "tokenizer",
            "initial",
            "texts",
            "teacher",
        }
    )
    """The last four are paths; the manifest's inputs say what lies there."""

    tower: str = Field(
        "vit-tiny-64",
        description="name of a tower (`clipsieve towers` lists them), or the path of an open_clip configuration",
    )
    samples: Count = Field(100_000, description="samples seen in the whole run, for example 100000 or 10M")
    batch_size: Positive = Field(256, description="pairs in a step, over all processes")
    optimizer: Literal["adamw", "adafactor"] = Field("adamw", description="AdamW, or big_vision's Adafactor")
    learning_rate: Annotated[float, Field(gt=0)] = Field(
        1e-3, description="learning rate at its peak, after the warm-up"
    )
    learning_rate_batch: Positive | None = Field(
        None, description="batch size for which `learning_rate` is given, 256 in CLIPA; none: the run's own"
    )
    weight_decay: Annotated[float, Field(ge=0)] = Field(
        0.2,
        description="weight decay: of adamw times the learning rate, of adafactor a share of the weights in each step",
    )
    betas: tuple[float, float] = Field(
        (0.9, 0.98), description="decay rates of the optimizer's averages of the gradient and of its square"
    )
    adam_eps: Annotated[float, Field(gt=0)] = Field(1e-8, description="adamw: epsilon beside the root of the square")
    warmup_steps: Annotated[int, Field(ge=0)] = Field(
        50, description="steps in which the learning rate rises linearly from 0 to its peak; a cosine follows"
    )
    final_learning_rate: Annotated[float, Field(ge=0)] = Field(
        0.0, description="learning rate at which the cosine ends"
    )
    grad_clip: Annotated[float, Field(gt=0)] | None = Field(
        1.0, description="largest norm of the gradient, which is scaled down to it; none: no clipping"
    )
    precision: Literal["fp32", "bf16"] = Field(
        "fp32",
        description="precision of the towers' computation (bf16: autocast); weights and optimizer state are fp32",
    )
    strategy: Literal["clip", "siglip", "slip"] = Field("clip", description="loss: CLIP's, SigLIP's or SLIP's")
    slip_width: Positive = Field(4096, description="hidden width of SLIP's head")
    augment: Literal[
        "none", "crop", "crop_flip", "crop50_flip", "crop40", "crop40_jitter", "randaugment", "stacked_randaugment"
    ] = Field(
        "none",
        description="augmentation of the images; none: they are resized only; crop: SLIP's random crop; crop50_flip: "
        "FLIP's; crop40, crop40_jitter: CLIPA's",
    )
    initial: str | None = Field(
        None, description="model to start from, a model folder or open_clip:MODEL@FILE; none: new weights"
    )
    tokenizer: str | None = Field(
        None, description="SentencePiece model, made by `clipsieve tokenizer`; none: the tower's own, or CLIP's"
    )
    canonicalize: bool = Field(
        False, description="turn captions into lower case without punctuation, as big_vision does"
    )
    image_size: Positive | None = Field(None, description="side of the tower's input in pixels; none: the tower's own")
    context_length: Positive | None = Field(None, description="tokens of the text tower's input; none: the tower's own")
    image_mask: Literal["none", "random", "grid", "block"] = Field(
        "none",
        description="which patches a ViT drops in training: random (FLIP); grid keeps 1 of 4; block keeps a square",
    )
    image_mask_ratio: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.5, description="share of the patches that a random or block mask drops"
    )
    text_mask: Literal["truncate", "random", "block", "syntax"] = Field(
        "truncate", description="which tokens are kept of a caption that is longer than the context (CLIPA)"
    )
    texts: tuple[str, ...] = Field(
        (),
        description="other captions by uid, TABLE:COLUMN=WEIGHT; caption=WEIGHT: the pairs' own, else not drawn",
        json_schema_extra={"flag": "--texts"},
    )
    teacher: str | None = Field(
        None, description="scores with embeddings, made by `clipsieve score --embeddings`: the model learns from them"
    )
    teacher_weight: Annotated[float, Field(gt=0, le=1)] = Field(
        0.5, description="share of the loss that `teacher` gives"
    )
    teacher_temperature: Annotated[float, Field(gt=0)] = Field(
        0.01, description="what the teacher's cosines are divided by"
    )
    lock_image: bool = Field(
        False, description="train the text tower only; the image tower stays as in `initial` (LiT)"
    )
    accumulate: Positive = Field(
        1, description="micro-batches into which a step's batch is cut; the loss is that of the whole batch"
    )
    workers: Annotated[int, Field(ge=0)] = Field(
        0, description="processes that decode images, for each that trains; 0: a thread of that one"
    )
    bad_samples: FailureShare = Field(
        0.001,
        description="share of the samples seen that may be unreadable; others take their places (64 always may)",
    )
    threads: Positive | None = Field(
        None, description="threads in which a process computes on a CPU; none: one for each core that is its share"
    )
    parallel: Literal["ddp", "fsdp"] = Field(
        "ddp",
        description="what is split over the processes: the batch (ddp), or weights and optimizer state too (fsdp)",
    )
    replicas: Positive = Field(
        1, description="copies of the model that fsdp keeps, each shared out over processes / `replicas` (HSDP)"
    )
    checkpoint_activations: bool = Field(
        False, description="store only each layer's input, and compute the layer again for its gradient"
    )
    order: Literal["global", "window"] = Field(
        "global",
        description="global: each epoch shuffles all pairs, which takes fast random reads; window: shards, and pairs "
        "within windows of shards, for object stores",
    )
    window_shards: Positive = Field(
        256, description="shards of a window; three windows of tars are on a node's disk at a time"
    )
    compile: bool = Field(False, description="compile the towers' layers, and Adafactor's step, by torch.compile")
    deterministic: Literal["auto", "always", "never"] = Field(
        "auto",
        description="always: bit for bit the same on one machine, in full fp32; never: faster algorithms, and fp32 "
        "products in TF32 on GPUs; auto: always on CPUs, never on GPUs",
    )
    collective_timeout: Seconds = Field(
        600.0, description="seconds that a process waits for the others before it gives up"
    )
    checkpoint_steps: Positive = Field(500, description="most steps between two checkpoints")
    checkpoint_minutes: Annotated[float, Field(gt=0)] = Field(10.0, description="most minutes between two checkpoints")
    any_code: bool = Field(False, description="resume from a checkpoint that another version of the trainer wrote")
    log_steps: Positive = Field(20, description="steps between two lines of the log")
    tensorboard: bool = Field(False, description="write the log to OUT/tensorboard too")
    wandb: str | None = Field(None, description="project of Weights & Biases to write the log to, too")
    evaluate_steps: Positive | None = Field(
        None, description="steps between two evaluations of the model, by `evaluate_tasks`, `validation` or both"
    )
    evaluate_tasks: str | None = Field(
        None,
        description="folder of tasks, as `clipsieve evaluate --data` has it, to evaluate the model on during the run; "
        "some of them as tasks=cifar10,imagenet-a",
    )
    validation: str | None = Field(
        None,
        description="subset file of pairs of the shards that the run does not train on, to take the loss of",
        json_schema_extra={"flag": "--validate"},
    )
    allow_missing: bool = Field(
        False, description="train on the members of a subset that the shards have, and count those that they lack"
    )
    seed: Seed = Field(0, description="seed of the new weights, the order of the samples, augmentations and masks")

    @property
    def peak_learning_rate(self) -> float:
        """``learning_rate``, scaled linearly from ``learning_rate_batch`` to the run's batch (CLIPA's tables)."""
        return self.learning_rate * self.batch_size / (self.learning_rate_batch or self.batch_size)

    @model_validator(mode="after")
    def _down_from_the_peak(self) -> TrainOptions:
        if self.final_learning_rate > self.peak_learning_rate:
            raise ValueError("`final_learning_rate` is above the peak of `learning_rate`: lower it")
        return self

    @model_validator(mode="after")
    def _replicas_of_fsdp(self) -> TrainOptions:
        if self.replicas > 1 and self.parallel != "fsdp":
            raise ValueError(f"`replicas` {self.replicas}: with ddp each process has a copy: set `parallel` to fsdp")
        return self

    @model_validator(mode="after")
    def _captions_of_the_teacher(self) -> TrainOptions:
        if self.texts and self.teacher:
            raise ValueError("`teacher` has embeddings of the pairs' own captions: leave `texts` out")
        return self

    @model_validator(mode="after")
    def _views_of_slip(self) -> TrainOptions:
        if self.strategy == "slip" and self.augment in ("none", "randaugment"):
            raise ValueError(
                "`strategy` slip compares crops: set `augment` to crop (the paper's) or another that crops"
            )
        return self

    @model_validator(mode="after")
    def _evaluations(self) -> TrainOptions:
        named = [name for name in ("evaluate_tasks", "validation") if getattr(self, name) is not None]
        if self.evaluate_steps is None and named:
            raise ValueError(f"`{named[0]}` needs `evaluate_steps`")
        if self.evaluate_steps is not None and not named:
            raise ValueError("`evaluate_steps` needs `evaluate_tasks`, `validation` or both")
        return self
