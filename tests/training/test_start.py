"""What a training job loads before its first step is what it uses."""

import os
import subprocess
import sys

from tests.launch import ROOT

STEP = """
import sys
from hybrid.runtime.launch import start
from hybrid.training.config import ObjectiveConfig, TrainingConfig
from hybrid.training.engine import Engine
from tests.training.toy import toy_batch, toy_encoder

config = TrainingConfig(steps=8, global_batch=12)
engine = Engine(toy_encoder(), ObjectiveConfig(), config, start("fp32", seed=0))
engine.step(toy_batch(0, 12), 0)
assert engine.module.encoder is not None
sys.exit("deepspeed" in sys.modules)
"""


def test_a_step_of_one_process_does_not_load_deepspeed():
    environment = os.environ | {"PYTHONPATH": str(ROOT), "ACCELERATE_USE_CPU": "true"}
    assert subprocess.run([sys.executable, "-c", STEP], cwd=ROOT, env=environment, check=False).returncode == 0
