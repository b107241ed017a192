"""Notebooks, `dvc.yaml` and `params.yaml` describe the same nine stages."""

import ast
import json
import re
from pathlib import Path

import nbformat
import papermill  # noqa: F401  loads our engine by its entry point, so it comes before the engine's module
import pytest
import yaml

from irlvla import params
from irlvla.papermill_engine import assigned_names, keep_declared, strip_volatile, tagged_cell

ROOT = Path(__file__).resolve().parents[1]
STAGES = [
    "data", "semantic_reasoning", "imitation", "reward_data", "reward_world_model",
    "reinforcement", "evaluation", "closed_loop", "figures",
]  # fmt: skip
NOTEBOOKS = {stage: ROOT / "notebooks" / f"{i:02d}_{stage}.ipynb" for i, stage in enumerate(STAGES, start=1)}

# Read by every notebook but without influence on results: a change of them must not retrain anything.
WITHOUT_RESULTS = {"irlvla/__init__.py", "irlvla/params.py", "irlvla/progress.py"}
MAX_CELLS, MAX_LINES, MAX_FUNCTION_LINES = 20, 200, 10


def dvc_stages() -> dict:
    return yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]


def code_cells(stage: str) -> list[str]:
    return [cell.source for cell in nbformat.read(NOTEBOOKS[stage], 4).cells if cell.cell_type == "code"]


def module_file(name: str) -> Path | None:
    """File of a module of the package, None for a name that is not one."""
    base = ROOT.joinpath(*name.split("."))
    candidates = (base.with_suffix(".py"), base / "__init__.py")
    return next((file for file in candidates if file.exists()), None)


