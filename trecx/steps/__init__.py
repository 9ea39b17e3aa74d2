"""The steps of a build: what each reads from the run directory, computes through the wings, and leaves behind."""
