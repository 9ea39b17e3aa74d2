"""The tasks of MLPerf Tiny that trecx knows: data and backbones. Light to import; TensorFlow is never imported here."""

from mlperf_tiny.image_classification import IC
from mlperf_tiny.keyword_spotting import KWS
from mlperf_tiny.task import Backbone, Data, DataError, Split, Task
from mlperf_tiny.visual_wake_words import VWW

TASKS: tuple[Task, ...] = (KWS, IC, VWW)

__all__ = ["IC", "KWS", "TASKS", "VWW", "Backbone", "Data", "DataError", "Split", "Task"]
