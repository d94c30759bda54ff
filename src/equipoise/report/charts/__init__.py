"""The charts, one family per file: functions from runs (or a comparison) to `Chart`s."""
