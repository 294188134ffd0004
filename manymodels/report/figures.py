"""The report's charts. They hold numbers, times and our own words only: no text of the data gets into a script."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd

from manymodels.exceptions import UsageError
from manymodels.models.contract import interval_columns
from manymodels.report.wording import duration

__all__ = [
    "coverage_figure",
    "embedded",
    "example_figure",
    "histogram_figure",
    "skill_figure",
    "total_figure",
]

Figure = Any
"""A ``bokeh.plotting.figure``; bokeh is imported when a report is made."""

# The page's colours (page.css).
INK, MUTED, LINE = "#1c2733", "#66727f", "#e4e8ec"
BLUE, PALE, GREEN, CLAY, AMBER, GREY = "#2b5f8a", "#cddfee", "#3f7f63", "#b4543f", "#c28a2c", "#aab4be"
_FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"


def embedded(figures: dict[str, Any]) -> tuple[str, str, dict[str, str]]:
    """BokehJS itself, the script that draws, and each figure's place in the page."""
    from bokeh.embed import components
    from bokeh.resources import Resources

    if not figures:
        return "", "", {}
    library = "\n".join(Resources(mode="inline", components=["bokeh"]).js_raw)
    script, places = components(figures, wrap_script=False)
    return library, script, places


def skill_figure(bins: pd.DataFrame) -> Figure:
    """Keys by skill: worse than the naive baseline in one colour, better in another, about the same in grey."""
    plot = _plot("", "keys", (-1.08, 1.08))
    colour = np.where(bins["low"] > 0, BLUE, np.where(bins["high"] < 0, CLAY, GREY))
    _bars(plot, bins["low"], bins["high"], bins["keys"], colour)
    plot.xaxis.formatter = _percent()
    plot.xaxis.ticker = [-1, -0.5, 0, 0.5, 1]
    plot.xaxis.major_label_overrides = {-1: "worse"}
    return plot


def histogram_figure(
    bins: pd.DataFrame, *, log: bool = False, naive: bool = False, counted: str = "keys"
) -> Figure:
    """Keys by a value; the naive baseline's as an outline.

    Args:
        bins: See ``tables.histogram``; with ``naive_keys`` for the outline.
        log: Whether the bins are equal factors; the value is then in seconds.
        naive: Whether to draw the outline.
        counted: What is counted, when not keys.
    """
    plot = _plot("", counted, (bins["low"].iloc[0], bins["high"].iloc[-1]), log=log)
    _bars(plot, bins["low"], bins["high"], bins["keys"], BLUE)
    if log:
        from bokeh.models import FixedTicker

        low, high = math.floor(np.log10(bins["low"].iloc[0])), math.ceil(np.log10(bins["high"].iloc[-1]))
        marks = (1, 2, 5) if high - low <= 3 else (1,)
        ticks = [mark * 10.0**power for power in range(low, high + 1) for mark in marks]
        plot.xaxis.ticker = FixedTicker(ticks=ticks)
        plot.xaxis.major_label_overrides = {tick: duration(tick) for tick in ticks}
    if naive:
        edges = np.append(bins["low"], bins["high"].iloc[-1])
        heights = np.append(bins["naive_keys"], bins["naive_keys"].iloc[-1])
        plot.step(x=edges, y=heights, mode="after", color=AMBER, line_width=2)
    return plot


def total_figure(by_time: pd.DataFrame) -> Figure:
    """The predictions of all keys, summed by period."""
    plot = _plot("", "", None, height=220, times=by_time["time"].dtype.kind == "M")
    plot.line(x=by_time["time"], y=by_time["total"], color=BLUE, line_width=2)
    return plot


def coverage_figure(by_step: pd.DataFrame) -> Figure:
    """Measured coverage by periods ahead, a line a level, with what was promised dashed."""
    steps = (by_step["step"].min() - 0.3, by_step["step"].max() + 0.3)
    plot = _plot("", "share of outcomes inside", steps)
    from bokeh.models import Range1d

    low = min(by_step["covered"].min(), by_step["level"].min() / 100)
    plot.y_range = Range1d(start=max(low - 0.1, 0.0), end=1.0)
    for colour, (level, rows) in zip(
        (BLUE, GREEN, AMBER, CLAY) * 5, by_step.groupby("level", sort=False), strict=False
    ):
        plot.line(x=steps, y=[level / 100] * 2, color=colour, line_dash="4 4")
        plot.line(x=rows["step"], y=rows["covered"], color=colour, line_width=2)
        plot.scatter(x=rows["step"], y=rows["covered"], color=colour, size=5)
    plot.yaxis.formatter = _percent()
    return plot


