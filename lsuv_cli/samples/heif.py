"""The formats .heic and .heif, which Pillow reads with the plugin pillow-heif."""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec

from lsuv_cli.core.errors import DataError
from lsuv_cli.samples.file_table import FileTable
from lsuv_cli.samples.picture_files import PictureFiles
from lsuv_cli.samples.pictures import Pictures

INSTALL = "pip install 'lsuv-cli[heic]'"


@cache
def lacking_plugin() -> str:
    """Return how the plugin is installed; "" where it is."""
    return "" if find_spec("pillow_heif") else INSTALL


@cache
def register_plugin() -> bool:
    """Have Pillow read HEIF, once; return whether it can."""
    try:
        import pillow_heif
    except ImportError:
        return False
    pillow_heif.register_heif_opener()
    return True


def open_heif_files(files: FileTable) -> Pictures:
    """Open files of one picture each.

    Raises:
        DataError: the plugin is not installed.
    """
    if not register_plugin():
        raise DataError(f"{files[0]} is a HEIF picture, which pillow-heif reads; {INSTALL}")
    return PictureFiles(files)
