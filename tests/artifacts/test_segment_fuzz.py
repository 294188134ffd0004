"""Whatever bytes lie in a segment's place, the answer is its models or an error of the store; nothing else comes out."""

from __future__ import annotations

import contextlib
import hashlib
import json
import random
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from artifacts_fleet import StoreModel, write
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from manymodels.artifacts.codecs import decode, encode
from manymodels.artifacts.columns import CODEC
from manymodels.artifacts.reader import SegmentReader
from manymodels.exceptions import DamagedError, ManyModelsError, StoreError
from manymodels.storage import Storage

FUZZ = settings(
    max_examples=200,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
PATH = "runs/run-1/segments/000000.parquet"


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Storage:
    return Storage.at(tmp_path_factory.mktemp("fuzz"))


@pytest.fixture(scope="module", params=["pickle", "columns"])
def whole(storage: Storage, request: pytest.FixtureRequest) -> bytes:
    """A segment of each codec, of two models or more."""
    if request.param == "columns":
        return (Path(__file__).parent / "segment_2.parquet").read_bytes()
    write(storage, PATH, range(20))
    return storage.read(PATH)


def damaged(whole: bytes, seed: int, cuts: int) -> bytes:
    """The bytes with some places overwritten, cut out or doubled, near the footer more often than not."""
    chance = random.Random(seed)  # noqa: S311 - no secret
    content = bytearray(whole)
    for _ in range(cuts):
        start = chance.randrange(max(1, len(content)))
        if chance.random() < 0.6:
            start = max(0, len(content) - 1 - chance.randrange(2500))
        length = chance.choice([1, 1, 1, 4, 30])
        match chance.randrange(3):
            case 0:
                content[start : start + length] = chance.randbytes(length)
            case 1:
                del content[start : start + length]
            case _:
                content[start:start] = content[start : start + length]
    return bytes(content)


@FUZZ
@given(st.integers(0, 2**32), st.integers(1, 6))
def test_damaged_bytes_are_refused_with_an_error_of_the_store(
    storage: Storage, whole: bytes, seed: int, cuts: int
) -> None:
    content = damaged(whole, seed, cuts)
    storage.write(PATH, content)
    recorded = hashlib.sha256(whole).hexdigest()
    if content == whole:
        return
    with pytest.raises(DamagedError) as caught:
        SegmentReader(storage).load(PATH, recorded, 1)
    assert "\n" not in caught.value.message


@FUZZ
@given(st.integers(0, 2**32), st.integers(1, 6))
def test_damage_that_was_recorded_as_it_is_gives_errors_of_the_store_only(
    storage: Storage, whole: bytes, seed: int, cuts: int
) -> None:
    """``store rebuild`` trusts what it finds: then the bytes themselves have to be read with care."""
    content = damaged(whole, seed, cuts)
    storage.write(PATH, content)
    reader = SegmentReader(storage)
    recorded = hashlib.sha256(content).hexdigest()
    for read in (
        lambda: reader.describe(PATH),
        lambda: reader.meta(PATH, recorded),
        lambda: reader.read_table(PATH, sha256=recorded),
        lambda: reader.artifact(PATH, recorded, 1),
        lambda: reader.codec(PATH, recorded) == CODEC and reader.load(PATH, recorded, 1),  # runs no code
        lambda: reader.verify(PATH, recorded),
    ):
        with contextlib.suppress(StoreError):
            read()


@FUZZ
@given(st.binary(max_size=400))
def test_any_bytes_give_an_error_of_the_store(storage: Storage, content: bytes) -> None:
    storage.write(PATH, content)
    with pytest.raises(StoreError):
        SegmentReader(storage).describe(PATH)


@FUZZ
@given(
    st.dictionaries(
        st.sampled_from(["format", "codec", "path", "version", "x"]), st.integers() | st.none() | st.text()
    )
)
def test_any_metadata_gives_an_error_of_the_store(storage: Storage, fields: dict[str, object]) -> None:
    sink = pa.BufferOutputStream()
    table = pa.table({"artifact": pa.array([b""])})
    pq.write_table(table.replace_schema_metadata({"manymodels.segment": json.dumps(fields)}), sink)
    storage.write(PATH, sink.getvalue().to_pybytes())
    with pytest.raises(StoreError):
        SegmentReader(storage).describe(PATH)


@FUZZ
@given(st.integers(0, 2**32))
def test_a_cut_pickle_gives_a_model_or_an_error_of_ours(seed: int) -> None:
    codec, artifact = encode(StoreModel(7, b"padding"))  # type: ignore[arg-type]
    chance = random.Random(seed)  # noqa: S311 - no secret
    cut = artifact[: chance.randrange(len(artifact))]
    with pytest.raises(ManyModelsError):
        decode(codec, cut)
