"""JUDGE: is it exact, how right is it, and what does it cost? Only `reference.py` runs interpreters."""
