"""COMPILE: `.tflite` and `exits.json` to C."""
