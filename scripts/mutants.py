"""Plants faults into the package, one at a time, and runs the tests that should notice them.

    python scripts/mutants.py --results runs/mutants.json
    python scripts/mutants.py --results runs/mutants.json --again   # what survived, after new tests

The faults are drawn with a fixed seed among all that the rules below make of the files in
`TARGETS`: a comparison, an operation, a number, a truth value or a function of another kind, a
condition inverted, a check that never raises. Each is planted into a copy of the tracked files, and
those tests of its file run there that call its function, the quickest first, and with `--again` all
tests of its file; the fault is killed if a test fails, or if they take more than several times the
processor time that they take without it. Which test calls what is noted once, in a file next to the
results, until the tests change. A second call resumes where the first one stopped; the outcome of a
fault is forgotten when the code of its function changes. Survivors that change no result are listed
in `EQUIVALENT` with the reason. Prints what survived; the status is 1 if anything did.
"""

import argparse
import ast
import contextlib
import dataclasses
import hashlib
import importlib
import itertools
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import hypothesis
import pytest
from hypothesis import Phase
from tests_by_function import Calls, Chosen, Recorder, callers  # lies next to this file

ROOT = Path(__file__).parents[1]
SPARE_S, TIMES = 60, 4  # of processor time, beyond and above that of the tests without a fault
NOT_RUN = 99  # the status of a fork in which pytest itself failed
MOST_S = 1800  # on the clock, after which tests that wait for something are ended

# Imported once; of the package itself nothing.
LIBRARIES = ("beartype", "flax.linen", "h5py", "jax", "optax", "orbax.checkpoint",
             "rasterio", "rioxarray", "scipy.io", "scipy.ndimage", "skimage.metrics", "xarray",
             "zarr")  # fmt: skip

# How many faults of each file, and the tests that decide.
IO = ("tests/test_io_formats.py", "tests/test_io_bad.py")
SCENE = ("tests/test_large_scene.py", "tests/test_in_memory.py")
RADIOMETRY = (
    "tests/test_radiometry.py::test_the_pseudo_inverse_is_that_of_the_matrices",
    "tests/test_radiometry.py::test_what_was_done_is_the_same_with_an_offset",
)
STEP = (
    "tests/test_step.py::test_bad_settings",
    "tests/test_step.py::test_golden_batch_with_an_update_every_band",
    "tests/test_step.py::test_golden_gradient_of_all_bands",
    "tests/test_step.py::test_a_joint_network_learns_from_both_scales",
    "tests/test_step.py::test_batch_norm_never_counts_a_band_twice",
    "tests/test_step.py::test_the_loss_of_a_cube_is_the_mean_of_those_of_its_bands",
    "tests/test_step.py::test_training_lowers_the_loss_at_the_logged_rate[image-settings1-1]",
)
UNTILED = ("tests/test_compared_scenes.py::test_tiles_exports_and_files_give_the_same[SSPSR]",)
WORK = ("tests/test_predict.py::test_a_damaged_tile_is_a_missing_tile",)
TARGETS: dict[str, tuple[int, tuple[str, ...]]] = {
    "metrics.py": (16, ("tests/test_metrics.py",)),
    "fine_stage.py": (8, ("tests/test_fine_stage.py",)),
    "ops/resize.py": (8, ("tests/test_resize.py", "tests/test_tiling.py", *RADIOMETRY)),
    "ops/conv.py": (4, ("tests/test_conv.py",)),
    "ops/degrade.py": (12, ("tests/test_degrade.py",)),
    "ops/spectral_angle.py": (5, ("tests/test_metrics.py", "tests/test_fine_stage.py")),
    "ops/augment.py": (2, ("tests/test_step.py::test_augment_equals_numpy",)),
    "training/step.py": (14, (*STEP, "tests/test_degrade.py")),
    "large_scene/normalisation.py": (14, ("tests/test_normalisation.py", *SCENE)),
    "large_scene/nodata.py": (8, ("tests/test_normalisation.py",)),
    "large_scene/tiling.py": (10, ("tests/test_tiling.py", "tests/test_large_scene.py")),
    "large_scene/tile_store.py": (8, ("tests/test_large_scene.py", *WORK)),
    "large_scene/first_pass.py": (6, SCENE),
    "large_scene/second_pass.py": (8, ("tests/test_normalisation.py", *SCENE, *RADIOMETRY)),
    "large_scene/windows.py": (4, (*SCENE, *UNTILED)),
    "large_scene/in_memory.py": (5, SCENE),
    "io/base.py": (5, IO),
    "io/cubes.py": (4, IO),
    "io/damage.py": (2, IO),
    "io/metadata.py": (6, IO),
    "io/raw.py": (4, IO),
    "io/variables.py": (6, IO),
    "io/formats/band_images.py": (3, IO),
    "io/formats/envi.py": (4, IO),
    "io/formats/envi_header.py": (6, IO),
    "io/formats/geotiff.py": (4, IO),
    "io/formats/hdf5.py": (3, (*IO, "tests/test_swath.py")),
    "io/formats/matlab.py": (3, IO),
    "io/formats/netcdf_zarr.py": (5, IO),
    "io/formats/numpy_files.py": (3, IO),
    "io/axes.py": (3, ("tests/test_axes.py",)),
    "io/choice.py": (4, ("tests/test_axes.py", *IO)),
    "io/swath.py": (4, ("tests/test_swath.py",)),
    "io/formats/matlab_output.py": (3, IO),
    "io/formats/netcdf_zarr_output.py": (3, (*IO, "tests/test_swath.py")),
    "io/sensors/prisma.py": (8, ("tests/test_sensors.py",)),
    "io/sensors/dlr.py": (6, ("tests/test_sensors.py",)),
    "io/guards/hdf5_references.py": (4, ("tests/test_hdf5_references.py",)),
    "io/guards/matlab5.py": (3, IO),
    "io/guards/zarr_codecs.py": (3, IO),
}

