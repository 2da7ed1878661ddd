"""Properties of the code base itself: layers, configs, packaging."""

import ast
import itertools
import re
import subprocess
import sys

import jax
import numpy as np
import pytest
from ml_collections import ConfigDict
from support.files import ROOT, load

import dualsr_jax
from dualsr_jax import recipe
from dualsr_jax.models.network import METHODS, fitted, make_model, settings_of
from dualsr_jax.ops.degrade import Degradation
from dualsr_jax.protocols import PROTOCOLS
from dualsr_jax.training.optimizer import adam, learning_rate_schedule
from dualsr_jax.training.step import Learning, make_train_step, state_shapes

# Lowest first; a module may import from lower layers, and from its own package.
LAYERS = [
    ["choices", "version", "interrupts", "messages", "flag_table", "disk", "extras", "recipe"],
    ["commands", "ensemble", "composite", "ops", "radiometry"],
    ["fine_stage"],
    ["metrics", "losses", "back_projection", "models", "io", "figures"],
    ["weights", "protocols", "large_scene"],
    ["dualsr", "data"],
    [
        "training.step",
        "training.optimizer",
        "training.log",
        "training.processes",
        "training.signals",
    ],
    ["training.parallel", "training.checkpoint"],
    ["training.restore"],
    ["training.plan"],
    ["training.loop"],
    ["evaluation", "stablehlo"],
    ["pages"],
    ["prediction", "comparison", "completion"],
    ["exchange"],
    ["train", "evaluate", "compare", "prepare", "predict", "export", "convert", "report"],
    ["cli"],
]
MODULES = sorted((ROOT / "dualsr_jax").rglob("*.py"))


def layer(module):
    for height, names in enumerate(LAYERS):
        for name in names:
            if module == name or module.startswith(name + "."):
                return height, name
    raise AssertionError(f"{module} has no place in the layers")


def is_module(name):
    path = ROOT / name.replace(".", "/")
    return path.with_suffix(".py").is_file() or path.is_dir()


def imports(source):
    """The modules that Python source imports, `from package import module` among them."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            ours = node.module.split(".")[0] == "dualsr_jax"
            yield from (name if ours and is_module(name) else node.module for name in names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def upward_imports(module, source):
    """The imports of a module that do not go down."""
    height, place = layer(module)
    for imported in imports(source):
        if imported == "dualsr_jax":  # a name of the public interface, which is above all layers
            yield imported
        if imported.startswith("dualsr_jax."):
            other_height, other = layer(imported.removeprefix("dualsr_jax."))
            if other_height >= height and other != place:
                yield imported


@pytest.mark.parametrize("path", MODULES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_imports_go_down(path):
    found = path.read_text()
    if path.name == "__init__.py":  # only the public interface imports anything
        assert path.parent.name == "dualsr_jax" or list(imports(found)) == []
    else:
        module = ".".join(path.relative_to(ROOT / "dualsr_jax").with_suffix("").parts)
        assert list(upward_imports(module, found)) == []


@pytest.mark.parametrize(
    "line",
    [
        "from dualsr_jax import evaluate",
        "from dualsr_jax import ops, evaluate",
        "from dualsr_jax.training import loop",
        "from dualsr_jax.training.loop import train",
        "import dualsr_jax.training.loop",
        "from dualsr_jax import DualSR",
        "import dualsr_jax",
        "def late():\n    from dualsr_jax import dualsr",
    ],
)
def test_an_import_that_goes_up_is_seen(line):
    assert len(list(upward_imports("models.network", line))) == 1


@pytest.mark.parametrize(
    ("package", "allowed"),
    [
        ("orbax", {"checkpoint.py"}),
        ("matplotlib", {"figures.py"}),
        ("torch", {"torch_params.py"}),
        ("grain", {"patches.py"}),
        ("tensorflow_datasets", {"sources.py", "tfds_builder.py"}),
    ],
)
def test_packages_stay_where_they_belong(package, allowed):
    users = {
        p.name for p in MODULES if any(i.split(".")[0] == package for i in imports(p.read_text()))
    }
    assert users == allowed


def names(source):
    """The names that Python source uses or imports."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Name | ast.Attribute | ast.alias):
            yield getattr(node, "id", None) or getattr(node, "attr", None) or node.name


