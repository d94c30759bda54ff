"""Rules: one symptom per file."""
