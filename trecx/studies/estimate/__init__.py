"""What inference with exits takes on a target, by where the heads run."""