@pytest.mark.parametrize(
    "path",
    [p for p in MODULES if p.parent.name != "dualsr_jax" or p.name != "__init__.py"],
    ids=lambda p: p.relative_to(ROOT).as_posix(),
)
def test_methods_are_named_behind_their_seam_alone(path):
    if not {"models", "weights"} & set(path.relative_to(ROOT).parts):
        assert {kind.__name__ for kind in METHODS.values()}.isdisjoint(names(path.read_text()))


@pytest.mark.parametrize(
    "line",
    [
        "from dualsr_jax.models.coarsr.coarse import CoarSR",
        "from dualsr_jax.models.network import CoarSR as Other",
        "model = coarse.CoarSR(4)",
        "def build(model: CoarSR): ...",
    ],
)
def test_a_named_method_is_seen(line):
    assert "CoarSR" in set(names(line))


def test_few_files_know_devices():
    words = ("pmap(", "local_device", "jax.devices(")
    users = {p.name for p in MODULES if any(word in p.read_text() for word in words)}
    assert users == {"parallel.py", "windows.py"}


# One scale of each is traced; the networks of others are made and counted in test_models.
CONFIGS = {
    ("airborne", "4"): 188,
    ("cave", "4"): 31,
    ("cave_plus", "4-small"): 31,
    ("harvard", "8"): 31,
    ("remote_sensing", "chikusei-4"): 128,
    ("indian_pines", None): 200,
    ("smoke", None): 200,
    ("compared", "mcnet-4-small"): 31,
}


def test_every_config_is_tested():
    assert {p.stem for p in (ROOT / "configs").glob("*.py")} == {name for name, _ in CONFIGS}


def open_config(name, argument):
    module = load(ROOT / "configs" / f"{name}.py")
    return module.get_config() if argument is None else module.get_config(argument)


@pytest.mark.parametrize(
    ("name", "argument"),
    [
        *CONFIGS,
        ("airborne", "2"),
        *(("cave", s) for s in "238"),
        *(
            ("cave_plus", s)
            for s in ("2", "2-small", "2-medium", "3", "4", "4-joint", "8", "8-small", "8-joint")
        ),
        *(("harvard", s) for s in "24"),
        ("remote_sensing", "pavia_centre-8"),
        *(("compared", f"{method}-4") for method in ("coarsr", "3dfcnn", "edsr", "sspsr")),
        *(("compared", f"{method}-4-small") for method in ("coarsr", "3dfcnn", "edsr", "sspsr")),
        *(("compared", f"{method}-2-small-bicubic") for method in ("sfcsr", "ercsr")),
        *(("compared", f"essaformer-3{size}") for size in ("", "-small")),
        ("compared", "mcnet-8-bicubic"),
        ("compared", "sfcsr-8"),
    ],
)
def test_configs(name, argument):
    config = open_config(name, argument)
    assert isinstance(config, ConfigDict)
    assert config.is_locked
    with pytest.raises(AttributeError):
        config.train.lerning_rate = 1.0
    if argument is not None:
        assert config.model.scale == int(re.findall(r"(?<!\d)\d(?!\w)", argument)[0])
    fitted(make_model(dict(config.model)), 31)
    Degradation(**config.degradation)
    assert config.protocol in PROTOCOLS


@pytest.mark.parametrize(("name", "argument"), CONFIGS)
def test_configs_dry_run(name, argument):
    config = open_config(name, argument)
    settings, model = config.train, make_model(dict(config.model))
    bands = settings.window_bands or CONFIGS[name, argument]
    model = fitted(model, bands)
    schedule = learning_rate_schedule(settings.learning_rate, settings.halve_every_epochs, 100)
    optimizer = adam(schedule)
    step = make_train_step(
        Learning(
            model=model,
            optimizer=optimizer,
            update=settings.update_every,
            through_time=settings.through_time,
            loss=settings.loss,
        ),
        schedule,
        degradation=Degradation(**config.degradation),
    )
    side = settings.lr_patch * model.scale
    batch = {
        "hr": jax.ShapeDtypeStruct((settings.batch_size, side, side, bands), np.uint16),
        "variant": jax.ShapeDtypeStruct((settings.batch_size,), np.int32),
        "sample": jax.ShapeDtypeStruct((settings.batch_size,), np.int32),
    }
    state = state_shapes(model, optimizer)
    after, metrics = jax.eval_shape(step, state, batch)
    same = jax.tree.map(lambda a, b: (a.shape, a.dtype) == (b.shape, b.dtype), after, state)
    assert jax.tree.all(same)
    assert metrics["loss"].shape == ()


