import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util
from jax import lax
from support.files import with_prefix
from support.scenes import random_variables

from dualsr_jax.models import layers
from dualsr_jax.models.coarsr import nbp
from dualsr_jax.models.coarsr.asfm import Fusion, MixedUnit
from dualsr_jax.models.coarsr.coarse import CoarSR
from dualsr_jax.models.coarsr.fcf import FCF
from dualsr_jax.ops.resize import imresize
from dualsr_jax.weights.torch_params import from_torch

FLOAT32_NOISE = 2e-6  # of sums of a few hundred terms around 1


def normal(rng, *shape):
    return jnp.asarray(rng.normal(size=shape), jnp.float32)


# --- NBP


def test_neighbour_table_rows():
    expected = [
        [1, 2, 3, 4],
        [0, 2, 3, 4],
        [1, 3, 0, 4],
        [2, 4, 1, 5],
        [3, 5, 2, 6],
        [4, 6, 2, 3],
        [5, 4, 3, 2],
    ]
    np.testing.assert_array_equal(nbp.neighbour_table(7), expected)


@pytest.mark.parametrize("num_bands", [5, 6, 31])
def test_neighbours_exist_and_differ(num_bands):
    table = nbp.neighbour_table(num_bands)
    assert table.min() >= 0
    assert table.max() < num_bands
    assert all(len({i, *row}) == 5 for i, row in enumerate(table.tolist()))


def test_released_neighbours():
    np.testing.assert_array_equal(nbp.neighbour_table(9, "released"), [[1, 2, 3, 4]] * 9)


def test_partition_and_groups(rng):
    cube = normal(rng, 2, 3, 4, 7)
    table = nbp.neighbour_table(7)
    for i, bands in enumerate(nbp.partition(cube, table)):
        a, b, c, d = table[i]
        g1, g2, g3 = nbp.groups(bands)
        np.testing.assert_array_equal(g1, cube[..., [i]])
        np.testing.assert_array_equal(g2, cube[..., [a, i, b]])
        np.testing.assert_array_equal(g3, cube[..., [c, i, d]])


def test_bad_partitions():
    with pytest.raises(ValueError, match="cube of 4 bands"):
        nbp.neighbour_table(4)
    with pytest.raises(ValueError, match="unknown neighbours 'papr'"):
        nbp.neighbour_table(6, "papr")


# --- layers


def test_weight_norm_starts_as_the_plain_layer():
    variables = layers.WeightNorm((3, 3, 4, 6)).init(jax.random.key(0))
    kernel, _ = layers.WeightNorm((3, 3, 4, 6)).apply(variables)
    np.testing.assert_allclose(kernel, variables["params"]["v"], rtol=1e-6)
    bound = 1 / np.sqrt(3 * 3 * 4)  # PyTorch's default, for weights and biases alike
    for name in ("v", "bias"):
        values = np.abs(variables["params"][name])
        assert 0.6 * bound < values.max() <= bound


def test_weight_norm_keeps_direction_and_length_apart(rng):
    variables = layers.WeightNorm((3, 3, 4, 6)).init(jax.random.key(0))
    params = variables["params"]
    scaled = {**params, "v": 7 * params["v"], "g": 2 * params["g"]}
    kernel, _ = layers.WeightNorm((3, 3, 4, 6)).apply({"params": scaled})
    np.testing.assert_allclose(kernel, 2 * params["v"], rtol=1e-5)


def test_pixel_shuffle_order(rng):
    x = normal(rng, 1, 2, 3, 2 * 9)
    y = layers.pixel_shuffle(x, 3)
    assert y.shape == (1, 6, 9, 2)
    for c, i, j in [(0, 0, 0), (0, 1, 2), (1, 2, 0)]:
        np.testing.assert_array_equal(y[:, i::3, j::3, c], x[..., c * 9 + i * 3 + j])


