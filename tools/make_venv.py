"""Make the virtual environment of this repository: the real rclpy and Fast DDS with or without a ROS 2 distribution.

    python3.11 tools/make_venv.py .venv                everything that the tests try
    python3.11 tools/make_venv.py .venv --only demo    what `make demo` imports, and no more; web: what `make web` does

Where rclpy can be imported (a distribution is sourced), the environment sees the system's packages and takes no
ROS wheels. Otherwise ROS 2 Kilted comes from the package index. Packages that exist in distributions only come from
overlay/, each one only where the real one is missing. Running it again repairs or updates what is there.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = "dvlt_ros"
WHEELS_PYTHON = (3, 11)  # the ROS wheels are built for this CPython
OVERLAY_PYTHON = ("tf2_ros", "cv_bridge", "sensor_msgs_py", "diagnostic_updater")
OVERLAY_MESSAGES = "tf2_msgs"
PURPOSES = {  # files of requirements, and lines of requirements/extras.txt
    "everything": (("runtime", "training", "test"), ()),
    "demo": (("runtime",), ()),
    "web": (("runtime",), ("nicegui",)),
}
DISTRIBUTION_OWNED = {"cv2": "opencv-python-headless", "numpy": "numpy"}  # cv_bridge is compiled against them


class SetupError(RuntimeError):
    pass


class Environment:
    """A virtual environment by its folder: what is where, and how to run its Python."""

    def __init__(self, prefix: Path) -> None:
        self.prefix = prefix
        self.python = prefix / "bin" / "python"
        self.overlay = prefix / "overlay"

    @property
    def site_packages(self) -> Path:
        version = self.query("import sys; print('%d.%d' % sys.version_info[:2])")
        return self.prefix / "lib" / f"python{version}" / "site-packages"

    @property
    def overlay_packages(self) -> Path:
        return self.overlay / self.site_packages.relative_to(self.prefix)

    def query(self, code: str) -> str:
        return subprocess.run([self.python, "-c", code], check=True, capture_output=True, text=True).stdout.strip()

    def run(self, *command: str | Path, cwd: Path = ROOT) -> None:
        subprocess.run([self.python, *command], check=True, cwd=cwd)

    def pip_install(self, *arguments: str | Path) -> None:
        self.run("-m", "pip", "install", "-qq", "--disable-pip-version-check", *arguments)

    def has(self, with_system_packages: bool) -> bool:
        """Whether it is there, and of that kind."""
        config = self.prefix / "pyvenv.cfg"
        setting = f"include-system-site-packages = {str(with_system_packages).lower()}"
        return config.is_file() and setting in config.read_text() and self.python.exists()

    def create(self, with_system_packages: bool) -> None:
        if not self.has(with_system_packages):
            flags = ["--system-site-packages"] if with_system_packages else []
            subprocess.run([base_python(), "-m", "venv", *flags, self.prefix], check=True)

    def importable(self, modules: Sequence[str]) -> set[str]:
        """Those of `modules` that exist outside our own overlay."""
        code = f"""
import importlib.util, json, sys
sys.path[:] = [p for p in sys.path if p and not p.startswith({str(self.overlay)!r})]
print(json.dumps([m for m in {list(modules)!r} if importlib.util.find_spec(m)]))"""
        return set(json.loads(self.query(code)))


def say(text: str) -> None:
    print(f"-- {text}", flush=True)


def base_python() -> str:
    """The Python that an environment is made from, also if that of an environment runs this: by `make` in one."""
    return str(getattr(sys, "_base_executable", "") or sys.executable)


def sourced_ros() -> bool:
    """Whether Python has a ROS 2 without any environment, as after sourcing a distribution's setup.bash."""
    code = "import rclpy; print(rclpy.__file__)"
    found = subprocess.run([base_python(), "-c", code], capture_output=True, text=True)
    return found.returncode == 0 and not is_in_environment(Path(found.stdout.strip()))


def is_in_environment(path: Path) -> bool:
    """Whether a file belongs to a virtual environment, this one or another that has a say in PYTHONPATH."""
    return any((folder / "pyvenv.cfg").is_file() for folder in path.absolute().parents)


@contextmanager
def kept_until_replaced(prefix: Path, is_to_stay: bool) -> Iterator[None]:
    """An environment of another kind stands aside while its successor is made, and comes back if that fails.

    Raises:
        SetupError: what is there is no environment.
    """
    if is_to_stay or not prefix.exists() or not any(prefix.iterdir()):
        yield
        return
    if not (prefix / "pyvenv.cfg").is_file():
        raise SetupError(f"{prefix}: is there, and is no virtual environment; nothing was changed")
    aside = prefix.with_name(f"{prefix.name}.replaced")
    shutil.rmtree(aside, ignore_errors=True)
    prefix.rename(aside)
    try:
        yield
    except BaseException:
        shutil.rmtree(prefix, ignore_errors=True)
        aside.rename(prefix)
        say(f"{prefix} is as it was")
        raise
    shutil.rmtree(aside)


