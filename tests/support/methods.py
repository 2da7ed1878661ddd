"""The compared methods with few features, so that they are soon compiled."""

SMALL_METHODS = {
    "3D-FCNN": {"features": 4, "hidden": (3, 2)},
    "EDSR": {"features": 4, "num_blocks": 1},
    "SSPSR": {"features": 16, "num_blocks": 1},
    "MCNet": {"features": 4},
    "SFCSR": {"features": 4, "num_modules": 1},
    "ERCSR": {"features": 4, "num_modules": 1, "num_units": 1},
    "ESSAformer": {"features": 8},
}


def small(method, **settings):
    """A small network of a method, for 5 bands unless the settings say otherwise."""
    from dualsr_jax.models.network import make_model  # not before the hook of conftest

    given = {"scale": 2, "num_bands": 5, **SMALL_METHODS[method], **settings}
    return make_model({"method": method, **given})
