import io
import subprocess
import sys
import zipfile
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256

import pytest

from manymodels.artifacts import code as code_module
from manymodels.artifacts.code import ensure_code
from manymodels.exceptions import DamagedError, JobError, NotFoundError, StoreError
from manymodels.job import Job
from manymodels.job.code import code_fingerprint, find_modules, snapshot
from manymodels.storage import Storage


@pytest.fixture
def folder(tmp_path):
    files = {
        "mine.py": "import helper\nfrom pkg import deep\nimport numpy\nimport json, os.path\n",
        "helper.py": "def f():\n    from pkg.sub import late\n",
        "unused.py": "raise SystemExit\n",
        "metric.py": "from . import helper\n",
        "pkg/__init__.py": "from .first import *\n",
        "pkg/first.py": "from .sub.other import x\n",
        "pkg/deep.py": "raise SystemExit('found by reading, not by running')\n",
        "pkg/never.py": "",
        "pkg/sub/__init__.py": "",
        "pkg/sub/late.py": "from ..cousin import y\nfrom .... import beyond\n",
        "pkg/sub/other.py": "import mine\n",
        "pkg/cousin.py": "",
        "spaces/inner.py": "",
        "manymodels/__init__.py": "",
        "data.csv": "a\n",
    }
    for name, text in files.items():
        path = tmp_path / "code" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path / "code"


def found(folder, *models, metric=None):
    fields = {
        "name": "a",
        "task": "regression",
        "data": {"partition_by": ["k"], "target": "y"},
        "models": list(models),
        "evaluation": {"metric": metric},
    }
    job = Job.from_dict(fields, folder=folder)
    return [path.relative_to(folder).as_posix() for path in find_modules(job)]


def test_a_candidates_module_is_found_with_all_it_imports_and_nothing_else(folder):
    assert found(folder, "mine:fit") == [
        "helper.py",
        "mine.py",
        "pkg/__init__.py",
        "pkg/cousin.py",
        "pkg/deep.py",
        "pkg/first.py",
        "pkg/sub/__init__.py",
        "pkg/sub/late.py",
        "pkg/sub/other.py",
    ]


def test_a_module_in_a_package_is_found_with_its_packages(folder):
    (folder / "pkg" / "__init__.py").write_text("")
    assert found(folder, {"pkg.sub.other:Model": {"a": 1}})[-3:] == [
        "pkg/sub/__init__.py",
        "pkg/sub/late.py",
        "pkg/sub/other.py",
    ]
    assert found(folder, "pkg.cousin:Model") == ["pkg/__init__.py", "pkg/cousin.py"]
    assert found(folder, "spaces.inner:f") == ["spaces/inner.py"]


def test_modules_are_found_in_the_metric_and_in_parameters(folder):
    assert found(folder, "x.Y", metric="metric:score") == found(
        folder, "x.Y", "helper:f", metric="metric:score"
    )
    assert "metric.py" in found(folder, "x.Y", metric="metric:score")
    assert found(folder, {"x.Y": {"steps": [{"estimator": "spaces.inner.Model"}]}}) == ["spaces/inner.py"]


def test_installed_estimators_and_other_texts_are_no_modules_of_the_user(folder):
    assert (
        found(
            folder,
            {"sklearn.linear_model.Ridge": {"alpha": 1, "path": "data.csv", "x": "../mine", "y": "a b"}},
        )
        == []
    )
    assert found(folder, "manymodels.models:X") == []
    assert found(folder, "nowhere:f") == []


def test_a_module_that_is_no_python_is_an_error_with_its_line(folder):
    (folder / "bad.py").write_text("x = 1\ndef f(:\n")
    with pytest.raises(JobError, match=r"bad\.py:2: not valid Python: "):
        found(folder, "bad:f")
    (folder / "bad.py").write_bytes(b"x = '\0'")
    with pytest.raises(JobError, match=r"bad\.py.*: not valid Python: "):
        found(folder, "bad:f")


def test_the_fingerprint_is_of_content_not_of_place_or_order(folder, tmp_path):
    files = [folder / "mine.py", folder / "pkg" / "deep.py"]
    moved = tmp_path / "elsewhere"
    (moved / "pkg").mkdir(parents=True)
    for file in files:
        (moved / file.relative_to(folder)).write_bytes(file.read_bytes())
    base = code_fingerprint(files, [("a", 1), ("b", 2)], {"sklearn": "1.9"})
    again = code_fingerprint(
        [str(moved / "pkg" / "deep.py"), str(moved / "mine.py")], [("b", 2), ("a", 1)], {"sklearn": "1.9"}
    )
    assert base == again
    assert len(base) == 32


