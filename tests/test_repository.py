"""The files with which others build, test and report: Dockerfile, workflow and issue forms."""

import importlib.metadata
import json
import os
import re
import shlex
import subprocess
import sys
import tomllib

import pytest
import yaml
from packaging.specifiers import SpecifierSet
from support.files import ROOT

from dualsr_jax import cli

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PYTHONS = SpecifierSet(PROJECT["requires-python"])
GITHUB = ROOT / ".github"


def tracked():
    listed = ["git", "ls-files", "--cached"]
    return subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=True).stdout


def instructions():
    """The instructions of the Dockerfile: a name and what follows, without comments."""
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    text = "\n".join(line for line in lines if not line.startswith("#"))
    joined = text.replace("\\\n", " ").splitlines()
    return [tuple(line.split(maxsplit=1)) for line in joined if line.strip()]


def of_kind(name):
    return [rest for kind, rest in instructions() if kind == name]


def test_the_image_is_made_of_what_is_there():
    (base,) = of_kind("FROM")
    python = re.fullmatch(r"python:(\d\.\d+)-slim", base)
    assert python[1] in PYTHONS
    files = tracked().splitlines()
    ignored = (ROOT / ".dockerignore").read_text().split()
    for source in (word for copied in of_kind("COPY") for word in copied.split()[:-1]):
        assert source == "." or source in files, source
        assert source not in ignored
    assert not [file for file in files if {file, file.partition("/")[0]} & {*ignored}]
    for lock in re.findall(r"--requirement (\S+)", " ".join(of_kind("RUN"))):
        assert lock in files


def test_the_image_runs_the_demo(tmp_path):
    (place,), (command,), (path,) = of_kind("WORKDIR"), of_kind("CMD"), of_kind("ENV")
    program, directory, target = json.loads(command)
    assert (program, directory) == ("make", f"--directory={place}")
    assert f"apt-get install --yes --no-install-recommends {program} " in of_kind("RUN")[0]
    dry = ["make", "--dry-run", f"--directory={ROOT}", target, "--old-file=.venv/ready"]
    done = subprocess.run(dry, capture_output=True, text=True, check=True)
    *_, train, evaluate, _ = done.stdout.splitlines()  # the last says that make leaves
    for line, name in ((train, "train"), (evaluate, "evaluate")):
        assert f".venv/bin/python -m dualsr_jax.{name} --config configs/" in line
        assert (ROOT / shlex.split(line)[4]).is_file()
    # What make would install is marked as installed, after the files that it depends on came.
    assert [kind for kind, _ in instructions()].index("COPY") < len(instructions()) - 3
    assert of_kind("RUN")[-1].endswith("--editable . && touch .venv/ready")
    assert path == f"PATH={place}/.venv/bin:$PATH"


def test_the_image_takes_the_accelerator_that_is_asked_for(tmp_path):
    (argument,) = of_kind("ARG")
    (line,) = (line for line in of_kind("RUN") if "$ACCELERATOR" in line)
    asked = re.findall(r"--build-arg ACCELERATOR=(\w+)", (ROOT / "Dockerfile").read_text())
    assert argument == "ACCELERATOR=cpu"
    assert asked
    assert PROJECT["optional-dependencies"]["gpu"] == [f"jax[{asked[0]}]"]
    tools, said = tmp_path / ".venv" / "bin", tmp_path / "said"
    tools.mkdir(parents=True)
    (tools / "python").write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} "$@"\n')
    (tmp_path / "jax.py").write_text('__version__ = "1.2.3"\n')  # is imported at once
    (tools / "pip").write_text(f'#!/bin/sh\necho "$@" > {shlex.quote(str(said))}\n')
    for tool in tools.iterdir():
        tool.chmod(0o755)
    for accelerator in ("cpu", *asked):
        said.unlink(missing_ok=True)
        environment = {**os.environ, "ACCELERATOR": accelerator, "PYTHONPATH": str(tmp_path)}
        subprocess.run(["sh", "-c", line], cwd=tmp_path, env=environment, check=True)
        if accelerator == "cpu":
            assert not said.exists()  # requirements.lock has what a processor needs
            continue
        assert said.read_text() == f"install --no-cache-dir jax[{accelerator}]==1.2.3\n"
        extras = importlib.metadata.metadata("jax").get_all("Provides-Extra")
        assert accelerator in [extra.replace("-", "_") for extra in extras]


