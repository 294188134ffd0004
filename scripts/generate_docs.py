"""Write the documents that are made from the code: docs/job.schema.json and docs/job_file.md.

Usage: python scripts/generate_docs.py
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from manymodels.job.fields import JobField, job_fields, type_text
from manymodels.job.schema import job_schema

ROOT = Path(__file__).resolve().parent.parent

INTRODUCTION = """\
# The job file

<!-- Made by scripts/generate_docs.py from the specs in the code; edit those. -->

A job is one YAML file: which rows, which key columns, which candidates, and where to run. The same file
runs on a laptop and on a cluster. Start from one of [configs/](../configs), or let `manymodels init DATA
-o job.yaml` write one.

```yaml
name: store-sales
task: forecast
data:
  path: sample_data/store_sales.parquet
  partition_by: [store]
  time: date
  target: sales
models:
  - seasonal_naive
  - ets: {trend: add, seasonal: add}
```

For completion and checks in an editor, name the schema in the file's first line:

```yaml
# yaml-language-server: $schema=docs/job.schema.json
```

Any path or URL of [job.schema.json](job.schema.json) will do.

## How values are written

- **Durations** are `30s`, `5m`, `2h`; a plain number is seconds. **Sizes** are `512MiB`, `2GiB`; a plain
  number is bytes. **Fractions** are `1%` or `0.01`.
- The YAML is strict: only `true` and `false` are booleans (`NO` and `on` are text), `010` is text, `1e3`
  is a number, dates are text, and keys are always text. A field given twice, an unknown field and a tag
  like `!!python/object` are errors, each with its line. Anchors and aliases work. Quote text that starts
  with `*`, `&`, `{` or `[`.
- **Relative paths** start at the working directory (`-C DIR` changes it); `compute:` files are also
  looked for beside the job file.
- **An empty section** (`training:` with everything under it commented out) takes its defaults.

## Overriding

Every field can be set without touching the file: file < environment < flags.

```sh
manymodels train job.yaml --set training.timeout=10s --set 'data.partition_by=[store, product]'
MANYMODELS_TRAINING__TIMEOUT=10s manymodels train job.yaml
```

A flag's value is read as YAML; for fields that take only text it is taken as it is. Sections can be set
whole by a flag (`--set compute=configs/compute/dask.yaml`). Variables are `MANYMODELS_`, then the field's
path in capitals with two underscores between the names; a misspelt field of a known section is an error,
other variables that start with `MANYMODELS_` are left alone. `MANYMODELS_STORE` sets the section `store` whole
(and `MANYMODELS_COMPUTE` `compute`), and is where verbs that name no job look.

## Secrets

Write `${NAME}` where a secret belongs: in `store.registry` (`postgresql+psycopg://me:${PGPASSWORD}@host/db`) and
in `data.path`. It is taken from the environment when the connection is made or a file is opened; the run's record,
errors and listings keep the placeholder. A password that is written out is hidden in every dump, error and
listing, but it stays in your file.

## Your own code

Python modules beside the job file can be named as `module:Class` or `module:function`. They, and what
they import from the same folder, travel to the workers; a copy is kept with the run, so that resume,
replay and scoring find the same code. Only Python source travels.
"""

MODELS = """\
`auto`, a set of candidates by task ([auto.md](auto.md)), or a list of candidates. Each of a list is one of

```yaml
models:
  - seasonal_naive                               # a family with its defaults
  - ets: {season_length: 7, trend: add}          # a family and its parameters
  - {name: damped, family: ets, params: {damped_trend: true}}   # in full, with a name of its own
  - sklearn.linear_model.Ridge: {alpha: 10}      # any scikit-learn estimator, by import path
  - "mymodule:MyEstimator": {depth: 3}           # your own, from a module beside the job file
  - {name: long, family: sarimax, when: {min_rows: 60, alive: true}}   # tried only on some keys
  - auto: {block: [ets]}                         # the task's own candidates but some; also `models: {auto: {block: [ets]}}`
```

Names are made unique: the second `ets` is `ets-2`. In full, a candidate has:
"""

FALLBACK = """\
A list of rungs, tried in order for keys without a usable model: `{level: [region]}` is one model per
value of columns that are constant within a key, `pooled` one model over a sample of all keys' rows,
`naive` a rule (seasonal naive, mean, class prior). `[]` is no ladder. Default: `[pooled, naive]`.

Where a key has rows of its own, too few for a model, `pooled` and the levels start from them: a forecast
from its history; a regression or ranking from its level, which is how far its own rows lie above or below
the model of all rows, shrunk the more, the fewer they are.
"""

FINGERPRINT = """\
## What a retrain depends on

A key trains again when its rows changed, or these fields: `task`, `models`, `forecast`, `evaluation`,
`anomaly`, `training.seed` and `max_rows`, and of `data` the roles of columns (`partition_by`, `time`, `target`,
`frequency`, `features`, `known_future`, `categorical`, `types`, `weight`, `on_duplicate_time`, `gaps`).
Not by themselves: `data.path`, `csv`, `where`, `on_null_key` and `min_rows`, which decide only which rows
there are, and each key's rows have a fingerprint of their own; nor `ranking`, `fallback`, `promotion`,
`compute`, `store` and the other limits in `training`. The user's modules, the revision of a built-in family,
and the estimator library's major and minor version count too.
"""


def job_file() -> str:
    """The reference of the job file."""
    fields = list(job_fields().values())
    top = [field for field in fields if len(field.path) == 1]
    parts = [INTRODUCTION, "## Fields\n", _table(top)]
    for section in top:
        inner = [field for field in fields if field.path[0] == section.path[0] and len(field.path) > 1]
        if not inner:
            continue
        prose = {"models": MODELS, "fallback": FALLBACK}.get(section.dotted, section.description + "\n")
        parts += [f"### `{section.dotted}`\n", prose, _table(inner)]
    return "\n".join([*parts, FINGERPRINT])


def schema() -> str:
    """The JSON schema of the job file."""
    return json.dumps(job_schema(), indent=1, ensure_ascii=False) + "\n"


def _table(fields: list[JobField]) -> str:
    lines = ["| field | type | default | meaning |", "| --- | --- | --- | --- |"]
    for field in fields:
        if field.is_section and len(field.path) > 1:
            continue
        name = f"`{'.'.join(field.path[1:] or field.path)}`"
        kind = "section" if field.is_section else type_text(field.schema)
        default = "required" if field.required else f"`{field.default}`" if field.default else ""
        lines.append(
            "| "
            + " | ".join(cell.replace("|", "\\|") for cell in (name, kind, default, field.description))
            + " |"
        )
    return "\n".join(lines) + "\n"


PAGES: dict[str, Callable[[], str]] = {"docs/job.schema.json": schema, "docs/job_file.md": job_file}
"""Path to what makes its text."""


def main() -> None:
    """Write all pages."""
    for path, make in PAGES.items():
        (ROOT / path).write_text(make(), encoding="utf-8")
        print(f"wrote {path}")


if __name__ == "__main__":
    main()