def test_the_fingerprint_sees_content_names_revisions_and_libraries(folder):
    files = [folder / "mine.py", folder / "helper.py"]
    base = code_fingerprint(files, [("a", 1)], {"sklearn": "1.9"})
    assert base != code_fingerprint(files, [("a", 2)], {"sklearn": "1.9"})
    assert base != code_fingerprint(files, [("a", 1)], {"sklearn": "1.10"})
    assert base != code_fingerprint(files[:1], [("a", 1)], {"sklearn": "1.9"})
    mine, helper = (file.read_bytes() for file in files)
    files[0].write_bytes(helper)
    files[1].write_bytes(mine)
    assert base != code_fingerprint(files, [("a", 1)], {"sklearn": "1.9"})
    assert code_fingerprint([], [], {}) == code_fingerprint([], [], {})


def test_a_snapshot_is_the_same_bytes_for_the_same_modules(folder, tmp_path):
    files = [folder / "mine.py", folder / "pkg" / "deep.py"]
    sha, content = snapshot(files, folder)
    moved = tmp_path / "elsewhere"
    (moved / "pkg").mkdir(parents=True)
    for file in files:
        (moved / file.relative_to(folder)).write_bytes(file.read_bytes())
    assert snapshot([str(moved / "pkg" / "deep.py"), str(moved / "mine.py")], str(moved)) == (sha, content)
    assert sha == sha256(content).hexdigest()
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert archive.namelist() == ["mine.py", "pkg/deep.py"]


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    code_module._cache_folder.cache_clear()
    yield tmp_path / "cache" / "manymodels" / "code"
    code_module._cache_folder.cache_clear()


@pytest.fixture
def kept(folder, tmp_path):
    sha, content = snapshot([folder / "helper.py", folder / "pkg" / "deep.py"], folder)
    storage = Storage.at(tmp_path / "store")
    storage.write("runs/1/code.zip", content)
    return storage, sha


def test_modules_are_unpacked_once_and_can_be_imported(kept, cache, folder):
    storage, sha = kept
    place = ensure_code(storage, "runs/1/code.zip", sha)
    assert place == cache / sha
    assert cache.stat().st_mode & 0o077 == 0
    program = "import helper, pkg; print(helper.__file__)"
    shown = subprocess.run(
        [sys.executable, "-c", program], cwd=place, capture_output=True, text=True, check=True
    ).stdout
    assert shown.strip() == str(place / "helper.py")
    storage.delete("runs/1/code.zip")
    assert ensure_code(storage, "runs/1/code.zip", sha) == place


def test_many_workers_at_once_get_one_complete_folder(kept, cache):
    storage, sha = kept
    with ThreadPoolExecutor(8) as pool:
        places = set(pool.map(lambda _: ensure_code(storage, "runs/1/code.zip", sha), range(32)))
    assert places == {cache / sha}
    assert [path.name for path in cache.iterdir()] == [sha]
    assert sorted(p.relative_to(cache / sha).as_posix() for p in (cache / sha).rglob("*.py")) == [
        "helper.py",
        "pkg/deep.py",
    ]


def test_a_snapshot_that_is_not_what_was_recorded_is_refused_before_anything_is_unpacked(kept, cache):
    storage, sha = kept
    content = bytearray(storage.read("runs/1/code.zip"))
    content[60] ^= 1
    storage.write("runs/1/code.zip", bytes(content))
    with pytest.raises(DamagedError, match=r"runs/1/code\.zip"):
        ensure_code(storage, "runs/1/code.zip", sha)
    assert list(cache.iterdir()) == []


def test_a_snapshot_that_is_gone_is_an_error(kept, cache):
    with pytest.raises(NotFoundError):
        ensure_code(kept[0], "runs/2/code.zip", "0" * 64)


def test_what_cannot_be_unpacked_leaves_nothing_behind(kept, cache, monkeypatch):
    def full(self, path):
        path.mkdir()
        (path / "half.py").write_text("")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(zipfile.ZipFile, "extractall", full)
    with pytest.raises(StoreError, match="No space left on device"):
        ensure_code(kept[0], "runs/1/code.zip", kept[1])
    assert list(cache.iterdir()) == []


def test_without_a_home_that_can_be_written_a_folder_of_its_own_is_used(kept, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    code_module._cache_folder.cache_clear()
    try:
        place = ensure_code(kept[0], "runs/1/code.zip", kept[1])
        assert place.parent.parent == tmp_path
        assert place == ensure_code(kept[0], "runs/1/code.zip", kept[1])
    finally:
        code_module._cache_folder.cache_clear()
