"""What README and docs/ name exists: links, files, modules, commands, launch arguments, extras, parameters."""

from __future__ import annotations

import json
import re
import runpy
import subprocess
from pathlib import Path

import pytest
import setuptools

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
ROOMS = ("dvlt_ros", "training", "test", "benchmarks", "config", "launch", "tools", "requirements", "overlay", "docs")
AMERICAN = r"\b(colors?|colored|meters?|centers?|centered|neighbors?|behavior|gray)\b"
# A file, and fields of training.
OTHERS = {
    f"model.{name}"
    for name in ("safetensors", "checkpoint", "new_matching", "start", "encoder_weights", "head_weights")
}
RETIRED = r"\b(seams?|stations?|ladders?|rungs?|relocalis\w+)\b"  # words that the field has better ones for

every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def blocks(page: Path) -> str:
    """The code blocks of a page, fenced or indented, with continued lines as one."""
    text = page.read_text()
    fenced = re.findall(r"^```\w*\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    indented = re.findall(r"^ {4}\S.*$", re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL), re.MULTILINE)
    return re.sub(r"\\\n\s*", "", "\n".join(fenced + indented))


def inline(page: Path) -> list[str]:
    """What stands between single backticks."""
    return re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL))


def prose(page: Path) -> str:
    """Without code, names and addresses."""
    text = re.sub(r"^```.*?^```|^ {4}\S.*?$|`[^`\n]+`|\]\([^)]*\)|::: \S+", "", page.read_text(), flags=re.M | re.S)
    return re.sub(r"https?://\S+", "", text)


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


def module_exists(name: str) -> bool:
    path = ROOT.joinpath(*name.split("."))
    return path.with_suffix(".py").is_file() or (path / "__init__.py").is_file()


@pytest.fixture(scope="module")
def setup_arguments() -> dict:
    """What setup.py hands to setuptools."""
    captured: dict = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        patch.setattr(setuptools, "setup", captured.update)
        runpy.run_path(str(ROOT / "setup.py"))
    return captured


@pytest.fixture(scope="module")
def launch_arguments() -> dict[str, set[str]]:
    """By launch file. Read without launch, which only ROS has."""
    of_parameters = "".join(path.read_text() for path in (ROOT / "config").glob("*.json"))
    texts = {path.name: path.read_text() for path in (ROOT / "launch").glob("*.launch.py")}
    found = {name: set(re.findall(r'"(\w+)": \(\w+, ', text)) for name, text in texts.items()}
    found["reconstruct.launch.py"] |= set(re.findall(r'"launch_argument": "(\w+)"', of_parameters))
    for name, text in texts.items():
        found[name] |= set(re.findall(r'DeclareLaunchArgument\(\s*"(\w+)"', text))
        if '"reconstruct.launch.py"' in text:  # it is included
            found[name] |= found["reconstruct.launch.py"]
        assert {"image", "odom_source", "use_sim_time"} <= found[name]
    return found


