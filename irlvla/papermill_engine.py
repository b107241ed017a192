"""`papermill --engine stage`: runs a pipeline notebook so that its executed form is reproducible.

- Only the names of the tagged `parameters` cell are injected, although `-f params.yaml` holds every
  stage's section: a notebook cannot read a section that its stage does not declare.
- Times, durations and random ids are left out of the result: the same inputs give the same bytes.
- Progress bars go to the terminal (see `irlvla.progress`), and so do warnings: they name paths of one machine.
"""

import ast
import os
import sys

from nbformat import NotebookNode
from papermill.engines import NBClientEngine

from irlvla.progress import UNDER_PAPERMILL

INJECTED_ID = "injected-parameters"


def tagged_cell(notebook: NotebookNode, tag: str) -> NotebookNode | None:
    """The first cell that carries `tag`, or None."""
    return next((cell for cell in notebook.cells if tag in cell.metadata.get("tags", [])), None)


def assigned_names(source: str) -> set[str]:
    """Names that the top level of `source` assigns."""
    targets = (t for node in ast.parse(source).body if isinstance(node, ast.Assign) for t in node.targets)
    return {target.id for target in targets if isinstance(target, ast.Name)}


def keep_declared(notebook: NotebookNode) -> None:
    """Drop from the injected cell every name that the tagged `parameters` cell does not define."""
    injected, declared = tagged_cell(notebook, "injected-parameters"), tagged_cell(notebook, "parameters")
    if injected is None or declared is None:
        return
    names = assigned_names(declared.source)
    kept = [node for node in ast.parse(injected.source).body if assigned_names(ast.unparse(node)) & names]
    injected.source = "# Parameters\n" + "\n".join(ast.unparse(node) for node in kept)
    injected.id = INJECTED_ID


def strip_volatile(notebook: NotebookNode) -> None:
    """Remove what differs between two equal runs: Papermill's and the kernel's times, widget state, warnings.

    Warnings (standard error) are printed on the terminal instead.
    """
    for key in ("papermill", "widgets"):
        notebook.metadata.pop(key, None)
    for cell in notebook.cells:
        for key in ("papermill", "execution"):
            cell.metadata.pop(key, None)
        warnings = [output for output in cell.get("outputs", []) if output.get("name") == "stderr"]
        for output in warnings:
            print(output.text, file=sys.stderr, end="")
            cell.outputs.remove(output)


class StageEngine(NBClientEngine):
    """Papermill engine, registered under the name `stage` in pyproject.toml."""

    @classmethod
    def execute_notebook(cls, nb: NotebookNode, kernel_name: str, **kwargs) -> NotebookNode:
        keep_declared(nb)
        os.environ[UNDER_PAPERMILL] = "1"  # inherited by the kernel
        executed = super().execute_notebook(nb, kernel_name, **kwargs)
        strip_volatile(executed)
        return executed
