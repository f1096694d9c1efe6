"""Lowers a standard ``ast`` tree into the intermediate representation of :mod:`pipeline_guard.facts.ir`."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator, Sequence

from pipeline_guard.facts import ir
from pipeline_guard.facts.columns import Columns

# Expressions nested deeper than this are cut off: generated code nests thousands deep, hand-written code does not.
MAX_DEPTH = 120

_CONVERSION = r"%%|%(?:\(\w*\))?[-+ #0-9.*]*[hlL]?[diouxXeEfFgGcrsa]"

_COMPARE = {
    ast.Eq: "==", ast.NotEq: "!=", ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=",
    ast.Is: "is", ast.IsNot: "is not", ast.In: "in", ast.NotIn: "not in",
}  # fmt: skip


def lower_module(tree: ast.Module, columns: Columns) -> ir.ModuleFacts:
    """Return the facts of a parsed module; ``truncated`` is set where an expression was too deep to follow.

    ``columns`` knows the text of the module.
    """
    module = _Module(columns)
    body = _FunctionBuilder(module, "<module>", "", 1, 0, parent=-1, owner=-1)
    body.suite(tree.body, body.open("body", 0, None, 1))
    body.finish()
    return ir.ModuleFacts(module.functions, module.classes, module.truncated)


class _Module:
    """The lists that every function builder of one module appends to."""

    def __init__(self, columns: Columns) -> None:
        self.columns = columns
        self.functions: list[ir.Function] = []
        self.classes: list[ir.Class] = []
        self.truncated = False


class _FunctionBuilder:
    """Builds one function: its blocks, its operations, and (through new builders) what is defined inside it."""

    def __init__(
        self, module: _Module, name: str, prefix: str, line: int, end_line: int, *, parent: int, owner: int
    ) -> None:
        self.module = module
        self.depth = 0
        self.groups = 0
        self.block = 0  # where the expression at hand is evaluated
        self.scope = -1  # the class whose body is being lowered: it runs as part of this function
        self.index = len(module.functions)
        qualname = f"{prefix}.{name}" if prefix else name
        self.prefix = "" if name == "<module>" else qualname
        self.words: set[str] = set()
        self.strings: set[str] = set()
        self.called: dict[str, None] = {}
        self.function = ir.Function(
            name, qualname, line, end_line, [], [], None, False, False, parent, owner, [], [], [], [], [],
            self.words, self.strings, [], False,
        )  # fmt: skip
        module.functions.append(self.function)

    # -- blocks and operations

    def open(self, kind: str, parent: int, test: ir.Expr | None, line: int, group: int = -1) -> int:
        if group < 0:
            group = self.new_group()
        ops = len(self.function.ops)
        self.function.blocks.append(ir.Block(kind, parent, group, line, line, test, ops, ops, False))
        return len(self.function.blocks) - 1

    def new_group(self) -> int:
        self.groups += 1
        return self.groups

    def close(self, block: int, leaves: bool, body: Sequence[ast.stmt]) -> None:
        entry = self.function.blocks[block]
        entry.last = len(self.function.ops)
        entry.leaves = leaves
        if body:
            entry.end_line = body[-1].end_lineno or entry.line

    def emit(
        self,
        kind: str,
        node: ast.AST,
        block: int,
        value: ir.Expr | None = None,
        targets: list[ir.Expr] | None = None,
        annotation: ir.Expr | None = None,
    ) -> None:
        line = getattr(node, "lineno", self.function.line)
        end = getattr(node, "end_lineno", None) or line
        self.function.ops.append(ir.Op(kind, line, end, block, value, targets or [], annotation))

    def finish(self) -> None:
        self.function.called = list(self.called)
        if self.function.blocks:
            self.function.blocks[0].last = len(self.function.ops)

    # -- statements

    def suite(self, body: Sequence[ast.stmt], block: int) -> bool:
        """Lower ``body`` into ``block`` and return whether control never runs off its end."""
        leaves = self.statements(body, block)
        self.close(block, leaves, body)
        return leaves

    def statements(self, body: Sequence[ast.stmt], block: int) -> bool:
        """Lower ``body`` as a part of ``block`` and return whether control never runs off its end."""
        leaves = False
        for position, node in enumerate(body):
            handler = _STATEMENTS.get(type(node))
            if handler is not None:
                self.block = block
                leaves = bool(handler(self, node, block))
            if leaves and position + 1 < len(body):
                rest = body[position + 1 :]
                dead = self.open("dead", block, None, rest[0].lineno)
                self.suite(rest, dead)
                self.close(dead, True, rest)
                break
        return leaves

    def arm(self, kind: str, body: Sequence[ast.stmt], parent: int, test: ir.Expr | None, group: int) -> bool:
        block = self.open(kind, parent, test, body[0].lineno if body else self.function.line, group)
        return self.suite(body, block)

    def on_expr(self, node: ast.Expr, block: int) -> None:
        if isinstance(node.value, ast.Constant):
            return  # docstrings and bare ellipses say nothing about control flow
        self.emit("expr", node, block, self.expr(node.value))

    def on_assign(self, node: ast.Assign, block: int) -> None:
        self.assign(node, block, self.expr(node.value), [self.expr(target) for target in node.targets])

    def on_ann_assign(self, node: ast.AnnAssign, block: int) -> None:
        value = self.expr(node.value) if node.value is not None else None
        self.assign(node, block, value, [self.expr(node.target)], self.annotation(node.annotation))

    def on_aug_assign(self, node: ast.AugAssign, block: int) -> None:
        value, target = self.expr(node.value), self.expr(node.target)
        if self.scope >= 0 and type(target) is ir.Name:
            self.aside(value, node, block)
        else:
            self.emit("aug", node, block, value, [target])

    def assign(
        self,
        node: ast.AST,
        block: int,
        value: ir.Expr | None,
        targets: list[ir.Expr],
        annotation: ir.Expr | None = None,
    ) -> None:
        """Emit an assignment; what a class body assigns to names are fields, and no names of the function."""
        if self.scope >= 0:
            line = getattr(node, "lineno", self.function.line)
            places: list[ir.Expr] = []
            for target in targets:
                self.fields(target, value, annotation, line, places)
            if not places:
                if type(value) is not ir.Elem or value.how != "iter":  # an iterable has an operation of its own
                    self.aside(value, node, block)
                return
            targets = places
        self.emit("assign", node, block, value, targets, annotation)

    def fields(
        self, target: ir.Expr, value: ir.Expr | None, annotation: ir.Expr | None, line: int, places: list[ir.Expr]
    ) -> None:
        """Record the names in the target of an assignment as fields of the class, and collect the other places."""
        if type(target) is ir.Name:
            self.module.classes[self.scope].fields.append(ir.Field(target.id, value, annotation, line))
        elif type(target) is ir.Seq:
            parts = value.items if type(value) is ir.Seq else []
            if len(parts) != len(target.items) or any(type(part) is ir.Star for part in (*parts, *target.items)):
                parts = [ir.Other([])] * len(target.items)  # there is no telling which part goes where
            for item, part in zip(target.items, parts, strict=True):
                self.fields(item, part, None, line, places)
        elif type(target) is ir.Star:
            self.fields(target.value, value, None, line, places)
        else:
            places.append(target)

    def aside(self, value: ir.Expr | None, node: ast.AST, block: int) -> None:
        """Emit an expression whose value the statement's own operation does not hold, if there is a call in it."""
        if value is not None and _holds_call(value):
            self.emit("expr", node, block, value)

    def on_return(self, node: ast.Return, block: int) -> bool:
        self.emit("return", node, block, self.expr(node.value) if node.value is not None else None)
        return True

    def on_raise(self, node: ast.Raise, block: int) -> bool:
        raised = self.expr(node.exc) if node.exc is not None else None
        if node.cause is not None:
            self.aside(self.expr(node.cause), node.cause, block)
        self.emit("raise", node, block, raised)
        return True

    def on_exit(self, node: ast.Break | ast.Continue, block: int) -> bool:
        self.emit("exit", node, block)
        return True

    def on_assert(self, node: ast.Assert, block: int) -> None:
        self.emit("test", node, block, self.expr(node.test))
        if node.msg is not None:
            self.aside(self.expr(node.msg), node.msg, block)

    def on_delete(self, node: ast.Delete, block: int) -> None:
        targets = [self.expr(target) for target in node.targets]
        if self.scope >= 0:
            targets = [target for target in targets if type(target) is not ir.Name]
        if targets:
            self.emit("del", node, block, None, targets)

    def on_if(self, node: ast.If, block: int) -> bool:
        """Lower an ``if`` with all its ``elif`` arms; a chain of hundreds must not recurse."""
        opened: list[tuple[int, Sequence[ast.stmt]]] = []
        outcomes: list[bool] = []
        parent, current = block, node
        while True:
            self.block = parent
            test = self.expr(current.test)
            self.emit("test", current.test, parent, test)
            group = self.new_group()
            outcomes.append(self.arm("if", current.body, parent, test, group))
            if not current.orelse:
                outcomes.append(False)
                break
            line = current.orelse[0].lineno
            parent = self.open("else", parent, test, line, group)
            opened.append((parent, current.orelse))
            if len(current.orelse) == 1 and isinstance(current.orelse[0], ast.If):
                current = current.orelse[0]
                continue
            outcomes.append(self.suite(current.orelse, parent))
            break
        for index, (arm, body) in reversed(list(enumerate(opened))):
            self.close(arm, all(outcomes[index + 1 :]), body)
        return all(outcomes)

    def on_while(self, node: ast.While, block: int) -> bool:
        group = self.new_group()
        self.block = loop = self.open("while", block, None, node.lineno, group)
        self.function.blocks[loop].test = test = self.expr(node.test)
        self.emit("test", node.test, loop, test)
        self.suite(node.body, loop)
        if node.orelse:
            self.arm("body", node.orelse, block, None, group)
        endless = isinstance(test, ir.Const) and bool(test.value)
        return endless and not _breaks(node.body)

    def on_for(self, node: ast.For | ast.AsyncFor, block: int) -> None:
        iterable = self.expr(node.iter)
        self.emit("test", node.iter, block, iterable)
        group = self.new_group()
        # An ``await`` around the iterable tells ``async for`` from ``for``.
        test = ir.Await(iterable) if isinstance(node, ast.AsyncFor) else iterable
        self.block = loop = self.open("for", block, test, node.lineno, group)
        self.assign_to(node.target, ir.Elem("iter", iterable), node.iter, loop)
        self.suite(node.body, loop)
        if node.orelse:
            self.arm("body", node.orelse, block, None, group)

    def on_with(self, node: ast.With | ast.AsyncWith, block: int) -> bool:
        self.block = inner = self.open("with", block, None, node.lineno)
        contexts: list[ir.Expr] = []
        for item in node.items:
            value = self.expr(item.context_expr)
            contexts.append(value)
            if item.optional_vars is None:
                self.emit("expr", item.context_expr, inner, value)
            else:
                self.assign_to(item.optional_vars, ir.Elem("enter", value), item.context_expr, inner)
        self.function.blocks[inner].test = contexts[0] if len(contexts) == 1 else ir.Seq(contexts)
        return self.suite(node.body, inner)

    def on_try(self, node: ast.Try, block: int) -> bool:
        group = self.new_group()
        leaves = self.arm("try", node.body, block, None, group)
        if node.orelse:
            leaves = self.arm("body", node.orelse, block, None, group)
        for handler in node.handlers:
            self.block = inner = self.open("except", block, None, handler.lineno, group)
            test = self.expr(handler.type) if handler.type is not None else None
            self.function.blocks[inner].test = test
            if handler.name and self.scope < 0:
                caught = ir.Elem("except", test or ir.Const(None))
                self.emit("assign", handler, inner, caught, [self.name(handler.name)])
                self.function.ops[-1].end_line = handler.lineno
            elif handler.type is not None:
                self.aside(test, handler.type, inner)
            leaves = self.suite(handler.body, inner) and leaves
        if node.finalbody:
            leaves = self.arm("finally", node.finalbody, block, None, group) or leaves
        return leaves

    def on_match(self, node: ast.Match, block: int) -> bool:
        subject = self.expr(node.subject)
        self.emit("test", node.subject, block, subject)
        group = self.new_group()
        outcomes: list[bool] = []
        exhaustive = False
        for case in node.cases:
            patterns: list[ir.Expr] = []
            self.pattern(case.pattern, patterns)
            exhaustive = exhaustive or (not patterns and case.guard is None)
            test = ir.Compare(subject, ["match"], [ir.Seq(patterns)])
            self.block = inner = self.open("case", block, test, case.pattern.lineno, group)
            if case.guard is not None:
                guard = self.expr(case.guard)
                self.function.blocks[inner].test = ir.Bool("and", [test, guard])
                self.emit("test", case.guard, inner, guard)
            outcomes.append(self.suite(case.body, inner))
        return exhaustive and all(outcomes)

    def pattern(self, node: ast.pattern, found: list[ir.Expr]) -> None:
        """Collect the constants that a case pattern names; a wildcard or bare capture adds nothing."""
        for child in ast.walk(node):
            if isinstance(child, ast.MatchValue):
                found.append(self.expr(child.value))
            elif isinstance(child, ast.MatchClass):
                found.append(self.expr(child.cls))

    def on_import(self, node: ast.Import, _block: int) -> None:
        for alias in node.names:
            name = alias.asname or alias.name.partition(".")[0]
            module = alias.name if alias.asname else name
            self.function.imports.append(ir.Import(name, module, None, 0, node.lineno))
            self.imported_field(name, node.lineno)

    def on_import_from(self, node: ast.ImportFrom, _block: int) -> None:
        for alias in node.names:
            name = alias.asname or alias.name
            self.function.imports.append(ir.Import(name, node.module or "", alias.name, node.level, node.lineno))
            self.imported_field(name, node.lineno)

    def imported_field(self, name: str, line: int) -> None:
        if self.scope >= 0 and name != "*":
            self.module.classes[self.scope].fields.append(ir.Field(name, self.name(name), None, line))

    def on_global(self, node: ast.Global, _block: int) -> None:
        if self.scope < 0:
            self.function.globals.extend(node.names)

    def on_nonlocal(self, node: ast.Nonlocal, _block: int) -> None:
        if self.scope < 0:
            self.function.nonlocals.extend(node.names)

    def on_def(self, node: ast.FunctionDef | ast.AsyncFunctionDef, block: int) -> None:
        decorators = [self.expr(decorator) for decorator in node.decorator_list]
        for decorator in decorators:
            self.emit("expr", node, block, decorator)
            self.function.ops[-1].end_line = node.lineno
        child = self.child(node.name, node, self.scope)
        child.function.decorators = decorators
        child.function.is_async = isinstance(node, ast.AsyncFunctionDef)
        child.function.returns = self.annotation(node.returns) if node.returns is not None else None
        child.parameters(node.args, self)
        child.suite(node.body, child.open("body", 0, None, node.lineno))
        child.finish()
        if self.scope < 0:
            self.emit("def", node, block, ir.Lambda(child.index), [self.name(node.name)])
            return
        methods = self.module.classes[self.scope].methods
        # A property's setter must not hide its getter, nor the makeshift in a handler the method it stands in for.
        keep_first = self.function.blocks[block].kind == "except" or any(
            isinstance(d, ast.Attribute) and d.attr in {"setter", "deleter"} for d in node.decorator_list
        )
        if not (keep_first and node.name in methods):
            methods[node.name] = child.index

    def child(self, name: str, node: ast.AST, owner: int) -> _FunctionBuilder:
        prefix = self.module.classes[owner].qualname if owner >= 0 else self.prefix
        start, end = node.lineno, node.end_lineno or node.lineno  # type: ignore[attr-defined]
        return _FunctionBuilder(self.module, name, prefix, start, end, parent=self.index, owner=owner)

    def parameters(self, args: ast.arguments, outer: _FunctionBuilder) -> None:
        positional = [*args.posonlyargs, *args.args]
        defaults: list[ast.expr | None] = [None] * (len(positional) - len(args.defaults)) + list(args.defaults)
        entries = [(arg, "pos", default) for arg, default in zip(positional, defaults, strict=True)]
        if args.vararg is not None:
            entries.append((args.vararg, "*", None))
        entries.extend((arg, "kw", default) for arg, default in zip(args.kwonlyargs, args.kw_defaults, strict=True))
        if args.kwarg is not None:
            entries.append((args.kwarg, "**", None))
        for arg, kind, default in entries:
            value = None
            if default is not None:  # the function around this one evaluates it
                value = outer.expr(default)
                outer.aside(value, default, outer.block)
            annotation = outer.annotation(arg.annotation) if arg.annotation is not None else None
            self.function.params.append(ir.Param(arg.arg, kind, value, annotation))

    def on_class(self, node: ast.ClassDef, block: int) -> bool:
        """Lower a class; its body runs here and now, so its operations are this function's."""
        owner = self.scope
        prefix = self.module.classes[owner].qualname if owner >= 0 else self.prefix
        qualname = f"{prefix}.{node.name}" if prefix else node.name
        decorators = [self.expr(decorator) for decorator in node.decorator_list]
        bases = [self.expr(base) for base in node.bases]
        keywords = [self.expr(keyword.value) for keyword in node.keywords]
        around = [*node.decorator_list, *node.bases, *(keyword.value for keyword in node.keywords)]
        for value, place in zip([*decorators, *bases, *keywords], around, strict=True):
            self.aside(value, place, block)
        self.scope = len(self.module.classes)
        end = node.end_lineno or node.lineno
        self.module.classes.append(
            ir.Class(node.name, qualname, node.lineno, end, bases, decorators, self.index, owner, [], {})
        )
        index = self.scope
        leaves = self.statements(node.body, block)
        self.scope = owner
        if owner < 0:
            self.emit("class", node, block, ir.Const(index), [self.name(node.name)])
        return leaves

    def assign_to(self, target: ast.expr, value: ir.Expr, node: ast.AST, block: int) -> None:
        self.assign(node, block, value, [self.expr(target)])

    # -- expressions

    def annotation(self, node: ast.expr) -> ir.Expr:
        """Lower an annotation; one written as a string is parsed, as type checkers do."""
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            try:
                return self.expr(ast.parse(node.value, mode="eval").body)
            except (SyntaxError, ValueError, RecursionError):
                pass
        return self.expr(node)

    def expr(self, node: ast.expr) -> ir.Expr:
        kind = type(node)
        if self.depth >= MAX_DEPTH:
            self.module.truncated = True
            return ir.Other([])
        if kind is ast.Name:  # a third of all nodes
            self.words.add(node.id)  # type: ignore[attr-defined]
            return ir.Name(node.id)  # type: ignore[attr-defined]
        handler = _EXPRESSIONS.get(kind)
        self.depth += 1
        if handler is not None:
            result = handler(self, node)
        else:
            parts = [self.expr(child) for child in ast.iter_child_nodes(node) if isinstance(child, ast.expr)]
            result = ir.Other(parts)
        self.depth -= 1
        return result

    def name(self, text: str) -> ir.Name:
        """Return a name that the code binds."""
        self.words.add(text)
        return ir.Name(text)

    def text(self, text: str) -> ir.Const:
        self.strings.add(text)
        return ir.Const(text)

    def on_attribute(self, node: ast.Attribute) -> ir.Expr:
        self.words.add(node.attr)
        return ir.Attr(self.expr(node.value), node.attr)

    def on_walrus(self, node: ast.NamedExpr) -> ir.Expr:
        self.words.add(node.target.id)
        self.function.has_walrus = True
        return ir.Walrus(node.target.id, self.expr(node.value))

    def on_constant(self, node: ast.Constant) -> ir.Expr:
        value = node.value
        if isinstance(value, str):
            return self.text(_writable(value))
        if isinstance(value, bytes):
            return self.text(value.decode("latin-1"))
        if isinstance(value, (bool, float)) or value is None:
            return ir.Const(value)
        if isinstance(value, int):
            return ir.Const(value if -(2**63) <= value < 2**63 else 0)
        return ir.Const(None)

    def on_call(self, node: ast.Call) -> ir.Expr:
        callee = node.func
        kind = type(callee)
        name = callee.attr if kind is ast.Attribute else callee.id if kind is ast.Name else ""  # type: ignore[attr-defined]
        self.called[name] = None
        return ir.Call(
            self.expr(callee),
            [self.expr(arg) for arg in node.args],
            [ir.Keyword(keyword.arg, self.expr(keyword.value)) for keyword in node.keywords],
            node.lineno,
            node.end_lineno or node.lineno,
            self.module.columns.at(node.lineno, node.col_offset),
        )

    def on_dict(self, node: ast.Dict) -> ir.Expr:
        return ir.DictNode(
            [self.expr(key) if key is not None else None for key in node.keys],
            [self.expr(value) for value in node.values],
            node.lineno,
            node.end_lineno or node.lineno,
        )

    def on_bin_op(self, node: ast.BinOp) -> ir.Expr:
        if isinstance(node.op, ast.BitOr):
            return ir.Merge(self.expr(node.left), self.expr(node.right))
        if isinstance(node.op, ast.Mod) and isinstance(node.left, ast.Constant) and isinstance(node.left.value, str):
            built = _percent_format(_writable(node.left.value), self.expr(node.right))
            self.strings.update(str(part.value) for part in built.parts if type(part) is ir.Const)
            return built
        if isinstance(node.op, ast.Mod) and isinstance(node.left, (ast.Name, ast.Attribute)):
            self.words.add("__mod__")
            self.called["__mod__"] = None
            left = ir.Attr(self.expr(node.left), "__mod__")  # a template, perhaps: read like ``template.format(…)``
            end = node.end_lineno or node.lineno
            column = self.module.columns.at(node.lineno, node.col_offset)
            return ir.Call(left, [self.expr(node.right)], [], node.lineno, end, column)
        if not isinstance(node.op, ast.Add):
            return ir.Other([self.expr(node.left), self.expr(node.right)])
        parts: list[ir.Expr] = []
        current: ast.expr = node
        while isinstance(current, ast.BinOp) and isinstance(current.op, ast.Add):  # a thousand terms must not recurse
            parts.append(self.expr(current.right))
            current = current.left
        parts.append(self.expr(current))
        parts.reverse()
        return ir.Join(parts)

    def on_joined(self, node: ast.JoinedStr) -> ir.Expr:
        parts: list[ir.Expr] = []
        for part in node.values:
            if isinstance(part, ast.FormattedValue):
                spec = part.format_spec
                if not isinstance(spec, ast.JoinedStr) or all(isinstance(v, ast.Constant) for v in spec.values):
                    parts.append(self.expr(part.value))
                    continue
            parts.append(self.expr(part))  # a format that is itself computed leaves nothing known of the text
        return ir.Join(parts)

    def on_lambda(self, node: ast.Lambda) -> ir.Expr:
        child = self.child("<lambda>", node, -1)
        child.parameters(node.args, self)
        block = child.open("body", 0, None, node.lineno)
        child.emit("return", node.body, block, child.expr(node.body))
        child.close(block, True, [])
        child.finish()
        return ir.Lambda(child.index)

    def on_yield(self, node: ast.Yield | ast.YieldFrom) -> ir.Expr:
        self.function.is_generator = True
        value = self.expr(node.value) if node.value is not None else ir.Const(None)
        self.emit("yield", node, self.block, value)
        return ir.Other([])

    def on_comprehension(self, node: ast.ListComp | ast.SetComp | ast.GeneratorExp | ast.DictComp) -> ir.Expr:
        parts: list[ir.Expr] = []
        for generator in node.generators:
            parts.append(self.expr(generator.iter))
            if not isinstance(generator.target, ast.Name):
                parts.extend(self.expr(place) for place in _places(generator.target))
            parts.extend(self.expr(test) for test in generator.ifs)
        if isinstance(node, ast.DictComp):
            parts += [self.expr(node.key), self.expr(node.value)]
        else:
            parts.append(self.expr(node.elt))
        return ir.Other(parts)


