from pathlib import Path

import pytest

from manymodels.exceptions import JobError
from manymodels.job import Job, load_job

GOOD = """\
name: sales
task: forecast
data:
  path: sales.parquet
  partition_by: [store]
  time: date
  target: sales
models:
  - naive
"""


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def load(text: str, *overrides: str, **environ: str) -> Job:
    Path("job.yaml").write_text(text, encoding="utf-8")
    return load_job("job.yaml", overrides=overrides, environ=environ)


def problems(text: str, *overrides: str, **environ: str) -> list[str]:
    with pytest.raises(JobError) as caught:
        load(text, *overrides, **environ)
    assert caught.value.exit_code == 2
    return caught.value.message.splitlines()


# The file


def test_a_good_file_is_a_job_with_defaults_and_its_folder(folder):
    job = load(GOOD)
    assert (job.name, job.data.partition_by, job.training.timeout) == ("sales", ["store"], 60.0)
    assert job.folder == str(folder)


def test_a_job_file_elsewhere_remembers_its_own_folder(folder):
    (folder / "jobs").mkdir()
    (folder / "jobs" / "a.yaml").write_text(GOOD)
    assert load_job("jobs/a.yaml", environ={}).folder == str(folder / "jobs")


def test_an_unknown_field_is_an_error_with_line_and_nearest_name():
    text = GOOD.replace("partition_by", "partiton_by")
    assert problems(text) == ["job.yaml:5: unknown field `data.partiton_by`; did you mean `partition_by`?"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("horizon: 7", "unknown field `horizon`; did you mean `forecast.horizon`?"),
        ("trainings: {}", "unknown field `trainings`; did you mean `training`?"),
        ("ranking: {tops: 3}", "unknown field `ranking.tops`; did you mean `top`?"),
        ("ranking: {qqq: 3}", "unknown field `ranking.qqq`; `ranking` takes top"),
        ("fallback: [{level: [a], x: 1}]", "unknown field `fallback.x`; `fallback`, entry 1 takes level"),
        ("evaluation: {backtest: {windws: 3}}", "unknown field `evaluation.backtest.windws`; did you mean `windows`?"),
        ("<<: {a: 1}", "unknown field `<<`; a job takes name, task, data, models, forecast, regression, "
         "evaluation, selection, training, anomaly, ranking, fallback, hierarchy, promotion, monitor, compute, store"),
    ],
)  # fmt: skip
def test_unknown_fields_name_where_they_belong(line, message):
    assert problems(GOOD + line) == [f"job.yaml:10: {message}"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("forecast: {non_negative: NO}", "`forecast.non_negative` must be `true` or `false`; found the text 'NO'"),
        ("training: {retries: 010}", "`training.retries` must be a whole number of at least 0; found the text '010'"),
        ("forecast: {horizon: 1e3}", "`forecast.horizon` must be a whole number of at least 1; found 1000.0"),
        ("forecast: {horizon: true}", "`forecast.horizon` must be a whole number of at least 1; found true"),
        ("forecast: {horizon: 0}", "`forecast.horizon` must be a whole number of at least 1; found 0"),
        ("forecast: {levels: [80, 8x]}", "`forecast.levels`, entry 2 must be a number; found the text '8x'"),
        ("forecast: {levels: [.nan]}", "`forecast.levels`, entry 1 must be a number; found nan"),
        ("forecast: {levels: 80}", "`forecast.levels` must be a list of numbers; found 80"),
        ("forecast: [1]", "`forecast` must be a mapping; found a list"),
        ("training: {timeout: 0s}", "`training.timeout`: a duration must be more than zero, and finite; found 0.0"),
        ("training: {timeout: -5}", "`training.timeout`: a duration must be more than zero, and finite; found -5"),
        ("training: {timeout: .nan}", "`training.timeout`: a duration must be more than zero, and finite; found nan"),
        ("training: {timeout: .inf}", "`training.timeout`: a duration must be more than zero, and finite; found inf"),
        ("training: {memory: 2GB2}", "`training.memory`: a size is written like 512MiB or 2GiB; found '2GB2'"),
        ("training: {only: new}", "`training.only` must be `changed`, `all`, `failed` or `listed`; found the text 'new'"),
        ("training: {max_failed: 200%}",
         "`training.max_failed` must be a whole number or a fraction (`1%`, `0.01`); found the text '200%'"),
        ("training: {max_failed: -3}", "`training.max_failed`: `max_failed` cannot be negative; found -3"),
        ("compute: {workers: -1}", "`compute`: `workers` must be `auto` or at least 1; found -1"),
        ("compute: {workers: two}", "`compute.workers` must be a whole number or `auto`; found the text 'two'"),
        ("compute: {target: dask}", "`compute`: `address` goes with `target: dask`, and only with it"),
        ("promotion: {min_gain: .nan}", "`promotion.min_gain`: a fraction lies between 0 and 1; found nan"),
        ("fallback: [poled]", "`fallback`, entry 1 must be `pooled`, `naive` or `{level: …}`; found the text 'poled'"),
        ("fallback: [{level: []}]", "`fallback.level` must not be empty"),
        ("fallback: [naive, naive]", "`fallback`: naive is listed twice"),
        ("store: 5", "`store` must be text or a mapping; found 5"),
        ("store: s3://bucket/models", "a store at a URL needs `store.registry`, a database URL"),
        ("ranking: null\nanomaly: 3", "`anomaly` must be a mapping; found 3"),
    ],
)  # fmt: skip
def test_a_bad_value_is_one_line_with_place_expectation_and_finding(line, message):
    (found,) = problems(GOOD + line)
    assert found.partition(": ")[2] == message


