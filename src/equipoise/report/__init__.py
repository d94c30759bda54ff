"""The report: run stores and a comparison in, one self-contained HTML page out."""

from equipoise.report.write import write_report

__all__ = ["write_report"]
