"""LEARN: the only wing that imports TensorFlow, and only while it is used."""