def test_a_missing_field_says_what_it_is():
    (found,) = problems(GOOD.replace("name: sales\n", ""))
    assert found == "job.yaml: `name` is required: The model set's name in the registry"


def test_several_problems_are_a_line_each_in_the_files_order():
    text = GOOD.replace("time: date", "tme: date").replace("  - naive", "  - 3") + "seed: 1\n"
    assert problems(text) == [
        "job.yaml:6: unknown field `data.tme`; did you mean `time`?",
        "job.yaml:9: `models`, entry 1 must be a family, or one `family: {parameter: value}`; found 3",
        "job.yaml:10: unknown field `seed`; did you mean `training.seed`?",
    ]


def test_hundreds_of_problems_are_summed_up():
    found = problems(GOOD + "".join(f"x{n}: 1\n" for n in range(300)))
    assert len(found) == 21
    assert found[-1] == "job.yaml: and 280 more problems"


def test_a_data_path_is_required_in_a_file():
    (found,) = problems(GOOD.replace("  path: sales.parquet\n", ""))
    assert found == "job.yaml:3: `data.path` is required: where the rows are"


@pytest.mark.parametrize("content", [b"", b"# nothing\n", b"- a\n", b"text\n", b"5\n"])
def test_a_file_that_is_no_mapping_is_refused(content):
    Path("job.yaml").write_bytes(content)
    with pytest.raises(JobError, match=r"^job.yaml: a job file is a mapping of fields"):
        load_job("job.yaml", environ={})


def test_a_file_that_is_not_utf8_is_refused_with_its_line():
    Path("job.yaml").write_bytes(b"name: a\ntask: caf\xe9\n")
    with pytest.raises(JobError, match=r"^job.yaml:2: not UTF-8"):
        load_job("job.yaml", environ={})


def test_a_byte_order_mark_is_no_part_of_the_first_name():
    Path("job.yaml").write_bytes(b"\xef\xbb\xbf" + GOOD.encode())
    assert load_job("job.yaml", environ={}).name == "sales"


