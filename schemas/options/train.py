"""How a model is trained."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from clipsieve.schemas.options.base import Count, Options, Positive, Seconds, Seed


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