@pytest.mark.parametrize("scale", [2, 3, 8])
def test_tail_is_upsampling_then_a_convolution(rng, scale):
    x = normal(rng, 2, 4, 5, 6)
    variables = random_variables(layers.Tail(scale), 0, x)
    expected = x

    def conv(name, x):
        p = variables["params"][name]["wn"]
        kernel = p["v"] * (p["g"] / jnp.sqrt((p["v"] ** 2).sum((0, 1, 2)))).reshape(1, 1, 1, -1)
        layout = ("NHWC", "HWIO", "NHWC")
        y = lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=layout)
        return y + p["bias"].reshape(1, 1, 1, -1)

    for index, r in enumerate(layers.UPSAMPLING_STEPS[scale]):
        expected = layers.pixel_shuffle(conv(f"up_{index}", expected), r)
    expected = conv("out", expected)[..., 0]
    np.testing.assert_allclose(
        layers.Tail(scale).apply(variables, x), expected, atol=1e-6 * np.abs(expected).max()
    )


def test_batch_norm_follows_pytorch(rng):
    x = 3 + 2 * normal(rng, 2, 4, 4, 3)
    module = layers.BatchNorm()
    variables = module.init(jax.random.key(0), x)
    y, updated = module.apply(variables, x, train=True, mutable=["batch_stats"])
    values = np.asarray(x).reshape(-1, 3).astype(float)
    np.testing.assert_allclose(
        y.reshape(-1, 3), (values - values.mean(0)) / np.sqrt(values.var(0) + 1e-5), atol=1e-5
    )
    statistics = updated["batch_stats"]
    np.testing.assert_allclose(statistics["mean"], 0.1 * values.mean(0), rtol=1e-5)
    np.testing.assert_allclose(statistics["var"], 0.9 + 0.1 * values.var(0, ddof=1), rtol=1e-5)
    in_evaluation = module.apply({**variables, **updated}, x)
    expected = (x - statistics["mean"].reshape(1, 1, 1, 3)) / jnp.sqrt(
        statistics["var"].reshape(1, 1, 1, 3) + 1e-5
    )
    np.testing.assert_allclose(in_evaluation, expected, rtol=1e-5, atol=1e-6)


# --- ASFM


def test_fusion_is_three_convolutions_of_scaled_groups(rng):
    u = tuple(normal(rng, 2, 3, 3, 4) for _ in range(3))
    variables = random_variables(Fusion(), 0, u)
    fused = Fusion().apply(variables, u)
    params = variables["params"]
    for k in range(3):
        p = params[f"wn_{k}"]
        kernel = p["v"][0, 0] * (p["g"] / jnp.linalg.norm(p["v"][0, 0], axis=0))[None]
        joined = jnp.concatenate([params["gamma"][k, j] * u[j] for j in range(3)], -1)
        expected = joined @ kernel + p["bias"].reshape(1, 1, 1, -1)
        np.testing.assert_allclose(fused[k], expected, atol=FLOAT32_NOISE)


def test_mixed_unit_is_a_3d_convolution(rng):
    volume = normal(rng, 3, 2, 5, 4, 3)
    variables = random_variables(MixedUnit(), 0, volume)
    params = variables["params"]

    def conv3d(x, p, depth):
        v = p["v"] if depth == 1 else p["v"][:, None, None]
        kernel = v.reshape(depth, *(v.shape[:2] if depth == 1 else (1, 1)), *v.shape[-2:])
        norm = jnp.sqrt((kernel**2).sum((0, 1, 2, 3), keepdims=True))
        kernel = kernel * (p["g"].reshape(1, 1, 1, 1, -1) / norm)
        x = jnp.moveaxis(x, 0, 1)  # N, depth, H, W, C
        layout = ("NDHWC", "DHWIO", "NDHWC")
        y = lax.conv_general_dilated(x, kernel, (1, 1, 1), "SAME", dimension_numbers=layout)
        return jnp.moveaxis(y, 1, 0) + p["bias"].reshape(1, 1, 1, 1, -1)

    inner = conv3d(volume, params["spatial_in"]["wn"], 1) + conv3d(volume, params["spectral"], 3)
    expected = volume + conv3d(jax.nn.relu(inner), params["spatial_out"]["wn"], 1)
    np.testing.assert_allclose(MixedUnit().apply(variables, volume), expected, atol=1e-5)


# --- FCF


