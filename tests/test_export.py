import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from absl import flags
from jax import export
from support.scenes import small_networks

from dualsr_jax import export as module
from dualsr_jax.dualsr import DualSR
from dualsr_jax.flag_table import define
from dualsr_jax.models.coarsr.coarse import CoarSR
from dualsr_jax.models.coarsr.nbp import neighbour_table, partition
from dualsr_jax.models.network import Network
from dualsr_jax.ops.resize import imresize
from dualsr_jax.stablehlo import export_dualsr, write_export
from dualsr_jax.training import restore

TINY = {"features": 4, "num_asfm": 1, "num_blocks": 1}
READ = """
import sys
for package in ("flax", "dualsr_jax", "optax", "orbax"):
    sys.modules[package] = None  # importing it fails
import jax, numpy as np
exported = jax.export.deserialize(open(sys.argv[1], "rb").read())
with np.load(sys.argv[2]) as cubes:
    np.savez(sys.argv[3], **{name: exported.call(cubes[name]) for name in cubes.files})
print(exported.fun_name, *exported.platforms)
"""


def exported(function, *symbols):
    """The function of one array with symbolic sizes, after a round trip through bytes."""
    constraints = ["l >= 5"] if "l" in symbols else []
    shape = export.symbolic_shape(", ".join(map(str, symbols)), constraints=constraints)
    content = export.export(jax.jit(function))(jax.ShapeDtypeStruct(shape, jnp.float32))
    return export.deserialize(content.serialize()).call


@pytest.mark.parametrize("mode", ["paper", "released"])
def test_neighbours_of_an_unknown_number_of_bands(mode, rng):
    call = exported(lambda x: partition(x, neighbour_table(x.shape[-1], mode)), 1, 2, "w", "l")
    for num_bands in (5, 6, 9):
        cube = rng.random((1, 2, 2, num_bands), dtype=np.float32)
        expected = partition(jnp.asarray(cube), neighbour_table(num_bands, mode))
        np.testing.assert_array_equal(call(cube), expected)


def test_resizing_of_an_unknown_size(rng):
    factor = 3
    up = exported(lambda x: imresize(x, factor), "h", "w", 1)
    down = exported(lambda x: imresize(x, 1 / factor), f"{factor}*h", f"{factor}*w", 1)
    for height, width in ((1, 2), (3, 40)):  # smaller and larger than the kernel
        cube = rng.random((height, width, 1))
        np.testing.assert_allclose(call32(up, cube), imresize(cube, factor), atol=1e-6)
        cube = rng.random((factor * height, factor * width, 1))
        np.testing.assert_allclose(call32(down, cube), imresize(cube, 1 / factor), atol=1e-6)


def call32(call, cube):
    return call(cube.astype(np.float32))


def test_sizes_that_no_cell_fits():
    with pytest.raises(ValueError, match=r"image of symbolic size by 1\.5: expected a whole"):
        exported(lambda x: imresize(x, 1.5), "h", "w", 1)


def made_up(model, rng):
    """Variables of a network, without the time that initialising it takes."""
    shapes = jax.eval_shape(model.init, jax.random.key(0), np.zeros((1, 5, 5, 5), np.float32))
    return jax.tree.map(lambda x: jnp.asarray(rng.uniform(0.01, 0.2, x.shape), x.dtype), shapes)


def test_one_file_serves_all_sizes_without_flax(tmp_path, rng, monkeypatch):
    model = CoarSR(4, **TINY)
    half = CoarSR(2, norm="batch", neighbours="released", **TINY)
    dualsr = DualSR(Network(model, made_up(model, rng)), Network(half, made_up(half, rng)))
    stored = {("x4", "x2"): dualsr}
    monkeypatch.setattr(restore, "restore_dualsr", lambda *place, **_: stored[place])
    file = tmp_path / "x4.stablehlo"
    values = flags.FlagValues()
    define(module.FLAGS, values)
    values(["export", "--weights=x4", "--half_weights=x2", f"--output={file}"])
    module.main(values, [])
    assert [path.name for path in tmp_path.iterdir()] == [file.name]

    cubes = {str(n): rng.random(n, dtype=np.float32) for n in ((6, 4, 5), (5, 7, 8))}
    np.savez(tmp_path / "lr.npz", **cubes)
    paths = [str(tmp_path / name) for name in (file.name, "lr.npz", "sr.npz")]
    read = subprocess.run(
        [sys.executable, "-c", READ, *paths],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert read.stdout.split() == ["dualsr_x4", "cpu", "cuda", "tpu"]
    with np.load(tmp_path / "sr.npz") as results:
        for name, lr in cubes.items():
            expected = dualsr(lr)
            np.testing.assert_allclose(results[name], expected.fine, rtol=2e-6, atol=2e-6)
            assert np.abs(expected.fine - expected.coarse).max() > 1e-3

    coarse = DualSR(dualsr.half, iterations=0)
    call = export_dualsr(coarse, ("cpu",)).call
    np.testing.assert_allclose(call(lr), coarse.coarse(lr)[0], rtol=2e-6)
    with pytest.raises(ValueError, match="l >= 5"):
        call(lr[..., :4])


def test_a_joint_network_is_exported_with_its_guide(rng):
    joint = small_networks(4, "joint")
    lr = rng.random((5, 6, 7), dtype=np.float32)
    expected = joint(lr)
    assert np.abs(expected.fine - expected.coarse).max() > 1e-4
    call = export.deserialize(export_dualsr(joint, ("cpu",)).serialize()).call
    np.testing.assert_allclose(call(lr), expected.fine, rtol=2e-6, atol=2e-6)


def test_bad_input(tmp_path):
    dualsr = DualSR(Network(CoarSR(2, **TINY), {}))
    with pytest.raises(ValueError, match=r"platforms must be some of .*, got \('cpu', 'gpu'\)"):
        export_dualsr(dualsr, ("cpu", "gpu"))
    with pytest.raises(ValueError, match="self-ensemble cannot be exported"):
        export_dualsr(DualSR(Network(CoarSR(2), {}), ensemble=8))
    (tmp_path / "x2.stablehlo").touch()
    with pytest.raises(ValueError, match=r"x2\.stablehlo' exists: .* add --overwrite"):
        write_export(dualsr, str(tmp_path / "x2.stablehlo"))
    with pytest.raises(FileNotFoundError, match=r"there is no folder '.*none' for --output"):
        write_export(dualsr, tmp_path / "none" / "x2.stablehlo")
    with pytest.raises(ValueError, match=r"is a folder: --output names a file"):
        write_export(dualsr, tmp_path, overwrite=True)
