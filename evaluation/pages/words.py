"""What the tables' names are called for a person."""

from __future__ import annotations

from clipsieve.schemas.outcomes import Consent, ErrorClass
from clipsieve.schemas.training_data import TrainingData

LOSSES = {
    "duplicates": "repeat an earlier row",
    ErrorClass.INVALID_URL.value: "not a valid URL",
    ErrorClass.SCHEME_NOT_ALLOWED.value: "neither http nor https",
    ErrorClass.FORBIDDEN_ADDRESS.value: "leads to a private address",
    ErrorClass.HOST_NOT_FOUND.value: "host not found",
    ErrorClass.DNS_ERROR.value: "name server failed",
    ErrorClass.TIMEOUT.value: "server too slow",
    ErrorClass.CONNECTION_ERROR.value: "connection refused or broken off",
    ErrorClass.PROTOCOL_ERROR.value: "answered with other than HTTP",
    ErrorClass.TLS_ERROR.value: "no trusted TLS connection",
    ErrorClass.HTTP_ERROR.value: "answered with an HTTP error",
    ErrorClass.TOO_MANY_REDIRECTS.value: "too many redirects",
    ErrorClass.TOO_LARGE.value: "larger than the byte limit",
    ErrorClass.EMPTY_BODY.value: "empty answer",
    ErrorClass.OPTED_OUT.value: "owner forbids use in training",
    ErrorClass.HASH_MISMATCH.value: "not the bytes that the table names",
    ErrorClass.FORBIDDEN_PATH.value: "outside the folder that may be read",
    ErrorClass.FILE_NOT_FOUND.value: "no such file",
    ErrorClass.NOT_A_FILE.value: "not a regular file",
    ErrorClass.FILE_ERROR.value: "file cannot be read",
    ErrorClass.NO_CAPTION.value: "picture without a caption",
    ErrorClass.NOT_AN_IMAGE.value: "not an image",
    ErrorClass.TOO_MANY_PIXELS.value: "larger than the pixel limit",
    ErrorClass.TOO_SMALL.value: "smaller than the size limit",
    ErrorClass.ASPECT_RATIO.value: "more oblong than the limit",
    ErrorClass.DECODE_ERROR.value: "truncated or damaged image",
    "where": "outside the selection's condition",
    "duplicate": "repeats a pair that is kept",
    "not_english": "caption not in English",
    "few_words": "too few words",
    "few_chars": "too few characters",
    "short_alt": "caption too short",
    "small_image": "image too small",
    "oblong_image": "image too oblong",
    "small_file": "file too small",
    "low_similarity": "similarity below the threshold",
    "boilerplate": "caption of many images",
    "placeholder": "image of many captions",
    "file_name": "caption is a file name",
    "markup": "markup in the caption",
}

CONSENT = {
    Consent.ALLOWED.value: "nothing forbids it",
    Consent.OPT_OUT_LIST.value: "on the opt-out list",
    Consent.ROBOTS_TXT.value: "robots.txt forbids it",
    Consent.X_ROBOTS_TAG.value: "X-Robots-Tag forbids it",
    Consent.TDM_RESERVATION.value: "reserved from text and data mining",
}

METRICS = {
    "acc1": "accuracy (top 1)",
    "acc5": "accuracy (top 5)",
    "acc1_seed_sd": "deviation over seeds",
    "text_retrieval_recall@1": "image → text, recall@1",
    "text_retrieval_recall@5": "image → text, recall@5",
    "text_retrieval_recall@10": "image → text, recall@10",
    "image_retrieval_recall@1": "text → image, recall@1",
    "image_retrieval_recall@5": "text → image, recall@5",
    "image_retrieval_recall@10": "text → image, recall@10",
}

TASK_METRICS = {
    "zeroshot_classification": ("acc1", "mean_average_precision"),
    "linear_probe": ("acc1",),
    "few_shot_5": ("acc1",),
    "few_shot_10": ("acc1",),
    "zeroshot_retrieval": tuple(f"{way}_retrieval_recall@{k}" for way in ("text", "image") for k in (1, 5, 10)),
}
"""The metrics of each kind of task that the report shows; of an unknown kind, its main metric."""


def loss(reason: str) -> str:
    """A reason in plain words; one that has none, as it is."""
    return LOSSES.get(reason, reason.replace("_", " "))


def consent(name: str | None) -> str:
    """What decided whether an image may be used, in plain words; None is where nothing did."""
    return CONSENT.get(name, name) if name else "no image to judge"


def metric(name: str) -> str:
    return METRICS.get(name, name.replace("_", " "))


def trained_on(data: TrainingData) -> str:
    """``top 40%``, ``70% top20 + 30% top80``, or ``all pairs``."""
    if len(data.subsets) > 1:
        return " + ".join(f"{100 * share:.3g}% {name}" for name, share in data.shares)
    return subset(data.subsets[0].name) if data.subsets else "all pairs"


def subset(name: str) -> str:
    """``top40`` -> ``top 40%``, ``10M`` -> ``sample of 10M``"""
    if name.startswith("top"):
        return f"top {name.removeprefix('top')}%"
    return f"sample of {name}" if name[0].isdigit() else name


def signed(fraction: float) -> str:
    """A fraction as signed percentage points, with a true minus sign."""
    return f"{100 * fraction:+.1f}".replace("-", "\N{MINUS SIGN}")
