"""`python -m trecx`."""

from trecx.cli import main

main(prog_name="trecx")
