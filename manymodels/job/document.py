"""YAML as job files use it: YAML 1.2's plain scalars, line numbers kept, nothing that runs code or explodes.

Compared with PyYAML's own safe loader: ``NO`` and ``010`` are text, ``1e3`` is a number, dates are text, keys
are always text, a key may not be given twice, and tags are refused.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

import yaml
from yaml.composer import Composer
from yaml.parser import Parser
from yaml.reader import Reader
from yaml.resolver import BaseResolver
from yaml.scanner import Scanner

from manymodels.exceptions import JobError

__all__ = ["Document", "Path", "parse", "render", "shown"]

Path = tuple[str | int, ...]
"""Names and positions that lead to a value: ``("data", "partition_by", 0)``."""

_CORE = "tag:yaml.org,2002:"
_DEEPEST = 40
_MOST_VALUES = 10_000
_NULLS = ("", "~", "null", "Null", "NULL")
_BOOLS = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_INT = re.compile(r"[-+]?(?:0|[1-9][0-9]{0,99})")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|(?:0|[1-9][0-9]*)(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_SPECIAL_FLOAT = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")


@dataclass(frozen=True)
class Document:
    """A parsed text.

    Attributes:
        value: Mappings with text keys, lists, text, numbers, booleans and None.
        lines: Path of every value to its line, from 1; a mapping's values to the lines of their keys.
    """

    value: Any
    lines: dict[Path, int] = field(default_factory=dict)


def parse(text: str, label: str) -> Document:
    """Read YAML.

    Args:
        text: One document, in block or flow style.
        label: Where the text is from, for errors: a file's path, or a flag.

    Raises:
        JobError: It is not YAML, uses tags, gives a key twice, or is larger or deeper than any job.
    """
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise JobError(f"{_place(label, mark)}: not valid YAML: {_sentence(error)}") from None
    except (
        yaml.YAMLError,
        ValueError,
        OverflowError,
    ) as error:  # the latter two for escapes like "\\U99999999"
        raise JobError(f"{label}: not valid YAML: {_one_line(str(error))}") from None
    except _RefusedError as error:
        raise JobError(f"{_place(label, error.mark)}: {error}") from None
    builder = _Builder(label)
    return Document(None if node is None else builder.build(node, ()), builder.lines)


def render(value: Any) -> str:
    """YAML that ``parse`` reads back as the same plain value; inner lists in one line each."""
    text: str = yaml.dump(
        value, Dumper=_Writer, sort_keys=False, allow_unicode=True, width=100, default_flow_style=None
    )
    return text


def shown(name: object) -> str:
    """A name from a file as an error shows it: one line, printable, not long."""
    text = "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in str(name)[:80])
    return text if len(str(name)) <= 80 else f"{text}…"


class _RefusedError(Exception):
    def __init__(self, message: str, mark: Any) -> None:
        super().__init__(message)
        self.mark = mark


class _Loader(Reader, Scanner, Parser, Composer, BaseResolver):  # type: ignore[misc]
    """Text to nodes; scalars keep their text, since the resolver knows no types."""

    def __init__(self, text: str) -> None:
        Reader.__init__(self, text)
        Scanner.__init__(self)
        Parser.__init__(self)
        Composer.__init__(self)
        BaseResolver.__init__(self)
        self._depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        event = self.peek_event()
        tag = getattr(event, "tag", None)
        if tag not in (None, "!"):
            raise _RefusedError(
                f"the tag `{shown(tag.replace(_CORE, '!!'))}` is refused; write plain values",
                event.start_mark,
            )
        self._depth += 1
        if self._depth > _DEEPEST:
            raise _RefusedError(f"nested more than {_DEEPEST} deep; a job is not", event.start_mark)
        try:
            return super().compose_node(parent, index)
        finally:
            self._depth -= 1


class _Builder:
    """Nodes to values."""

    def __init__(self, label: str) -> None:
        self.lines: dict[Path, int] = {}
        self._label = label
        self._built = 0

    def build(self, node: Any, path: Path, line: int | None = None) -> Any:
        # Counted as built, not as written: an alias to an alias to an alias is small on paper only.
        self._built += 1
        if self._built > _MOST_VALUES or len(path) > _DEEPEST:
            raise JobError(
                f"{_place(self._label, node.start_mark)}: more than {_MOST_VALUES:,} values, or nested more "
                f"than {_DEEPEST} deep, once its aliases are expanded; a job is not"
            )
        self.lines[path] = node.start_mark.line + 1 if line is None else line
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node)
        if isinstance(node, yaml.SequenceNode):
            return [self.build(item, (*path, place)) for place, item in enumerate(node.value)]
        found: dict[str, Any] = {}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise JobError(f"{_place(self._label, key.start_mark)}: a field's name must be plain text")
            name = self._text(key)
            line = key.start_mark.line + 1
            if name in found:
                name_in_full, first = _dotted((*path, name)), self.lines[(*path, name)]
                raise JobError(
                    f"{self._label}:{line}: `{name_in_full}` is given twice, first in line {first}; keep one"
                )
            found[name] = self.build(value, (*path, name), line)
        return found

    def _scalar(self, node: Any) -> Any:
        text = self._text(node)
        return _typed(text) if node.style is None else text  # a style: quoted, or a block

    def _text(self, node: Any) -> str:
        text: str = node.value
        if any("\ud800" <= c <= "\udfff" for c in text):
            raise JobError(
                f"{_place(self._label, node.start_mark)}: a lone surrogate is no text; remove the escape"
            )
        return text


def _typed(text: str) -> Any:
    """The value of a plain scalar."""
    if text in _NULLS:
        return None
    if text in _BOOLS:
        return _BOOLS[text]
    if _INT.fullmatch(text):
        return int(text)
    if _FLOAT.fullmatch(text):
        return float(text)
    return float(text.replace(".", "")) if _SPECIAL_FLOAT.fullmatch(text) else text


class _Writer(yaml.SafeDumper):  # type: ignore[misc]
    """Quotes what ``parse`` would not read as text."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text_node(writer: _Writer, text: str) -> Any:
    # PyYAML folds line breaks that are not \n in other styles, and reads them back as spaces.
    style = None if isinstance(_typed(text), str) and text.isprintable() else '"'
    return writer.represent_scalar(f"{_CORE}str", text, style=style)


_Writer.add_representer(str, _text_node)


def _dotted(path: Path) -> str:
    return ".".join(shown(part) for part in path)


def _place(label: str, mark: Any) -> str:
    return label if mark is None else f"{label}:{mark.line + 1}"


def _sentence(error: yaml.MarkedYAMLError) -> str:
    text = _one_line(", ".join(part for part in (error.context, error.problem) if part))
    return f"{text}; quote text that starts with * or &" if "alias" in text or "anchor" in text else text


def _one_line(text: str) -> str:
    return shown(" ".join(text.split()))
