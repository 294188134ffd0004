"""The rooms import one way, and what is published is what is meant to be."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import manymodels

PACKAGE = Path(manymodels.__file__).parent

# Room: what it may import, beside itself. Modules outside any room are rooms of their own.
_BASE = {"exceptions", "records", "redaction", "spans", "specs", "storage", "secrets", "progress"}
_DATA = {"dataset", "partitioning", "planning"}
_MODELS = {"models", "evaluation", "selection"}
_KEPT = {"artifacts", "registry"}
_JOB = _BASE | _DATA | _MODELS | _KEPT | {"monitoring", "compute", "job"}
ALLOWED = {
    "redaction": set(),
    "exceptions": {"redaction"},
    "records": {"exceptions"},
    "secrets": {"exceptions", "redaction"},
    "spans": set(),
    "specs": {"exceptions", "redaction"},
    "storage": {"exceptions", "secrets"},
    "progress": {"exceptions"},
    "dataset": _BASE,
    "partitioning": _BASE | {"dataset"},
    "planning": _BASE | {"dataset", "partitioning"},
    "models": _BASE,
    "evaluation": _BASE | {"models"},
    "selection": _BASE | {"models", "evaluation"},
    "monitoring": _BASE | {"models", "evaluation"},
    # Keys are decoded, and fitted models handed out: both rooms know the contract and the key encoding, nothing more.
    "artifacts": _BASE | {"models", "partitioning"},
    "registry": _BASE | {"models", "partitioning", "artifacts"},
    "compute": _BASE,
    "job": _JOB,
    "training": _JOB | {"training"},
    "scoring": _JOB | {"scoring"},
    "api": _JOB | {"training", "scoring"},
    "report": _JOB | {"training", "scoring", "api", "__init__"},
    "estimators": _JOB | {"training", "scoring"},
    "cli": _JOB | {"training", "scoring", "api", "report", "__init__"},
    "testing": _JOB | {"training", "scoring", "api", "report", "cli"},
    "__init__": {"api", "estimators", "exceptions", "job", "registry", "scoring"},
    "__main__": {"cli"},
}


def _room(module: str) -> str:
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else "__init__"


def _imports() -> list[tuple[str, str, str]]:
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        relative = path.relative_to(PACKAGE.parent).with_suffix("")
        name = ".".join(relative.parts).removesuffix(".__init__")
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{name}: relative import"
                names = [node.module or ""]
            elif isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            else:
                continue
            found += [
                (name, _room(name), imported) for imported in names if imported.split(".")[0] == "manymodels"
            ]
    return found


def test_rooms_import_one_way() -> None:
    wrong = [
        f"{name} imports {imported}"
        for name, room, imported in _imports()
        if _room(imported) != room and _room(imported) not in ALLOWED[room]
    ]
    assert not wrong, "\n".join(wrong)


def test_every_room_has_a_rule() -> None:
    rooms = {
        path.stem if path.is_file() else path.name for path in PACKAGE.iterdir() if path.name != "__pycache__"
    }
    assert rooms - {"py"} == set(ALLOWED) | ({"py.typed"} & rooms)


def test_the_public_names_are_sorted_and_there() -> None:
    assert manymodels.__all__ == sorted(manymodels.__all__)
    for name in manymodels.__all__:
        assert getattr(manymodels, name) is not None


@pytest.mark.parametrize("heavy", ["pandas", "numpy", "dask", "sklearn", "sqlalchemy", "pydantic"])
def test_importing_the_package_is_light(heavy: str) -> None:
    code = f"import sys, manymodels; sys.exit({heavy!r} in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("heavy", ["pandas", "dask", "sklearn", "sqlalchemy", "pyarrow"])
def test_the_command_help_is_light(heavy: str) -> None:
    code = f"import sys, manymodels.cli.app; sys.exit({heavy!r} in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("room", sorted(set(ALLOWED) - {"compute", "dataset", "partitioning"}))
def test_dask_is_imported_in_three_rooms_only(room: str) -> None:
    files = (
        [PACKAGE / f"{room}.py"]
        if (PACKAGE / f"{room}.py").exists()
        else sorted((PACKAGE / room).rglob("*.py"))
    )
    assert files
    for path in files:
        for node in ast.walk(ast.parse(path.read_text())):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            assert not [name for name in names if name.split(".")[0] in ("dask", "distributed")], path
