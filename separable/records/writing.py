"""Files that are whole or absent: written under another name and renamed."""

from collections.abc import Callable
from pathlib import Path

from separable.files import replacing


def written_whole(path: Path, write: Callable[[Path], object]) -> Path:
    """Write a file, which replaces an older one only when it is complete; its folder is made.

    Example:
        >>> import tempfile
        >>> file = written_whole(Path(tempfile.mkdtemp()) / "new" / "a.txt", lambda part: part.write_text("whole"))
        >>> file.read_text()
        'whole'
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        write(temporary)
    return path
