"""The menu: nox -l lists it, nox -s NAME -- ARGUMENTS runs one session.

A session installs into a conda environment where micromamba, mamba or conda is there, else into a
virtualenv; nox -db virtualenv -s NAME takes a virtualenv in any case. nox --no-venv uses the Python
that runs nox, installs nothing into it, and builds the core into engine/.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import shutil
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import nox

nox.needs_version = ">=2025.2"
nox.options.default_venv_backend = "micromamba|mamba|conda|virtualenv"
nox.options.reuse_venv = "yes"

ROOT = Path(__file__).parent
OUT = ROOT / "reports" / "out"
PYPROJECT = nox.project.load_toml(ROOT / "pyproject.toml")
STAGES = nox.project.load_toml(ROOT / "suites" / "stages.toml")
# Where the packages of the harness lie, which no session installs.
HARNESS = [str(ROOT / name) for name in ("suites/harness", "baselines", "reports")]
CONDA = ("micromamba", "mamba", "conda")
LEAST_PYTHON = re.findall(r"\d+", PYPROJECT["project"]["requires-python"])

# Before any environment is made: nox would keep one that an old Python made.
if sys.version_info < tuple(map(int, LEAST_PYTHON)):
    sys.exit(
        f"Stagegate needs Python {'.'.join(LEAST_PYTHON)} or newer, and this nox runs on "
        f"{platform.python_version()} ({sys.executable}). With a newer one: "
        "python3 -m venv --clear .venv && .venv/bin/pip install nox"
    )
if not os.access(ROOT, os.W_OK) and not {"-l", "--list", "doctor"} & set(sys.argv):
    sys.exit(f"{ROOT} cannot be written to, and sessions build there: take a copy of your own")

sys.path[:0] = HARNESS
from stagegate_baselines.path_arguments import absolute_paths  # noqa: E402 - needs nothing installed


@nox.session(default=False)
def build(session: nox.Session) -> None:
    """Build the engine for the CPU: nox -s build"""
    install_engine(session, cuda=False)


@nox.session(name="build-cuda", default=False, tags=["gpu"])
def build_cuda(session: nox.Session) -> None:
    """Build with CUDA; compiles without a GPU too: nox -s build-cuda [-- --flashinfer]"""
    parser = argparse.ArgumentParser(prog="nox -s build-cuda --")
    parser.add_argument("--flashinfer", action="store_true", help="with --backend flashinfer")
    install_engine(session, cuda=True, flashinfer=parser.parse_args(session.posargs).flashinfer)


@nox.session(default=False)
def serve(session: nox.Session) -> None:
    """Build, then serve checkpoints, or tiny-qwen2: nox -s serve -- [--model DIR] [--port 8000]"""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--device")
    wanted, _ = parser.parse_known_args(session.posargs)
    install_engine(
        session, cuda=wanted.device == "cuda", flashinfer=wants_flashinfer(session.posargs)
    )
    install(session, *project_list("server"))
    stated = any(argument.partition("=")[0] == "--model" for argument in session.posargs)
    model = [] if stated else ["--model", str(ROOT / "suites/models/tiny-qwen2")]
    if session.venv_backend != "none":  # the engine is installed, and serves from anywhere
        session.chdir(session.invoked_from)
    # 130 is the end by Ctrl-C.
    session.run("python", "-m", "engine", "serve", *model, *session.posargs, success_codes=[0, 130])


@nox.session(default=False, tags=["gate"])
def suite(session: nox.Session) -> None:
    """Build, then test and measure one stage: nox -s suite -- stage0 [--layout slot] [PYTEST...]"""
    parser = argparse.ArgumentParser(prog="nox -s suite --")
    parser.add_argument("stage", help="stage0 to stage7, see suites/stages.toml")
    arguments, others = parser.parse_known_args(paths_of_the_caller(session))
    check_stage(session, arguments.stage)
    prepare(session, [arguments.stage, *others])
    record = record_of(arguments.stage, others)
    session.run(
        "python", "-m", "pytest", "--stage", arguments.stage, f"--benchmark-json={record}", *others
    )


@nox.session
def tests(session: nox.Session) -> None:
    """Build, then run every test but no benchmark: nox -s tests -- [--layout slot] [PYTEST...]"""
    arguments = paths_of_the_caller(session)
    prepare(session, arguments)
    session.run("python", "-m", "pytest", "--benchmark-skip", *arguments)


@nox.session(default=False)
def bench(session: nox.Session) -> None:
    """Build, then run benchmarks: nox -s bench -- [kv-layout|operators|online|...] [PYTEST...]"""
    group, others = benchmark_group(paths_of_the_caller(session))
    prepare(session, others)
    record = OUT / f"bench{'' if group is None else f'-{group}'}.json"
    chosen = [] if group is None else ["-m", f"benchmark(group='{group}')"]
    session.run(
        "python", "-m", "pytest", "--benchmark-only", f"--benchmark-json={record}", *chosen, *others
    )


@nox.session(default=False)
def soak(session: nox.Session) -> None:
    """Build, then load engine and server for minutes: nox -s soak -- [--device nvidia] [PYTEST]"""
    arguments = paths_of_the_caller(session)
    prepare(session, arguments)
    stage = ["--stage", "stage4"] if wants_cuda(arguments) else []
    record = record_of("soak", arguments)
    session.run(
        "python", "-m", "pytest", "-m", "soak", "-s", *stage, f"--benchmark-json={record}",
        *arguments,
    )  # fmt: skip


@nox.session(default=False)
def clients(session: nox.Session) -> None:
    """Build, then try the server with a dozen client libraries: nox -s clients -- [-k langchain]"""
    prepare(session, session.posargs)
    session.run("python", "-m", "pytest", "-m", "clients", "suites/clients", *session.posargs)


@nox.session(default=False, tags=["gpu"])
def sanitize(session: nox.Session) -> None:
    """Build, then run compute-sanitizer: nox -s sanitize -- [--tool memcheck] [PYTEST...]"""
    install_engine(session, cuda=True, flashinfer=wants_flashinfer(session.posargs))
    install(session, *project_list("server"), *project_list("test"))
    if not shutil.which("compute-sanitizer"):
        install(session, *dependency_group("sanitizer"))
    session.run("python", "-m", "suites.ops.sanitize", *session.posargs)


@nox.session(default=False, tags=["gate"])
def gate(session: nox.Session) -> None:
    """Judge this tree: nox -s gate -- stage0 [--against accepted|REV] [--strict] | --self-test"""
    arguments = paths_of_the_caller(session)
    if "--self-test" in arguments and not arguments[0].startswith("stage"):
        arguments.insert(0, "stage0")
    if arguments and not arguments[0].startswith("-"):
        check_stage(session, arguments[0])
    install_harness(session, arguments)
    # 3 is inconclusive and 4 not comparable: neither says that anything got worse.
    own = arguments[: arguments.index("--")] if "--" in arguments else arguments
    codes = [0] if "--strict" in own else [0, 3, 4]
    run_harness(session, "stagegate_harness", "gate", *arguments, success_codes=codes)


@nox.session(name="gate-rates", default=False)
def gate_rates(session: nox.Session) -> None:
    """How often the gate is right, on synthetic launches: nox -s gate-rates -- [--gates 1000]"""
    install(session, *project_list("dependencies"), *project_list("test"))
    run_harness(session, "suites.baselines.gate_rates", *session.posargs)


@nox.session(default=False)
def baseline(session: nox.Session) -> None:
    """Look after the store: nox -s baseline -- measure|list|show|diff|accept|export ..."""
    arguments = paths_of_the_caller(session)
    if arguments[:1] == ["measure"] and len(arguments) > 1:
        check_stage(session, arguments[1])
    install_harness(session, arguments)
    run_harness(session, "stagegate_harness", *arguments)


@nox.session(default=False)
def report(session: nox.Session) -> None:
    """Write reports/out/report.html: nox -s report -- [RECORD ...] [--gate FOLDER] [--open]"""
    install(session, *project_list("dependencies"), *project_list("test"))
    run_harness(session, "stagegate_harness", "report", *paths_of_the_caller(session))


@nox.session
def lint(session: nox.Session) -> None:
    """Check style, types and C++ formatting: nox -s lint"""
    install(
        session, *project_list("dependencies"), *project_list("server"), *project_list("lint"),
        *project_list("test"),
    )  # fmt: skip
    session.run("ruff", "check")
    session.run("ruff", "format", "--check")
    session.run("mypy")
    sources = [
        str(path)
        for suffix in ("h", "cpp", "cu", "cuh")
        for path in sorted(ROOT.glob(f"csrc/**/*.{suffix}"))
    ]
    session.run("clang-format", "--dry-run", "-Werror", *sources)


@nox.session(default=False, venv_backend="none")
def doctor(session: nox.Session) -> None:
    """Say what this machine has and lacks, and how to get it: nox -s doctor"""
    environments = Path(session.cache_dir).parent
    built = [environments / name / "bin" / "python" for name in ("build-cuda", "build")]
    python = next((path for path in built if path.exists()), Path(sys.executable))
    session.run(str(python), "-m", "engine", "doctor", external=True)


def paths_of_the_caller(session: nox.Session) -> list[str]:
    """The session's arguments; paths of options are relative to where nox was started."""
    return absolute_paths(session.posargs, Path(session.invoked_from))