def required(purpose: str, has_ros: bool) -> list[str]:
    """Lines of requirements for one of `PURPOSES`; with ROS the distribution has its own, and owns NumPy."""
    whole, names = PURPOSES[purpose]
    lines = [line for name in whole for line in requirements(name)]
    if not has_ros:
        lines += requirements("ros") + (requirements("extras") if purpose == "everything" else [])
    return lines + [line for line in requirements("extras") if line.split("==")[0] in names]


def requirements(name: str) -> list[str]:
    return (ROOT / f"requirements/{name}.txt").read_text().splitlines()


def install_requirements(environment: Environment, has_ros: bool, purpose: str) -> None:
    lines = required(purpose, has_ros)
    kept = environment.importable(list(DISTRIBUTION_OWNED)) if has_ros else set()
    owned = {DISTRIBUTION_OWNED[module] for module in kept}
    lines = [line for line in lines if line.split("==")[0] not in owned]
    with tempfile.TemporaryDirectory() as folder:
        requirements, constraints = Path(folder, "requirements.txt"), Path(folder, "constraints.txt")
        requirements.write_text("\n".join(lines))
        installed = "import numpy; print('numpy==' + numpy.__version__)"
        constraints.write_text(environment.query(installed) if "numpy" in owned else "")
        environment.pip_install("--requirement", requirements, "--constraint", constraints)


def install_start_hook(environment: Environment) -> None:
    """Sorted before the wheels' own hook, so that what it sets survives the re-execution."""
    shutil.copy(ROOT / "tools/venv_environment.py", environment.site_packages / f"_{PACKAGE}_environment.py")
    (environment.site_packages / f"{PACKAGE}_environment.pth").write_text(f"import _{PACKAGE}_environment\n")


def install_overlay(environment: Environment) -> None:
    real = environment.importable([*OVERLAY_PYTHON, OVERLAY_MESSAGES])
    if real:
        say(f"found the real {', '.join(sorted(real))}")
    environment.overlay_packages.mkdir(parents=True, exist_ok=True)
    for name in OVERLAY_PYTHON:
        replace_link(environment.overlay_packages / name, None if name in real else ROOT / "overlay" / name)

    source = ROOT / "overlay" / OVERLAY_MESSAGES
    built = environment.overlay / "share" / OVERLAY_MESSAGES / "msg/TFMessage.msg"
    definition = source / "msg/TFMessage.msg"
    if OVERLAY_MESSAGES in real:
        shutil.rmtree(environment.overlay_packages / OVERLAY_MESSAGES, ignore_errors=True)
        for folder in ("share", "include"):
            shutil.rmtree(environment.overlay / folder, ignore_errors=True)
    elif not built.is_file() or built.read_text() != definition.read_text():
        say(f"generating {OVERLAY_MESSAGES}")
        with tempfile.TemporaryDirectory(prefix=f"{PACKAGE}-") as folder:
            build_messages(source, environment, Path(folder))


def build_messages(source: Path, environment: Environment, folder: Path) -> None:
    """Run rosidl on an interface package: with the distribution's generators if one is sourced, else with wheels."""
    headers = Path(sysconfig.get_path("include"))
    if not (headers / "Python.h").is_file():
        raise SetupError(f"{headers}/Python.h: missing; install this Python's development headers (python3-dev)")
    if not (shutil.which("c++") and shutil.which("cc")):
        raise SetupError("no C/C++ compiler found; install one (on Debian and Ubuntu: build-essential)")

    generators = Environment(folder / "generators")
    if sourced_ros():
        prefix_path, build_python = os.environ.get("AMENT_PREFIX_PATH", "").replace(os.pathsep, ";"), base_python()
    else:
        generators.create(with_system_packages=False)
        generators.pip_install("--requirement", ROOT / "requirements/build.txt")
        relocate_generators(generators)
        prefix_path, build_python = str(generators.prefix), str(generators.python)

    build = folder / "build"
    configure = ["-S", source, "-B", build, "-DCMAKE_BUILD_TYPE=Release", "-DBUILD_TESTING=OFF",
                 f"-DCMAKE_INSTALL_PREFIX={environment.overlay}", f"-DCMAKE_PREFIX_PATH={prefix_path}",
                 f"-DPython3_EXECUTABLE={build_python}"]  # fmt: skip
    search = {"PATH": f"{generators.prefix / 'bin'}{os.pathsep}{os.environ['PATH']}",
              "AMENT_PREFIX_PATH": prefix_path.replace(";", os.pathsep)}  # fmt: skip
    for arguments in (configure, ["--build", build, "--parallel", "2"], ["--install", build]):
        run_cmake(source.name, [str(argument) for argument in arguments], {**os.environ, **search})


