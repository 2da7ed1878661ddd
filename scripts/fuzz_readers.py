"""Fuzzes the readers of cube files: valid files, damaged at random, must be read or refused.

    python scripts/fuzz_readers.py --seconds 600
    python scripts/fuzz_readers.py --seconds 600 --metadata

For each reader, batches of damaged files are read in a process of their own, with a limit on its
address space and on the processor time of a file. Damage: bytes flipped, cut, put in, overwritten;
numbers of headers replaced by lies. Allowed outcomes: success, ValueError, FileNotFoundError.
Anything else, another exception, a crash, a hang, much memory, is reported with the file that
caused it, which is kept. The exit status is 1 if there was any. With `--metadata` the pixels stay
as they are, and what the files say besides is changed (`fuzz_metadata.py`): there a result that
differs from that of the clean file in anything else is reported too.
"""

import argparse
import contextlib
import importlib.util
import io
import json
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from pathlib import Path
from unittest import mock

import numpy as np
import scipy.io

CASES = 150  # per batch
BATCH_SECONDS = 1800  # after which a batch that waits for something is ended
CASE_SECONDS = 20  # of processor time, after which a case is reported
HANG_SECONDS = 60  # of processor time, after which a case is ended
SPARE_BYTES = 3 * 2**30  # of address space, beyond what the libraries take
MOST_BYTES = 800 * 2**20  # of memory in use
WHOLE_BYTES = 2**26  # cubes up to this size are read whole
SUFFIXES = (".hdr", ".tif", ".nc", ".zarr", ".h5", ".mat", ".npy", ".npz", "")
SENSORS = ("prisma", "enmap", "desis", "emit", "aviris_3", "aviris_ng")
SENSOR_FILES = Path(__file__).parents[1] / "tests" / "support" / "sensor_files.py"


def write_seeds(suffix: str, folder: Path) -> None:
    """Writes valid files, each in a folder of its own: `<folder>/<n>/cube<suffix>`."""
    import gzip

    import rasterio
    import xarray

    from dualsr_jax.io.cubes import create_cube
    from dualsr_jax.io.formats import matlab_output
    from dualsr_jax.io.metadata import Metadata

    k = np.arange(6)
    full = Metadata(
        crs=rasterio.crs.CRS.from_epsg(32633).to_wkt(),
        transform=(30.0, 0.0, 383472.37, 0.0, -30.0, 5818302.35),
        wavelengths=400.0 + 10 * k,
        fwhm=5.0 + k,
        band_names=tuple("abcdef"),
        bad_bands=k == 2,
        nodata=7.0,
        scale=np.full(6, 1e-4),
        offset=np.linspace(0, 1, 6),
        tags={"sensor type": "made up"},
    )
    cube = np.random.default_rng(0).integers(0, 60000, (7, 5, 6)).astype(np.uint16)
    for n, metadata in enumerate((full, Metadata())):
        (folder / str(n)).mkdir(parents=True)
        with create_cube(folder / str(n) / f"cube{suffix}", cube.shape, "u2", metadata) as writer:
            writer.write(cube, 0, 0)
    other = folder / "2" / f"cube{suffix}"
    if suffix == ".hdr":  # packed
        shutil.copytree(folder / "0", other.parent)
        text = other.read_text().replace("byte order = 0", "byte order = 1\nfile compression = 1")
        other.write_text(text)
        other.with_suffix(".img").write_bytes(gzip.compress(cube.tobytes()))
    elif suffix == ".mat":  # of others, and version 7.3
        (folder / "4").mkdir()
        with (
            mock.patch.object(matlab_output, "_MOST_BYTES_5", 0),
            create_cube(folder / "4" / "cube.mat", cube.shape, "u2", full) as writer,
        ):
            writer.write(cube, 0, 0)
        other.parent.mkdir()
        header = {"map_info": "{UTM, 1, 1, 5, 6, 7, 7, 11, North, WGS-84}", "fwhm": k}
        variables = {"cube": cube, "wl": k, "params": header}
        scipy.io.savemat(other, variables, do_compression=True)
        (folder / "3").mkdir()
        scipy.io.savemat(folder / "3" / "cube.mat", variables)
    elif suffix == ".nc":  # version 3
        other.parent.mkdir()
        dataset = xarray.Dataset({"cube": (("y", "x", "band"), cube.astype("i2"))})
        dataset.to_netcdf(other, engine="scipy")
    elif suffix == ".h5":  # packed, in a group
        other.parent.mkdir()
        _write_packed_hdf5(other, cube, {"_FillValue": 7, "scale_factor": k})


