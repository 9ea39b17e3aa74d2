"""The exact rewrites, one file per kind; `trecx.compiler.optimise` puts them in order."""
