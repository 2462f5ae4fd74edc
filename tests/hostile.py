"""Bad input of every kind, made from good input by a generator of fixed seed."""

import copy
import datetime as dt
import json
import math
import random

NAMES = [
    "",
    ".",
    "..",
    "a/b",
    "/",
    "-x",
    "a b",
    "a\n",
    "a\x00b",
    "$\\foo",
    "$x_1$",
    "%s{}{0}",
    "{x}",
    "<script>alert(1)</script>",
    "]]>&amp;",
    "𝓶𝓾 🎉",
    "\u202eum",
    "\ud800",
    "x" * 5000,
    "__proto__",
    "CON",
]
"""Names that files, figures, pages or shells may take for something else."""

NUMBERS = [
    0,
    -0.0,
    1,
    -1,
    0.5,
    1e300,
    -1e300,
    1.7e308,
    1e-300,
    5e-324,
    1e150,
    1e-150,
    1e15,
    1e-15,
    math.nan,
    math.inf,
    -math.inf,
    10**30,
    10**400,
    2**63,
]
"""Numbers at and beyond the ends of what a float or an integer holds."""

OTHERS = [None, True, False, "1.0", "nan", [], {}, [[]], [None], {"": None}, [1.0, "a"], {"name": 1}]
"""Values of another type than that which stands in their place."""

TOO_DEEP = 100_000


def deep(levels, inner=0.0):
    """A list in a list in a list …"""
    for _ in range(levels):
        inner = [inner]
    return inner


def places(content):
    """Every (container, key) of nested dictionaries and lists."""
    found, open_ = [], [content]
    while open_:
        here = open_.pop()
        keys = list(here) if isinstance(here, dict) else range(len(here)) if isinstance(here, list) else ()
        for key in keys:
            found.append((here, key))
            open_.append(here[key])
    return found


def hostile_value(rng):
    kind = rng.random()
    if kind < 0.5:
        return rng.choice(NUMBERS)
    if kind < 0.75:
        return copy.deepcopy(rng.choice(OTHERS))
    if kind < 0.95:
        return rng.choice(NAMES)
    return deep(rng.choice([10, 90, 150, 400]))


