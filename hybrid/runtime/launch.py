"""From how a job was launched to an Accelerator that really has the processes it was launched with."""

import os
from datetime import timedelta

from hybrid.runtime.errors import InputError
from hybrid.runtime.logs import log, quiet_libraries
from hybrid.runtime.memory import keep_freed_memory
from hybrid.runtime.processes import cores


def start(precision: str, seed: int | None = None, deterministic: bool = False, stall_seconds: float = 1800.0):
    """Join the process group, seed all generators alike on all ranks, and return the Accelerator.

    Args:
        precision: "fp32" or "bf16", from the recipe alone.
        seed: of Python's, numpy's and torch's generators; unset leaves them.
        deterministic: only kernels that give the same sums each time; torch refuses an operation that has none.
        stall_seconds: after which the watchdog names a hanging rank; collective calls give up twice as late.

    Raises InputError where the launcher asks for another precision or accumulation, or where its processes do not find
    each other (accelerate on a CPU then trains as many times, silently).
    """
    quiet_libraries()
    _check_launcher(precision)
    from accelerate import Accelerator, DistributedDataParallelKwargs, InitProcessGroupKwargs
    from accelerate.utils import set_seed

    if deterministic:
        _use_deterministic_kernels()
    _leave_cudnn_attention()
    started = int(os.environ.get("WORLD_SIZE", 1))
    # NCCL gives up after ten minutes by itself, and on the ranks that wait: they would be taken for the dead ones.
    group = {"timeout": timedelta(seconds=2 * stall_seconds)}
    if not _has_gpu():
        _prepare_cpu()
        group["backend"] = "gloo"
    # Gradients lie in the buckets that are sent, not beside them; buffers (positions) are the same on all ranks.
    lean = DistributedDataParallelKwargs(gradient_as_bucket_view=True, broadcast_buffers=False)
    handlers = [InitProcessGroupKwargs(**group), lean] if started > 1 else []
    accelerator = Accelerator(mixed_precision="bf16" if precision == "bf16" else "no", kwargs_handlers=handlers)
    kind = accelerator.distributed_type.value.lower()
    if started != accelerator.num_processes or (started > 1 and kind == "no"):
        raise InputError(
            f"{started} processes were launched, but accelerate takes them for {accelerator.num_processes} ({kind}) "
            "and would not keep their weights alike; launch as one of the files in accelerate_configs/ says."
        )
    if started > 1 and accelerator.state.deepspeed_plugin:
        _give_time(group["timeout"])
    if seed is not None:
        set_seed(seed)
    log(f"world size {accelerator.num_processes} ({kind}), {accelerator.device.type}, {precision}")
    if accelerator.device.type == "cpu":
        _tell_idle_cores()
    return accelerator


def _tell_idle_cores() -> None:
    """Say it where cores are left over: accelerate gives a process one thread unless it is told otherwise."""
    import torch

    threads, share = torch.get_num_threads(), cores() // int(os.environ.get("LOCAL_WORLD_SIZE", 1))
    if threads < share:
        log(f"{threads} of {share} cores a process: accelerate launch --num_cpu_threads_per_process {share} takes all.")


def _give_time(timeout: timedelta) -> None:
    """Set how long collective calls wait in the group of DeepSpeed's own, which does not have it from the first one."""
    from deepspeed.utils import groups
    from torch.distributed.distributed_c10d import _set_pg_timeout

    _set_pg_timeout(timeout, groups._clone_world_group())


def _leave_cudnn_attention() -> None:
    """Take flash and memory-efficient attention: cuDNN's, which torch prefers from Hopper on, plans each new shape on
    the host for some 30 ms, and chunks have hundreds of shapes (pytorch issue 196678 has NaN gradients besides)."""
    import torch

    torch.backends.cuda.enable_cudnn_sdp(False)


def _use_deterministic_kernels() -> None:
    import torch

    # Read by cuBLAS at its first use.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)
    # Else every empty buffer is written to, which makes DeepSpeed's, never used whole, gigabytes of memory.
    torch.utils.deterministic.fill_uninitialized_memory = False


def _has_gpu() -> bool:
    import torch

    return torch.cuda.is_available() and os.environ.get("ACCELERATE_USE_CPU", "").lower() not in ("1", "true", "yes")


def _prepare_cpu() -> None:
    """Keep what tensors give back, and set what accelerate and DeepSpeed need for several processes without a GPU.

    Without ACCELERATE_USE_CPU, accelerate wraps nothing in DDP: each process would train its own weights, silently.
    With it, accelerate drops DeepSpeed, silently too. DeepSpeed warns at every start, and compiles a transport for a
    minute that gloo does not need.
    """
    keep_freed_memory()
    os.environ.setdefault("DS_ACCELERATOR", "cpu")
    if os.environ.get("ACCELERATE_USE_DEEPSPEED") == "true":
        import deepspeed.ops

        deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
        os.environ.pop("ACCELERATE_USE_CPU", None)
    else:
        os.environ["ACCELERATE_USE_CPU"] = "true"


def _check_launcher(precision: str) -> None:
    asked = os.environ.get("ACCELERATE_MIXED_PRECISION", "no")
    if asked not in ("no", "bf16" if precision == "bf16" else "no"):
        raise InputError(
            f"the launcher asks for mixed precision {asked}, the recipe for training.precision {precision}; the "
            "recipe decides: launch with --mixed_precision no."
        )
    if int(os.environ.get("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", 1)) != 1:
        raise InputError(
            "the launcher asks for gradient accumulation, which adds no negatives; remove it and set "
            "training.cache_tokens, which keeps the contrastive batch whole."
        )