def test_the_commands_at_the_head_of_the_dockerfile():
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    head = " ".join(line[1:].strip() for line in lines if line.startswith("#"))
    assert "docker build --tag dualsr_jax ." in (ROOT / "README.md").read_text()
    assert "docker build --tag dualsr_jax ." in head
    (command,) = re.findall(r"dualsr_jax dualsr (\w+)", head)
    assert cli.load(command)
    assert PROJECT["scripts"] == {"dualsr": "dualsr_jax.cli:main"}
    assert re.search(r"^rasterio==", (ROOT / "requirements.lock").read_text(), re.MULTILINE)


def test_the_workflow_calls_make_test_on_every_python():
    workflow = yaml.safe_load((GITHUB / "workflows" / "test.yml").read_text())
    (job,) = workflow["jobs"].values()
    pythons = job["strategy"]["matrix"]["python"]
    minors = [f"3.{minor}" for minor in range(30)]
    assert pythons == [minor for minor in minors if minor in PYTHONS]
    triggers = workflow[True]  # YAML 1.1 reads "on" as true
    assert "pull_request" in triggers
    assert triggers["push"]["branches"] == ["main"]
    assert workflow["permissions"] == {"contents": "read"}
    used = [step["uses"] for step in job["steps"] if "uses" in step]
    assert [action.partition("@")[0] for action in used] == [
        "actions/checkout",
        "actions/setup-python",
    ]
    assert all(re.fullmatch(r"actions/[\w-]+@v\d+(\.\d+)*", action) for action in used)
    (setup,) = (step["with"] for step in job["steps"] if "setup-python" in step.get("uses", ""))
    assert setup["python-version"] == "${{ matrix.python }}"
    assert list(ROOT.glob(setup["cache-dependency-path"]))
    (command,) = (step["run"] for step in job["steps"] if "run" in step)
    program, target, variable = command.split()
    assert (program, target) == ("make", "test")
    assert re.search(rf"^{variable.partition('=')[0]} \?= ", makefile(), re.MULTILINE)
    assert re.search(rf"^{target}: .*\n(\t.*\n)*\t.*-m pytest$", makefile(), re.MULTILINE)
    assert 0 < job["timeout-minutes"] <= 120


def makefile():
    return (ROOT / "Makefile").read_text()


FORMS = sorted(
    {*(GITHUB / "ISSUE_TEMPLATE").glob("*.yml")} - {GITHUB / "ISSUE_TEMPLATE/config.yml"}
)


def test_there_are_issue_forms_and_blank_issues():
    assert [path.stem for path in FORMS] == ["bug", "idea"]
    config = yaml.safe_load((GITHUB / "ISSUE_TEMPLATE" / "config.yml").read_text())
    assert config == {"blank_issues_enabled": True}
    names = {yaml.safe_load(path.read_text())["name"] for path in FORMS}
    assert len(names) == len(FORMS)


@pytest.mark.parametrize("path", FORMS, ids=lambda path: path.stem)
def test_issue_forms_are_what_github_takes(path):
    """By its documentation of the syntax of issue forms."""
    form = yaml.safe_load(path.read_text())
    assert {"name", "description", "body"} <= {*form}
    assert {*form} <= {"name", "description", "body", "labels", "assignees", "title", "projects"}
    assert all(isinstance(form[key], str) and form[key].strip() for key in ("name", "description"))
    known = {"textarea": "label", "input": "label", "dropdown": "label", "checkboxes": "label"}
    for element in form["body"]:
        assert {*element} <= {"type", "id", "attributes", "validations"}
        required = {**known, "markdown": "value"}[element["type"]]
        assert isinstance(element["attributes"][required], str)
        assert element["type"] != "dropdown" or element["attributes"]["options"]
    ids = [element["id"] for element in form["body"] if "id" in element]
    assert len({*ids}) == len(ids)
    assert all(re.fullmatch(r"[\w-]+", name) for name in ids)
    assert any(element["type"] in known for element in form["body"])
    if path.stem == "bug":
        asked = {element["id"]: element for element in form["body"]}
        assert asked["versions"]["validations"] == {"required": True}
        assert "`dualsr --version`" in asked["versions"]["attributes"]["description"]