def check_stage(session: nox.Session, name: str) -> None:
    """Before anything is built for it."""
    if name not in STAGES:
        session.error(f"unknown stage {name!r}; known: {', '.join(STAGES)}")


def prepare(session: nox.Session, pytest_arguments: list[str]) -> None:
    """Build and install what a pytest run with these arguments needs."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--run-parity")
    parser.add_argument("--run-hf")
    wanted, _ = parser.parse_known_args(pytest_arguments)
    cuda = wants_cuda(pytest_arguments)
    install_engine(session, cuda=cuda, flashinfer=wants_flashinfer(pytest_arguments))
    install(session, *project_list("server"), *project_list("test"))
    if cuda:
        install(session, *project_list("gpu"))
    if "always" in (wanted.run_parity, wanted.run_hf):
        # Gigabytes: only for who insists. Otherwise the parity tests run where torch is already.
        install(session, *project_list("parity"))
    OUT.mkdir(parents=True, exist_ok=True)


def record_of(name: str, arguments: list[str]) -> Path:
    """Where a run leaves its record: the parts of a proof, such as a layout each, side by side."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("-m")
    parser.add_argument("--layout")
    parser.add_argument("--model-path", type=Path, default=Path())
    wanted, others = parser.parse_known_args(arguments)
    places = [Path(argument.partition("::")[0]) for argument in others]
    parts = [
        wanted.m,
        wanted.layout,
        wanted.model_path.name,
        *(path.stem for path in places if path.exists()),
    ]
    joined = "-".join([name, *(part for part in parts if part)])
    return OUT / f"{re.sub('[^A-Za-z0-9_]+', '-', joined)}.json"


