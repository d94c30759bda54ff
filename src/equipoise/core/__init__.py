"""The algebra: stages, chains, roles, schedules, the plan and its runners. Imports torch only."""
