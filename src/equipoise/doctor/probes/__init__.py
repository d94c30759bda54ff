"""Probes: one measurement per file."""
