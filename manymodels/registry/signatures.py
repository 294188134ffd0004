"""What thousands of errors have in common: the message without the values in it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache

__all__ = ["ELSE", "common_form", "normalised"]

ELSE = "…"
"""What stands for a value that differs."""

_LONGEST = 4_000  # characters of a message that are looked at
_KEPT = 1_000  # characters of the result

# In this order: what is in quotes may hold a path, a path may hold numbers.
_VALUES: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern), form)
    for pattern, form in (
        # An apostrophe within a word ("doesn't") opens no quotation.
        (r"(?<!\w)'(?:\\.|[^'\\\n])*'(?!\w)", "'…'"),
        (r'(?<!\w)"(?:\\.|[^"\\\n])*"(?!\w)', '"…"'),
        (r"`[^`\n]*`", "`…`"),
        (r"\b[a-zA-Z][a-zA-Z0-9+.-]*://[^\s,;)\]}>]+", "<url>"),
        (r"(?<![\w<])(?:[A-Za-z]:[\\/]|~?/|\.{1,2}/)[^\s,;:)\]}>'\"]*[^\s,;:)\]}>'\".]", "<path>"),
        (r"\b0[xX][0-9a-fA-F]+", "#"),
        (r"\b[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\b", "#"),
        (r"\b(?=\d*[a-f])(?=[a-f]*\d)[0-9a-f]{12,}\b", "#"),  # digests
        (r"\b\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:Z|[+-]\d\d:?\d\d)?)?", "#"),
        # Types keep their width: an int64 is no value.
        (r"\b(?:u?int|float|complex|utf|datetime)\d+\b|(?P<sign>(?<![\w)\]])[+-])?\d+(?:[.,:_]\d+)*\.?(?:[eE][+-]?\d+)?", "#"),
        # Lists of values, however long, are one.
        (r"(#|'…'|\"…\"|<path>|nan|inf|None|True|False)(?:[,;]?\s+(?:#|'…'|\"…\"|<path>|nan|inf|None|True|False|…))+", r"\1 …"),
        (r"\s+", " "),
    )
)  # fmt: skip
_TYPE = re.compile(r"[a-z]+\d+")


@lru_cache(maxsize=4_096)
def normalised(message: str | None) -> str:
    """A message without numbers, addresses, dates, quoted values and paths: the same for errors that differ in them only."""
    text = (message or "")[:_LONGEST]
    for pattern, form in _VALUES:
        text = pattern.sub(lambda match, form=form: _form(match, form), text)  # type: ignore[misc]
    return text.strip()[:_KEPT]


def _form(match: re.Match[str], form: str) -> str:
    return match[0] if _TYPE.fullmatch(match[0]) else match.expand(form)


def common_form(messages: Iterable[str]) -> str:
    """What messages have in common, word by word; ``ELSE`` where they differ."""
    split: list[Sequence[str]] = [message.split(" ") for message in messages]
    first = split[0]
    begin = 0
    while all(len(words) > begin and words[begin] == first[begin] for words in split) and begin < len(first):
        begin += 1
    end = 0
    shortest = min(len(words) for words in split)
    while end < shortest - begin and all(words[-1 - end] == first[-1 - end] for words in split):
        end += 1
    if all(len(words) == begin for words in split):
        return " ".join(first)
    return " ".join([*first[:begin], ELSE, *first[len(first) - end :]])
