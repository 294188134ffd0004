"""The user's own modules as kept with a run: unpacked once per machine, and importable where its models are used."""

from __future__ import annotations

import atexit
import io
import os
import re
import shutil
import sys
import tempfile
import uuid
import zipfile
from functools import cache
from hashlib import sha256
from pathlib import Path

from manymodels.artifacts.trust import Trust
from manymodels.exceptions import DamagedError, StoreError
from manymodels.storage import Storage

__all__ = ["code_path", "ensure_code", "import_from", "trusted_code"]

_SHA256 = re.compile(r"[0-9a-f]{64}").fullmatch


def code_path(run_id: str, sha256_hex: str) -> str:
    """Where a run's snapshot is, relative to the store's root; its name is its hash."""
    return f"runs/{run_id}/code/{sha256_hex}.zip"


def trusted_code(run_id: str, archive: str, signature: str, trust: Trust) -> str | None:
    """Where the archive of a run's modules is, relative to the store's root; None without one, or when no code may run.

    Args:
        run_id: The run.
        archive: Its SHA-256, as the registry knows it; empty without one.
        signature: Of that, hex; empty when it is not signed.
        trust: The reader's.

    Raises:
        TrustError: It must be signed, and is not.
    """
    if not archive or not trust.runs_code:
        return None
    trust.check_signature(f"the archive of the modules of run {run_id}", archive, signature)
    return code_path(run_id, archive)


def ensure_code(storage: Storage, path: str, sha256_hex: str) -> Path:
    """The folder on this machine that holds a snapshot's modules, unpacked once.

    Args:
        storage: Of the store.
        path: The archive, relative to the store's root.
        sha256_hex: What ``snapshot`` returned for it.

    Raises:
        DamagedError: The archive is not what was recorded; nothing of it is used.
        NotFoundError: It is not there.
        StoreError: It could not be read or unpacked.
    """
    if not _SHA256(sha256_hex):  # it names a folder of ours
        raise DamagedError(f"expected the SHA-256 of the modules in {path}, found {sha256_hex!r}")
    target = _cache_folder() / sha256_hex
    if target.is_dir():
        return target
    content = storage.read(path)
    if sha256(content).hexdigest() != sha256_hex:
        raise DamagedError(
            f"the modules in {path} are not those recorded with the run; `manymodels store verify` tells more"
        )
    scratch = target.with_name(f".{sha256_hex}.{uuid.uuid4().hex}")
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            archive.extractall(scratch)
        scratch.rename(target)
    except OSError as error:
        shutil.rmtree(scratch, ignore_errors=True)
        if not target.is_dir():  # else somebody was faster, with the same content
            raise StoreError(f"could not unpack the run's modules to {target}: {error}") from error
    return target


@cache
def _cache_folder() -> Path:
    """A folder that only this user can write: code is imported from it."""
    base = os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser()
    folder = Path(base) / "manymodels" / "code"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if os.access(folder, os.W_OK):
            return folder
    except (OSError, RuntimeError):
        pass
    own = tempfile.mkdtemp(prefix="manymodels-code-")
    atexit.register(shutil.rmtree, own, ignore_errors=True)
    return Path(own)


def import_from(folder: Path) -> None:
    """Have this process import the modules of a folder, and forget those of the same names from elsewhere."""
    if sys.path[:1] != [str(folder)]:
        sys.path.insert(0, str(folder))
    own = {entry.stem if entry.is_file() else entry.name for entry in folder.iterdir()}
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if name.partition(".")[0] in own and file and not Path(file).is_relative_to(folder):
            del sys.modules[name]