def test_fcf_scan_is_the_recurrence(rng):
    d = normal(rng, 4, 2, 3, 3, 5)
    first = jnp.arange(4) == 0
    state = normal(rng, 2, 3, 3, 5)  # never used: the first band starts anew
    variables = random_variables(FCF(), 0, state, d, first)
    last, states = FCF().apply(variables, state, d, first)
    p = variables["params"]
    v = p["wn"]["v"][0, 0]
    kernel = v * (p["wn"]["g"] / jnp.linalg.norm(v, axis=0))[None]
    expected = d[0]
    for i in range(1, 4):
        joined = jnp.concatenate([p["gamma"][0] * d[i], p["gamma"][1] * expected], -1)
        expected = joined @ kernel + p["wn"]["bias"].reshape(1, 1, 1, -1)
        np.testing.assert_allclose(states[i], expected, atol=FLOAT32_NOISE)
    np.testing.assert_array_equal(last, states[-1])


@pytest.mark.parametrize("through_time", [False, True])
def test_fcf_gradient_through_time(rng, through_time):
    d = normal(rng, 3, 1, 2, 2, 4)
    first = jnp.arange(3) == 0
    state = jnp.zeros((1, 2, 2, 4))
    variables = FCF().init(jax.random.key(0), state, d, first)
    gradient = jax.grad(
        lambda d: FCF().apply(variables, state, d, first, through_time=through_time)[0].sum()
    )(d)
    reaches = np.abs(gradient).max((1, 2, 3, 4)) > 0
    np.testing.assert_array_equal(reaches, [through_time, through_time, True])


# --- CoarSR


@pytest.mark.parametrize("name", ["coarse_x2_plain", "coarse_x4_plain", "coarse_x4_bn"])
@pytest.mark.parametrize("neighbours", ["paper", "released"])
@pytest.mark.parametrize("band_chunk", [None, 1, 4])
def test_golden(golden, name, neighbours, band_chunk):
    arrays = golden(name)
    network = from_torch(with_prefix(arrays, "param"), neighbours)
    model, variables = network.model, network.variables
    model = model.clone(band_chunk=band_chunk)
    sr, sown = jax.jit(lambda v, *x: model.apply(v, *x, mutable=["intermediates"]))(
        variables, arrays["lr"], arrays["bicubic"]
    )
    (states,) = sown["intermediates"]["state"]
    if band_chunk is not None:  # [chunks, bands, ...], the last chunk filled up
        states = states.reshape(-1, *states.shape[2:])[: sr.shape[-1]]
    np.testing.assert_allclose(sr, arrays[f"sr_{neighbours}"], atol=2e-5)
    np.testing.assert_allclose(jnp.moveaxis(states, 0, 1), arrays[f"state_{neighbours}"], atol=2e-5)
    other = "released" if neighbours == "paper" else "paper"
    assert np.abs(sr - arrays[f"sr_{other}"]).max() > 0.01


PARAMETERS = {2: 2_239_772, 3: 2_424_732, 4: 2_387_740, 8: 2_535_708}


@pytest.mark.parametrize("scale", [2, 3, 4, 8])
@pytest.mark.parametrize("norm", [None, "batch"])
def test_parameter_counts_and_sizes(scale, norm):
    model = CoarSR(scale, norm=norm)
    lr = jax.ShapeDtypeStruct((1, 8, 6, 5), jnp.float32)
    variables = jax.eval_shape(model.init, jax.random.key(0), lr)
    count = sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
    assert count == PARAMETERS[scale] - (0 if norm else 6_144)
    sr = jax.eval_shape(model.apply, variables, lr)
    assert sr.shape == (1, 8 * scale, 6 * scale, 5)


@pytest.fixture(scope="module")
def small():
    model = CoarSR(2, features=4, num_asfm=1, num_blocks=1)
    lr = jnp.asarray(np.random.default_rng(1).random((2, 6, 6, 8)), jnp.float32)
    return model, random_variables(model, 0, lr), lr


def test_all_bands_at_once_equals_band_by_band(small):
    model, variables, lr = small
    whole = jax.jit(model.apply)(variables, lr)
    partitioned = nbp.partition(lr, nbp.neighbour_table(8))
    state, bicubic = model.initial_state(lr), imresize(lr, 2)
    band = jax.jit(lambda *args: model.apply(variables, *args, method="bands"))
    for i in range(8):
        state, (residual,) = band(state, partitioned[i][None], jnp.array([i == 0]))
        np.testing.assert_allclose(bicubic[..., i] + residual[0], whole[..., i], atol=FLOAT32_NOISE)


