"""The menu: nox -l lists it, nox -s NAME -- ARGUMENTS runs one session.

Sessions that run the engine share the environment and the build folder of `build`, or of
`build-cuda` where a GPU is asked for, and bring both up to date first. An environment is one of
conda where micromamba, mamba or conda is there, else a virtualenv; nox -db virtualenv -s NAME takes
a virtualenv in any case. nox --no-venv uses the Python that runs nox, installs nothing into it, and
builds the core into engine/stagegate/.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nox

nox.needs_version = ">=2025.2"
nox.options.default_venv_backend = "micromamba|mamba|conda|virtualenv"
nox.options.reuse_venv = "yes"

ROOT = Path(__file__).parent
OUT = ROOT / "reports" / "out"
PYPROJECT = nox.project.load_toml(ROOT / "pyproject.toml")
STAGES = nox.project.load_toml(ROOT / "suites" / "stages.toml")
# Where the packages lie: no session installs the harness, and --no-venv not the engine either.
FOLDERS = [str(ROOT / name) for name in ("engine", "suites/harness", "baselines", "reports")]
PYTHONPATH = os.pathsep.join([*FOLDERS, *filter(None, [os.environ.get("PYTHONPATH")])])
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

# What the build session leaves for those that require it: the Python to run.
INTERPRETER = [sys.executable]

sys.path[:0] = [str(ROOT), *FOLDERS]  # what is imported from there needs nothing installed
from stagegate_baselines.path_arguments import absolute_paths  # noqa: E402
from suites.adapter import toolchain  # noqa: E402


def option(arguments: list[str], name: str) -> str | None:
    """The value of an option among those of another command; None where it is not given."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument(name, dest="value")
    value: str | None = parser.parse_known_args([a for a in arguments if a != "--"])[0].value
    return value


def wants_cuda(arguments: list[str]) -> bool:
    stages = [STAGES[argument] for argument in arguments if argument in STAGES]
    on_gpu = any(stage.get("device") == "nvidia" for stage in stages)
    device = option(arguments, "--device")
    if device is None and option(arguments, "--peer") == "vllm":  # which runs on GPUs
        return True
    return on_gpu or device in ("nvidia", "cuda")


def with_engine(**settings: Any) -> Any:
    """A session that runs in the environment of `build`, or of `build-cuda` for work on a GPU."""
    environment = "build-cuda" if wants_cuda(sys.argv) else "build"
    return nox.session(venv_backend="none", requires=[environment], **settings)


@nox.session(default=False)
def build(session: nox.Session) -> None:
    """Build the engine for the CPU: nox -s build"""
    make_environment(session, cuda=False)


@nox.session(name="build-cuda", default=False, tags=["gpu"])
def build_cuda(session: nox.Session) -> None:
    """Build with CUDA; compiles without a GPU too: nox -s build-cuda [-- --flashinfer]"""
    before = sys.argv[: sys.argv.index("--")] if "--" in sys.argv else sys.argv
    if before[-1] == "build-cuda":  # else the arguments are those of the session that requires it
        parser = argparse.ArgumentParser(prog="nox -s build-cuda --")
        parser.add_argument(
            "--flashinfer", action="store_true", help="with --attention-backend flashinfer"
        )
        parser.parse_args(session.posargs)
    make_environment(session, cuda=True)


@with_engine(default=False)
def serve(session: nox.Session) -> None:
    """Build, then serve checkpoints, or tiny-qwen2: nox -s serve -- [--model DIR] [--port 8000]"""
    stated = any(argument.partition("=")[0] == "--model" for argument in session.posargs)
    model = [] if stated else ["--model", str(ROOT / "suites/models/tiny-qwen2")]
    if INTERPRETER[-1] != sys.executable:  # the engine is installed, and serves from anywhere
        session.chdir(session.invoked_from)
    # 130 is the end by Ctrl-C.
    python(session, "-m", "stagegate", "serve", *model, *session.posargs, success_codes=[0, 130])


@with_engine(default=False, tags=["gate"])
def suite(session: nox.Session) -> None:
    """Build, then test and measure one stage: nox -s suite -- stage0 [--kv-layout slot] [PYTEST]"""
    parser = argparse.ArgumentParser(prog="nox -s suite --")
    parser.add_argument("stage", help="stage0 to stage7, see suites/stages.toml")
    arguments, others = parser.parse_known_args(paths_of_the_caller(session))
    record = record_of(arguments.stage, others)
    python(
        session, "-m", "pytest", "--stage", arguments.stage, f"--benchmark-json={record}", *others
    )


