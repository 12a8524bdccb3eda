"""The rules that have a name, the sets that they make, and how a recipe's text becomes rules.

    few_words                            a named rule
    basic                                a set: all rules of it
    caption_words > 4                    a condition on columns, its own reason
    few_words: caption_words > 4         the same, and its reason
    top(similarity, 30)                  a rule that looks at all pairs first

To add a named rule, add it to `NAMED`; a new kind is a `Judge` in a file of its own, and its line in `KINDS`.
"""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from clipsieve.pipelines.filters.image_based import ImageBased
from clipsieve.pipelines.filters.repeats import RepeatedCaption, RepeatedImage
from clipsieve.pipelines.filters.rule import Condition, Judge, Rule
from clipsieve.pipelines.filters.top import Top
from clipsieve.pipelines.select.where import parse_where
from clipsieve.schemas.errors import InputError
from clipsieve.schemas.tables import FILTERS


@dataclass(frozen=True)
class Named:
    """A rule that a recipe may call by its name, which is its reject_reason."""

    text: str
    doc: str


NAMED = {
    "not_english": Named("language == 'en'", "the caption is in English; DataComp's and LAION's"),
    "few_words": Named("caption_words > 2", "more than two words; DataComp's"),
    "few_chars": Named("caption_chars > 5", "more than five characters; DataComp's"),
    "small_image": Named("shorter_side >= 200", "as downloaded, 200 pixels or more; DataComp's"),
    "oblong_image": Named("aspect_ratio <= 3", "longer side at most three times the shorter; DataComp's"),
    "short_alt": Named("caption_chars >= 5", "five characters or more; LAION's"),
    "small_file": Named("byte_size >= 5000", "5,000 bytes downloaded or more; LAION's"),
    "low_similarity": Named("similarity >= 0.28", "LAION's threshold, meant for CLIP ViT-B/32"),
    "boilerplate": Named("repeated_caption(10)", "at most 10 different images have the caption"),
    "placeholder": Named("repeated_image(10)", "at most 10 different captions have the image's very file"),
    "drifted": Named(
        "drift not in ['swapped', 'placeholder', 'expired']", "the image is what the pool's publisher saw; see `drift`"
    ),
    "file_name": Named("not caption_is_file_name", "the caption is no file name, number or bare web address"),
    "markup": Named("not caption_is_markup", "no HTML, entity or program's syntax in the caption"),
}

SETS = {
    "basic": ("not_english", "few_words", "few_chars", "small_image", "oblong_image"),
    "laion": ("short_alt", "small_file", "not_english", "low_similarity"),
    "drift": ("drifted",),
    "junk": ("boilerplate", "placeholder", "file_name", "markup"),
}

KINDS: dict[str, Callable[..., Judge]] = {
    "top": Top,
    "repeated_caption": RepeatedCaption,
    "repeated_image": RepeatedImage,
    "image_based": ImageBased,
}

_WITH_REASON = re.compile(r"\s*([a-z][a-z0-9_]*)\s*:\s*(.*\S)\s*", re.DOTALL)


def parse_rules(texts: Iterable[str]) -> tuple[Rule, ...]:
    """The rules that a recipe's texts name, in order; one that stands there twice, alike, is one.

    Raises InputError for a text that is no rule, and for two rules of one reason.
    """
    rules: dict[str, Rule] = {}
    for text in texts:
        for rule in _parse(text):
            if rules.setdefault(rule.reason, rule).text != rule.text:
                before = rules[rule.reason].text
                raise InputError(f"rule {text!r}: reason {rule.reason!r} is that of {before!r} too; give it another")
    if not rules:
        raise InputError("filter: no rule; name one in `rules`, as basic (`clipsieve filter --list` shows them)")
    return tuple(rules.values())


def _parse(text: str) -> Iterator[Rule]:
    name = text.strip()
    if name in SETS:
        yield from (_rule(each, NAMED[each].text) for each in SETS[name])
        return
    if name in NAMED:
        yield _rule(name, NAMED[name].text)
        return
    if re.fullmatch(r"[a-z_]+", name):
        known = ", ".join([*SETS, *NAMED])
        raise InputError(f"rule {name!r}: no such rule; there are {known}, and conditions on columns")
    match = _WITH_REASON.fullmatch(text)
    yield _rule(match[1], match[2]) if match else _rule(None, name)


def _rule(reason: str | None, text: str) -> Rule:
    try:
        tree = ast.parse(text, mode="eval").body
    except (SyntaxError, ValueError) as error:
        raise InputError(f"rule {text!r}: neither a named rule nor a condition (invalid syntax)") from error
    judge = _judge(tree, text) if isinstance(tree, ast.Call) else Condition(parse_where(text))
    reason = reason or ast.unparse(tree)
    if reason in FILTERS.columns:
        raise InputError(f"rule {text!r}: a reason cannot be {reason!r}, which is a column's name; give it another")
    return Rule(reason, ast.unparse(tree), judge)


def _judge(call: ast.Call, text: str) -> Judge:
    kind = KINDS.get(call.func.id) if isinstance(call.func, ast.Name) else None
    if kind is None:
        raise InputError(f"rule {text!r}: no such kind of rule; there are {', '.join(KINDS)}")
    try:
        given = [arg.id if isinstance(arg, ast.Name) else ast.literal_eval(arg) for arg in call.args]
        return kind(*given, **{str(each.arg): ast.literal_eval(each.value) for each in call.keywords})
    except (TypeError, ValueError) as error:
        takes = ", ".join(inspect.signature(kind).parameters)
        raise InputError(f"rule {text!r}: it is written {ast.unparse(call.func)}({takes})") from error
