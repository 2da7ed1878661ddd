"""How the project writes: words that a stranger reads twice, and sizes that a reader can hold."""

import ast
import re

import pytest
from support.files import ROOT

PACKAGE = sorted((ROOT / "dualsr_jax").rglob("*.py"))
SOURCES = [
    *PACKAGE,
    *(
        p
        for d in ("configs", "scripts", "benchmarks", "datasets")
        for p in (ROOT / d).rglob("*.py")
    ),
]
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md"))]
PAGES += sorted((ROOT / "dualsr_jax" / "pretrained").glob("*.md"))

# What is banned, and what to write instead.
BANNED = {
    r"\blikewise\b": "say what the parameter means",
    r"\bas (is|are) (those|the others|that|all)\b": "say what the parameters mean",
    r"\bbeside\b": "next to, or besides",
    r"\bgo(es|ing)? on\b": "resume, continue",
    r"\btold\b": "is reported, raises",
    r"(^|; |, |: )[Ss]ee `": "say what it means, or name what has the same meaning",
    r"(?<![Tt]here )\b(is|are) no (?!longer\b)": "is not a, has no",
    r"\breals\b": "real numbers",
    r"\b(is|are|names|has|have|if|or) none\b": "is not a ..., has no ...",
    r"\bnone:": "None:",
    r"\btaken for\b": "counts as",
    r"\bstrips?\b": "block",
    r"\b1 tiles\b": "1 tile",
    r"\bpieces?\b": "block, window, or part",
}


def prose(path):
    """Docstrings, comments and text of one file, by line number; of Markdown every line."""
    text = path.read_text()
    if path.suffix == ".md":
        code = False
        for number, line in enumerate(text.splitlines(), start=1):
            code ^= line.lstrip().startswith("```")
            if not code:
                yield number, line
        return
    for number, line in enumerate(text.splitlines(), start=1):
        _, mark, comment = line.partition("# ")
        if mark:
            yield number, comment
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value:
            for offset, line in enumerate(node.value.splitlines()):
                yield node.lineno + offset, line


@pytest.mark.parametrize("path", [*SOURCES, *PAGES], ids=lambda p: p.relative_to(ROOT).as_posix())
def test_no_banned_word(path):
    found = [
        f"{path.relative_to(ROOT)}:{number}: {match[0]!r} ({better}): {line.strip()}"
        for number, line in prose(path)
        for word, better in BANNED.items()
        if (match := re.search(word, line))
    ]
    assert not found, "\n".join(found)


def lines_of(paths):
    return sum(len(path.read_text().splitlines()) for path in paths)


@pytest.mark.parametrize("path", PACKAGE, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_sizes_of_files_and_functions(path):
    assert lines_of([path]) <= (
        120 if path.parent.name == "dualsr_jax" and is_command(path) else 320
    )
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno - node.lineno < 60, f"{node.name} is longer than 60 lines"


def is_command(path):
    """Whether `python -m` runs a file of the package."""
    return '__name__ == "__main__"' in path.read_text()


def test_the_size_of_configs():
    assert max(lines_of([path]) for path in (ROOT / "configs").glob("*.py")) <= 80
