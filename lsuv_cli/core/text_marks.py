"""The mark that some editors put at the beginning of a text file."""

from __future__ import annotations

UTF_8 = b"\xef\xbb\xbf"

# UTF-32 first: its mark begins with that of UTF-16.
OTHERS = (
    (b"\xff\xfe\0\0", "UTF-32"),
    (b"\0\0\xfe\xff", "UTF-32"),
    (b"\xff\xfe", "UTF-16"),
    (b"\xfe\xff", "UTF-16"),
)


def without_mark(content: bytes) -> bytes:
    """Return the content of a UTF-8 file without the mark at its beginning.

    Args:
        content: of the file, or its beginning.

    Raises:
        ValueError: the mark is that of another encoding; the text says what to do.
    """
    for mark, encoding in OTHERS:
        if content.startswith(mark):
            raise ValueError(f"it is {encoding}; save it as UTF-8")
    return content.removeprefix(UTF_8)
