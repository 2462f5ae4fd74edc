"""The picture of docs/architecture.md: the way of one toy from its index to the summary, through the rooms.

python docs/figures/architecture.py        # writes docs/images/architecture.svg
"""

from pathlib import Path
from xml.sax.saxutils import escape

OUT = Path(__file__).resolve().parents[1] / "images" / "architecture.svg"

WIDTH, HEIGHT = 1000, 520
BOX = (190, 92)
COLUMNS = (40, 280, 520, 760)
BANDS = {
    "before any job": (20, "#f4f6f8"),
    "in every fit job, chunk by chunk": (190, "#eaf2fb"),
    "once, after all jobs": (360, "#f4f6f8"),
}
BOXES = [  # column, band, room, lines
    (0, 0, "config", ["the study, validated;", "shards of toy indices"]),
    (1, 0, "formats", ["files and patches to", "a specification"]),
    (2, 0, "histfactory, models", ["arrays and the likelihood:", "the model"]),
    (0, 1, "toys", ["index i to dataset i"]),
    (1, 1, "fitting", ["free and conditional fits,", "each with a status"]),
    (2, 1, "inference", ["t_μ and the other", "statistics of stored fits"]),
    (3, 1, "results", ["the shard: columns,", "or a tally of sums"]),
    (0, 2, "results", ["shards read and checked,", "tallies added"]),
    (1, 2, "study", ["every number of the", "summary, with its error"]),
    (2, 2, "results", ["summary.json and", "summary.h5, typed"]),
    (3, 2, "report", ["figures and the page,", "from the summary alone"]),
]
ARROWS = [((0, 0), (1, 0)), ((1, 0), (2, 0))] + [((k, row), (k + 1, row)) for row in (1, 2) for k in range(3)]


def place(column: int, band: int) -> tuple[float, float]:
    """Left and upper edge of a box."""
    return COLUMNS[column], list(BANDS.values())[band][0] + 40


def text(x: float, y: float, content: str, size: int, *, weight: str = "normal", anchor: str = "middle") -> str:
    """A line of text."""
    family = "Helvetica, Arial, sans-serif"
    return (
        f'<text x="{x:g}" y="{y:g}" font-family="{family}" font-size="{size}" font-weight="{weight}" '
        f'text-anchor="{anchor}" fill="#1a1a1a">{escape(content)}</text>'
    )


def main() -> None:
    """Write the picture."""
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        'aria-label="The way of one toy through the rooms">',
        '<defs><marker id="tip" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="8" markerHeight="8" '
        'orient="auto"><path d="M0,0 L10,5 L0,10 z" fill="#3f5a7a"/></marker></defs>',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
    ]
    for label, (top, colour) in BANDS.items():
        parts.append(f'<rect x="15" y="{top}" width="{WIDTH - 30}" height="150" rx="10" fill="{colour}"/>')
        parts.append(text(WIDTH - 50, top + 26, label, 15, weight="bold", anchor="end"))
    line = 'stroke="#3f5a7a" stroke-width="2" fill="none" marker-end="url(#tip)"'
    for (column, band), (to, _) in ARROWS:
        x, y = place(column, band)
        parts.append(f'<path d="M{x + BOX[0]},{y + BOX[1] / 2} L{COLUMNS[to] - 3},{y + BOX[1] / 2}" {line}/>')
    last, first = COLUMNS[3] + BOX[0] / 2, COLUMNS[0] + BOX[0] / 2
    model = COLUMNS[2] + BOX[0]
    turn = [  # from the end of a band to the beginning of the next
        (model, place(2, 0)[1] + BOX[1] / 2, place(0, 1)[1], 180),
        (last, place(3, 1)[1] + BOX[1], place(0, 2)[1], 350),
    ]
    for k, (x, y, end, middle) in enumerate(turn):
        begin = f"M{x},{y} H{x + 60} V{middle}" if k == 0 else f"M{x},{y} V{middle}"
        parts.append(f'<path d="{begin} H{first} V{end - 3}" {line}/>')
    for column, band, room, lines in BOXES:
        x, y = place(column, band)
        parts.append(
            f'<rect x="{x}" y="{y}" width="{BOX[0]}" height="{BOX[1]}" rx="6" fill="#ffffff" stroke="#3f5a7a"/>'
        )
        parts.append(text(x + BOX[0] / 2, y + 30, room, 16, weight="bold"))
        parts += [text(x + BOX[0] / 2, y + 54 + 19 * k, content, 14) for k, content in enumerate(lines)]
    parts.append("</svg>")
    OUT.write_text("\n".join(parts) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