# By the name that is printed, with the reason.
EQUIVALENT = {
    "ops/spectral_angle.py:spectral_angle_rad: 1 -> 2 (number 4)": "a divisor of zero",
    "ops/spectral_angle.py:_squarable: 80 -> 81 (number 2)": "another power of two, as exact",
    "training/step.py:make_train_step: 0 -> 1": "a default that callers replace by their seed",
    "training/step.py:Learning.check_bands: 1 -> 2 (number 3)": "no larger number divides",
    "large_scene/tiling.py:_bytes_per_pixel: scale**2 + 2 * guide**2 + 5 -> "
    "scale ** 2 + 2 * guide ** 2 - 5": "a part of an estimate that maps of features outweigh",
    "large_scene/first_pass.py:_AngleSums.add: True -> False": "lengths that are always equal",
    "large_scene/tiling.py:check_window: True -> False": "two sides, always",
    "io/formats/envi.py:_unpacked: 20 -> 21": "the size of blocks in which a file is unpacked",
    "io/formats/matlab_output.py:_element: -len(content) -> len(content)": "of 4, 8 and 12 bytes",
    "io/guards/hdf5_references.py:_between: position < start < end -> "
    "position <= start < end": "one gap more, which is empty",
    "io/formats/geotiff.py:open_geotiff: False -> True": "how GDAL keeps files open",
    "io/formats/matlab.py:_text: array.size > MOST_SMALL -> array.size >= MOST_SMALL": "one more",
}

COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}
OPERATIONS: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.FloorDiv,
    ast.Pow: ast.Mult,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
}
FUNCTIONS = dict(
    itertools.chain.from_iterable(
        ((a, b), (b, a))
        for a, b in (
            ("min", "max"),
            ("minimum", "maximum"),
            ("floor", "ceil"),
            ("any", "all"),
            ("sum", "mean"),
            ("zeros", "ones"),
            ("rint", "floor"),
        )
    )
)


@dataclasses.dataclass(frozen=True)
class Fault:
    """A fault in a file of the package: bytes from `start` to `stop` become `text`."""

    file: str
    function: str
    start: int
    stop: int
    text: str
    name: str
    code: str  # the first digits of the SHA-256 of the function

    def plant(self, content: bytes) -> bytes:
        """The content of the file with the fault."""
        return content[: self.start] + self.text.encode() + content[self.stop :]