@with_engine()
def tests(session: nox.Session) -> None:
    """Build, then run every test but no benchmark: nox -s tests -- [--kv-layout slot] [PYTEST]"""
    python(session, "-m", "pytest", "--benchmark-skip", *paths_of_the_caller(session))


@with_engine(default=False)
def bench(session: nox.Session) -> None:
    """Build, then run benchmarks: nox -s bench -- [kv-layout|operators|online|...] [PYTEST...]"""
    group, others = benchmark_group(paths_of_the_caller(session))
    record = OUT / f"bench{'' if group is None else f'-{group}'}.json"
    chosen = [] if group is None else ["-m", f"benchmark(group='{group}')"]
    python(
        session, "-m", "pytest", "--benchmark-only", f"--benchmark-json={record}", *chosen, *others
    )


@with_engine(default=False)
def compare(session: nox.Session) -> None:
    """Build, then compare with another engine: nox -s compare -- --peer vllm|transformers [...]"""
    python(session, "-m", "suites.peers", *paths_of_the_caller(session))


@with_engine(default=False)
def soak(session: nox.Session) -> None:
    """Build, then load engine and server for minutes: nox -s soak -- [--device nvidia] [PYTEST]"""
    arguments = paths_of_the_caller(session)
    stage = ["--stage", "stage4"] if wants_cuda(arguments) else []
    record = record_of("soak", arguments)
    python(
        session, "-m", "pytest", "-m", "soak", "-s", *stage, f"--benchmark-json={record}",
        *arguments,
    )  # fmt: skip


@with_engine(default=False)
def clients(session: nox.Session) -> None:
    """Build, then try the server with a dozen client libraries: nox -s clients -- [-k langchain]"""
    python(session, "-m", "pytest", "-m", "clients", "suites/clients", *session.posargs)


@nox.session(default=False, tags=["gpu"], venv_backend="none", requires=["build-cuda"])
def sanitize(session: nox.Session) -> None:
    """Build, then run compute-sanitizer: nox -s sanitize -- [--tool memcheck] [PYTEST...]"""
    if not shutil.which("compute-sanitizer") and INTERPRETER[-1] != sys.executable:
        python(session, "-m", "pip", "install", "-c", "constraints.txt",
               *dependency_group("sanitizer"))  # fmt: skip
    python(session, "-m", "suites.ops.sanitize", *session.posargs)


@with_engine(default=False, tags=["gate"])
def gate(session: nox.Session) -> None:
    """Judge this tree: nox -s gate -- stage0 [--against accepted|REV] [--strict] | --self-test"""
    arguments = paths_of_the_caller(session)
    if "--self-test" in arguments and not arguments[0].startswith("stage"):
        arguments.insert(0, "stage0")
    # 3 is inconclusive and 4 not comparable: neither says that anything got worse.
    own = arguments[: arguments.index("--")] if "--" in arguments else arguments
    codes = [0] if "--strict" in own else [0, 3, 4]
    python(session, "-m", "stagegate_harness", "gate", *arguments, success_codes=codes)


@nox.session(name="gate-rates", default=False)
def gate_rates(session: nox.Session) -> None:
    """How often the gate is right, on synthetic launches: nox -s gate-rates -- [--gates 1000]"""
    install(session, *project_list("dependencies"), *project_list("test"))
    session.env["PYTHONPATH"] = PYTHONPATH
    session.run("python", "-m", "suites.baselines.gate_rates", *session.posargs)


@with_engine(name="gate-busy-host", default=False)
def gate_busy_host(session: nox.Session) -> None:
    """How the gate does beside other work; needs the machine for an hour or two: -- [--gates 10]"""
    python(session, "-m", "suites.baselines.busy_host", *paths_of_the_caller(session))


@with_engine(default=False)
def baseline(session: nox.Session) -> None:
    """Look after the store: nox -s baseline -- measure|list|show|diff|accept|export ..."""
    python(session, "-m", "stagegate_harness", *paths_of_the_caller(session))


