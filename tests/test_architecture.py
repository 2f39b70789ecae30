"""The house holds: imports point one way, everything is packaged, importing costs nothing."""

from __future__ import annotations

import ast
import importlib.util
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[1]
PYPROJECT = tomllib.loads((PROJECT / "pyproject.toml").read_text())
SETUPTOOLS = PYPROJECT["tool"]["setuptools"]

LAYERS = (
    "errors progress",
    "registry",
    "operators",
    "model",
    "hardware data",
    "checkpoints workload solvers",
    "autograd channels classes layers dataflow runtime",
    "energy evaluation",
    "calibration profiling scale tuning",
    "quantization repair synthesis",
    "allocation",
    "structured routing",
    "widths",
    "pipeline",
    "goals",
    "commands",
    "report",
    "pages",
    "cli",
)
"""Lowest first: a module imports from the lines above its own only.

A package stands for its modules, whose imports of each other are its own affair. A new module
goes where it may import what it needs and whoever needs it may import it.
"""

LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names.split()}
HIGHEST_FOR_PASSES = "pipeline"
SOLE_IMPORTERS = {
    "onnxruntime": "sessions",
    "onnx_graphsurgeon": "graph",
    "PIL": "images",
    "zeus": "meters",
    "jinja2": "page",
    "vl_convert": "plot",
    "igraph": "network_layout",
}


def sources(folder: str) -> list[Path]:
    return sorted((PROJECT / folder).rglob("*.py"))


def house_name(path: Path) -> str:
    """`model` for eapc/model.py, `cli` for eapc/cli/run.py; empty for eapc/__init__.py."""
    parts = path.relative_to(PROJECT / "eapc").with_suffix("").parts
    return "" if parts == ("__init__",) else parts[0]


@cache
def imports(path: Path) -> tuple[tuple[str, int], ...]:
    """Imported modules with the number of leading dots; `from a import b` gives a.b too."""
    return tuple(_imports(ast.parse(path.read_text())))


def _imports(tree: ast.Module) -> Iterator[tuple[str, int]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, 0) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = f"{node.module}." if node.module else ""
            yield from ((module + alias.name, node.level) for alias in node.names)


def core_imports(path: Path) -> set[str]:
    """The modules of eapc that a file imports absolutely, by their first name."""
    names = (name.split(".") for name, dots in imports(path) if not dots)
    modules = {parts[1] for parts in names if parts[0] == "eapc" and len(parts) > 1}
    return modules - {"__version__"}


# --- imports ---------------------------------------------------------------------------------


def test_every_module_has_its_place() -> None:
    found = {house_name(path) for path in sources("eapc")} - {""}
    assert found == LEVEL.keys()
    assert len(LEVEL) == sum(len(names.split()) for names in LAYERS)


@pytest.mark.parametrize(
    "path",
    [path for path in sources("eapc") if house_name(path)],
    ids=lambda path: str(path.relative_to(PROJECT)),
)
def test_imports_point_one_way(path: Path) -> None:
    own = house_name(path)
    wrong = {
        name for name in core_imports(path) - {own} if LEVEL.get(name, len(LAYERS)) >= LEVEL[own]
    }
    assert not wrong, f"{own} must not import {', '.join(sorted(wrong))}"


def test_the_core_imports_itself_by_full_names() -> None:
    relative = {path.name for path in sources("eapc") for _, dots in imports(path) if dots}
    assert not relative


def test_passes_stand_on_the_core_up_to_the_pipeline() -> None:
    for path in sources("passes"):
        for name in core_imports(path):
            assert LEVEL[name] <= LEVEL[HIGHEST_FOR_PASSES], f"{path.name} imports {name}"


def test_no_pass_imports_another() -> None:
    siblings = {path.stem for path in sources("passes")}
    for path in sources("passes"):
        for name, dots in imports(path):
            assert not name.startswith(("passes", "eapc.passes"))
            assert dots == (path.stem == "__init__" and name.split(".")[0] in siblings)


def test_one_module_reaches_passes() -> None:
    mentions = {path.stem for path in sources("eapc") if '"eapc.passes"' in path.read_text()}
    assert mentions == {"passes"}
    for path in sources("eapc"):
        assert not {"passes", "hwmodels"} & core_imports(path)


@pytest.mark.parametrize(("library", "owner"), SOLE_IMPORTERS.items())
def test_a_library_has_one_importer(library: str, owner: str) -> None:
    users = {
        path.stem
        for folder in ("eapc", "passes", "hwmodels")
        for path in sources(folder)
        if any(name.split(".")[0] == library for name, _ in imports(path))
    }
    assert users == {owner}