def _changed(node: ast.AST) -> Iterator[ast.AST]:
    """What the rules make of an expression or a condition."""
    if isinstance(node, ast.Compare) and type(node.ops[0]) in COMPARISONS:
        operators = [COMPARISONS[type(node.ops[0])](), *node.ops[1:]]
        yield ast.Compare(node.left, operators, node.comparators)
    elif isinstance(node, ast.BinOp) and type(node.op) in OPERATIONS and not _is_text(node):
        yield ast.BinOp(node.left, OPERATIONS[type(node.op)](), node.right)
    elif isinstance(node, ast.BoolOp):
        yield ast.BoolOp(ast.And() if isinstance(node.op, ast.Or) else ast.Or(), node.values)
    elif isinstance(node, ast.UnaryOp) and not isinstance(node.op, ast.UAdd):
        yield node.operand
    elif isinstance(node, ast.Constant) and isinstance(node.value, bool):
        yield ast.Constant(not node.value)
    elif isinstance(node, ast.Constant) and isinstance(node.value, int):
        yield ast.Constant(node.value + 1)
    elif isinstance(node, ast.Constant) and isinstance(node.value, float):
        yield ast.Constant(2 * node.value if node.value else 1.0)
    elif isinstance(node, ast.Name) and node.id in FUNCTIONS:
        yield ast.Name(FUNCTIONS[node.id])
    elif isinstance(node, ast.Attribute) and node.attr in FUNCTIONS:
        yield ast.Attribute(node.value, FUNCTIONS[node.attr])
    elif isinstance(node, ast.IfExp):
        yield ast.IfExp(node.test, node.orelse, node.body)


def _is_text(node: ast.BinOp) -> bool:
    ends = (node.left, node.right)
    return any(isinstance(e, ast.JoinedStr) for e in ends) or any(
        isinstance(e, ast.Constant) and isinstance(e.value, str) for e in ends
    )


def _is_check(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and any(isinstance(line, ast.Raise) for line in node.body)


def _inner(node: ast.AST) -> Iterator[ast.AST]:
    """The parts of a node that are mutated: not annotations, texts and decorators."""
    for field, value in ast.iter_fields(node):
        if field in ("annotation", "returns", "decorator_list", "exc", "cause"):
            continue
        for item in value if isinstance(value, list) else [value]:
            if isinstance(item, ast.AST) and not isinstance(item, ast.JoinedStr):
                yield item


def faults(file: str, source: str) -> list[Fault]:
    """All faults that the rules make of the functions of a file, in their order there."""
    lines = [0, *itertools.accumulate(len(line) for line in source.encode().splitlines(True))]
    found: list[Fault] = []
    taken: dict[str, int] = {}

    def add(function: str, code: str, node: ast.expr, text: str) -> None:
        before = " ".join((ast.get_source_segment(source, node) or "").split())
        start = lines[node.lineno - 1] + node.col_offset
        stop = lines[(node.end_lineno or 0) - 1] + (node.end_col_offset or 0)
        name = f"{file}:{function}: {before} -> {text}"
        taken[name] = taken.get(name, 0) + 1
        if taken[name] > 1:
            name += f" (number {taken[name]})"
        found.append(Fault(file, function, start, stop, f"({text})", name, code))

    def visit(node: ast.AST, function: str, code: str) -> None:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            function = f"{function}.{node.name}".lstrip(".")
            if isinstance(node, ast.FunctionDef):
                segment = ast.get_source_segment(source, node) or ""
                code = hashlib.sha256(segment.encode()).hexdigest()[:8]
        if code and _is_check(node):
            add(function, code, node.test, "False")  # type: ignore[attr-defined]
        elif code and isinstance(node, ast.expr):
            for changed in _changed(node):
                add(function, code, node, ast.unparse(ast.fix_missing_locations(changed)))
        for inner in _inner(node):
            visit(inner, function, code)

    visit(ast.parse(source), "", "")
    return found


def chosen(seed: int) -> list[Fault]:
    """The faults to plant, those of all files in turns."""
    drawn = []
    for file, (count, _) in TARGETS.items():
        source = (ROOT / "dualsr_jax" / file).read_text()
        every = faults(file, source)
        # Ordered by their names' hashes, so that a change elsewhere in a file keeps the others.
        every.sort(key=lambda fault: hashlib.sha256(f"{seed} {fault.name}".encode()).digest())
        drawn.append(every[:count])
    return [fault for turn in itertools.zip_longest(*drawn) for fault in turn if fault is not None]


def in_a_fork(work: Callable[[], int], cpu_s: float, *, folder: Path) -> tuple[int, str]:
    """Runs a function in a fork, in a folder; returns its status, and the end of its output.

    A process that has imported the libraries is forked, because that takes longer than most tests.
    """
    with tempfile.TemporaryFile() as output:
        sys.stdout.flush()
        child = os.fork()
        if not child:
            status = NOT_RUN
            try:
                os.setpgid(0, 0)  # for the processes that tests start
                resource.setrlimit(resource.RLIMIT_CPU, (int(cpu_s), int(cpu_s)))
                os.dup2(output.fileno(), 1)
                os.dup2(output.fileno(), 2)
                os.chdir(folder)
                sys.path.insert(0, str(folder))
                status = work()
            except BaseException:
                traceback.print_exc()
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(status)
        until, ended = time.monotonic() + MOST_S, 0
        while not ended:
            ended, status = os.waitpid(child, os.WNOHANG)
            if not ended and time.monotonic() > until:
                os.killpg(child, signal.SIGKILL)
            time.sleep(0.05)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child, signal.SIGKILL)  # what tests have left behind
        output.seek(0)
        text = output.read().decode(errors="replace")
    return os.waitstatus_to_exitcode(status), text[-3000:]