def _write_packed_hdf5(path: Path, cube: np.ndarray, attributes: dict) -> None:
    import h5py

    with h5py.File(path, "w") as file:
        packed = file.create_dataset("a/b/cube", data=cube, chunks=(3, 3, 3), compression="gzip")
        packed.attrs.update({**attributes, "missing_value": "none"})


def write_sensor_seed(sensor: str, folder: Path) -> None:
    """Writes a valid product of a sensor, made to its published layout, into `<folder>/0`."""
    specification = importlib.util.spec_from_file_location("sensor_files", SENSOR_FILES)
    files = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(files)
    (folder / "0").mkdir(parents=True)
    cube = np.random.default_rng(0).integers(0, 9000, (7, 8, 6)).astype(np.uint16)
    if sensor == "prisma":
        files.write_prisma(folder / "0" / "cube.he5", cube, cube)
    elif sensor in ("enmap", "desis"):
        mission = {"enmap": "EnMAP", "desis": "DESIS"}[sensor]
        files.write_dlr(folder / "0", cube.astype(np.int16), mission, expected={1, 2, 5})
    elif sensor == "emit":
        files.write_emit(folder / "0" / "cube.nc", (7, 5, 6), good=[1] * 6)
    else:
        cube, k = cube.astype(np.float32), np.arange(6)
        of_bands = {"wavelengths": 400.0 + 10 * k, "fwhm": 5.0 + k}
        if sensor == "aviris_3":
            path = folder / "0" / "cube.nc"
            files.write_aviris_3(path, cube, orthorectified=True, **of_bands)
        else:
            files.write_aviris_ng(folder / "0", cube, map_info=(4e5, 5e6, 4.0, 15.0), **of_bands)


def cube_in(folder: Path, reader: str) -> Path:
    """The path by which the seed in a folder is opened; `reader` is a suffix or a sensor."""
    if reader not in SENSORS:
        return folder / f"cube{reader}"
    opened_by = (".hdr", ".he5", ".nc", ".tif")
    return next(file for file in sorted(folder.iterdir()) if file.suffix.lower() in opened_by)


def damage(file: Path, rng: random.Random) -> None:
    """Damages a file in one to three ways, more often at its beginning."""
    content = bytearray(file.read_bytes())
    for _ in range(rng.randint(1, 3)):
        reach = min(len(content), rng.choice((64, 512, 4096, 1 << 30)))
        place = rng.randrange(reach) if reach else 0
        way = rng.randrange(7)
        if way == 0:
            for _ in range(rng.randint(1, 8)):
                if reach:
                    content[rng.randrange(reach)] ^= 1 << rng.randrange(8)
        elif way == 1:
            del content[place:]
        elif way == 2:
            content[place:place] = rng.randbytes(rng.randint(1, 32))
        elif way == 3:
            del content[place : place + rng.randint(1, 32)]
        elif way == 4:
            length = rng.choice((1, 2, 4, 8))
            content[place : place + length] = rng.choice((b"\0", b"\xff", b"\x7f")) * length
        elif way == 5:
            length = rng.choice((2, 4, 8))
            number = rng.choice((1, 2**15, 2**31 - 1, 2**31, 2**40, rng.getrandbits(64)))
            order = rng.choice(("little", "big"))
            content[place : place + length] = (number % 2 ** (8 * length)).to_bytes(length, order)
        else:
            numbers = list(re.finditer(rb"\d+", content[:65536]))
            if numbers:
                lie = rng.choice((b"0", b"-1", b"99999999999", b"65536", b"1e999", b"nan", b"x"))
                match = rng.choice(numbers)
                content[match.start() : match.end()] = lie
    file.write_bytes(content)


def read(path: Path) -> None:
    """Opens a cube and reads a window, or all of a small one."""
    from dualsr_jax.io.cubes import open_cube

    # The lines of this process are results: notes about a file are not wanted there.
    with contextlib.redirect_stdout(io.StringIO()), open_cube(path) as reader:
        height, width, bands = reader.shape
        reader.read(slice(height - 1, height), slice(0, 1), [0, bands - 1])
        if height * width * bands * reader.dtype.itemsize <= WHOLE_BYTES:
            reader.read(slice(None), slice(None))


def damage_and_read(current: Path, suffix: str, rng: random.Random) -> tuple[str, str]:
    """Damages one file of a cube, and reads it; returns the outcome, and what is wrong with it."""
    files = sorted(file for file in current.rglob("*") if file.is_file())
    path = cube_in(current, suffix)
    damage(rng.choice(files), rng)
    try:
        read(path)
    except (ValueError, FileNotFoundError):
        return "refused", ""
    return "read", ""


def change_and_compare(current: Path, suffix: str, rng: random.Random) -> tuple[str, str]:
    """Changes the metadata of a cube; returns the outcome, and what is wrong with it."""
    import fuzz_metadata  # lies next to this file

    return fuzz_metadata.case(current / f"cube{suffix}", rng)


