"""Random single-operator models: made by `cases`, computed by TFLM (`oracle`) and by the generated C (`executors`)."""
