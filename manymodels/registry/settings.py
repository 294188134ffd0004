"""The store's own settings: ``settings.yaml`` in its folder, written by people.

What a store may ask of those who read it is not among them: whom to trust is the reader's to say (``artifacts.trust``).
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, ValidationError

from manymodels.exceptions import NotFoundError, UsageError
from manymodels.specs import Duration, Spec
from manymodels.storage import Storage

__all__ = ["SETTINGS", "Retention", "StoreSettings", "read_settings"]

SETTINGS = "settings.yaml"

_Count = Literal["all"] | Annotated[int, Field(ge=1)]


class Retention(Spec):
    """How long things stay in the store. Whatever an alias points at, or one rollback would go back to, always stays."""

    versions: _Count = "all"
    """How many of each key's newest versions stay."""
    age: Duration | None = None
    """Versions younger than this stay too; nothing more when null."""
    datasets: _Count = "all"
    """Of how many of a model set's newest runs the rows stay; replaying a run, and scoring with it, needs them."""
    unfinished: Duration = 30 * 86400.0
    """How long a run that was stopped can be resumed."""
    grace: Duration = 86400.0
    """Files stay this long after they fell out of use: who reads them now can finish."""


class StoreSettings(Spec):
    """What ``settings.yaml`` says; every field may be left out."""

    retention: Retention = Retention()
    """How long things stay."""


def read_settings(storage: Storage) -> StoreSettings:
    """The store's settings; the defaults where it has no file.

    Raises:
        UsageError: The file is no YAML, or has a field or a value that is not known.
        StoreError: It could not be read.
    """
    import yaml

    try:
        text = storage.read(SETTINGS)
    except NotFoundError:
        return StoreSettings()
    place = storage.absolute(SETTINGS)
    try:
        return StoreSettings.model_validate(yaml.safe_load(text) or {})
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"] if isinstance(part, str) and part.isidentifier())
        raise UsageError(f"{place}: `{field}`: {first['msg']}; see docs/store.md") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UsageError(f"{place} is no YAML: {str(error).splitlines()[0]}") from None
