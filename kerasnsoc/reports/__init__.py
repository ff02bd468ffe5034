"""What there is to know about one artifact, on one page."""

from kerasnsoc.reports.difference import ArtifactDifference, LayerDifference, diff
from kerasnsoc.reports.facts import LayerFacts, ModelReport
from kerasnsoc.reports.report import report

__all__ = ["ArtifactDifference", "LayerDifference", "LayerFacts", "ModelReport", "diff", "report"]