def wants_cuda(arguments: list[str]) -> bool:
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--device")
    device = parser.parse_known_args([item for item in arguments if item != "--"])[0].device
    stages = [STAGES[argument] for argument in arguments if argument in STAGES]
    return "nvidia" in (device, *(stage.get("device") for stage in stages))


def wants_flashinfer(arguments: list[str]) -> bool:
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--backend")
    return parser.parse_known_args(arguments)[0].backend == "flashinfer"


def install_engine(session: nox.Session, *, cuda: bool, flashinfer: bool = False) -> None:
    with_flashinfer = f"STAGEGATE_FLASHINFER={'ON' if cuda and flashinfer else 'OFF'}"
    require_compiler(session)
    env = {"CMAKE_BUILD_PARALLEL_LEVEL": str(len(os.sched_getaffinity(0)))} | build_settings()
    if session.venv_backend == "none":
        preset = "cuda" if cuda else "cpu"
        # The interpreter is shared with whatever else lives there, so the core goes into the tree.
        with doctor_on_failure(session):
            session.run(
                "cmake", "--preset", preset, f"-DPython3_EXECUTABLE={sys.executable}",
                f"-D{with_flashinfer}",
                env=env, external=True,
            )  # fmt: skip
            session.run("cmake", "--build", "--preset", preset, env=env, external=True)
            session.run("cmake", "--install", f"build/{preset}", "--prefix", ".", external=True)
        return
    install_toolchain(session, cuda=cuda)
    if cuda and flashinfer:
        # What it needs itself, PyTorch among that, is for its Python.
        session.install("--no-deps", *dependency_group("flashinfer"))
    with doctor_on_failure(session):
        session.install(
            "--no-build-isolation",
            f"-Cbuild-dir=build/{session.name}-{'cuda' if cuda else 'cpu'}",
            f"-Ccmake.define.STAGEGATE_CUDA={'ON' if cuda else 'OFF'}",
            f"-Ccmake.define.{with_flashinfer}",
            "-c", "constraints.txt", "-ve", ".",
            env=env,
        )  # fmt: skip


@contextmanager
def doctor_on_failure(session: nox.Session) -> Iterator[None]:
    try:
        yield
    except nox.command.CommandFailed:
        session.error("the build failed; nox -s doctor says what is missing on this machine")


