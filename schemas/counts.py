"""What the stages count: a typed model for each kind of folder.

In JSON, on the terminal and in the report they are one flat list of names and numbers, `Counts.shown`: readable, and
the same from version to version. Whoever computes with them goes by the fields.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, model_serializer, model_validator

from clipsieve.schemas.outcomes import ErrorClass, Status


class Counts(BaseModel):
    """Base of all counts; by itself those of a folder that nothing is counted of yet."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    others: ClassVar[str | None] = None
    """The field that holds the names that are not known before, if there is one."""

    @property
    def shown(self) -> dict[str, int]:
        """Every count by its name; one that does not apply, which is None, has no name."""
        flat: dict[str, int] = {}
        for name in type(self).model_fields:
            value = getattr(self, name)
            flat |= value if isinstance(value, dict) else {} if value is None else {name: value}
        return flat

    @model_serializer
    def _flat(self) -> dict[str, int]:
        return self.shown

    @model_validator(mode="before")
    @classmethod
    def _from_flat(cls, content: Any) -> Any:
        """Read what `shown` gives."""
        if not isinstance(content, dict) or cls.others is None or cls.others in content:
            return content
        known = {name: value for name, value in content.items() if name in cls.model_fields}
        return known | {cls.others: {name: value for name, value in content.items() if name not in known}}


class PassCounts(BaseModel):
    """A later pass of `download`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    rows: int
    """That it tried again."""
    success: int


_ERROR = "error_"
_PASS = re.compile(r"pass_(\d+)_(rows|success)")


class DownloadCounts(Counts):
    """The input's rows, and how they ended after all passes."""

    rows: int
    duplicates: int
    """Rows left out because they repeat an earlier one's uid."""
    success: int
    failed_to_download: int = 0
    failed_to_resize: int = 0
    errors: dict[ErrorClass, int] = {}
    """The failed rows by why they failed."""
    retries: tuple[PassCounts, ...] = ()

    @property
    def distinct(self) -> int:
        """The rows that were requested."""
        return self.rows - self.duplicates

    @property
    def failed(self) -> int:
        return self.failed_to_download + self.failed_to_resize

    @property
    def rows_by_pass(self) -> list[int]:
        """The rows of each pass's shards and duplicates, the first pass's first."""
        return [self.rows, *(retry.rows for retry in self.retries)]

    @property
    def shown(self) -> dict[str, int]:
        first = ("rows", "duplicates", "success", "failed_to_download", "failed_to_resize")
        flat = {name: getattr(self, name) for name in first}
        flat |= {f"{_ERROR}{error.value}": rows for error, rows in self.errors.items()}
        for number, retry in enumerate(self.retries, 1):
            flat |= {f"pass_{number}_rows": retry.rows, f"pass_{number}_success": retry.success}
        return flat

    @model_validator(mode="before")
    @classmethod
    def _from_flat(cls, content: Any) -> Any:
        if not isinstance(content, dict):
            return content
        read: dict[str, Any] = {}
        errors: dict[str, int] = {}
        retries: dict[int, dict[str, int]] = {}
        for name, value in content.items():
            if match := _PASS.fullmatch(name):
                retries.setdefault(int(match[1]), {})[match[2]] = value
            elif name.startswith(_ERROR):
                errors[name.removeprefix(_ERROR)] = value
            else:
                read[name] = value
        return {"errors": errors, "retries": [retries[number] for number in sorted(retries)]} | read


def failure_counts(failures: Mapping[str, int]) -> dict[str, Any]:
    """The fields of `DownloadCounts` that count failed rows, from these by error class."""
    errors = {ErrorClass(name): rows for name, rows in sorted(failures.items())}
    failed = {status: sum(rows for error, rows in errors.items() if error.status is status) for status in Status}
    return {
        "failed_to_download": failed[Status.FAILED_TO_DOWNLOAD],
        "failed_to_resize": failed[Status.FAILED_TO_RESIZE],
        "errors": errors,
    }


class IndexCounts(Counts):
    """The samples that an index holds, and those of the tars that it leaves out."""

    pairs: int
    shards: int
    own_uids: int = 0
    """Pairs whose uid their table or json says; the uid of the others is a hash, of url and caption or of the key."""
    hashed_keys: int = 0
    """Pairs whose uid is a hash of their shard's name and key, for they have no url."""
    without_image: int = 0
    without_caption: int = 0
    duplicates: int = 0
    """Samples left out because an earlier one has their uid."""
    unfinished: int = 0
    """Tars left out because they have no stats file, though others of their folder have."""


class ScoreCounts(Counts):
    """The pairs that were scored."""

    pairs: int
    shards: int
    opted_out: int | None = None
    """Pairs left out because the opt-out list names them; None where there is no list, as below."""


class DriftCounts(Counts):
    """The pairs that were compared with what was published, and how many are what (`schemas.drift.Verdict`)."""

    pairs: int
    same: int = 0
    reencoded: int = 0
    resized: int = 0
    swapped: int = 0
    placeholder: int = 0
    expired: int = 0
    unknown: int = 0


class FilterCounts(Counts):
    """The pairs that were judged."""

    others = "removed"

    pairs: int
    kept: int
    removed: dict[str, int] = {}
    """By rule: the pairs whose first rejecting rule it is."""


class DedupCounts(Counts):
    """The pairs that were compared."""

    others = "found"

    pairs: int
    kept: int
    found: dict[str, int] = {}
    """By method: the pairs that it found to repeat another."""
    contaminated: int | None = None
    """Those of them that repeat an image of a task; None where no tasks were given."""


class SelectionCounts(Counts):
    """The pairs that could be selected."""

    others = "left_out"

    pairs: int
    eligible: int
    missing: int | None = None
    """Members of the given lists that the scores lack; None where no list was given."""
    opted_out: int | None = None
    left_out: dict[str, int] = {}
    """By reason: the other pairs that are not eligible."""


class MemberCounts(Counts):
    """The subsets or samples of a folder."""

    others = "members"

    members: dict[str, int] = {}
    """By its name, how many pairs one has."""


class ReshardCounts(Counts):
    """The members that were written as shards."""

    pairs: int
    shards: int
    missing: int | None = None
    """Members that the shards lack; None where none may be missing."""
    opted_out: int | None = None


class TokenizerCounts(Counts):
    """What a tokenizer was trained on."""

    captions: int
    vocabulary: int


class TrainCounts(Counts):
    """What a model was trained on, and its size."""

    pairs: int
    missing: int | None = None
    """Members of the subsets that the shards lack; None where none may be missing."""
    opted_out: int | None = None
    removed: int | None = None
    """Of the pairs, those that were taken down or came to be opted out while the run was stopped; None where none."""
    without_text: int | None = None
    """Pairs that keep their own caption where a table without a text of theirs is drawn; None: no such tables."""
    without_teacher: int | None = None
    """Pairs of which the teacher has no embeddings; None: there is no teacher."""
    samples_seen: int
    unique_samples: int | None = None
    """None of a checkpoint's model whose run mixes subsets or repeats pairs: it is counted at the end alone."""
    bad_samples: int | None = None
    """Pairs that could not be read, in whose places others were seen; None where there was none."""
    steps: int
    of_steps: int | None = None
    """Of a checkpoint's model, how many its run takes; None where it took them all."""
    parameters: int
    image_macs: int
    text_macs: int


class EvaluateCounts(Counts):
    """What a model was evaluated on."""

    tasks: int
    samples: int