def test_no_heavy_library_is_needed() -> None:
    heavy = {"onnxscript", "matplotlib", "sympy", "pandas", "sklearn"}
    for folder in ("eapc", "passes", "hwmodels"):
        for path in sources(folder):
            assert not heavy & {name.split(".")[0] for name, _ in imports(path)}, path


def test_torch_belongs_to_training() -> None:
    """Whoever does not train never needs it; tests/test_cli_finetune.py runs commands without."""
    users = {
        house_name(path)
        for path in sources("eapc")
        if any(name.split(".")[0] == "torch" for name, _ in imports(path))
    }
    assert users == {"autograd", "tuning"}


def fresh(code: str) -> str:
    """Output of a program of its own, in which warnings are errors."""
    command = [sys.executable, "-W", "error", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_importing_eapc_costs_nothing() -> None:
    """Nothing but the standard library is loaded until a name is used."""
    code = "import sys, eapc; print(*sorted({name.split('.')[0] for name in sys.modules}))"
    loaded = set(fresh(code).split())
    assert "eapc" in loaded
    assert not {"numpy", "onnx", "onnxruntime", "scipy", "pydantic", "typer", "yaml"} & loaded


def test_every_exported_name_is_there() -> None:
    code = "import eapc; print(all(getattr(eapc, name) is not None for name in eapc.__all__))"
    assert fresh(code) == "True"


def test_an_unknown_name_is_an_attribute_error() -> None:
    assert fresh("import eapc; print(hasattr(eapc, 'nothing'))") == "False"


# --- packaging -------------------------------------------------------------------------------


def folder_of(package: str) -> Path:
    moved = SETUPTOOLS["package-dir"].get(package)
    return PROJECT / (moved or package.replace(".", "/"))


def test_the_list_of_packages_is_that_of_the_folders() -> None:
    inner = {path.parent for path in sources("eapc") if path.name == "__init__.py"}
    expected = {".".join(folder.relative_to(PROJECT).parts) for folder in inner}
    expected |= {"eapc.passes", "eapc.hwmodels"}
    assert set(SETUPTOOLS["packages"]) == expected
    assert all((folder_of(package) / "__init__.py").is_file() for package in expected)


def test_a_folder_of_modules_is_a_package() -> None:
    for folder in ("eapc", "passes", "hwmodels"):
        for path in sources(folder):
            assert (path.parent / "__init__.py").is_file()


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """The files of the built wheel."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    copy_sources(source)
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder)]
    done = subprocess.run([*command, str(source)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    (built,) = folder.glob("*.whl")
    return set(zipfile.ZipFile(built).namelist())


def copy_sources(target: Path) -> None:
    """What the build needs, so that it leaves nothing in the project's folder."""
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        target.mkdir(exist_ok=True)
        (target / name).write_bytes((PROJECT / name).read_bytes())
    for folder in ("eapc", "passes", "hwmodels"):
        for path in (PROJECT / folder).rglob("*"):
            if path.suffix in (".py", ".yaml", ".typed") or path.parent.name == "templates":
                copy = target / path.relative_to(PROJECT)
                copy.parent.mkdir(parents=True, exist_ok=True)
                copy.write_bytes(path.read_bytes())


def test_the_wheel_has_every_file(wheel: set[str]) -> None:
    moved = {"passes": "eapc/passes", "hwmodels": "eapc/hwmodels", "eapc": "eapc"}
    expected = {"eapc/py.typed"}
    for folder, home in moved.items():
        texts = (*(PROJECT / folder).rglob("*.yaml"), *(PROJECT / folder).rglob("templates/*"))
        paths = [*sources(folder), *texts]
        expected |= {f"{home}/{path.relative_to(PROJECT / folder).as_posix()}" for path in paths}
    assert {name for name in wheel if ".dist-info/" not in name} == expected


def test_the_wheel_has_its_metadata(wheel: set[str]) -> None:
    info = {name.split(".dist-info/", 1)[1] for name in wheel if ".dist-info/" in name}
    assert {"METADATA", "entry_points.txt", "licenses/LICENSE"} <= info


@pytest.mark.parametrize("folder", ["passes", "hwmodels"])
def test_a_moved_package_has_one_name(folder: str) -> None:
    path = PROJECT / folder / "__init__.py"
    spec = importlib.util.spec_from_file_location(folder, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with pytest.raises(ImportError, match=f"eapc.{folder}"):
        spec.loader.exec_module(module)
    assert importlib.import_module(f"eapc.{folder}").__name__ == f"eapc.{folder}"


def test_no_two_types_have_one_name() -> None:
    """Underscores aside: a name that is read in one file means the same in any other."""
    homes: dict[str, list[str]] = {}
    for path in [*sources("eapc"), *sources("passes")]:
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ClassDef):
                homes.setdefault(node.name.strip("_"), []).append(path.name)
    assert not {name: files for name, files in homes.items() if len(files) > 1}