def example_figure(rows: pd.DataFrame, levels: tuple[float, ...]) -> Figure:
    """One key: what happened, what was predicted of the held-out part, and the widest interval.

    Without times the two are set against each other.
    """
    held = rows[rows["prediction"].notna()]
    if held["time"].isna().all():
        return _against(held)
    times = rows["time"].dtype.kind == "M"
    plot = _plot("", "", None, height=190, times=times)
    band = [pair for pair in map(interval_columns, sorted(levels, reverse=True)) if pair[0] in held]
    for _, window in held.groupby("window"):
        if band and window[band[0][0]].notna().all():
            low, high = band[0]
            plot.varea(x=window["time"], y1=window[low], y2=window[high], color=PALE, fill_alpha=0.9)
    plot.line(x=rows["time"], y=rows["actual"], color=INK, line_width=1.3)
    for _, window in held.groupby("window"):
        plot.line(x=window["time"], y=window["prediction"], color=BLUE, line_width=2)
        if len(window) == 1:
            plot.scatter(x=window["time"], y=window["prediction"], color=BLUE, size=5)
    return plot


def _against(held: pd.DataFrame) -> Figure:
    plot = _plot("actual", "predicted", None, height=220)
    ends = [
        float(min(held["actual"].min(), held["prediction"].min())),
        float(max(held["actual"].max(), held["prediction"].max())),
    ]
    plot.line(x=ends, y=ends, color=MUTED, line_dash="4 4")
    plot.scatter(x=held["actual"], y=held["prediction"], color=BLUE, size=5, fill_alpha=0.6, line_color=None)
    return plot


def _plot(
    below: str, left: str, across: tuple[float, float] | None, *, height: int = 260, log: bool = False,
    times: bool = False,
) -> Figure:  # fmt: skip
    """An empty chart in the page's style."""
    try:
        from bokeh.models import NumeralTickFormatter, Range1d
        from bokeh.plotting import figure
    except ImportError as error:
        raise UsageError(
            "the report needs bokeh, which is not installed; `pip install 'manymodels[report]'` brings it"
        ) from error

    plot: Figure = figure(
        height=height, sizing_mode="stretch_width", toolbar_location=None, tools="", min_border=0,
        x_axis_type="log" if log else "datetime" if times else "auto", x_axis_label=below or None,
        y_axis_label=left or None, background_fill_color=None, border_fill_color=None, outline_line_color=None,
    )  # fmt: skip
    if across is not None:
        plot.x_range = Range1d(start=float(across[0]), end=float(across[1]))
    plot.xgrid.grid_line_color = None
    plot.ygrid.grid_line_color = LINE
    for axis in (*plot.xaxis, *plot.yaxis):
        axis.axis_line_color = None
        axis.major_tick_line_color = None
        axis.minor_tick_line_color = None
        axis.axis_label_text_font = axis.major_label_text_font = _FONT
        axis.axis_label_text_font_size = axis.major_label_text_font_size = "12px"
        axis.axis_label_text_font_style = "normal"
        axis.axis_label_text_color = axis.major_label_text_color = MUTED
        axis.axis_label_standoff = 8
    plot.xaxis.axis_line_color = "#b9c2cb"
    for axis in plot.yaxis:
        axis.ticker.desired_num_ticks = 4
        axis.formatter = NumeralTickFormatter(format="0,0.[00]a" if height < 230 else "0,0.[00]")
    for axis in plot.xaxis:
        axis.ticker.desired_num_ticks = 3 if times else 5
    return plot


def _percent() -> Any:
    from bokeh.models import NumeralTickFormatter

    return NumeralTickFormatter(format="0%")


def _bars(plot: Figure, left: Any, right: Any, top: Any, colour: Any) -> None:
    from bokeh.models import HoverTool

    bars = plot.quad(
        source={"left": left, "right": right, "top": top, "bottom": np.zeros(len(top)),
                "colour": np.broadcast_to(colour, len(top))},
        left="left", right="right", top="top", bottom="bottom", color="colour", line_color="white",
        line_width=1, hover_alpha=0.75,
    )  # fmt: skip
    plot.y_range.start = 0
    hover = HoverTool(
        renderers=[bars], tooltips=[("from", "@left{0,0.[000]}"), ("to", "@right{0,0.[000]}"), ("keys", "@top{0,0}")]
    )  # fmt: skip
    hover.visible = False
    plot.add_tools(hover)