def imported_files(source: str) -> set[Path]:
    """Files of the package that `source` imports, wherever in it the import stands."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    files = (module_file(name) for name in names if name.split(".")[0] == "irlvla")
    return {file for file in files if file is not None}


def used_modules(stage: str) -> set[str]:
    """Package files that a notebook uses, directly or through others, as paths from the root."""
    seen: set[Path] = set()
    waiting = {file for cell in code_cells(stage) for file in imported_files(cell)}
    while waiting:
        file = waiting.pop()
        seen.add(file)
        waiting |= imported_files(file.read_text()) - seen
    paths = {file.relative_to(ROOT).as_posix() for file in seen if file.stat().st_size}
    if stage != "figures":  # a picture's style retrains nothing
        paths = {path for path in paths if not path.startswith("irlvla/plots")}
    return paths - WITHOUT_RESULTS


def test_the_stages_of_dvc_yaml_and_params_yaml_are_the_nine_of_the_design():
    assert list(dvc_stages()) == STAGES
    assert list(yaml.safe_load((ROOT / "params.yaml").read_text())) == ["runs", *STAGES]
    assert {path.name for path in (ROOT / "notebooks").glob("*.ipynb")} == {path.name for path in NOTEBOOKS.values()}


@pytest.mark.parametrize("stage", STAGES)
def test_a_notebook_reads_the_sections_its_stage_declares(stage):
    tagged = tagged_cell(nbformat.read(NOTEBOOKS[stage], 4), "parameters")
    assert assigned_names(tagged.source) == {"runs", stage} == set(dvc_stages()[stage]["params"])


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_depends_on_exactly_the_modules_its_notebook_uses(stage):
    declared = {dep for dep in dvc_stages()[stage]["deps"] if dep.startswith("irlvla/")}
    used = used_modules(stage)
    assert declared == used, f"missing: {sorted(used - declared)}, not used: {sorted(declared - used)}"


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_runs_its_notebook_and_keeps_its_results_in_its_folder(stage):
    entry = dvc_stages()[stage]
    source = f"notebooks/{NOTEBOOKS[stage].name}"
    executed = f"runs/{stage}/{NOTEBOOKS[stage].name}"
    assert source in entry["deps"] and executed in entry["outs"]
    assert source in str(entry["cmd"]) and executed in str(entry["cmd"])
    results = [*entry["outs"], *entry.get("metrics", []), *entry.get("plots", [])]
    paths = [next(iter(result)) if isinstance(result, dict) else result for result in results]
    assert all(path.startswith(f"runs/{stage}/") for path in paths)


@pytest.mark.parametrize("stage", STAGES)
def test_smoke_defaults_and_mini_values_are_valid_and_set_the_same_keys(stage):
    section = getattr(params, "".join(word.title() for word in stage.split("_")))
    mini = yaml.safe_load((ROOT / "params.yaml").read_text())[stage]
    values: dict = {}
    exec(tagged_cell(nbformat.read(NOTEBOOKS[stage], 4), "parameters").source, values)
    section(**mini)
    section(**values[stage])
    assert set(values[stage]) == set(mini)


@pytest.mark.parametrize("stage", STAGES)
def test_an_unknown_key_is_refused_by_name(stage):
    section = getattr(params, "".join(word.title() for word in stage.split("_")))
    mini = yaml.safe_load((ROOT / "params.yaml").read_text())[stage]
    with pytest.raises(ValueError, match="leraning_rate"):
        section(**mini, leraning_rate=1.0)


@pytest.mark.parametrize("stage", STAGES)
def test_notebooks_are_stored_without_outputs_and_stay_short(stage):
    notebook = nbformat.read(NOTEBOOKS[stage], 4)
    nbformat.validate(notebook)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(not cell.outputs and cell.execution_count is None for cell in cells)
    lines = [len(cell.source.splitlines()) for cell in cells]
    assert len(cells) <= MAX_CELLS and sum(lines) <= MAX_LINES
    for cell in cells:
        for node in ast.walk(ast.parse(cell.source)):
            assert not isinstance(node, ast.ClassDef), f"class {node.name}: classes live in the package"
            if isinstance(node, ast.FunctionDef):
                assert node.end_lineno - node.lineno + 1 <= MAX_FUNCTION_LINES, f"function {node.name} is too long"


@pytest.mark.parametrize("stage", STAGES)
def test_a_notebook_teaches_from_title_to_summary_and_exercises(stage):
    texts = [cell.source for cell in nbformat.read(NOTEBOOKS[stage], 4).cells if cell.cell_type == "markdown"]
    assert texts[0].startswith("# ")
    assert any(re.search(r"^##+ .*Summary", text, re.M | re.I) for text in texts)
    assert any(re.search(r"^##+ .*Exercises", text, re.M | re.I) for text in texts)


@pytest.mark.parametrize("stage", STAGES)
def test_a_notebook_shows_where_in_the_pipeline_it_stands(stage):
    (picture,) = re.findall(r"```\n(data/.*?)```", nbformat.read(NOTEBOOKS[stage], 4).cells[0].source, re.S)
    lines = picture.splitlines()
    assert [line.split()[1] for line in lines[1:]] == [path.stem for path in NOTEBOOKS.values()]
    assert [line.split()[1] for line in lines[1:] if "we are here" in line] == [NOTEBOOKS[stage].stem]


@pytest.mark.parametrize("stage", STAGES)
def test_three_exercises_close_a_notebook_and_say_what_to_expect(stage):
    closing = nbformat.read(NOTEBOOKS[stage], 4).cells[-1].source
    exercises = re.split(r"^\d\. ", closing.split("## Exercises")[1], flags=re.M)[1:]
    assert len(exercises) == 3 and all("Expect " in text for text in exercises)


def test_nothing_imports_the_navsim_devkit_and_nothing_points_outside_the_project():
    sources = [*ROOT.glob("irlvla/**/*.py"), *ROOT.glob("tests/*.py"), *NOTEBOOKS.values()]
    sources = [path for path in sources if path != Path(__file__).resolve()]
    for path in sources:
        text = path.read_text()
        assert not re.search(r"^\s*(import|from) (navsim|nuplan)\b", text, re.M), path
        assert "../shared" not in text and "/tmp/" not in text, path


def test_every_direct_dependency_is_locked():
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["test"]]
    locked = {line.split("==")[0].lower() for line in (ROOT / "requirements.lock").read_text().splitlines()}
    assert {re.match(r"[A-Za-z0-9_-]+", name)[0].lower() for name in wanted} <= locked


def test_the_engine_injects_only_what_the_notebook_declares_and_strips_times():
    notebook = nbformat.v4.new_notebook()
    for tag, source in (
        ("parameters", "runs = 'a'\ndata = {}"),
        ("injected-parameters", "runs = 'b'\ndata = {'n': 1}\nother = 2"),
    ):
        notebook.cells.append(
            nbformat.v4.new_code_cell(source, metadata={"tags": [tag], "papermill": {"duration": 1.0}})
        )
    notebook.metadata["papermill"] = {"start_time": "now"}
    keep_declared(notebook)
    strip_volatile(notebook)
    assert assigned_names(notebook.cells[1].source) == {"runs", "data"}
    assert "papermill" not in json.dumps(notebook)


def test_warnings_go_to_the_terminal_and_results_stay(capsys):
    streams = [nbformat.v4.new_output("stream", name=name, text=f"on {name}\n") for name in ("stdout", "stderr")]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1", outputs=streams)])
    strip_volatile(notebook)
    assert [output.text for output in notebook.cells[0].outputs] == ["on stdout\n"]
    assert capsys.readouterr().err == "on stderr\n"