def scaled(rng, value):
    """A number of another size, of any other value its like."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return hostile_value(rng)
    if abs(value) > 1e308:
        return rng.choice(NUMBERS)
    return rng.choice([value * 10.0 ** rng.uniform(-320, 308), rng.choice(NUMBERS), -value, value * rng.random()])


def changed(rng, content, changes=None):
    """The content with some of its places deleted, doubled, renamed, swapped, emptied, or of another value."""
    content = copy.deepcopy(content)
    for _ in range(changes or rng.choice([1, 1, 1, 2, 3, 6])):
        every = places(content)
        if not every:
            break
        container, key = rng.choice(every)
        what = rng.choice(["delete", "value", "value", "value", "scale", "scale", "swap", "double", "name", "length"])
        if what == "delete":
            del container[key]
        elif what == "value":
            container[key] = hostile_value(rng)
        elif what == "scale":
            container[key] = scaled(rng, container[key])
        elif what == "swap":
            other, its_key = rng.choice(every)
            container[key] = copy.deepcopy(other.get(its_key) if isinstance(other, dict) else other[its_key])
        elif what == "double" and isinstance(container, list):
            container.insert(rng.randrange(len(container) + 1), copy.deepcopy(container[key]))
        elif what == "name" and isinstance(container, dict):
            container[rng.choice(NAMES) if rng.random() < 0.5 else key + "x"] = container.pop(key)
        elif what == "length" and isinstance(container[key], list):
            container[key] = container[key][: rng.randrange(len(container[key]) + 1)] * rng.choice([0, 1, 1, 2, 50])
    return content


def numbers_changed(rng, content):
    """The content with some of its numbers of another size; all else, and so the shapes of arrays, as before."""
    content = copy.deepcopy(content)
    every = [
        (container, key)
        for container, key in places(content)
        if isinstance(container[key], int | float) and not isinstance(container[key], bool)
    ]
    for container, key in rng.sample(every, min(len(every), rng.choice([1, 1, 2, 4, 8, len(every)]))):
        container[key] = scaled(rng, container[key])
    return content


def damaged(rng, text):
    """The bytes of a file, changed without regard to what they mean."""
    data = text.encode(errors="surrogatepass")
    position = rng.randrange(len(data) + 1)
    inserted = [
        b"\xff\xfe",
        b"\xef\xbb\xbf",
        b"\x00",
        b"[" * TOO_DEEP,
        b'{"a":' * TOO_DEEP,
        b"9" * 5000,
        b"1e400",
        b"NaN",
        b"-Infinity",
        b'"\\ud800"',
        b'"name": "twice", ',
        b"\r\n\t",
        b"// comment\n",
        b",",
        b"}",
        b"'",
    ]
    what = rng.randrange(8)
    if what == 0:
        return data[:position]
    if what == 1:
        return b"\xef\xbb\xbf" + data
    if what == 2:
        return text.encode("utf-16", errors="surrogatepass")
    if what == 3:
        return data[:position] + bytes([rng.randrange(256)]) + data[position + 1 :]
    if what == 4:
        return data + data
    if what == 5:
        digits = [i for i, byte in enumerate(data) if 48 <= byte <= 57] or [0]
        position = rng.choice(digits)
        return data[:position] + rng.choice(inserted) + data[position + 1 :]
    return data[:position] + rng.choice(inserted) + data[position:]


POINTERS = [
    "",
    "/",
    "//",
    "/channels",
    "/channels/0",
    "/channels/-",
    "/channels/-1",
    "/channels/99",
    "/channels/٣",
    "/channels/0/samples/0/data/0",
    "/channels/0/samples/0/modifiers/0",
    "/channels/0/name/0",
    "/channels/01",
    "/channels/1e1",
    "/channels/" + "9" * 5000,
    "/distributions/0/samples/0/data/contents/0",
    "/~2",
    "/~",
    "channels",
    "/measurements/0/config/poi/x",
    "/" + "a/" * 20000,
    "\ud800",
    0,
    None,
    [],
    {},
]


def patch(rng):
    """A JSON patch whose operations may be anything."""
    found = []
    for _ in range(rng.choice([0, 1, 1, 2, 5])):
        operation = {
            "op": rng.choice(["add", "remove", "replace", "move", "copy", "test", "ADD", "", None, 1, []]),
            "path": rng.choice(POINTERS),
            "from": rng.choice(POINTERS),
            "value": hostile_value(rng),
        }
        for key in [key for key in operation if rng.random() < 0.1]:
            del operation[key]
        found.append(operation)
    if rng.random() < 0.2:
        return changed(rng, {"patches": [{"metadata": {"name": "a"}, "patch": found}], "metadata": {"digests": {}}})
    return hostile_value(rng) if rng.random() < 0.05 else found


def generator(kind, number):
    """The generator of one case: it depends on the kind and the number alone."""
    return random.Random(f"{kind}:{number}")


def as_json(content):
    """JSON text of any content; what is nested too deeply for Python's writer is nested deeply otherwise."""
    try:
        return json.dumps(content)
    except RecursionError:
        return "[" * 900 + "]" * 900


OF_YAML = [
    dt.date(2026, 1, 1),
    dt.datetime(2026, 1, 1, tzinfo=dt.UTC),
    b"\xff\x00",
    {1, 2},
    {None: 1},
    {True: 1},
    {2.5: {"toys": 1}},
    {dt.date(2026, 1, 1): 1},
    {b"a": [1]},
    {("a", "b"): 1},
    [[[{"a": {1: 2}}]]],
    16**5000,
    {"url": "file:///etc/passwd", "sha256": "0" * 64},
    {"url": "https://x.org/a/../../b", "sha256": "0" * 64, "member": "/etc/passwd"},
]
"""What a YAML file may hold beyond JSON; an integer in hexadecimal may have any number of digits."""


def every_place(content, values):
    """The content with each of its places replaced by each of the values, deleted, and given another name."""
    for number in range(len(places(content))):
        for value in values:
            made = copy.deepcopy(content)
            container, key = places(made)[number]
            container[key] = value
            yield made
        made = copy.deepcopy(content)
        container, key = places(made)[number]
        del container[key]
        yield made
        for name in [*NAMES, 1, None, 16**5000] if isinstance(container, dict) else ():
            made = copy.deepcopy(content)
            container, key = places(made)[number]
            container[name] = container.pop(key)
            yield made
