"""The tasks of MLPerf Tiny that trecx knows: data and backbones. Light to import; TensorFlow is never imported here."""

from mlperf_tiny.keyword_spotting import KWS
from mlperf_tiny.task import Backbone, Data, DataError, Split, Task

TASKS: tuple[Task, ...] = (KWS,)

__all__ = ["KWS", "TASKS", "Backbone", "Data", "DataError", "Split", "Task"]
