"""Metric sources: counts of both arms, read from Prometheus (or a recording) behind one protocol.

`protocol` has what callers see, `prometheus.PrometheusSource` and `replay.RecordedSource` are the sources, `presets`
the registry of known metrics, `selector.check_selector` the judge of custom ones. Everything but
`prometheus`, `client` and `session` is pure; importing the package imports none of them.
"""
