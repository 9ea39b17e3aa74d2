"""Where templates/ and firmware/ lie: beside the package in a checkout, inside it in a wheel."""

from pathlib import Path

from trecx.errors import TrecxError

PACKAGE = Path(__file__).resolve().parent


def folder(name: str) -> Path:
    """The folder `name` ("templates", "firmware"): the wheel's own copy, which no checkout has, else the checkout's."""
    for root in (PACKAGE / "_resources", PACKAGE.parent):
        if (root / name).is_dir():
            return root / name
    raise TrecxError(f"The folder {name}/ is missing from this installation of trecx.", "Install trecx again.")
