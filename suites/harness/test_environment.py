"""environment.yml, pyproject.toml and constraints.txt speak of the same packages."""

import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

# What conda has beyond Python packages. The wheels of oneDNN and CUDA are their counterparts.
NATIVE = {
    *("python", "pip", "cxx-compiler", "onednn"),
    *("cuda-nvcc", "cuda-cudart-dev", "cuda-nvtx-dev", "libcublas-dev", "nccl"),
}


def by_name(requirements: list[str]) -> dict[str, Requirement]:
    parsed = [Requirement(text) for text in requirements]
    return {canonicalize_name(requirement.name): requirement for requirement in parsed}


# Left to pip under conda too: gigabytes for who asks, and what conda-forge is not known to have.
PIP_ONLY = {"parity", "gpu"}


@pytest.fixture(scope="module")
def root(pytestconfig: pytest.Config) -> Path:
    return pytestconfig.rootpath


@pytest.fixture(scope="module")
def pyproject(root: Path) -> dict[str, Any]:
    return tomllib.loads((root / "pyproject.toml").read_text("utf-8"))


@pytest.fixture(scope="module")
def pins(root: Path) -> dict[str, Requirement]:
    lines = (root / "constraints.txt").read_text("utf-8").splitlines()
    return by_name([line for line in lines if line and not line.startswith("#")])


def test_conda_installs_what_pip_would(root: Path, pyproject: dict[str, Any]) -> None:
    environment = yaml.safe_load((root / "environment.yml").read_text("utf-8"))
    conda = by_name(environment["dependencies"])
    assert conda.keys() >= NATIVE
    extras = pyproject["project"]["optional-dependencies"]
    pip = by_name(
        pyproject["project"]["dependencies"]
        + [text for name in extras.keys() - PIP_ONLY for text in extras[name]]
        + pyproject["dependency-groups"]["build"]
    )
    assert {name: conda[name].specifier for name in conda.keys() - NATIVE} == {
        name: requirement.specifier for name, requirement in pip.items()
    }


def test_every_requirement_has_a_pin_that_satisfies_it(
    pyproject: dict[str, Any], pins: dict[str, Requirement]
) -> None:
    lists = [
        pyproject["project"]["dependencies"],
        *pyproject["project"]["optional-dependencies"].values(),
        *pyproject["dependency-groups"].values(),
    ]
    for requirements in lists:
        # A group that another includes is in the list by itself.
        stated = [requirement for requirement in requirements if isinstance(requirement, str)]
        for name, requirement in by_name(stated).items():
            (pin,) = pins[name].specifier
            assert pin.operator == "=="
            assert requirement.specifier.contains(pin.version), requirement


def test_the_suites_install_what_the_harness_needs(root: Path, pyproject: dict[str, Any]) -> None:
    """With the versions that its own distribution asks for."""
    text = (root / "suites" / "harness" / "pyproject.toml").read_text("utf-8")
    harness = by_name(tomllib.loads(text)["project"]["dependencies"])
    project = pyproject["project"]
    installed = by_name(project["dependencies"] + project["optional-dependencies"]["test"])
    assert harness.items() <= installed.items()


def test_an_isolated_build_takes_what_the_build_group_names(pyproject: dict[str, Any]) -> None:
    isolated = by_name(pyproject["build-system"]["requires"])
    group = by_name(pyproject["dependency-groups"]["build"])
    assert isolated.items() <= group.items()