def test_band_chunk_bounds_the_memory():
    lr = jax.ShapeDtypeStruct((1, 24, 24, 24), jnp.float32)

    def bytes_needed(band_chunk):
        model = CoarSR(4, features=8, band_chunk=band_chunk)
        variables = jax.eval_shape(model.init, jax.random.key(0), lr)
        compiled = jax.jit(model.apply).lower(variables, lr).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    assert bytes_needed(2) < bytes_needed(None) / 4


@pytest.mark.parametrize("neighbours", ["paper", "released"])
def test_a_band_depends_on_its_rows_and_on_nothing_else(small, neighbours):
    model, _, lr = small
    model = model.clone(neighbours=neighbours, band_chunk=3)
    variables = random_variables(model, 0, lr)
    table = nbp.neighbour_table(8, neighbours)
    bicubic = jnp.zeros((2, 12, 12, 8))  # without the skip, which depends on the band alone
    jacobian = jax.jit(
        jax.vmap(
            lambda i: jax.grad(
                lambda lr: jnp.take(
                    model.apply(variables, lr, bicubic, through_time=True), i, axis=-1
                ).sum()
            )(lr)
        )
    )(jnp.arange(8))
    depends = np.abs(jacobian).max((1, 2, 3)) > 0
    for i in range(8):
        allowed = set()
        for j in range(i + 1):  # FCF carries the rows of all earlier bands on
            allowed |= {j, *table[j].tolist()}
        assert set(np.flatnonzero(depends[i]).tolist()) == allowed


def test_a_joint_network_is_two_that_share_a_trunk(small):
    _, _, lr = small
    joint = CoarSR(4, features=4, num_asfm=1, num_blocks=1, joint=True)
    variables = random_variables(joint, 0, lr)
    params = dict(variables["params"])
    half_tail = params.pop("half_tail")
    x4 = joint.clone(joint=False)
    x2 = x4.clone(scale=2)
    expected = (
        jax.jit(x4.apply)({"params": params}, lr),
        jax.jit(x2.apply)({"params": {**params, "tail": half_tail}}, lr),
    )
    for chunk in (None, 3):
        chunked = joint.clone(band_chunk=chunk)
        found = jax.jit(lambda *x, m=chunked: m.apply(*x, method="at_scales"))(variables, lr)
        for ours, theirs in zip(found, expected, strict=True):
            np.testing.assert_allclose(ours, theirs, atol=FLOAT32_NOISE)
    np.testing.assert_allclose(
        jax.jit(joint.apply)(variables, lr, imresize(lr, 4)), expected[0], atol=FLOAT32_NOISE
    )


def test_bicubic_is_computed_when_not_given(small):
    model, variables, lr = small
    apply = jax.jit(model.apply)
    np.testing.assert_allclose(
        apply(variables, lr), apply(variables, lr, imresize(lr, 2)), atol=FLOAT32_NOISE
    )


def test_variables_do_not_depend_on_the_cube(small):
    model, variables, _ = small
    other = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 9, 7, 31)))
    shapes = {k: v.shape for k, v in traverse_util.flatten_dict(variables).items()}
    assert shapes == {k: v.shape for k, v in traverse_util.flatten_dict(other).items()}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"scale": 5}, r"scale 5 is not supported.*\[2, 3, 4, 8\]"),
        ({"norm": "layer"}, "unknown norm 'layer'"),
        ({"neighbours": "all"}, "unknown neighbours 'all'"),
        ({"band_chunk": 0}, "band_chunk"),
        ({"joint": True}, r"joint=True needs scale 4 or 8, got 2"),
    ],
)
def test_bad_settings(change, message):
    model = CoarSR(**{"scale": 2, "features": 4, **change})
    with pytest.raises(ValueError, match=message):
        model.init(jax.random.key(0), jnp.zeros((1, 8, 8, 6)))


def test_bad_cubes(small):
    model, variables, lr = small
    with pytest.raises(ValueError, match="cube of 4 bands"):
        model.apply(variables, lr[..., :4])
    with pytest.raises(ValueError, match=r"at scale 2 the bicubic image must be \(2, 12, 12, 8\)"):
        model.apply(variables, lr, jnp.zeros((2, 18, 18, 8)))
