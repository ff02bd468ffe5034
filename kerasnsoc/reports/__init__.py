"""What there is to know about one artifact, on one page."""

from kerasnsoc.reports.facts import LayerFacts, ModelReport
from kerasnsoc.reports.report import report

__all__ = ["LayerFacts", "ModelReport", "report"]
