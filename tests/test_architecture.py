"""The import table of docs/design.md, held: downwards only, no cycles, and nothing heavy before it is asked for."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import rollwise

SOURCE = Path(rollwise.__file__).parent
LEVELS = [
    {"errors"},
    {"core"},
    {"arithmetic", "numerics"},
    {"beliefs", "counts", "estimation", "calibration", "fitting", "directions", "voting"},
    {"strategies"},
    {"optimal"},
    {"allocation"},
    {"search"},
    {"answers", "ledger", "labels", "plugins", "parts", "registry", "belief_files", "events", "prompts"},
    {"engines", "rewards", "embedders", "worlds"},
    {"config", "asking", "growing", "runner", "store", "simulation"},
    {"bench", "summary", "report", "drawing", "belief_report", "charts", "regrets"},
    {"testing"},
    {"serving"},
    {"cli"},
]
MATHEMATICS = {
    *{"arithmetic", "numerics", "beliefs", "counts", "estimation", "calibration", "fitting", "directions", "voting"},
    *{"strategies", "optimal", "allocation", "search"},
}
HEAVY = [
    "torch",
    "transformers",
    "httpx",
    "fastapi",
    "uvicorn",
    "sqlalchemy",
    "sentence_transformers",
    "scipy",
    "pydantic",
]


def room(module: str) -> str:
    return module.split(".")[1]


def imports_of(file: Path, inside_functions: bool) -> set[str]:
    found: set[str] = set()
    stack: list[ast.AST] = [ast.parse(file.read_text(encoding="utf-8"))]
    while stack:
        node = stack.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not inside_functions:
            continue
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: imports are absolute"
            found.add(node.module or "")
            if node.module == "rollwise":
                found.update(f"rollwise.{alias.name}" for alias in node.names)
        stack.extend(ast.iter_child_nodes(node))
    return found


FILES = [file for file in sorted(SOURCE.rglob("*.py")) if file.parent != SOURCE or not file.name.startswith("__")]


def room_of(file: Path) -> str:
    parts = file.relative_to(SOURCE).parts
    return parts[0].removesuffix(".py")


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(SOURCE)))
def test_imports_point_down(file: Path) -> None:
    height = {name: index for index, names in enumerate(LEVELS) for name in names}
    own = room_of(file)
    for module in imports_of(file, inside_functions=own != "registry"):
        if module.startswith("rollwise."):
            assert height[room(module)] <= height[own], f"{own} imports upwards: {module}"


def test_no_module_is_part_of_a_cycle() -> None:
    names = {
        ".".join(["rollwise", *file.relative_to(SOURCE).with_suffix("").parts]).removesuffix(".__init__"): file
        for file in FILES
    }
    graph = {name: {one for one in imports_of(file, False) if one in names} for name, file in names.items()}
    while graph:
        leaves = {name for name, needed in graph.items() if not needed - {name}}
        assert leaves, f"import cycle among {sorted(graph)}"
        graph = {name: needed - leaves for name, needed in graph.items() if name not in leaves}


@pytest.mark.parametrize("name", sorted(MATHEMATICS))
def test_the_mathematics_imports_numpy_and_scipy_only(name: str) -> None:
    allowed = set(sys.stdlib_module_names) | {"numpy", "scipy", "rollwise"}
    used = {module.split(".")[0] for module in imports_of(SOURCE / f"{name}.py", inside_functions=True)}
    assert used <= allowed
    assert not used & {"asyncio", "socket", "subprocess", "threading", "time", "random"}


@pytest.mark.parametrize("statement", ["import rollwise", "from rollwise import cli"])
def test_importing_loads_nothing_heavy(statement: str) -> None:
    code = f"{statement}; import sys; print([name for name in {HEAVY} if name in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