@pytest.mark.parametrize("method", METHODS)
def test_the_recipe_of_a_method_has_the_defaults_of_its_network(method):
    settings = dict(recipe.defaults(method).model)
    assert make_model(settings) == METHODS[method](4)
    free = {"joint", "band_chunk", "precision"} if method == "CoarSR" else set()
    assert settings_of(METHODS[method](4)).keys() <= settings.keys() | free


@pytest.mark.parametrize("argument", ["mcnet", "mcnet-5", "net-4", "mcnet-4-bicubic-small"])
def test_the_config_of_compared_methods_refuses_others(argument):
    with pytest.raises(ValueError, match=f"unknown '{argument}': expected configs/compared.py"):
        load(ROOT / "configs" / "compared.py").get_config(argument)


@pytest.mark.parametrize("argument", ["chikusei", "pavia-4", "chikusei-3"])
def test_the_remote_sensing_config_refuses_others(argument):
    with pytest.raises(ValueError, match=f"unknown '{argument}': expected configs/remote"):
        load(ROOT / "configs" / "remote_sensing.py").get_config(argument)


@pytest.mark.parametrize(
    ("name", "argument"),
    [
        ("cave", "5"),
        ("harvard", "5"),
        ("cave_plus", "5-small"),
        ("cave_plus", "2-joint"),
        ("cave_plus", "4-medium"),
    ],
)
def test_configs_refuse_other_scales(name, argument):
    message = f"unknown scale '{argument}': expected configs/{name}.py:2"
    with pytest.raises(ValueError, match=message):
        load(ROOT / "configs" / f"{name}.py").get_config(argument)


def fields(config, prefix=""):
    for name, value in config.items():
        yield from fields(value, f"{name}.") if isinstance(value, ConfigDict) else [prefix + name]


@pytest.mark.parametrize("path", sorted((ROOT / "configs").glob("*.py")), ids=lambda p: p.stem)
def test_configs_set_the_fields_of_the_recipe_and_no_others(path):
    config = load(path).get_config()
    assert list(fields(config)) == list(fields(recipe.defaults(config.model.method)))
    assert ast.get_docstring(ast.parse(path.read_text())).count(f"configs/{path.name}") >= 1


def test_every_field_of_the_recipe_has_a_comment():
    lines = (ROOT / "dualsr_jax" / "recipe.py").read_text().splitlines()
    settings = [
        (before, line)
        for before, line in itertools.pairwise(lines)
        if re.match(r"    c\.\w+ = (?!_)", line)
    ]
    of_methods = [list(fields(recipe.defaults(method).model)) for method in METHODS]
    common = ("method", "scale", "num_bands", "skip", "band_chunk", "precision")
    known = list(fields(recipe.defaults())) + [
        name for names in of_methods[1:] for name in names if name not in common
    ]
    assert len(settings) == len(known) + len(common)
    assert not [line for before, line in settings if "  # " not in line and "    # " not in before]


def test_the_public_interface():
    assert re.fullmatch(r"\d+\.\d+\.\d+", dualsr_jax.__version__)
    for name in dualsr_jax.__all__:
        assert getattr(dualsr_jax, name).__name__ == name
    with pytest.raises(AttributeError, match="has no attribute 'restore'"):
        dualsr_jax.restore  # noqa: B018


def test_importing_the_package_is_quick():
    late = (
        "jax",
        "numpy",
        "orbax",
        "h5py",
        "scipy.io",
        "grain",
        "tensorflow_datasets",
        "matplotlib",
        "optax",
    )
    code = f"import dualsr_jax, sys; print([name for name in {late} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
