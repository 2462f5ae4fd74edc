"""Runs a notebook of the documentation, and stores what its cells print and draw:

    python docs/figures/notebook.py docs/limit.ipynb

It needs no Jupyter. A figure that a cell leaves open is stored as PNG. The tests run the cells too, and compare what
they print with what is stored; docs/conf.py makes a page of the notebook.
"""

import contextlib
import io
import sys
from base64 import b64encode
from pathlib import Path

import matplotlib as mpl

mpl.use("agg")

import matplotlib.pyplot as plt
import nbformat


def run(notebook):
    """What the cells of a notebook print and draw: a text and a list of figures as PNG, for each cell of code."""
    names, found = {"__name__": "__main__"}, []
    for number, cell in enumerate(notebook.cells):
        if cell.cell_type != "code":
            continue
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(cell.source, f"cell {number}", "exec"), names)
        found.append((printed.getvalue(), [drawn(plt.figure(figure)) for figure in plt.get_fignums()]))
        plt.close("all")
    return found


def drawn(figure):
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=90, bbox_inches="tight", metadata={"Software": None})
    return content.getvalue()


def printed(notebook):
    """What the cells of code are stored to have printed, a text each."""
    return [
        "".join(output.text for output in cell.outputs if output.output_type == "stream")
        for cell in notebook.cells
        if cell.cell_type == "code"
    ]


def store(notebook, found):
    """Put what cells print and draw into a notebook."""
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    for number, (cell, (text, figures)) in enumerate(zip(cells, found, strict=True), start=1):
        cell.execution_count = number
        cell.outputs = [nbformat.v4.new_output("stream", name="stdout", text=text)] if text else []
        for figure in figures:
            data = {"image/png": b64encode(figure).decode(), "text/plain": "<Figure>"}
            cell.outputs.append(nbformat.v4.new_output("display_data", data=data))


if __name__ == "__main__":
    path = Path(sys.argv[1]).resolve()
    notebook = nbformat.read(path, as_version=4)
    store(notebook, run(notebook))
    nbformat.write(notebook, path)
