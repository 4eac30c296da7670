"""Results as something to read or publish: text, CSV, LaTeX, one HTML page, a plot."""

from episodes.report.html import to_html
from episodes.report.latex import to_latex
from episodes.report.plot import plot_shots
from episodes.report.tables import to_csv, to_text

__all__ = ["plot_shots", "to_csv", "to_html", "to_latex", "to_text"]
