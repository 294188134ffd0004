"""A job as Python sees it: the specs of all rooms, checked, and the folder of the user's own modules."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ModelWrapValidatorHandler, PrivateAttr, ValidationError, ValidationInfo, model_validator

from manymodels.exceptions import JobError
from manymodels.job.document import render
from manymodels.job.fields import job_fields, written
from manymodels.job.problems import Sources, describe
from manymodels.job.spec import JobSpec
from manymodels.redaction import redact, redacted

__all__ = ["Job"]


class Job(JobSpec):
    """What to train, on which rows, and where: a job file, or the same in Python.

    Sections are given as mappings or as their specs. Modules of your own (``module:function``) are looked up
    in ``folder``: the job file's, or the working directory when there was no file.

    Raises:
        JobError: A field is missing, unknown, or has a value that it cannot have; a line a problem.

    Example:
        >>> Job(
        ...     name="sales",
        ...     task="forecast",
        ...     data={"path": "sales.parquet", "partition_by": ["store"], "time": "date", "target": "sales"},
        ...     models=["naive", {"ets": {"trend": "add"}}],
        ... )
        <Job sales: forecast of sales by store with naive, ets; data sales.parquet, store .manymodels>
    """

    _folder: str = PrivateAttr(default_factory=lambda: str(Path.cwd()))

    @property
    def folder(self) -> str:
        """Absolute path of the folder of the user's own modules."""
        return self._folder

    @model_validator(mode="wrap")
    @classmethod
    def _clearly(cls, value: Any, handler: ModelWrapValidatorHandler[Job], info: ValidationInfo) -> Job:
        sources = info.context if isinstance(info.context, Sources) else Sources()
        try:
            return handler(value)
        except ValidationError as error:
            raise JobError(describe(error, value, sources)) from None

    @classmethod
    def from_yaml(
        cls,
        path: str | os.PathLike[str],
        *,
        overrides: Sequence[str] = (),
        environ: Mapping[str, str] | None = None,
    ) -> Job:
        """Read a job file; see ``load_job``.

        Raises:
            JobError: The file or a value in it cannot be used; with the line.
        """
        from manymodels.job.loading import load_job  # which makes jobs, and so imports this module

        return load_job(path, overrides=overrides, environ=environ)

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any], *, folder: str | os.PathLike[str] | None = None) -> Job:
        """A job from what ``to_yaml`` or ``job_json`` wrote, parsed.

        Args:
            fields: As in a job file.
            folder: Of the user's own modules; the working directory when None.

        Raises:
            JobError: A value that a job cannot have.
        """
        job = cls.model_validate(dict(fields))
        if folder is not None:
            job._folder = str(Path(folder).absolute())
        return job

    def seen(self, as_of: str | int | None) -> Job:
        """The same job as if it were then (``data.as_of``); this one when None.

        Raises:
            JobError: The job has no time column.
        """
        if as_of is None:
            return self
        fields = self.model_dump(mode="json")
        return type(self).from_dict(
            {**fields, "data": {**fields["data"], "as_of": as_of}}, folder=self.folder
        )

    def to_yaml(self) -> str:
        """The job as a short job file: what differs from the defaults, secrets hidden."""
        return render(redacted(self._written()))

    def _written(self) -> dict[str, Any]:
        fields: dict[str, Any] = self.model_dump(mode="json", exclude_defaults=True)
        _write_units(fields, ())
        for number, candidate in enumerate(self.models):
            fields["models"][number] = _short(candidate.name, candidate.family, fields["models"][number])
        for section, short in (("compute", "target"), ("store", "path")):
            if list(fields.get(section, ())) == [short]:
                fields[section] = fields[section][short]
        return {name: fields[name] for name in type(self).model_fields if name in fields}

    def __repr__(self) -> str:
        data, names = self.data, ", ".join(candidate.name for candidate in self.models)
        target = f" of {data.target}" if data.target else ""
        path = "" if data.path is None else f"data {data.path}, "
        return redact(
            f"<Job {self.name}: {self.task}{target} by {', '.join(data.partition_by)} with {names}; "
            f"{path}store {self.store.path}>"
        )

    __str__ = __repr__


def _short(name: str, family: str, candidate: dict[str, Any]) -> Any:
    params = candidate.get("params")
    if name != family or "when" in candidate:
        return {"name": name, **candidate}
    return {family: params} if params else family


def _write_units(fields: dict[str, Any], path: tuple[str, ...]) -> None:
    """Replace seconds, bytes and fractions by their text, in place."""
    for name, value in fields.items():
        known = job_fields().get((*path, name))
        if known is None:
            continue
        if known.is_section and isinstance(value, dict):
            _write_units(value, known.path)
        else:
            fields[name] = written(value, known.schema)
