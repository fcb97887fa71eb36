"""Two ranks, each of which has another folder under the run's name; prints what they are told."""

import os
import sys
from pathlib import Path

from hybrid.runtime.errors import InputError
from hybrid.runtime.interruption import run_to_end
from hybrid.runtime.launch import start
from hybrid.runtime.processes import gather_objects, is_main, rank, world_size
from hybrid.training import folder


def main() -> None:
    start("fp32")
    assert world_size() == 2
    folder.SEEN_SECONDS = 1
    told = []
    for place in (str(rank()), "shared"):
        node = Path(sys.argv[1], place)
        node.mkdir(exist_ok=True)
        os.chdir(node)
        try:
            folder.open_folder(Path("run"), None, overwrite=False)
            told.append(sorted(os.listdir("run")))
        except InputError as error:
            told.append(str(error))
    found = gather_objects(told)
    if is_main():
        print(found)


if __name__ == "__main__":
    run_to_end(main)
