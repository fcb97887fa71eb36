"""Started by accelerate under ZeRO-3: load an encoder's weights from a directory. Arguments: directory, output.

Every rank tells how many numbers it holds after loading, before any optimizer is made, of how many there are, and
whether the weights are those of the file.
"""

import json
import sys
from pathlib import Path

import deepspeed
import torch
from deepspeed.runtime.zero.partition_parameters import ZeroParamStatus
from safetensors.torch import load_file

from hybrid.models import ModelConfig
from hybrid.models.backbone import pretrained
from hybrid.runtime.interruption import run_to_end
from hybrid.runtime.launch import start
from hybrid.runtime.processes import gather_objects, is_main


def main(folder: str, out: str) -> None:
    """Load, look, and write what every rank has seen."""
    accelerator = start("fp32")
    backbone = pretrained(ModelConfig(name=folder)).to(accelerator.device)
    parameters = dict(backbone.named_parameters())
    spread = all(p.ds_status == ZeroParamStatus.NOT_AVAILABLE and not p.numel() for p in parameters.values())
    seen = {
        "spread": spread,
        "held": sum(p.ds_tensor.numel() for p in parameters.values()),
        "whole": sum(p.ds_numel for p in parameters.values()),
    }
    saved = {
        name.removeprefix("roberta."): value for name, value in load_file(Path(folder, "model.safetensors")).items()
    }
    same = []
    for name, parameter in parameters.items():
        with deepspeed.zero.GatheredParameters([parameter]):
            same.append(torch.equal(parameter.data, saved[name]))
    seen |= {"same": all(same), "count": len(same)}
    ranks = gather_objects(seen)
    if is_main():
        Path(out).write_text(json.dumps(ranks))


if __name__ == "__main__":
    run_to_end(main, *sys.argv[1:])
