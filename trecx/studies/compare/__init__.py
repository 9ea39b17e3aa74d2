"""Every exit method of a task, and the controls, under one budget and one protocol: `docs/compare-TASK.md`."""
