"""The fields of the records that runs and sweeps leave, as far as somebody reads them: name -> kind, see ``json_files.py``."""

from __future__ import annotations

from kd_lightning.safety.json_files import FLAG, NUMBER, TEXT, WHOLE, Fields

PROCESS_FIELDS: Fields = {"pid": WHOLE, "born": TEXT, "host": TEXT, "started": TEXT, "finished": TEXT}
SWEEP_FIELDS: Fields = {
    **PROCESS_FIELDS,
    **dict.fromkeys(("id", "command", "launcher", "sweeper", "state", "stamp"), TEXT),
    "words": [TEXT],
    "jobs": WHOLE,
    "differing": [TEXT],
    "confirm": WHOLE,
    "confirmation": {"jobs": [WHOLE], "name": TEXT, "overrides": [TEXT], "seeds": [WHOLE], "reason": TEXT},
}
JOB_FIELDS: Fields = {
    **PROCESS_FIELDS,
    **dict.fromkeys(("state", "error", "traceback", "stamp", "key", "from"), TEXT),
    "confirm": FLAG,
    "number": WHOLE,
    "overrides": [TEXT],
    "reused": [TEXT],
    "seconds": NUMBER,
    "clock": NUMBER,
}
PROGRESS_FIELDS: Fields = {
    **dict.fromkeys(("stage", "title", "note"), TEXT),
    **dict.fromkeys(("step", "steps"), WHOLE),
    **dict.fromkeys(("time", "left"), NUMBER),
}
MODEL_FIELDS: Fields = {
    **dict.fromkeys(("val", "test", "megabytes", "seconds", "latency"), NUMBER),
    **dict.fromkeys(("steps", "steps_before", "best_step", "parameters"), WHOLE),
    **dict.fromkeys(("store_key", "label", "stage", "role", "start"), TEXT),
    "reused": FLAG,
    "metrics": {"*": NUMBER},
    "predictions": {"*": NUMBER, "by_class": {"*": [NUMBER]}},
}
INTERVAL_FIELDS: Fields = {"low": NUMBER, "high": NUMBER, "level": NUMBER, "method": TEXT}
RESULTS_FIELDS: Fields = {
    **dict.fromkeys(("task", "metric", "mode", "weighting", "hard_loss", "teacher_hard_loss"), TEXT),
    **dict.fromkeys(("teacher_hash", "data_fingerprint", "command", "verdict", "settings"), TEXT),
    **dict.fromkeys(("seed", "teacher_seed", "batch_size"), WHOLE),
    **dict.fromkeys(("temperature", "alpha", "num_labeled", "gain_over_baseline", "gap_closed"), NUMBER),
    "wall_seconds": NUMBER,
    "annealing": [TEXT],
    "loss": [TEXT],
    "labels": [TEXT],
    "objective": [TEXT],  # what `loss` and `weighting` were called before
    "balancing": TEXT,
    "labelled": NUMBER,  # now `num_labeled`
    "teacher_unchanged": FLAG,
    "interval": INTERVAL_FIELDS,
    "gap_interval": INTERVAL_FIELDS,
    "class_groups": {"*": {"classes": [WHOLE], "training_rows": [WHOLE]}},
    "models": {"*": MODEL_FIELDS},
}
STUDY_FIELDS: Fields = {
    **dict.fromkeys(("name", "sampler", "pruner", "storage", "dashboard"), TEXT),
    "objectives": [{"value": TEXT, "direction": TEXT}],
    "trials": {"*": WHOLE},
    "best": [WHOLE],
    "importances": {"*": NUMBER},
}
TRIAL_FIELDS: Fields = {"number": WHOLE, "params": {}}