def install_toolchain(session: nox.Session, *, cuda: bool) -> None:
    """Compilers and libraries: all from environment.yml under conda, else what pip has of them."""
    renew_environment(session)
    if session.venv_backend in CONDA:
        verb = ["install"] if session.venv_backend == "micromamba" else ["env", "update"]
        yes = ["--yes"] if session.venv_backend == "micromamba" else []
        session.run(
            session.venv_backend, *verb, *yes,
            "--prefix", session.virtualenv.location, "--file", "environment.yml",
            external=True,
        )  # fmt: skip
        return
    install(session, *dependency_group("build"), *dependency_group("onednn"))
    if cuda and (missing := missing_cuda_group()):
        install(session, *dependency_group(missing))


def install_harness(session: nox.Session, arguments: list[str]) -> None:
    """What launches need, but not the engine: each tree runs its own, built beside it."""
    install_toolchain(session, cuda=wants_cuda(arguments))
    install(session, *project_list("dependencies"), *project_list("server"), *project_list("test"))


def run_harness(
    session: nox.Session, module: str, *arguments: str, success_codes: Iterable[int] = (0,)
) -> None:
    path = os.pathsep.join([*HARNESS, *filter(None, [os.environ.get("PYTHONPATH")])])
    session.run(
        "python", "-m", module, *arguments,
        env={"PYTHONPATH": path}, success_codes=success_codes,
    )  # fmt: skip


def benchmark_group(arguments: list[str]) -> tuple[str | None, list[str]]:
    """A first word that is no option names a group of benchmarks."""
    if arguments and not arguments[0].startswith("-") and not Path(arguments[0]).exists():
        return arguments[0], arguments[1:]
    return None, arguments


def install(session: nox.Session, *requirements: str) -> None:
    if session.venv_backend != "none":
        renew_environment(session)
        session.install("-c", "constraints.txt", *requirements)


def renew_environment(session: nox.Session) -> None:
    """Make the environment again where another Python made it: nox keeps it otherwise."""
    if session.venv_backend in ("none", *CONDA):
        return
    location = Path(session.virtualenv.location)
    settings = (location / "pyvenv.cfg").read_text("utf-8")
    made_by = re.search(r"^version(?:_info)? *= *(\d+\.\d+)", settings, re.MULTILINE)
    runs_on = f"{sys.version_info.major}.{sys.version_info.minor}"
    if made_by is not None and made_by[1] != runs_on:
        session.warn(
            f"{location} is of Python {made_by[1]}, nox runs on {runs_on}: making it again"
        )
        shutil.rmtree(location)
        session.virtualenv.create()


def require_compiler(session: nox.Session) -> None:
    """CMake's own words blame a variable that nobody set."""
    stated = os.environ.get("CXX", "").split()[:1]
    if session.venv_backend in CONDA or any(map(shutil.which, stated or ("c++", "g++", "clang++"))):
        return
    lacking = f"CXX={stated[0]} does not exist" if stated else "no C++ compiler"
    session.error(
        f"{lacking}: apt install g++ (GCC 12 or newer, or Clang 16); "
        "nox -s doctor says what else is missing"
    )


def build_settings() -> dict[str, str]:
    """ccache where it is installed: sessions build the same sources for their own environments."""
    if not shutil.which("ccache"):
        return {}
    return {f"CMAKE_{language}_COMPILER_LAUNCHER": "ccache" for language in ("CXX", "CUDA")}


def missing_cuda_group() -> str | None:
    """The dependency group with what the machine's own CUDA toolkit lacks."""
    compiler = os.environ.get("CUDACXX") or shutil.which("nvcc")
    roots = [os.environ.get("CUDA_HOME"), os.environ.get("CUDA_PATH"), "/usr/local/cuda"]
    found = [Path(compiler)] if compiler else [Path(root, "bin", "nvcc") for root in roots if root]
    nvcc = next((path.resolve() for path in found if path.exists()), None)
    if nvcc is None:
        return "cuda"
    toolkit = nvcc.parent.parent
    includes = [toolkit / "include", *toolkit.glob("targets/*/include")]
    return None if any((path / "cublasLt.h").exists() for path in includes) else "cublas"


def project_list(name: str) -> list[str]:
    """Requirements of the engine itself ("dependencies") or of one of its extras."""
    project = PYPROJECT["project"]
    return list(project[name] if name == "dependencies" else project["optional-dependencies"][name])


def dependency_group(name: str) -> list[str]:
    return list(nox.project.dependency_groups(PYPROJECT, name))
