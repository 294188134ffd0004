"""The fleet report: one page on a run or a scoring, for those who decide and those who dig."""

from __future__ import annotations

from manymodels.report.write import Report, report

__all__ = ["Report", "report"]
