"""Names of the files between a search and its jobs. Standard library only: both sides import it."""

TRIAL = "trial.json"
"""Written by the search before the job starts: ``{"number", "params", "pruning"}``."""
REPORTS = "reports.csv"
"""Written by the job: ``step,value`` for each validation of the distill stage."""
PRUNE = "prune.json"
"""Written by the search: end at the next validation."""