def run_tests(tests: tuple[str, ...], *plugins: object) -> int:
    """Runs tests in this process until one fails; returns pytest's status."""
    quiet = ["-x", "-q", "-n0", "-p", "no:cacheprovider"]
    quiet += ["-p", "no:unraisableexception", "-p", "no:threadexception"]  # which collect garbage
    imported = ["-W", "ignore::pytest.PytestAssertRewriteWarning"]
    return int(pytest.main([*quiet, *imported, *tests], plugins=list(plugins)))


@dataclasses.dataclass(frozen=True)
class Copy:
    """A copy of the repository in which faults are planted.

    `notes` is the file that says which test calls what, by the SHA-256 of the tests.
    """

    folder: Path
    notes: Path

    @classmethod
    def make(cls, folder: Path, notes: Path) -> "Copy":
        """Copies the files that Git knows."""
        listed = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            cwd=ROOT,
            check=True,
            capture_output=True,
        )
        for name in filter(None, listed.stdout.decode().split("\0")):
            if (ROOT / name).is_file():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(ROOT / name, folder / name)
        return cls(folder, notes)

    def calls(self, tests: tuple[str, ...]) -> Calls:
        """What the tests call, and how long they take without a fault; exits if they fail."""
        known = json.loads(self.notes.read_text()) if self.notes.exists() else {}
        found: Calls = {}
        for test in tests:
            content = (self.folder / test.partition("::")[0]).read_bytes()
            key = f"{test} {hashlib.sha256(content).hexdigest()}"
            if key not in known:
                known[key] = self._record(test)
                write_json(self.notes, known)
            found |= known[key]
        return found

    def _record(self, test: str) -> Calls:
        made = self.folder / ".calls.json"

        def work() -> int:
            sys.dont_write_bytecode = False  # for the runs with faults
            recorder = Recorder(self.folder / "dualsr_jax")
            status = run_tests((test,), recorder)
            made.write_text(json.dumps(recorder.calls))
            return status

        status, text = in_a_fork(work, 10_000, folder=self.folder)
        if status:
            sys.exit(f"{test} fails without a fault:\n{text}")
        return json.loads(made.read_text())

    def outcome(self, fault: Fault, tests: tuple[str, ...], *, every: bool) -> tuple[str, str]:
        """Plants a fault, and says "killed" or "survived", and by which test.

        The tests are those that call the function of the fault or, if `every`, all.
        """
        path = self.folder / "dualsr_jax" / fault.file
        clean, calls = path.read_bytes(), self.calls(tests)
        chosen = callers(calls, [f"{fault.file}:{fault.function}"])
        if every:
            chosen += [test for test in calls if test not in chosen]
        if not chosen:
            return "survived", "not called by a test"

        def work() -> int:
            sys.dont_write_bytecode = True
            return run_tests(tests, Chosen(chosen))

        cpu_s = TIMES * sum(calls[test][0] for test in chosen) + SPARE_S
        try:
            path.write_bytes(fault.plant(clean))
            status, text = in_a_fork(work, cpu_s, folder=self.folder)
        finally:
            path.write_bytes(clean)
        if not status:
            return "survived", f"{len(chosen)} tests pass"
        if status in (int(pytest.ExitCode.NO_TESTS_COLLECTED), NOT_RUN):
            sys.exit(f"{' '.join(tests)} could not be run:\n{text}")
        failed = [line for line in text.splitlines() if line.startswith(("FAILED", "ERROR"))]
        return "killed", failed[0][:200] if failed else f"status {status}"


