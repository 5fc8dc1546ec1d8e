"""Files that are whole or absent: written under another name and renamed."""

from collections.abc import Callable
from pathlib import Path


def written_whole(path: Path, write: Callable[[Path], object]) -> Path:
    """Write a file, which replaces an older one only when it is complete; its folder is made.

    Example:
        >>> import tempfile
        >>> file = written_whole(Path(tempfile.mkdtemp()) / "new" / "a.txt", lambda part: part.write_text("whole"))
        >>> file.read_text()
        'whole'
    """
    from separable.atomic_files import replacing  # with torch, for which a list of runs need not wait

    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        write(temporary)
    return path
