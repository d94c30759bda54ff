"""The doctor: watch a training run, keep what was measured, compare it with theory, and say what to change.

The functions are public at the top level: `equipoise.watch`, `equipoise.diagnose`, `equipoise.check`,
`equipoise.predict`, `equipoise.find_scale_invariant`.
"""
