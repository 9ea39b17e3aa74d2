"""REPRODUCE: train every variant of a task's exits with several seeds, judge them, and write `docs/results.md`.

Uses all wings, as all studies do. `reproduce.py` is the way through it.
"""