def _places(target: ast.expr) -> Iterator[ast.expr]:
    """Yield the subscripts and attributes that a target assigns to."""
    if isinstance(target, (ast.Tuple, ast.List)):
        for item in target.elts:
            yield from _places(item)
    elif isinstance(target, ast.Starred):
        yield from _places(target.value)
    elif not isinstance(target, ast.Name):
        yield target


def _writable(text: str) -> str:
    """Return the text with the lone surrogates replaced, for which no encoding has bytes."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


def _holds_call(node: ir.Expr) -> bool:
    stack = [node]
    while stack:
        current = stack.pop()
        if type(current) is ir.Call:
            return True
        stack.extend(ir.children(current))
    return False


def _percent_format(text: str, value: ir.Expr) -> ir.Join:
    """Read ``"… %s …" % value`` as string building with one unknown part per conversion."""
    values = list(value.items) if type(value) is ir.Seq else [value]
    parts: list[ir.Expr] = []
    literal, start, used = "", 0, 0
    for found in re.finditer(_CONVERSION, text):
        literal += text[start : found.start()]
        start = found.end()
        if found[0] == "%%":
            literal += "%"
            continue
        taken = values[used : used + 1 + found[0].count("*")]  # a width that is itself a value comes before
        used += 1 + found[0].count("*")
        parts += [ir.Const(literal), taken[0] if len(taken) == 1 else ir.Other(taken)]
        literal = ""
    parts.append(ir.Const(literal + text[start:]))
    if used < len(values):
        parts.append(ir.Other(values[used:]))
    return ir.Join(parts)


def _breaks(body: Sequence[ast.stmt]) -> bool:
    """Return whether a ``break`` in ``body`` leaves the loop that ``body`` belongs to."""
    for node in body:
        if isinstance(node, ast.Break):
            return True
        if isinstance(node, (ast.For, ast.AsyncFor, ast.While, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            continue
        for field in ("body", "orelse", "finalbody"):
            if _breaks(getattr(node, field, [])):
                return True
        inner = [*getattr(node, "handlers", []), *getattr(node, "cases", [])]
        if any(_breaks(part.body) for part in inner):
            return True
    return False


_B = _FunctionBuilder
_STATEMENTS: dict[type, Callable[..., bool | None]] = {
    ast.Expr: _B.on_expr, ast.Assign: _B.on_assign, ast.AnnAssign: _B.on_ann_assign, ast.AugAssign: _B.on_aug_assign,
    ast.Return: _B.on_return, ast.Raise: _B.on_raise, ast.Break: _B.on_exit, ast.Continue: _B.on_exit,
    ast.Assert: _B.on_assert, ast.Delete: _B.on_delete, ast.If: _B.on_if, ast.While: _B.on_while, ast.For: _B.on_for,
    ast.AsyncFor: _B.on_for, ast.With: _B.on_with, ast.AsyncWith: _B.on_with, ast.Try: _B.on_try,
    ast.Match: _B.on_match, ast.Import: _B.on_import, ast.ImportFrom: _B.on_import_from, ast.Global: _B.on_global,
    ast.Nonlocal: _B.on_nonlocal, ast.FunctionDef: _B.on_def, ast.AsyncFunctionDef: _B.on_def,
    ast.ClassDef: _B.on_class,
}  # fmt: skip
if hasattr(ast, "TryStar"):
    _STATEMENTS[ast.TryStar] = _B.on_try

_EXPRESSIONS: dict[type, Callable[..., ir.Expr]] = {
    ast.Constant: _B.on_constant,
    ast.Attribute: _B.on_attribute,
    ast.Call: _B.on_call,
    ast.Dict: _B.on_dict,
    ast.List: lambda self, node: ir.Seq([self.expr(item) for item in node.elts]),
    ast.Tuple: lambda self, node: ir.Seq([self.expr(item) for item in node.elts]),
    ast.Set: lambda self, node: ir.Seq([self.expr(item) for item in node.elts]),
    ast.Subscript: lambda self, node: ir.Sub(self.expr(node.value), self.expr(node.slice)),
    ast.BinOp: _B.on_bin_op,
    ast.JoinedStr: _B.on_joined,
    ast.BoolOp: lambda self, node: ir.Bool(
        "and" if isinstance(node.op, ast.And) else "or", [self.expr(value) for value in node.values]
    ),
    ast.UnaryOp: lambda self, node: (
        ir.Not(self.expr(node.operand)) if isinstance(node.op, ast.Not) else ir.Other([self.expr(node.operand)])
    ),
    ast.Compare: lambda self, node: ir.Compare(
        self.expr(node.left), [_COMPARE[type(op)] for op in node.ops], [self.expr(item) for item in node.comparators]
    ),
    ast.IfExp: lambda self, node: ir.IfExp(self.expr(node.test), self.expr(node.body), self.expr(node.orelse)),
    ast.Await: lambda self, node: ir.Await(self.expr(node.value)),
    ast.Lambda: _B.on_lambda,
    ast.NamedExpr: _B.on_walrus,
    ast.Starred: lambda self, node: ir.Star(self.expr(node.value)),
    ast.Yield: _B.on_yield,
    ast.YieldFrom: _B.on_yield,
    ast.ListComp: _B.on_comprehension,
    ast.SetComp: _B.on_comprehension,
    ast.GeneratorExp: _B.on_comprehension,
    ast.DictComp: _B.on_comprehension,
}
