"""Every text of a corpus as tokens: without prefix, without special tokens, untruncated, in one file."""

import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from itertools import pairwise
from pathlib import Path
from subprocess import PIPE, Popen

import numpy as np
from tokenizers import Tokenizer
from tokenizers import __version__ as tokenizers_version

from hybrid.data.cache import FORM, built_once, cache_folder, get_on
from hybrid.data.corpus import ParallelCorpus, ragged_range
from hybrid.data.texts import Texts
from hybrid.runtime.errors import InputError
from hybrid.runtime.files import digest
from hybrid.runtime.interruption import ignore_in_worker
from hybrid.runtime.logs import progress
from hybrid.runtime.processes import cores

IDS, ENDS, TOKENIZER = "tokens.int32", "tokens.ends.npy", "tokenizer.json"
PART_BYTES = 1 << 22  # of text, that one process tokenises at a time
BATCH = 1024  # texts in one call of the tokenizer


class TokenStore:
    """The tokens of several corpora's texts, through memory maps that all processes of a node share."""

    def __init__(self, folders: list[Path]):
        self.folders = folders
        self.ends = [np.load(folder / ENDS, mmap_mode="r") for folder in folders]
        self.ids = [_mapped(folder / IDS) for folder in folders]

    def __reduce__(self):
        return TokenStore, (self.folders,)

    def spans(self, corpus: int, texts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return start and length, int64 [n] each, of texts in ``ids[corpus]``; text -1 has length 0."""
        ends = self.ends[corpus]
        starts = np.where(texts > 0, ends[np.maximum(texts - 1, 0)], 0)
        return starts, np.where(texts >= 0, ends[np.maximum(texts, 0)] - starts, 0)

    def tokens(self, corpus: int, texts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the tokens of int64 [n] texts of a corpus, end to end: ids int32 [T] and lengths int64 [n]."""
        starts, lengths = self.spans(corpus, texts)
        return self.ids[corpus][ragged_range(starts, lengths)], lengths


def token_store(corpora: Sequence[ParallelCorpus], tokenizer, cache: str | Path | None = None) -> TokenStore:
    """Return the token store of corpora, built where it is not in the cache yet.

    Args:
        corpora: any; the tokens of each are kept apart, so that another data set costs only its own.
        tokenizer: a transformers tokenizer that is backed by the tokenizers library.
        cache: folder of what is built, unset the user's; a store goes by the digests of the tokenizer and of the texts.
    """
    description = plain_tokenizer(tokenizer)
    folders = []
    for corpus in corpora:
        folder = cache_folder(cache) / "tokens" / digest([FORM, tokenizers_version, description, corpus.texts_digest])
        folders.append(built_once(folder, partial(_build, texts=corpus.texts, name=corpus.name, tokenizer=description)))
    return TokenStore(folders)


def plain_tokenizer(tokenizer) -> str:
    """Return a tokenizer's JSON without truncation and padding, which calls switch on and off."""
    if not getattr(tokenizer, "is_fast", False):
        raise InputError(
            f"{tokenizer.name_or_path}: its tokenizer is {type(tokenizer).__name__}, which the tokenizers library does "
            "not run; save it with a tokenizer.json."
        )
    return json.dumps(json.loads(tokenizer.backend_tokenizer.to_str()) | {"truncation": None, "padding": None})


def _build(folder: Path, texts: Texts, name: str, tokenizer: str) -> None:
    """Tokenise in parts, by one process per core, and join the parts in order."""
    (folder / TOKENIZER).write_text(tokenizer, encoding="utf-8")
    parts = len(_parts(texts, PART_BYTES))
    total = 0
    with (
        open(folder / IDS, "wb") as file,
        open(folder / ENDS, "wb") as ends,
        progress(len(texts), f"tokenising {name}", "texts") as bar,
    ):
        # Written part by part: the ends of a hundred million texts would take 2.4 GB on their way to one array.
        form = {"descr": np.dtype(np.int64).str, "fortran_order": False, "shape": (len(texts),)}
        np.lib.format.write_array_header_1_0(ends, form)
        for number in _tokenised(folder, texts, parts):
            part = folder / f"part-{number}.npz"
            with np.load(part) as result:
                file.write(result["ids"])
                part_ends = total + np.cumsum(result["lengths"])
            ends.write(part_ends)
            total = int(part_ends[-1])
            part.unlink()
            bar.update(len(part_ends))
            get_on()


def _tokenised(folder: Path, texts: Texts, parts: int) -> Iterator[int]:
    """Yield the number of each part when its file is there, in order.

    The processes are plain commands: unlike those of multiprocessing they import nothing of the program that waits.
    """
    workers = min(cores(), parts)
    if workers < 2:
        yield from tokenise_parts(folder, texts, PART_BYTES, 0, 1)
        return
    command = [sys.executable, "-m", __name__, str(folder), str(texts.folder), str(PART_BYTES)]
    path = os.pathsep.join([str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")])
    environment = os.environ | {"TOKENIZERS_PARALLELISM": "false", "PYTHONPATH": path}
    pipes = {"stdout": PIPE, "text": True, "env": environment}
    with ExitStack() as stack:
        pool = [stack.enter_context(Popen([*command, str(n), str(workers)], **pipes)) for n in range(workers)]
        stack.callback(lambda: [process.kill() for process in pool])
        for number in range(parts):
            if not pool[number % workers].stdout.readline():
                status = pool[number % workers].wait()
                raise InputError(f"{folder}: a tokenising process ended with status {status}; free memory or disk.")
            yield number


def tokenise_parts(folder: Path, texts: Texts, size: int, first: int, step: int) -> Iterator[int]:
    """Write the files of parts `first`, `first` + `step` ..., of `size` bytes of text each, and yield their numbers."""
    tokenizer = Tokenizer.from_file(str(folder / TOKENIZER))
    for number, part in list(enumerate(_parts(texts, size)))[first::step]:
        ids, lengths = [np.empty(0, np.int32)], []
        for start in range(part.start, part.stop, BATCH):
            batch = [texts[text] for text in range(start, min(start + BATCH, part.stop))]
            encodings = [encoding.ids for encoding in tokenizer.encode_batch_fast(batch, add_special_tokens=False)]
            lengths.extend(map(len, encodings))
            ids.extend(np.array(encoding, np.int32) for encoding in encodings)
        np.savez(folder / f"part-{number}.npz", ids=np.concatenate(ids), lengths=np.array(lengths, np.int64))
        texts.release()
        yield number


def _parts(texts: Texts, size: int) -> list[range]:
    """Return ranges of texts of about `size` bytes each."""
    edges = np.searchsorted(texts.ends, np.arange(size, int(texts.ends[-1]), size)).tolist()
    texts.release()
    edges = sorted({0, *edges, len(texts)})
    return [range(start, stop) for start, stop in pairwise(edges)]


def _mapped(path: Path) -> np.ndarray:
    return np.memmap(path, np.int32, "r") if path.stat().st_size else np.empty(0, np.int32)


def _worker(folder: str, texts: str, *numbers: str) -> None:
    """Run as a process: say each part that is done, and wait for nothing."""
    ignore_in_worker()
    for number in tokenise_parts(Path(folder), Texts(Path(texts)), *map(int, numbers)):
        print(number, flush=True)


if __name__ == "__main__":
    _worker(*sys.argv[1:])