def test_a_file_that_is_not_there_or_is_a_folder_is_an_error(folder):
    with pytest.raises(JobError, match=r"no job file nowhere.yaml"):
        load_job("nowhere.yaml", environ={})
    with pytest.raises(JobError, match=r"cannot read the job file"):
        load_job(folder, environ={})


def test_a_huge_file_is_refused_unread():
    Path("job.yaml").write_text("#" * (2**20 + 1))
    with pytest.raises(JobError, match=r"larger than 1 MiB"):
        load_job("job.yaml", environ={})


def test_sections_with_everything_commented_out_take_their_defaults():
    job = load(GOOD + "training:\n  # timeout: 5s\nforecast:\n")
    assert job == load(GOOD)


# Candidates


def test_candidates_come_bare_with_parameters_or_in_full_and_get_unique_names():
    text = (
        GOOD
        + "  - ets\n  - ets: {trend: add}\n  - theta:\n  - {name: ets-2, family: ets}\n  - {family: ets}\n"
    )
    job = load(text)
    assert [(c.name, c.family, c.params) for c in job.models] == [
        ("naive", "naive", {}),
        ("ets", "ets", {}),
        ("ets-3", "ets", {"trend": "add"}),
        ("theta", "theta", {}),
        ("ets-2", "ets", {}),
        ("ets-4", "ets", {}),
    ]


def test_two_candidates_with_one_given_name_are_refused():
    text = GOOD + "  - {name: a, family: ets}\n  - {name: a, family: theta}\n"
    assert problems(text) == ["job.yaml:8: `models`: two candidates are named 'a'; name them apart"]


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("ets: {trend: add}\n    seasonal: add", "a candidate is a family, or one `family: {parameter: value}`; found "
         "2 fields; are the parameters indented deeper than the family?"),
        ("ets: 5", "the parameters of ets must be a mapping; found 5"),
        ("ets: {alpha: .nan}", "`models`, candidate ets.alpha: must be a finite number; found nan"),
    ],
)  # fmt: skip
def test_a_candidate_that_is_none_says_what_one_is(entry, message):
    (found,) = problems(GOOD + f"  - {entry}\n")
    assert found.endswith(message)


def test_no_candidates_are_refused():
    (found,) = problems(GOOD.replace("models:\n  - naive", "models: []"))
    assert found == "job.yaml:8: `models` must not be empty"


def test_the_ladder_takes_levels():
    job = load(GOOD + "fallback: [{level: [region]}, pooled, naive]\n")
    assert [rung if isinstance(rung, str) else rung.level for rung in job.fallback] == [
        ["region"],
        "pooled",
        "naive",
    ]


# Short forms


def test_compute_is_a_target_a_file_or_its_fields(folder):
    (folder / "fast.yaml").write_text("target: serial\nthreads: 3\n")
    assert load(GOOD + "compute: serial").compute.target == "serial"
    assert load(GOOD + "compute: fast.yaml").compute.threads == 3
    assert load(GOOD + "compute: {target: local, workers: 2}").compute.workers == 2


def test_a_compute_file_is_found_in_the_working_directory_and_else_beside_the_job_file(folder):
    (folder / "jobs").mkdir()
    (folder / "jobs" / "job.yaml").write_text(GOOD + "compute: c.yaml")
    (folder / "jobs" / "c.yaml").write_text("threads: 2")
    assert load_job("jobs/job.yaml", environ={}).compute.threads == 2
    (folder / "c.yaml").write_text("threads: 5")
    assert load_job("jobs/job.yaml", environ={}).compute.threads == 5


def test_errors_in_a_compute_file_have_its_own_lines(folder):
    (folder / "c.yaml").write_text("target: local\nthread: 2\n")
    assert problems(GOOD + "compute: c.yaml") == [
        "c.yaml:2: unknown field `compute.thread`; did you mean `threads`?"
    ]
    (found,) = problems(GOOD + "compute: d.yaml")
    assert found.startswith(
        "job.yaml:10: `compute` is local, serial, a mapping, or a file; there is no file d.yaml"
    )