@every_page
def test_links_lead_to_files_and_headings(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if re.match(r"https?:", target):
            continue
        file, _, anchor = target.partition("#")
        path = (page.parent / file).resolve() if file else page
        assert path.is_file(), f"{target} is not a file"
        assert not anchor or anchor in anchors(path), f"{target}: no such heading"


@every_page
def test_files_and_modules_that_are_named_exist(page):
    for name in inline(page):
        if re.fullmatch(rf"({'|'.join(ROOMS)})/[\w./-]*", name):
            assert (ROOT / name).exists(), f"{name} does not exist"
        elif re.fullmatch(r"[\w/]+\.py", name):
            assert_is_a_file_here(name)
        if match := re.match(r"(dvlt_ros(?:\.[a-z_0-9]+)*)", name):
            parts = match[1].split(".")
            known = [".".join(parts[:n]) for n in range(1, len(parts) + 1) if module_exists(".".join(parts[:n]))]
            assert len(parts) - len(known[-1].split(".")) <= 1, f"{name}: no such module"


def test_the_drawing_names_what_is_there():
    drawn = re.findall(r">([^<]*)</text>", (ROOT / "docs" / "images" / "architecture.svg").read_text())
    words = [word for text in drawn for word in re.split(r"[ ,:]+", text)]
    for name in (word for word in words if word.endswith(".py")):
        assert_is_a_file_here(name)
    for name in (word for word in words if word.endswith("/")):
        assert any((ROOT / above / name).is_dir() for above in (".", "dvlt_ros", "dvlt_ros/mapping", "training")), (
            f"no folder {name}"
        )


def assert_is_a_file_here(name: str) -> None:
    """By the end of its path, wherever in the repository."""
    assert any(path.as_posix().endswith(f"/{name}") for room in ROOMS for path in (ROOT / room).rglob("*.py")), name


@every_page
def test_commands_name_what_is_there(page, setup_arguments, launch_arguments):
    text = blocks(page) + "\n" + "\n".join(inline(page))
    scripts = {entry.split(" ")[0] for entry in setup_arguments["entry_points"]["console_scripts"]}
    scripts = {name for name in scripts if name.startswith("dvlt_")}
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    recipes = {path.stem for path in (ROOT / "training" / "configs" / "recipe").glob("*.yaml")}
    unknown = [name for name in re.findall(r"ros2 run dvlt_ros (\w+)", text) if name not in scripts | {"NAME"}]
    unknown += [name for name in re.findall(r"^(dvlt_(?!ros)\w+)", text, re.MULTILINE) if name not in scripts]
    unknown += [name for name in re.findall(r"^make ([a-z]+)", text, re.MULTILINE) if name not in targets]
    unknown += [name for name in re.findall(r"python3? -m (dvlt_ros[.\w]*)", text) if not module_exists(name)]
    unknown += [name for name in re.findall(r"python3? ([\w/]+\.py)", text) if not re.fullmatch(r".*NAME.py", name)
                and not (ROOT / name).is_file()]  # fmt: skip
    unknown += [name for name in re.findall(r"\brecipe=(\w+)", text) if name not in recipes]
    for extras in re.findall(r"'\.\[([\w,]+)\]'", text):
        unknown += [name for name in extras.split(",") if name not in setup_arguments["extras_require"]]
    for file, arguments in re.findall(r"ros2 launch dvlt_ros (\S+)(.*)", text):
        assert file in launch_arguments, f"{file} is not a launch file"
        unknown += [name for name in re.findall(r"(\w+):=", arguments) if name not in launch_arguments[file]]
    assert not unknown


@every_page
def test_parameters_are_those_of_the_table(page):
    table = (ROOT / "docs" / "reference" / "parameters.md").read_text()
    known = set(re.findall(r"^\| `([\w.]+)`", table, re.MULTILINE))
    groups = {name.split(".")[0] for name in known if "." in name}
    named = [match[0] for name in inline(page) if (match := re.match(r"[a-z_]+\.[a-z_]+(?=$|:)", name))]
    assert not [name for name in named if name.split(".")[0] in groups and name not in known | OTHERS]


@every_page
def test_lines_are_short_and_words_are_british_and_of_the_field(page):
    text = re.sub(
        r"<!-- parameters -->.*<!-- end of parameters -->", "", page.read_text(), flags=re.DOTALL
    )  # the code's
    lines = enumerate(text.splitlines(), 1)
    assert not [number for number, line in lines if len(line) > 120 and not line.startswith("|") and "://" not in line]
    assert not re.findall(f"{AMERICAN}|{RETIRED}", prose(page), re.IGNORECASE)


def test_every_launch_argument_is_on_the_page_of_command_lines(launch_arguments):
    named = set(inline(ROOT / "docs" / "reference" / "command-lines.md"))
    assert not launch_arguments["reconstruct.launch.py"] - named


def test_code_names_pages_that_exist():
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("not a git checkout; `make test` in one runs this")
    files = [ROOT / name for name in listed.stdout.split("\0") if re.search(r"\.(py|yaml|xml|txt|toml)$", name)]
    named = {page for file in files if file.is_file() for page in re.findall(r"docs/[\w/-]+\.md", file.read_text())}
    assert named
    assert not [page for page in sorted(named) if not (ROOT / page).is_file()]


def test_every_page_is_in_the_navigation():
    navigation = (ROOT / "mkdocs.yml").read_text()
    docs = ROOT / "docs"
    assert not [str(page.relative_to(docs)) for page in PAGES[1:] if str(page.relative_to(docs)) not in navigation]


def test_published_figures_of_models_are_those_of_the_table():
    """On the page that helps to choose one; in training/benchmarking/published.json is what was published."""
    published = json.loads((ROOT / "training" / "benchmarking" / "published.json").read_text())["methods"]
    names = {"Déjà View": "DVLT paper", "Depth Anything 3": "DA3-L", "π³": "Pi3"}
    page = (ROOT / "docs" / "how-to" / "which-model.md").read_text()
    rows = re.findall(
        r"^\| (.+?)(?: \(.*?\)| large)? \| `--\w+ \S+` \| ([\d.]+), ([\d.]+) \| ([\d.]+), ([\d.]+) \|", page, re.M
    )
    assert len(rows) == 7
    for name, *figures in rows:
        sets = published[names.get(name, name)]
        expected = [
            sets[data][column] for data in ("eth3d", "scannetpp") for column in (0, 3)
        ]  # error of depth, AUC@30
        assert [float(figure) for figure in figures] == expected, name
