"""Every reader of the toolkit."""

from tests.reliability import (
    command_readers,
    language_readers,
    library_readers,
    microstructure_readers,
    navigation_readers,
    turbulence_readers,
)

READERS = [
    *library_readers.READERS,
    *command_readers.READERS,
    *language_readers.READERS,
    *microstructure_readers.READERS,
    *navigation_readers.READERS,
    *turbulence_readers.READERS,
]