# Overrides


def test_flags_go_over_the_environment_which_goes_over_the_file():
    text = GOOD + "training: {timeout: 1s, retries: 5, seed: 7}\n"
    job = load(
        text,
        "training.timeout=3s",
        MANYMODELS_TRAINING__TIMEOUT="2s",
        MANYMODELS_TRAINING__RETRIES="2",
    )
    assert (job.training.timeout, job.training.retries, job.training.seed) == (3.0, 2, 7)


def test_the_last_flag_wins_and_sections_appear_as_needed():
    job = load(
        GOOD, "evaluation.backtest.windows=2", "evaluation.backtest.windows=3", "evaluation.metric=smape"
    )
    assert (job.evaluation.backtest.windows, job.evaluation.metric) == (3, "smape")


def test_values_of_flags_are_yaml():
    job = load(
        GOOD,
        "data.partition_by=[store, product]",
        "models=[naive, {ets: {trend: add}}]",
        "data.csv={separator: ';'}",
        "data.features=null",
        "forecast.non_negative=true",
        "training.max_failed=5%",
    )
    assert job.data.partition_by == ["store", "product"]
    assert [candidate.name for candidate in job.models] == ["naive", "ets"]
    assert (job.data.csv, job.data.features, job.forecast.non_negative) == ({"separator": ";"}, None, True)
    assert job.training.max_failed == 0.05


@pytest.mark.parametrize("where", ['"open" = 1 # yes', "a: b", "- x", "sales > 0", "7", "*", "'x' = name"])
def test_text_needs_no_quotes_in_flags(where):
    assert load(GOOD, f"data.where={where}").data.where == where


def test_text_can_be_quoted_and_removed_in_flags():
    assert load(GOOD, "data.where='a = 1'").data.where == "a = 1"
    assert load(GOOD, "data.weight=w", "data.weight=null").data.weight is None


def test_paths_with_stars_need_no_quotes_in_flags():
    assert load(GOOD, "data.path=*.parquet").data.path == "*.parquet"
    assert load(GOOD, "data.path=[a.parquet, b.parquet]").data.path == ["a.parquet", "b.parquet"]


def test_a_field_of_a_section_in_its_short_form_can_be_overridden():
    job = load(GOOD + "store: here\ncompute: serial\n", "store.registry=sqlite:///x", "compute.threads=2")
    assert (job.store.path, job.store.registry) == ("here", "sqlite:///x")
    assert (job.compute.target, job.compute.threads) == ("serial", 2)
    assert load(GOOD + "compute: serial", "compute=local", "store=there").store.path == "there"


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("training.timeot=3s", "--set training.timeot: unknown field `training.timeot`; did you mean `timeout`?"),
        ("training.timeout=soon", "--set training.timeout: `training.timeout`: a duration is written like 30s, 5m or "
         "2h; found 'soon'"),
        ("timeout=3s", "--set timeout: unknown field `timeout`; did you mean `training.timeout`?"),
        ("a.b.c=3", "--set a.b.c: unknown field `a`; a job takes name, task, data, models, forecast, "
         "regression, evaluation, selection, training, anomaly, ranking, fallback, hierarchy, promotion, monitor, compute, "
         "store"),
        ("name.x=3", "--set name.x: `name` has no fields; set it as a whole"),
        ("models.0.ets=3", "--set models.0.ets: `models` has no fields; set it as a whole"),
        ("training", "--set takes field=value, like training.timeout=10s; found 'training'"),
        ("=3", "--set takes field=value, like training.timeout=10s; found '=3'"),
        ("data.ignore=[a", "--set data.ignore:1: not valid YAML: while parsing a flow sequence, expected ',' or ']', "
         "but got '<stream end>'"),
        ("training={timeout: 1s, x: 2}", "--set training: unknown field `training.x`; `training` takes only, timeout, "
         "memory, max_rows, deadline, retries, isolation, max_failed, seed"),
    ],
)  # fmt: skip
def test_errors_name_the_flag(flag, message):
    assert problems(GOOD, flag) == [message]


