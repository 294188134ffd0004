"""Python files of a job, made importable where the job runs."""

from __future__ import annotations

import importlib
import shutil
import sys
import uuid
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from manymodels.exceptions import ComputeError

__all__ = ["ShippedModules"]


class ShippedModules:
    """Files that are written to a folder of their own, first on ``sys.path``, until they are removed.

    Args:
        files: Content by path relative to the import root, with forward slashes.

    Raises:
        ComputeError: A path leaves the import root.
    """

    def __init__(self, files: Mapping[str, bytes]) -> None:
        for path in files:
            pure = PurePosixPath(path)
            if not path or pure.is_absolute() or ".." in pure.parts or "\\" in path:
                raise ComputeError(f"a shipped module must lie below the job file's folder; found {path!r}")
        self._files = dict(files)
        # Two runs may share a worker process: neither may delete the other's folder.
        self._name = f"manymodels-{uuid.uuid4().hex}"
        self._folder: Path | None = None

    def install(self, parent: Path) -> None:
        """Write the files to a new folder below ``parent`` and make them importable, before everything else."""
        if not self._files or self._folder is not None:
            return
        self._folder = parent / self._name
        for path, content in self._files.items():
            target = self._folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
        sys.path.insert(0, str(self._folder))
        importlib.invalidate_caches()

    def remove(self) -> None:
        """Forget the modules and delete the files: a later run may bring other files of the same names."""
        if self._folder is None:
            return
        folder, self._folder = self._folder, None
        if str(folder) in sys.path:
            sys.path.remove(str(folder))
        for name, module in list(sys.modules.items()):
            places = [getattr(module, "__file__", None), *getattr(module, "__path__", ())]
            if any(isinstance(place, str) and Path(place).is_relative_to(folder) for place in places):
                del sys.modules[name]
        shutil.rmtree(folder, ignore_errors=True)
