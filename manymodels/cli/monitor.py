"""``manymodels monitor``."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from manymodels.cli.app import app
from manymodels.cli.verb import Call, JobFile, Sets, verb


@verb(app, "monitor")
def monitor(
    call: Call,
    job: JobFile,
    actuals: Annotated[
        str,
        typer.Option("--actuals", metavar="NEW", help="What happened: key columns, time and target; features too."),
    ],
    limit: Annotated[int, typer.Option("--limit", min=1, help="Keys to list.")] = 20,
    overrides: Sets = None,
) -> None:  # fmt: skip
    """Compare past scores with what happened since: accuracy, coverage and drift per key, and the keys to train again.

    `manymodels train JOB --only listed` trains those keys; `plan --only listed` shows them first.
    """
    from manymodels.job.loading import load_job
    from manymodels.scoring.monitor import monitor as execute

    found = execute(load_job(job, overrides=overrides or ()), actuals)
    listed = found.keys[found.keys["retrain"]].sort_values("rows", ascending=False, kind="stable")
    features = found.features.sort_values("psi", ascending=False, kind="stable")
    payload = {**found.summary, "listed": _records(listed.head(limit)), "features": _records(features)}

    def text(console: Any) -> None:
        from manymodels.cli.tables import number, table

        said = found.summary
        console.print(
            f"{said['rows']:,} of {said['actuals']:,} actuals were predicted, in {len(said['scorings']):,} scorings of "
            f"{said['keys']:,} keys."
        )
        if said["metric"] is not None:
            console.print(
                f"Median {said['metric']} {number(said['median_metric'])}; in their evaluation "
                f"{number(said['median_evaluated'])}."
            )
        for level, share in said["coverage"].items():
            if share is not None:
                console.print(f"{level} % intervals cover {100 * share:.1f} %.")
        if len(features):
            rows = [
                (f.feature, number(f.psi), "drifted" if f.drifted else "", f"{f.keys:,}")
                for f in features.itertuples()
            ]
            headings = [("feature", ""), ("stability index", "right"), ("", ""), ("drifted in keys", "right")]
            console.print(table("", headings, rows))
        causes = ", ".join(f"{cause} in {count:,}" for cause, count in said["causes"].items() if count)
        console.print(
            f"{said['retrain']:,} of {said['keys']:,} keys to train again, for {' or '.join(said['retrain_on'])}. "
            f"Causes found: {causes or 'none'}."
        )
        if said["retrain"]:
            lines = [
                (
                    line["key"],
                    line["rows"],
                    number(line["metric"]),
                    number(line["evaluated"]),
                    ", ".join(line["causes"]),
                )
                for line in payload["listed"]
            ]
            headings = [
                ("key", ""),
                ("rows", "right"),
                ("metric", "right"),
                ("evaluated", "right"),
                ("causes", ""),
            ]
            console.print(table("", headings, lines))
            console.print("`manymodels train JOB --only listed` trains them.", markup=False)
        console.print(f"Everything is in {said['output']}.", markup=False)

    call.emit(payload, text)


def _records(table: Any) -> list[dict[str, Any]]:
    """Rows as JSON has them: no NaN."""
    plain = table.astype(object)
    return list(plain.where(plain.notna(), None).to_dict("records"))
