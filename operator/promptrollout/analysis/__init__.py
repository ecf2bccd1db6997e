"""Sequential analysis of a rollout: counts per window -> evidence -> verdict, at any look, pure.

    plan = AnalysisPlan(metrics=(events_metric("errors"),))
    evidence = Evidence.initial(plan, seed={"errors": EventCounts(total=5000, bad=100)})
    evidence = fold(plan, evidence, windows)
    assess(plan, evidence).verdict

`fold_many` does the same for many rollouts at once. Formulas and proofs stand in the modules that
compute them: `events`, `bounded`, `mixture`, `confseq`, `dispersion`, `sampleratio`.
"""

from promptrollout.analysis.assess import (
    Assessment,
    Guarantee,
    Interval,
    MetricAssessment,
    SideEvidence,
    Verdict,
    assess,
    describe,
)
from promptrollout.analysis.counts import (
    SCORE_NODES,
    ArmClusters,
    ArmRequests,
    ClusterCounts,
    Counts,
    EventCounts,
    HistogramCounts,
    History,
    LateCounts,
    MetricClusters,
    Pair,
    PairedCounts,
    ScoreCounts,
    SumCounts,
    Window,
    histogram_counts,
    score_counts,
    split_score,
)
from promptrollout.analysis.evidence import Evidence, Harm, Problem, ProblemCode
from promptrollout.analysis.fold import FoldItem, fold, fold_many
from promptrollout.analysis.kinds.base import ArmValues
from promptrollout.analysis.plan import (
    AnalysisPlan,
    Correlation,
    CorrelationBasis,
    DeltaMargin,
    HistogramMargin,
    LineMargin,
    Margin,
    MetricKind,
    MetricOptions,
    MetricPlan,
    Role,
    events_metric,
    histogram_metric,
    paired_metric,
    score_metric,
    sum_metric,
)
from promptrollout.analysis.sampleratio import RatioAssessment

__all__ = [
    "SCORE_NODES",
    "AnalysisPlan",
    "ArmClusters",
    "ArmRequests",
    "ArmValues",
    "Assessment",
    "ClusterCounts",
    "Correlation",
    "CorrelationBasis",
    "Counts",
    "DeltaMargin",
    "EventCounts",
    "Evidence",
    "FoldItem",
    "Guarantee",
    "Harm",
    "HistogramCounts",
    "HistogramMargin",
    "History",
    "Interval",
    "LateCounts",
    "LineMargin",
    "Margin",
    "MetricAssessment",
    "MetricClusters",
    "MetricKind",
    "MetricOptions",
    "MetricPlan",
    "Pair",
    "PairedCounts",
    "Problem",
    "ProblemCode",
    "RatioAssessment",
    "Role",
    "ScoreCounts",
    "SideEvidence",
    "SumCounts",
    "Verdict",
    "Window",
    "assess",
    "describe",
    "events_metric",
    "fold",
    "fold_many",
    "histogram_counts",
    "histogram_metric",
    "paired_metric",
    "score_counts",
    "score_metric",
    "split_score",
    "sum_metric",
]
