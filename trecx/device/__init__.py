"""Build the generated C, run it on this machine, in an emulator or on a board. Knows no IR."""
