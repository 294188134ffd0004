import pytest

from manymodels.exceptions import JobError
from manymodels.job import Job, load_job
from manymodels.job.fingerprints import job_json
from manymodels.redaction import redact, redacted
from manymodels.secrets import resolve_secrets

REGISTRY = "postgresql+psycopg://me:hunter2@db.example/models"


def job_with(registry: str) -> Job:
    return Job(
        name="a",
        task="regression",
        data={"path": "https://me:hunter2@host/x.parquet", "partition_by": ["k"], "target": "y"},
        models=["a.B"],
        store={"path": "here", "registry": registry},
    )


def test_an_inline_secret_is_shown_nowhere():
    job = job_with(REGISTRY)
    for text in (
        repr(job),
        str(job),
        repr(job.store),
        repr(job.data),
        str(job.store),
        job_json(job),
        job.to_yaml(),
    ):
        assert "hunter2" not in text
        assert "***" in text
    assert job.store.registry == REGISTRY


def test_an_inline_secret_is_not_in_errors(tmp_path):
    text = f"name: a\ntask: regression\nstore: [{REGISTRY}]\ncompute: {{address: '{REGISTRY}', workers: '{REGISTRY}'}}\n"
    (tmp_path / "job.yaml").write_text(text)
    for overrides in (
        [],
        [f"store.path={REGISTRY}", f"training.timeout={REGISTRY}"],
        [f"forecast={REGISTRY}"],
    ):
        with pytest.raises(JobError) as caught:
            load_job(tmp_path / "job.yaml", overrides=overrides, environ={})
        assert "hunter2" not in caught.value.message


def test_a_placeholder_is_kept_until_use():
    registry = "postgresql://me:${PGPASSWORD}@db.example/models"
    job = job_with(registry)
    assert registry in job_json(job)
    assert job.store.registry == registry
    assert resolve_secrets(registry, {"PGPASSWORD": "p@ss"}) == "postgresql://me:p@ss@db.example/models"


def test_a_variable_that_is_not_set_is_named():
    with pytest.raises(JobError, match="the environment variable PGPASSWORD, which is not set"):
        resolve_secrets("x${PGPASSWORD}", {})


@pytest.mark.parametrize("text", ["${}", "${A B}", "${1}", "${A:-b}"])
def test_a_placeholder_that_names_no_variable_is_refused(text):
    with pytest.raises(JobError, match="names no environment variable"):
        resolve_secrets(text, {"A": "a"})


def test_text_without_placeholders_and_replaced_values_are_taken_as_they_are():
    assert resolve_secrets("$A {A} $$", {"A": "a"}) == "$A {A} $$"
    assert resolve_secrets("${A}${B}", {"A": "${B}", "B": "b"}) == "${B}b"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("postgresql://u:p@h/db", "postgresql://u:***@h/db"),
        ("postgresql://u:p@s/s:w@h/db", "postgresql://u:***@h/db"),
        ("redis://:p@h", "redis://:***@h"),
        ("cannot reach postgresql://u:p@h and https://a:b@c/d!", "cannot reach postgresql://u:***@h and https://a:***@c/d!"),
        ("postgresql://h/db?user=u&password=p&x=1", "postgresql://h/db?user=u&password=***&x=1"),
        ("https://h/x?sig=abc&se=1", "https://h/x?sig=***&se=1"),
        ("-----BEGIN PRIVATE KEY-----\nabc\n-----END PRIVATE KEY-----", "-----BEGIN PRIVATE KEY-----***-----END PRIVATE "
         "KEY-----"),
        ("postgresql://u:${PW}@h/db", "postgresql://u:${PW}@h/db"),
        ("https://h:8080/a@b", "https://h:8080/a@b"),
        ("s3://bucket/a:b@c", "s3://bucket/a:b@c"),
        ("postgresql://u@h/db", "postgresql://u@h/db"),
        ("a > 1 AND b = 'x:y@z'", "a > 1 AND b = 'x:y@z'"),
    ],
)  # fmt: skip
def test_redaction_hides_secrets_and_nothing_else(text, shown):
    assert redact(text) == shown
    assert redact(shown) == shown


def test_mappings_are_redacted_by_value_and_by_telling_names():
    value = {
        "db_password": "p",
        "token_pattern": "t",
        "n": 1,
        "in": [{"secret": "${S}"}, "a://u:p@h"],
        "token": None,
    }
    assert redacted(value) == {
        "db_password": "***",
        "token_pattern": "t",
        "n": 1,
        "in": [{"secret": "${S}"}, "a://u:***@h"],
        "token": None,
    }