def run_cmake(package: str, arguments: Sequence[str], variables: dict[str, str]) -> None:
    distribution = os.environ.get("ROS_DISTRO", "<distribution>")
    hint = f"where ROS 2 is sourced, ros-{distribution}-{package.replace('_', '-')} installs the real one instead"
    if shutil.which("cmake", path=variables["PATH"]) is None:
        raise SetupError(f"{package}: cmake not found; {hint}")
    step = subprocess.run(["cmake", *arguments], env=variables, capture_output=True, text=True)
    if step.returncode != 0:
        raise SetupError(f"{package}: cmake failed; {hint}\n{step.stdout[-3000:]}\n{step.stderr[-3000:]}")


def relocate_generators(generators: Environment) -> None:
    """The wheels' CMake files name the Python of the machine that built them; name this environment's."""
    numpy_headers = generators.query("import numpy; print(numpy.get_include())")
    python_headers = sysconfig.get_path("include")
    for exported in generators.prefix.glob("share/*/cmake/*__rosidl_generator_pyExport.cmake"):
        text = re.sub(r'[^";]+/include/python3\.\d+', python_headers, exported.read_text())
        exported.write_text(re.sub(r'[^";]+/numpy/(_core|core)/include', numpy_headers, text))


def install_package(environment: Environment) -> None:
    """Editable, and laid out as `ros2 run` and `ros2 launch` expect: executables in lib/, the rest in share/."""
    environment.pip_install("--no-deps", "--no-build-isolation", "--editable", ROOT)
    names = environment.query(f"""
from importlib.metadata import distribution
print(*[e.name for e in distribution({PACKAGE!r}).entry_points if e.group == 'console_scripts'])""").split()
    executables, share = environment.prefix / "lib" / PACKAGE, environment.prefix / "share" / PACKAGE
    for folder in (executables, share):
        shutil.rmtree(folder, ignore_errors=True)
    for name in names:
        replace_link(executables / name, environment.prefix / "bin" / name)
    # File by file: `ros2 launch` does not look into a folder that is a link.
    for path in (ROOT / "package.xml", ROOT / "config", *(ROOT / "launch").glob("*.launch.*")):
        replace_link(share / path.relative_to(ROOT), path)
    index = environment.prefix / "share/ament_index/resource_index/packages"
    replace_link(index / PACKAGE, ROOT / "resource" / PACKAGE)


def replace_link(link: Path, target: Path | None) -> None:
    link.parent.mkdir(parents=True, exist_ok=True)
    link.unlink(missing_ok=True)
    if target is not None:
        link.symlink_to(target)


def make(prefix: Path, purpose: str) -> None:
    has_ros = sourced_ros()
    if not has_ros and sys.version_info[:2] != WHEELS_PYTHON:
        raise SetupError(f"{sys.executable} is Python {sys.version.split()[0]}: without a sourced ROS 2 distribution, "
                         "Python 3.11 is needed (make venv PYTHON=/path/to/python3.11)")  # fmt: skip
    environment = Environment(prefix)
    say("using the sourced ROS 2" if has_ros else "ROS 2 Kilted comes from the package index")
    with kept_until_replaced(prefix, is_to_stay=environment.has(with_system_packages=has_ros)):
        environment.create(with_system_packages=has_ros)
        say(
            f"downloading and installing what {'the tests need' if purpose == 'everything' else f'the {purpose} needs'}"
        )
        install_requirements(environment, has_ros, purpose)
        install_start_hook(environment)
        install_overlay(environment)
        install_package(environment)
        environment.run("-c", f"import rclpy, {', '.join([*OVERLAY_PYTHON, OVERLAY_MESSAGES])}", cwd=prefix)
    say(f"{prefix} is ready")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("prefix", type=Path, help="folder of the environment")
    parser.add_argument("--only", choices=PURPOSES, default="everything", help="what for (default: everything)")
    arguments = parser.parse_args()
    try:
        make(arguments.prefix.absolute(), arguments.only)
    except (SetupError, subprocess.CalledProcessError) as error:
        sys.exit(f"make_venv: {error}")


if __name__ == "__main__":
    main()