@nox.session(default=False)
def report(session: nox.Session) -> None:
    """Write reports/out/report.html: nox -s report -- [RECORD ...] [--gate FOLDER] [--open]"""
    install(session, *project_list("dependencies"), *project_list("test"))
    session.env["PYTHONPATH"] = PYTHONPATH
    session.run("python", "-m", "stagegate_harness", "report", *paths_of_the_caller(session))


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
    interpreter = next((path for path in built if path.exists()), Path(sys.executable))
    session.run(
        str(interpreter), "-m", "stagegate", "doctor",
        env={"PYTHONPATH": PYTHONPATH}, external=True,
    )  # fmt: skip


def paths_of_the_caller(session: nox.Session) -> list[str]:
    """The session's arguments; paths of options are relative to where nox was started."""
    return absolute_paths(session.posargs, Path(session.invoked_from))


def check_stages(session: nox.Session) -> None:
    """Before anything is built for one."""
    for word in session.posargs:
        if re.fullmatch(r"stage\w*", word) and word not in STAGES:
            session.error(f"unknown stage {word!r}; known: {', '.join(STAGES)}")


def python(session: nox.Session, *arguments: str, **settings: Any) -> None:
    """Run the Python of the environment that the session shares."""
    OUT.mkdir(parents=True, exist_ok=True)
    session.run(
        INTERPRETER[-1], *arguments, env={"PYTHONPATH": PYTHONPATH}, external=True, **settings
    )


def make_environment(session: nox.Session, *, cuda: bool) -> None:
    """Build the engine and install it with what the server and the suites need."""
    check_stages(session)
    install_engine(session, cuda=cuda, flashinfer=wants_flashinfer(session.posargs))
    install(session, *project_list("server"), *project_list("test"))
    if cuda:
        install(session, *project_list("gpu"))
    if "always" in (option(session.posargs, name) for name in ("--run-parity", "--run-hf")):
        # Gigabytes: only for who insists. Otherwise the parity tests run where torch is already.
        install(session, *project_list("parity"))
    if session.venv_backend != "none":
        INTERPRETER.append(str(Path(session.bin) / "python"))


def record_of(name: str, arguments: list[str]) -> Path:
    """Where a run leaves its record: the parts of a proof, such as a layout each, side by side."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("-m")
    parser.add_argument("--kv-layout")
    parser.add_argument("--model-path", type=Path, default=Path())
    wanted, others = parser.parse_known_args(arguments)
    places = [Path(argument.partition("::")[0]) for argument in others]
    parts = [
        wanted.m,
        wanted.kv_layout,
        wanted.model_path.name,
        *(path.stem for path in places if path.exists()),
    ]
    joined = "-".join([name, *(part for part in parts if part)])
    return OUT / f"{re.sub('[^A-Za-z0-9_]+', '-', joined)}.json"


def wants_flashinfer(arguments: list[str]) -> bool:
    return "--flashinfer" in arguments or option(arguments, "--attention-backend") == "flashinfer"


def install_engine(session: nox.Session, *, cuda: bool, flashinfer: bool = False) -> None:
    with_flashinfer = f"STAGEGATE_FLASHINFER={'ON' if cuda and flashinfer else 'OFF'}"
    if session.venv_backend not in CONDA and (lacking := toolchain.missing_compiler()):
        session.error(f"{lacking}; nox -s doctor says what else is missing")
    env = {
        "CMAKE_BUILD_PARALLEL_LEVEL": str(len(os.sched_getaffinity(0)))
    } | toolchain.compiler_cache()
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
            session.run(
                "cmake", "--install", f"build/{preset}", "--prefix", "engine", external=True
            )
        return
    install_toolchain(session, cuda=cuda)
    if cuda and flashinfer:
        # What it needs itself, PyTorch among that, is for its Python.
        session.install("--no-deps", *dependency_group("flashinfer"))
    with doctor_on_failure(session):
        session.install(
            "--no-build-isolation",
            f"-Cbuild-dir=build/{'cuda' if cuda else 'cpu'}",
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
    if cuda and (missing := toolchain.missing_cuda_group()):
        install(session, *dependency_group(missing))


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


def project_list(name: str) -> list[str]:
    """Requirements of the engine itself ("dependencies") or of one of its extras."""
    project = PYPROJECT["project"]
    return list(project[name] if name == "dependencies" else project["optional-dependencies"][name])


def dependency_group(name: str) -> list[str]:
    return list(nox.project.dependency_groups(PYPROJECT, name))
