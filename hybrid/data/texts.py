"""Many texts in one file, each once, read through a memory map."""

import hashlib
import mmap
from array import array
from collections.abc import Iterator
from pathlib import Path

import numpy as np

TEXTS, IDS = "texts", "ids"
BUFFER = 1 << 22  # bytes of text that are written at once


class TextWriter:
    """Writes texts to a folder and numbers them; a text that comes again keeps its number.

    Holds a 16-byte digest per text in memory (about 120 bytes with its number), never the texts.
    """

    def __init__(self, folder: Path, name: str = TEXTS):
        self.folder, self.name = folder, name
        self.numbers: dict[bytes, int] = {}
        self.ends = array("q")
        self.size = 0
        self.buffer = bytearray()
        self._flush()

    def add(self, text: str) -> int:
        """Return the number of a text, white space at its ends left out."""
        content = text.strip().encode()
        name = hashlib.blake2b(content, digest_size=16).digest()
        number = self.numbers.setdefault(name, len(self.ends))
        if number == len(self.ends):
            self._append(content)
        return number

    def close(self) -> None:
        """Finish the file; ``Texts`` can read it then."""
        self._flush()
        np.save(self.folder / f"{self.name}.ends.npy", np.array(self.ends, np.int64))
        digests = np.frombuffer(self._digests(), np.uint64).reshape(-1, 2)
        np.save(self.folder / f"{self.name}.digests.npy", digests)

    def _digests(self) -> bytes:
        return b"".join(self.numbers)

    def _append(self, content: bytes) -> None:
        self.buffer += content
        self.size += len(content)
        self.ends.append(self.size)
        if len(self.buffer) > BUFFER:
            self._flush()

    def _flush(self) -> None:
        with open(self.folder / f"{self.name}.utf8", "ab") as file:
            file.write(self.buffer)
        self.buffer.clear()


class PlainTextWriter(TextWriter):
    """Writes texts as they are, equal ones each time, and holds 24 bytes of each in memory."""

    def __init__(self, folder: Path, name: str = TEXTS):
        super().__init__(folder, name)
        self.joined = bytearray()

    def add(self, text: str) -> int:
        """Return the number of a text, which is how many came before it."""
        content = text.encode()
        self.joined += hashlib.blake2b(content, digest_size=16).digest()
        self._append(content)
        return len(self.ends) - 1

    def _digests(self) -> bytes:
        return bytes(self.joined)


class Texts:
    """Texts by number, out of a folder that a TextWriter wrote."""

    def __init__(self, folder: Path, name: str = TEXTS):
        self.folder, self.name = folder, name
        # Plain views of the maps: indexing a np.memmap itself costs ten times as much.
        self.ends = np.asarray(np.load(folder / f"{name}.ends.npy", mmap_mode="r"))
        self.digests = np.load(folder / f"{name}.digests.npy", mmap_mode="r")
        size = int(self.ends[-1]) if len(self.ends) else 0
        self.bytes = np.asarray(np.memmap(folder / f"{name}.utf8", np.uint8, "r")) if size else np.empty(0, np.uint8)

    def __reduce__(self):
        return Texts, (self.folder, self.name)

    def __len__(self) -> int:
        return len(self.ends)

    def __getitem__(self, number: int) -> str:
        start = int(self.ends[number - 1]) if number else 0
        return self.bytes[start : int(self.ends[number])].tobytes().decode()

    def __iter__(self) -> Iterator[str]:
        return map(self.__getitem__, range(len(self)))

    def release(self) -> None:
        """Let go of the pages of the maps that have been read: they would count as this process's memory."""
        for part in (self.ends, self.bytes):
            pages = getattr(part.base, "_mmap", None)
            if pages is not None and hasattr(mmap, "MADV_DONTNEED"):
                pages.madvise(mmap.MADV_DONTNEED)

    def digest(self) -> str:
        """Return the digest of all texts in their order."""
        return hashlib.blake2b(np.ascontiguousarray(self.digests), digest_size=16).hexdigest()
