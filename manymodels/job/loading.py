"""Reading a job file: the file, then the environment, then flags; each value remembers where it came from."""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from manymodels.exceptions import JobError
from manymodels.job import document
from manymodels.job.document import Document, shown
from manymodels.job.fields import job_fields
from manymodels.job.job import Job
from manymodels.job.problems import Sources

__all__ = ["load_job"]

_PREFIX = "MANYMODELS_"
_LARGEST = 2**20
_TARGETS = ("local", "serial", "dask")
_SHORT = (("store",), ("compute",))  # sections that can be written as one text


def load_job(
    path: str | os.PathLike[str],
    *,
    overrides: Sequence[str] = (),
    environ: Mapping[str, str] | None = None,
) -> Job:
    """Read a job file.

    Args:
        path: The file.
        overrides: ``--set`` flags, each ``field=value``: ``training.timeout=10s``, ``data.ignore=[a, b]``.
            They go over the environment, which goes over the file.
        environ: ``os.environ`` when None; ``MANYMODELS_TRAINING__TIMEOUT`` overrides ``training.timeout``.
            ``MANYMODELS_STORE`` and ``MANYMODELS_COMPUTE`` set those sections whole, as their flags do.

    Raises:
        JobError: The file cannot be read or is not YAML, or a field is unknown, missing or has a value that
            it cannot have. A line a problem, with the file's line, the flag or the variable.
    """
    file = Path(path)
    read = _read(file, "job file")
    sources = Sources(str(path), {key: f"{path}:{line}" for key, line in read.lines.items() if key})
    draft = _Draft(
        _mapping(read.value, str(path), "a job file is a mapping of fields, from `name:` on"), sources, file
    )
    draft.expand()
    for variable, value in sorted((os.environ if environ is None else environ).items()):
        names = _variable_names(variable)
        if names is not None and (value or names not in _SHORT):  # an empty MANYMODELS_STORE is none
            draft.override(names, value, variable)
    for flag in overrides:
        dotted, equals, value = flag.partition("=")
        names = tuple(dotted.strip().split("."))
        if not equals or not all(names):
            raise JobError(f"--set takes field=value, like training.timeout=10s; found {shown(flag)!r}")
        draft.override(names, value, f"--set {shown(dotted.strip())}")
    job = Job.model_validate(draft.fields, context=sources)
    if job.data.path is None:
        raise JobError(f"{sources.place(('data',))}: `data.path` is required: where the rows are")
    job._folder = str(file.absolute().parent)
    return job


class _Draft:
    """A job's fields before they are checked."""

    def __init__(self, fields: dict[str, Any], sources: Sources, file: Path) -> None:
        self.fields = fields
        self._sources = sources
        self._file = file

    def override(self, names: tuple[str, ...], text: str, place: str) -> None:
        """Put a flag's or a variable's value over what is there."""
        known = job_fields().get(names)
        document = _value(text, place, known is not None and known.takes_only_text)
        section = self.fields
        for number, name in enumerate(names[:-1], start=1):
            if section.get(name) is None:
                section[name] = {}
                self._sources.places[names[:number]] = place
            section = section[name]
            if not isinstance(section, dict):
                raise JobError(
                    f"{place}: `{shown('.'.join(names[:number]))}` has no fields; set it as a whole"
                )
        section[names[-1]] = document.value
        self._sources.replace(names, dict.fromkeys(document.lines, place))
        self.expand()

    def expand(self) -> None:
        """Write out what has a short form, so that its fields can be overridden, and empty sections."""
        store, compute = self.fields.get("store"), self.fields.get("compute")
        if isinstance(store, str):
            self.fields["store"] = {"path": store}
        if isinstance(compute, str):
            if compute in _TARGETS:
                self.fields["compute"] = {"target": compute}
            else:
                self._read_compute(compute)
        for known in job_fields().values():
            # `training:` with all its fields commented out
            by_itself = (
                known.is_section and len(known.path) == 1 and known.schema.get("default", "") is not None
            )
            if by_itself and self.fields.get(known.path[0], "") is None:
                self.fields[known.path[0]] = {}

    def _read_compute(self, name: str) -> None:
        place = self._sources.place(("compute",))
        found = next((p for p in (Path(name), self._file.parent / name) if p.is_file()), None)
        if found is None:
            raise JobError(
                f"{place}: `compute` is local, serial, a mapping, or a file; there is no file {shown(name)} "
                "in the working directory or beside the job file"
            )
        read = _read(found, "compute file")
        hint = "a compute file is a mapping of the fields of `compute`, like `target: local`"
        self.fields["compute"] = {} if read.value is None else _mapping(read.value, str(found), hint)
        self._sources.replace(("compute",), {key: f"{found}:{line}" for key, line in read.lines.items()})


def _read(file: Path, what: str) -> Document:
    try:
        with file.open("rb") as stream:
            content = stream.read(_LARGEST + 1)
    except FileNotFoundError:
        raise JobError(f"no {what} {shown(file)}; `manymodels init DATA` writes one") from None
    except (OSError, ValueError) as error:
        raise JobError(f"cannot read the {what} {shown(file)}: {error}") from None
    if len(content) > _LARGEST:
        raise JobError(f"{shown(file)} is larger than 1 MiB; a {what} is not")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise JobError(f"{shown(file)}:{line}: not UTF-8; save the {what} as UTF-8") from None
    return document.parse(text, str(file))


def _mapping(value: Any, label: str, hint: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        found = "nothing" if value is None else f"a {type(value).__name__}"
        raise JobError(f"{label}: {hint}; found {found}")
    return value


def _value(text: str, place: str, only_text: bool) -> Document:
    """The value of an override: YAML, but for plain text, which may look like anything (``a > 1 # b``)."""
    if only_text and text.lstrip()[:1] not in ("[", "{", '"', "'") and text.strip() not in ("", "~", "null"):
        return Document(text, {(): 1})
    try:
        return document.parse(text, place)
    except JobError:
        if only_text:
            return Document(text, {(): 1})
        raise


def _variable_names(variable: str) -> tuple[str, ...] | None:
    """The field that an environment variable overrides; None when it is none of ours.

    Raises:
        JobError: It names a section of the job file, and no field of it.
    """
    if not variable.startswith(_PREFIX):
        return None
    variables = {
        _PREFIX + "__".join(names).upper(): names
        for names, known in job_fields().items()
        if not known.repeated and (not known.is_section or names in _SHORT)
    }
    if variable in variables:
        return variables[variable]
    section = variable.removeprefix(_PREFIX).partition("__")[0].lower()
    known = job_fields().get((section,))
    if "__" not in variable or known is None or not known.is_section:
        return None
    close = difflib.get_close_matches(variable, variables, n=1)
    hint = f"; did you mean {close[0]}?" if close else ""
    raise JobError(f"{variable}: the job file's section `{section}` has no such field{hint}")
