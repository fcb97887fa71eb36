"""Many texts in one file, each once, read through a memory map."""

import hashlib
import mmap
from array import array
from collections.abc import Iterator
from pathlib import Path

import numpy as np

TEXTS, IDS = "texts", "ids"
BUFFER = 1 << 22  # bytes of text that are written at once


DIGEST = 16  # bytes


class _Numbers:
    """Numbers for digests in the order of their first use: a hash table of some 25 bytes each, where a dictionary's
    objects take 150.

    A number stands at the first free slot from the one that its digest names; what runs over the end makes it longer.
    """

    def __init__(self):
        self.digests = bytearray()
        self._spread(1 << 10)

    def __call__(self, digest: bytes) -> int:
        """Return the number of a digest."""
        slots, digests = self.slots, self.digests
        place = int.from_bytes(digest[:8], "little") & self.mask
        while (number := slots[place]) >= 0:
            if digests[DIGEST * number : DIGEST * (number + 1)] == digest:
                return number
            place += 1
        number = len(digests) // DIGEST
        slots[place] = number
        digests += digest
        if 3 * number > 2 * self.mask:
            self._spread(2 * (self.mask + 1))
        elif place + 1 == len(slots):
            slots.append(-1)  # a search ends at a free slot
        return number

    def _spread(self, size: int) -> None:
        """Put all numbers into a table of `size` slots (a power of two), and what runs over its end."""
        self.mask, self.slots = size - 1, array("i")
        named = (np.frombuffer(self.digests, np.uint64)[:: DIGEST // 8] & np.uint64(self.mask)).astype(np.int64)
        order = np.argsort(named, kind="stable")
        # Each at its own slot, or at the one after that of the number before it.
        places = np.maximum.accumulate(named[order] - np.arange(len(order))) + np.arange(len(order))
        del named
        slots = np.full(max(size, int(places.max(initial=0)) + 2), -1, np.int32)
        slots[places] = order
        self.slots.frombytes(slots.view(np.uint8))


class TextWriter:
    """Writes texts to a folder and numbers them; a text that comes again keeps its number.

    Holds a digest per text in memory (some 33 bytes with its number and its end), never the texts.
    """

    def __init__(self, folder: Path, name: str = TEXTS):
        self.folder, self.name = folder, name
        self.numbers = _Numbers()
        self.ends = array("q")
        self.size = 0
        self.buffer = bytearray()
        self._flush()

    def add(self, text: str) -> int:
        """Return the number of a text, white space at its ends left out."""
        return self.add_bytes(text.strip().encode())

    def add_bytes(self, content: bytes) -> int:
        """Return the number of a text that is taken as it is."""
        number = self.numbers(hashlib.blake2b(content, digest_size=DIGEST).digest())
        if number == len(self.ends):
            self._append(content)
        return number

    def close(self) -> None:
        """Finish the file, so that ``Texts`` can read it, and let go of what finds texts again."""
        self._flush()
        np.save(self.folder / f"{self.name}.ends.npy", np.frombuffer(self.ends, np.int64))
        digests = np.frombuffer(self._digests(), np.uint64).reshape(-1, 2)
        np.save(self.folder / f"{self.name}.digests.npy", digests)
        self.ends, self.numbers = array("q"), _Numbers()

    def _digests(self) -> bytearray:
        return self.numbers.digests

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
        self.joined += hashlib.blake2b(content, digest_size=DIGEST).digest()
        self._append(content)
        return len(self.ends) - 1

    def _digests(self) -> bytearray:
        return self.joined


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
        for part in (self.ends, self.bytes, self.digests):
            pages = getattr(part, "_mmap", None) or getattr(part.base, "_mmap", None)
            if pages is not None and hasattr(mmap, "MADV_DONTNEED"):
                pages.madvise(mmap.MADV_DONTNEED)

    def digest(self) -> str:
        """Return the digest of all texts in their order."""
        found = hashlib.blake2b(np.ascontiguousarray(self.digests), digest_size=16).hexdigest()
        self.release()
        return found