def write_json(path: Path, content: object) -> None:
    """Writes JSON, whole or not at all."""
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(content, indent=1) + "\n")
    partial.replace(path)


def main() -> None:
    """Plants the faults."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--results", type=Path, default=Path("runs/mutants.json"))
    parser.add_argument("--minutes", type=float, default=1e9, help="no new fault after these")
    parser.add_argument("--seed", type=int, default=0, help="of the choice")
    parser.add_argument("--files", nargs="+", default=list(TARGETS), help="of the package")
    parser.add_argument("--again", action="store_true", help="also those that survived before")
    arguments = parser.parse_args()
    results = json.loads(arguments.results.read_text()) if arguments.results.exists() else {}
    until = time.monotonic() + 60 * arguments.minutes
    faults_chosen = [f for f in chosen(arguments.seed) if f.file in arguments.files]
    arguments.results.parent.mkdir(parents=True, exist_ok=True)

    def known(fault: Fault) -> str | None:
        found = results.get(fault.name)
        return found["outcome"] if found and found["code"] == fault.code else None

    with tempfile.TemporaryDirectory() as temporary:
        os.environ.update(
            PYTHONPATH=temporary,
            JAX_PLATFORMS="cpu",
            JAX_COMPILATION_CACHE_DIR=f"{temporary}/.compiled",
            JAX_COMPILATION_CACHE_MAX_SIZE=str(2**30),
            JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS="0.1",
        )
        for name in LIBRARIES:
            importlib.import_module(name)
        # A failure is enough: no smaller example is looked for.
        hypothesis.settings.register_profile("first", phases=(Phase.explicit, Phase.generate))
        hypothesis.settings.load_profile("first")
        copy = Copy.make(Path(temporary), arguments.results.with_suffix(".calls.json"))
        for number, fault in enumerate(faults_chosen, 1):
            before = known(fault)
            skipped = before == "killed" or (before == "survived" and not arguments.again)
            if skipped or fault.name in EQUIVALENT:
                continue
            if time.monotonic() > until:
                break
            tests = TARGETS[fault.file][1]
            outcome, by = copy.outcome(fault, tests, every=arguments.again)
            results[fault.name] = {"outcome": outcome, "by": by, "code": fault.code}
            write_json(arguments.results, results)
            print(f"{number:4} of {len(faults_chosen)}  {outcome:8}  {fault.name}", flush=True)
    survivors = [f.name for f in faults_chosen if known(f) == "survived"]
    survivors = [name for name in survivors if name not in EQUIVALENT]
    killed = sum(known(fault) == "killed" for fault in faults_chosen)
    equivalent = sum(fault.name in EQUIVALENT for fault in faults_chosen)
    print(
        f"{len(faults_chosen)} faults: {killed} killed, {equivalent} equivalent, {len(survivors)} "
        f"survived, {len(faults_chosen) - killed - equivalent - len(survivors)} not tried"
    )
    for name in survivors:
        print(f"survived: {name}")
    sys.exit(bool(survivors))


if __name__ == "__main__":
    main()
