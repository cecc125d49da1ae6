"""The fields of the records that runs and sweeps leave, as far as somebody reads them: name -> kind, see ``json_files.py``."""

from __future__ import annotations

from kd_lightning.safety.json_files import FLAG, NUMBER, TEXT, WHOLE, Fields

PROCESS: Fields = {"pid": WHOLE, "born": TEXT, "host": TEXT, "started": TEXT, "finished": TEXT}
SWEEP: Fields = {
    **PROCESS,
    **dict.fromkeys(("id", "command", "launcher", "sweeper", "state", "stamp"), TEXT),
    "words": [TEXT],
    "jobs": WHOLE,
    "differing": [TEXT],
    "confirm": WHOLE,
    "confirmation": {"jobs": [WHOLE], "name": TEXT, "overrides": [TEXT], "seeds": [WHOLE], "reason": TEXT},
}
JOB: Fields = {
    **PROCESS,
    **dict.fromkeys(("state", "error", "traceback", "stamp", "key", "from"), TEXT),
    "confirm": FLAG,
    "number": WHOLE,
    "overrides": [TEXT],
    "reused": [TEXT],
    "seconds": NUMBER,
    "clock": NUMBER,
}
PROGRESS: Fields = {
    **dict.fromkeys(("stage", "title", "note"), TEXT),
    **dict.fromkeys(("step", "steps"), WHOLE),
    **dict.fromkeys(("time", "left"), NUMBER),
}
MODEL: Fields = {
    **dict.fromkeys(("val", "test", "megabytes", "seconds", "throughput"), NUMBER),
    **dict.fromkeys(("steps", "steps_before", "best_step", "parameters"), WHOLE),
    **dict.fromkeys(("store_key", "label", "stage", "role", "start"), TEXT),
    "reused": FLAG,
    "metrics": {"*": NUMBER},
    "predictions": {"*": NUMBER, "by_class": {"*": [NUMBER]}},
}
INTERVAL: Fields = {"low": NUMBER, "high": NUMBER, "level": NUMBER, "method": TEXT}
RESULTS: Fields = {
    **dict.fromkeys(("task", "metric", "mode", "weighting", "hard_loss", "teacher_hard_loss", "throughput_unit"), TEXT),
    **dict.fromkeys(("teacher_hash", "data_fingerprint", "command", "verdict", "settings"), TEXT),
    **dict.fromkeys(("seed", "teacher_seed", "batch_size"), WHOLE),
    **dict.fromkeys(("temperature", "alpha", "num_labeled", "gain_over_baseline", "gap_closed"), NUMBER),
    "wall_seconds": NUMBER,
    "annealing": [TEXT],
    "loss": [TEXT],
    "objective": [TEXT],  # what `loss` and `weighting` were called before
    "balancing": TEXT,
    "labelled": NUMBER,  # now `num_labeled`
    "teacher_unchanged": FLAG,
    "interval": INTERVAL,
    "gap_interval": INTERVAL,
    "class_groups": {"*": {"classes": [WHOLE], "training_rows": [WHOLE]}},
    "models": {"*": MODEL},
}
STUDY: Fields = {
    **dict.fromkeys(("name", "sampler", "pruner", "storage", "dashboard"), TEXT),
    "objectives": [{"value": TEXT, "direction": TEXT}],
    "trials": {"*": WHOLE},
    "best": [WHOLE],
    "importances": {"*": NUMBER},
}
TRIAL: Fields = {"number": WHOLE, "params": {}}
