"""Bodies of requests that no one means well with: each has to be refused."""

import io
import pickle
import zipfile

import numpy as np


def npy(array, allow_pickle=False):
    """An array as the bytes of a .npy file."""
    file = io.BytesIO()
    np.save(file, array, allow_pickle=allow_pickle)
    return file.getvalue()


def hostile_json(key):
    """Texts in place of a JSON object that has a list of lists at this key."""
    name = key.encode()
    return [
        b"",
        b"{",
        b"\xff\xfe",
        b"null",
        b"[[0.5, 0.5]]",
        b'{"%s": [[NaN, 0.5]]}' % name,
        b'{"%s": [[0.5, -Infinity]]}' % name,
        b'{"%s": [[1e999, 0.5]]}' % name,
        b'{"%s": [[' % name + b"9" * 6000 + b", 0.5]]}",
        b"[" * 100_000,
        b'{"%s": ' % name + b"[" * 50_000 + b"]" * 50_000 + b"}",
        b'{"a": ' * 20_000,
        pickle.dumps([[0.5, 0.5]]),
    ]


class _Trap:
    """Writes a file where it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def _header(text, version=(1, 0)):
    size = len(text).to_bytes(2 if version == (1, 0) else 4, "little")
    return b"\x93NUMPY" + bytes(version) + size + text.encode()


def hostile_arrays(good, trap):
    """Bytes in place of a .npy file of such an array of floats; whoever unpickles one finds a file at ``trap``."""
    objects = good.astype(object)
    objects.flat[0] = _Trap(trap)
    zipped = io.BytesIO()
    with zipfile.ZipFile(zipped, "w") as file:
        file.writestr("../../evil.npy", npy(good))
    whole = npy(good)
    not_a_number, infinite = good.copy(), good.copy()
    not_a_number.flat[1], infinite.flat[-1] = np.nan, np.inf
    return [
        npy(objects, allow_pickle=True),
        pickle.dumps(_Trap(trap)),
        zipped.getvalue(),
        npy(good.astype(complex)),
        npy(good.astype(str)),
        npy(np.array([["/etc/passwd", "b"]])),
        npy(np.zeros(good.shape, [("a", float)])),
        npy(good > 0.5),
        npy(np.zeros(good.shape, "M8[s]")),
        npy(good[..., :1]),
        npy(good[0]),
        npy(good[:0]),
        npy(np.array(0.5)),
        npy(not_a_number),
        npy(infinite),
        whole[:-1],
        whole + b"\0",
        whole[:9],
        b"",
        _header("{'descr': '<f8', 'fortran_order': False, 'shape': (10000000000, 2), }\n"),
        _header("{'descr': '<f8', 'fortran_order': False, 'shape': (-1, 2), }\n"),
        _header("{'descr': '<f8', 'fortran_order': False, 'shape': (9999999999999999999999, 2), }\n"),
        _header("{'descr': '<f8', 'fortran_order': False, 'shape': (" + "1," * 30_000 + "), }\n"),
        _header("(" * 60_000, (2, 0)),
        _header("{'descr': '<f8', 'fortran_order': False, 'shape': (1, __import__('os')), }\n"),
        _header("{'descr': '|O', 'fortran_order': False, 'shape': (1, 2), }\n") + pickle.dumps(_Trap(trap)),
        b"\x93NUMPY\x01\x00\xff\xff",
        b"\x93NUMPY\x09\x00" + whole[8:],
    ]