def test_errors_name_the_variable():
    assert problems(GOOD, MANYMODELS_TRAINING__TIMEOT="1s") == [
        "MANYMODELS_TRAINING__TIMEOT: the job file's section `training` has no such field; "
        "did you mean MANYMODELS_TRAINING__TIMEOUT?"
    ]
    (found,) = problems(GOOD, MANYMODELS_TRAINING__SEED="x")
    assert found.startswith("MANYMODELS_TRAINING__SEED: `training.seed` must be a whole number")


def test_other_variables_are_left_alone():
    other = {
        "MANYMODELS_STORE": "",
        "MANYMODELS_DEBUG": "1",
        "MANYMODELS_A__B": "1",
        "PATH": "/bin",
    }
    assert load(GOOD, **other) == load(GOOD)


def test_the_store_and_the_compute_target_can_be_set_whole():
    text = GOOD + "store: {path: s3://bucket/x, registry: postgresql://host/db}\n"
    job = load(text, MANYMODELS_STORE="/elsewhere", MANYMODELS_COMPUTE="serial")
    assert (job.store.path, job.store.registry, job.compute.target) == ("/elsewhere", None, "serial")
    job = load(text, MANYMODELS_STORE="/elsewhere", MANYMODELS_STORE__REGISTRY="sqlite:///r.db")
    assert (job.store.path, job.store.registry) == ("/elsewhere", "sqlite:///r.db")


def test_fields_outside_sections_have_variables_too():
    assert load(GOOD, MANYMODELS_NAME="other", MANYMODELS_FALLBACK="[]").name == "other"


def test_the_process_environment_is_the_default(monkeypatch):
    Path("job.yaml").write_text(GOOD)
    monkeypatch.setenv("MANYMODELS_TRAINING__SEED", "11")
    assert load_job("job.yaml").training.seed == 11


# Across fields


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("  time: date\n", "", "a forecast needs `data.time`, the time column"),
        ("  target: sales\n", "", "task forecast needs `data.target`, the column to predict"),
        ("target: sales", "target: store", "column 'store' is both `partition_by` and `target`"),
        ("target: sales", "target: sales\n  features: [sales]", "column 'sales' is both `target` and in `features`"),
        ("target: sales", "target: sales\n  known_future: [a]\n  ignore: [a]",
         "column 'a' is in `known_future` and in `ignore`"),
        ("[store]", "[store, store]", "`data.partition_by`: column 'store' is listed twice"),
        ("task: forecast", "task: anomaly\nfallback: []", ""),
        ("  - naive", "  - a\n  - b\nevaluation: {holdout: 0}", ""),
    ],
)  # fmt: skip
def test_fields_that_contradict_each_other_are_refused(old, new, message):
    text = GOOD.replace(old, new)
    if message:
        (found,) = problems(text)
        assert found.endswith(message)
    else:
        load(text)


def test_several_candidates_need_a_way_to_choose():
    text = GOOD.replace("forecast", "regression").replace("  - naive", "  - a.B\n  - a.C")
    assert (
        "several candidates, or search spaces, need `evaluation.holdout` above 0"
        in problems(text + "evaluation: {holdout: 0}")[0]
    )
    load(text + "evaluation: {holdout: 0, folds: 3}")
    anomaly = text.replace("regression", "anomaly")
    assert "anomaly detection takes one candidate" in problems(anomaly)[0]
    load(anomaly + "evaluation: {label: truth}")


@pytest.mark.parametrize("text", ["hierarchy:", "hierarchy: null"])
def test_an_empty_section_that_may_be_absent_is_absent(text):
    assert load(GOOD + text).hierarchy is None
    assert load(GOOD + "hierarchy: {}").hierarchy.levels == [[]]