def work(suffix: str, seeds: Path, current: Path, seed: int, *, metadata: bool) -> None:
    """Runs one batch in this process; prints a line of JSON for each case."""
    warnings.simplefilter("ignore")
    results, sys.stdout = sys.stdout, sys.stderr  # readers print notes
    run_case = change_and_compare if metadata else damage_and_read
    # The others are files of kinds that are not written.
    originals = [seeds / "0", seeds / "1"] if metadata else sorted(seeds.iterdir())
    for original in originals:
        read(cube_in(original, suffix))
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + SPARE_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    rng = random.Random(seed)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(CASES):
        shutil.rmtree(current, ignore_errors=True)
        shutil.copytree(rng.choice(originals), current)
        begin = time.process_time()
        signal.setitimer(signal.ITIMER_PROF, HANG_SECONDS)  # its signal ends the process
        try:
            outcome, problem = run_case(current, suffix, rng)
        except BaseException:  # to be reported, whatever it is
            outcome, problem = "reported", traceback.format_exc(limit=-4)
        signal.setitimer(signal.ITIMER_PROF, 0)
        seconds = time.process_time() - begin
        now = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        if seconds > CASE_SECONDS:
            problem += f"took {seconds:.0f} s"
        if (now - peak) * 1024 > MOST_BYTES:
            problem += f"took {(now - peak) // 1024} MiB"
        peak = max(peak, now)
        if problem:
            kept = current.with_name(f"{current.name}-{seed}-{rng.getrandbits(32):08x}")
            shutil.copytree(current, kept)
            problem = f"{kept}: {problem}"
        print(json.dumps({"outcome": outcome, "problem": problem}), file=results, flush=True)


def fuzz(suffix: str, seconds: float, seed: int, findings: Path, *, metadata: bool) -> int:
    """Fuzzes one reader and returns the number of outcomes that are not allowed."""
    name = suffix.lstrip(".") or "band_images"
    counts = {"read": 0, "refused": 0, "not written": 0, "reported": 0}
    problems: list[str] = []
    with tempfile.TemporaryDirectory() as temporary:
        seeds, current = Path(temporary) / "seeds", Path(temporary) / name
        if suffix in SENSORS:
            write_sensor_seed(suffix, seeds)
        else:
            write_seeds(suffix, seeds)
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            seed += 1
            command = [sys.executable, __file__, "--worker", suffix, str(seeds), str(current)]
            command += ["--metadata"] * metadata
            try:
                batch = subprocess.run(
                    [*command, "--seed", str(seed)],
                    capture_output=True,
                    timeout=BATCH_SECONDS,
                )
                lines, how = batch.stdout, f"ended with status {batch.returncode}"
                if batch.returncode == -signal.SIGPROF:
                    how = f"hangs: took {HANG_SECONDS} s"
                failed = batch.returncode != 0
                if failed:
                    how += "\n" + batch.stderr.decode(errors="replace")[-2000:]
            except subprocess.TimeoutExpired as error:
                lines, how, failed = error.stdout or b"", "hangs", True
            for line in lines.splitlines():
                result = json.loads(line)
                counts[result["outcome"]] += 1
                if result["problem"]:
                    problems.append(result["problem"])
            if failed:
                kept = current.with_name(f"{name}-{seed}-crash")
                if current.is_dir():
                    shutil.copytree(current, kept)
                problems.append(f"{kept}: {how}")
        for folder in Path(temporary).glob(f"{name}-*"):
            shutil.copytree(folder, findings / folder.name, dirs_exist_ok=True)
    print(f"{name}: {counts}, {len(problems)} problems", flush=True)
    for problem in problems[:20]:
        print(problem.replace(temporary, str(findings)), flush=True)
    return len(problems)


def main() -> None:
    """Fuzzes the readers, each batch in a process of its own (`--worker`)."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=600, help="time per reader")
    parser.add_argument(
        "--readers",
        nargs="+",
        help="by suffix, or by sensor; default: all, with --metadata all suffixes",
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--findings",
        type=Path,
        default=Path("runs/fuzz"),
        help="folder of bad files",
    )
    parser.add_argument("--metadata", action="store_true", help="change what files say, not pixels")
    parser.add_argument("--worker", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        suffix, seeds, current = options.worker
        work(suffix, Path(seeds), Path(current), options.seed, metadata=options.metadata)
        return
    readers = options.readers or [*SUFFIXES, *(() if options.metadata else SENSORS)]
    found = [
        fuzz(s, options.seconds, options.seed, options.findings, metadata=options.metadata)
        for s in readers
    ]
    sys.exit(1 if any(found) else 0)


if __name__ == "__main__":
    main()
