"""What source text says of an argument beside its type: its line of the docstring, its range."""

import ast
import re
from collections.abc import Iterator

from restore.config import definition, source

_BASES = 8  # classes that are followed upwards
_LONGEST = 240  # characters of a description
_SIGNS: dict[type[ast.cmpop], tuple[str, str]] = {  # what x OP c asks for, and what c OP x does
    ast.Lt: ("exclusiveMaximum", "exclusiveMinimum"),
    ast.LtE: ("maximum", "minimum"),
    ast.Gt: ("exclusiveMinimum", "exclusiveMaximum"),
    ast.GtE: ("minimum", "maximum"),
}
_OPPOSITE = {ast.Lt: ast.GtE, ast.LtE: ast.Gt, ast.Gt: ast.LtE, ast.GtE: ast.Lt}
Bound = tuple[str, str, float]  # argument, keyword of JSON schema, limit


def lineage(target: str) -> Iterator[tuple[str, ast.ClassDef | ast.FunctionDef]]:
    """The class or function behind a dotted path and, as far as text tells, its first bases.

    Each comes with the module that defines it.
    """
    module, _, name = target.rpartition(".")
    for _ in range(_BASES):
        found = definition.find(module, name)
        if found is None:
            return
        module, node = found
        if not isinstance(node, ast.ClassDef | ast.FunctionDef):
            return
        yield module, node
        bases = node.bases if isinstance(node, ast.ClassDef) else []
        name = next((one.id for one in bases if isinstance(one, ast.Name)), "")


def lines(target: str) -> dict[str, str]:
    """What the docstrings of a class and of its bases say of its arguments, as `name: text`."""
    described = source.describe(target)
    names = list(described.parameters) if described else []
    found: dict[str, str] = {}
    for _, node in lineage(target) if names else ():
        doc = ast.get_docstring(node) or ""
        _, *parts = re.split(rf"(?<![\w.])({'|'.join(map(re.escape, names))}): ", doc)
        for name, text in zip(parts[::2], parts[1::2], strict=True):
            found.setdefault(name, _shortened(text))
        for name in names:
            sentence = re.search(rf"[^.]*`{re.escape(name)}`[^.]*\.", doc.replace("\n\n", "."))
            if sentence:
                found.setdefault(name, _shortened(sentence[0]))
    return found


def _shortened(text: str) -> str:
    """The first paragraph in one line, cut behind a sentence where it is long."""
    line = " ".join(text.partition("\n\n")[0].split())
    if len(line) > _LONGEST:
        line = line[:_LONGEST].rpartition(". ")[0] or line[:_LONGEST].rpartition(" ")[0]
    return line.rstrip(".;, ")


def ranges(target: str) -> dict[str, dict[str, float]]:
    """Limits of arguments, as JSON schema spells them, from what the constructor refuses.

    Only refusals at its top level count whose condition compares an argument with a number.
    """
    described = source.describe(target)
    names = set(described.parameters) if described else set()
    found: dict[str, dict[str, float]] = {}
    for module, node in lineage(target):
        functions = [node] if isinstance(node, ast.FunctionDef) else list(_constructors(node))
        for function in functions:
            for name, keyword, limit in _refused(function, module):
                if name in names:
                    found.setdefault(name, {}).setdefault(keyword, limit)
        if functions and not any(_hands_on(function) for function in functions):
            break
    return found


def _constructors(node: ast.AST) -> Iterator[ast.FunctionDef]:
    for item in node.body if isinstance(node, ast.ClassDef) else ():
        if isinstance(item, ast.FunctionDef) and item.name in ("__init__", "__post_init__"):
            yield item


def _hands_on(function: ast.FunctionDef) -> bool:
    """Whether `**settings: Unpack[Record]` goes to a base class as it came."""
    given = function.args.kwarg
    return given is not None and "Unpack" in ast.unparse(given.annotation or ast.Constant(0))


def _refused(function: ast.FunctionDef, module: str) -> Iterator[Bound]:
    changed: set[str] = set()
    for statement in function.body:
        if isinstance(statement, ast.Assign):
            changed |= {one.id for one in statement.targets if isinstance(one, ast.Name)}
        if isinstance(statement, ast.If) and isinstance(statement.body[0], ast.Raise):
            yield from (one for one in _bounds(statement.test, module) if one[0] not in changed)


def _bounds(test: ast.expr, module: str) -> Iterator[Bound]:
    """The limits that hold where `test` is false."""
    if isinstance(test, ast.BoolOp) and isinstance(test.op, ast.Or):
        for value in test.values:
            yield from _bounds(value, module)
    elif isinstance(test, ast.BoolOp) and len(test.values) == 2:
        first, second = test.values
        is_given = isinstance(first, ast.Compare) and isinstance(first.ops[0], ast.IsNot)
        yield from _bounds(second, module) if is_given else ()
    elif isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
        if isinstance(test.operand, ast.Compare):
            yield from _kept(test.operand, module)
    elif isinstance(test, ast.Compare) and len(test.ops) == 1 and type(test.ops[0]) in _OPPOSITE:
        opposite = _OPPOSITE[type(test.ops[0])]()
        yield from _kept(ast.Compare(test.left, [opposite], test.comparators), module)


def _kept(test: ast.Compare, module: str) -> Iterator[Bound]:
    """The limits that hold where a comparison, or a chain of them, is true."""
    operands = [test.left, *test.comparators]
    for left, operator, right in zip(operands, test.ops, operands[1:], strict=False):
        if type(operator) not in _SIGNS:
            continue
        for argument, other, side in ((left, right, 0), (right, left, 1)):
            name, limit = _name(argument), _number(other, module)
            if name is not None and limit is not None:
                yield name, _SIGNS[type(operator)][side], limit


def _name(node: ast.expr) -> str | None:
    """`x`, or `self.x` of a dataclass."""
    is_field = isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)
    if is_field and isinstance(node, ast.Attribute):
        return node.attr if ast.unparse(node.value) == "self" else None
    return node.id if isinstance(node, ast.Name) else None


def _number(node: ast.expr, module: str) -> float | None:
    """The value of a number, of an arithmetic of numbers, or of a constant of the module."""
    if isinstance(node, ast.Constant):
        is_number = isinstance(node.value, int | float) and not isinstance(node.value, bool)
        return node.value if is_number else None  # type: ignore[return-value]
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        inner = _number(node.operand, module)
        return None if inner is None else -inner
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Pow):
        base, power = _number(node.left, module), _number(node.right, module)
        return None if base is None or power is None else float(base**power)
    if isinstance(node, ast.Name) and node.id.isupper():
        found = definition.find(module, node.id)
        return _number(found[1], found[0]) if found and isinstance(found[1], ast.expr) else None
    return None
