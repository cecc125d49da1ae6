"""kd_lightning: knowledge distillation experiments that pay for the teacher once and end in an honest verdict."""

__version__ = "0.1.0"
