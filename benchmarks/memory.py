"""Prints the memory that XLA assigns to the training step and to inference, on any device.

    python benchmarks/memory.py                  # the device of this machine
    python benchmarks/memory.py --target h200    # a GPU: pip install "jax[cuda13]"
    python benchmarks/memory.py --target v5e:2x2 # a TPU by its topology: pip install libtpu

The device of a target need not be present: XLA compiles for it all the same, but cannot try its
algorithms, so on the GPU itself compilation takes longer and convolutions may need more memory.
Figures and batch sizes are those of one device.
"""

import argparse
import os
from typing import Any

import common
import jax
import jax.numpy as jnp
import optax
from jax.experimental import topologies

from dualsr_jax.training.step import UPDATES, Learning, make_train_step, state_shapes

# What XLA must know of a device that it cannot see, from the makers' data sheets.
_GPU = """
gpu_device_info {{
  threads_per_block_limit: 1024 threads_per_warp: 32 threads_per_core_limit: 2048
  shared_memory_per_block: 49152 shared_memory_per_block_optin: 232448
  shared_memory_per_core: 233472 registers_per_core_limit: 65536
  registers_per_block_limit: 65536 core_count: 132 fpus_per_core: 128 clock_rate_ghz: 1.98
  block_dim_limit_x: 2147483647 block_dim_limit_y: 65535 block_dim_limit_z: 65535
  l2_cache_size: 52428800 memory_bandwidth: {bandwidth} device_memory_size: {memory}
  cuda_compute_capability {{ major: 9 }}
}}
platform_name: "CUDA" dnn_version_info {{ major: 9 minor: 12 }} runtime_version {{ major: 13 }}
device_description_str: "{name}"
"""
_GPUS = {
    "h100": {"name": "NVIDIA H100", "bandwidth": 3350000000000, "memory": 80000000000},
    "h200": {"name": "NVIDIA H200", "bandwidth": 4800000000000, "memory": 141000000000},
}


def device_of(target: str | None) -> Any:
    """Returns a device to compile for, which need not be present."""
    if target is None:
        return jax.devices()[0]
    if target in _GPUS:
        # Without the device there is no driver to check, and there are no algorithms to try.
        os.environ["JAX_SKIP_CUDA_CONSTRAINTS_CHECK"] = "1"
        untried = "--xla_gpu_autotune_level=0 --xla_gpu_enable_triton_gemm=false"
        os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {untried}"
        description = {"topology": "1x1x1", "target_config": _GPU.format(**_GPUS[target])}
        return topologies.get_topology_desc(platform="cuda", **description).devices[0]
    os.environ["TPU_SKIP_MDS_QUERY"] = "1"  # no server knows this machine as a TPU
    return topologies.get_topology_desc(platform="tpu", topology_name=target).devices[0]


def cases_of(o: argparse.Namespace) -> dict[str, tuple[Any, ...]]:
    """Returns functions and the shapes of their arguments, by name."""
    model, optimizer, shape = common.network(o), optax.adam(1e-4), jax.ShapeDtypeStruct
    side, batch = o.lr_patch * o.scale, (o.batch_size,)
    patches = {
        "hr": shape((*batch, side, side, o.bands), jnp.uint16),
        "variant": shape(batch, jnp.int32),
        "sample": shape(batch, jnp.uint32),
    }
    state = state_shapes(model, optimizer)
    lr = shape((1, o.lr_image, o.lr_image, o.bands), jnp.float32)
    steps = {
        f"training, {update}": (
            make_train_step(
                Learning(model=model, optimizer=optimizer, update=update),
                optax.constant_schedule(1e-4),
            ),
            state,
            patches,
        )
        for update in ([o.update] if o.update else UPDATES)
    }
    return {**steps, "inference": (model.apply, state.variables, lr)}


def main() -> None:
    """Compiles all cases and prints their memory."""
    parser = common.network_parser(__doc__.splitlines()[0])
    parser.add_argument("--target", help="h100, h200, or a TPU's topology such as v5e:2x2")
    parser.add_argument("--batch_size", type=int, default=64)
    parser.add_argument("--lr_patch", type=int, default=32)
    parser.add_argument("--update", choices=UPDATES, help="the only kind to compile; default: both")
    parser.add_argument("--lr_image", type=int, default=128)
    o = parser.parse_args()
    device = device_of(o.target)
    place = jax.sharding.SingleDeviceSharding(device)
    print(f"{device.device_kind}, {o.precision}, band_chunk={o.band_chunk}")
    for name, (function, *arguments) in cases_of(o).items():
        placed = jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=place), arguments
        )
        compiled = common.compile_for(function, *placed)
        print(
            f"{name}: temporaries {compiled.temporaries_gb:.2f} GB, "
            f"compiled in {compiled.seconds:.0f} s",
            flush=True,
        )


if __name__ == "__main__":
    main()
