"""STUDIES: what is asked of many models or many trainings; uses all wings, and no wing uses it."""
