"""Sizes in a program's graph that were the batch size when it was exported.

The graph is run on shapes alone, with another batch size: a prime that no other axis is a multiple
of. Wherever a size was written out, the shapes tell which axis must hold the batch.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch.fx import GraphModule, Node

PRIME = 99_991
MAX_ATTEMPTS = 50

RESHAPING = frozenset(("view", "reshape", "_unsafe_view"))
# The position of the sizes among the arguments of operators whose sizes the shapes don't tell.
CREATING = {
    "zeros": 0,
    "ones": 0,
    "full": 0,
    "empty": 0,
    "arange": 0,
    "new_zeros": 1,
    "new_ones": 1,
    "new_full": 1,
    "new_empty": 1,
    "repeat": 1,
}

# Operators that don't check the batch of their states, and read beyond it.
RECURRENT = frozenset(("lstm", "gru", "rnn_tanh", "rnn_relu"))

# The position of a node's sizes among its arguments; among these the axis that holds the batch,
# None where they are a single number; and what the batch is multiplied by there.
Place = tuple[int, int | None, int]


def open_sizes(module: GraphModule, batch: int) -> bool:
    """Have a graph compute the sizes that depend on the batch from its first input.

    Args:
        module: a program's graph, all of whose inputs have the batch as their first axis; changed.
        batch: the batch size that it was exported for.

    Returns:
        Whether every node can be run with another batch size then.
    """
    choices: dict[Node, int] = {}
    for _ in range(MAX_ATTEMPTS):
        trial = _Trial(module, batch, choices)
        stuck = trial.run()
        if stuck is None:
            trial.write()
            return True
        if not _next_choice(stuck, choices, trial.options):
            return False
    return False


def _next_choice(stuck: Node, choices: dict[Node, int], options: dict[Node, int]) -> bool:
    """Go on to the next choice of sizes among the nodes that one depends on; False if none is left.

    Args:
        stuck: the node that could not be run.
        choices: the choice taken at each node; changed.
        options: the number of choices at each node.
    """
    for node in _ancestors(stuck):
        if options.get(node, 0) < 2:
            continue
        choices[node] = choices.get(node, 0) + 1
        if choices[node] < options[node]:
            return True
        choices[node] = 0
    return False


def _ancestors(node: Node) -> Iterator[Node]:
    """Yield a node and those that it depends on, the nearest first."""
    seen = {node: None}
    pending = [node]
    while pending:
        one = pending.pop(0)
        yield one
        for other in one.all_input_nodes:
            if other not in seen:
                seen[other] = None
                pending.append(other)


class _Trial:
    """One run of a graph on shapes.

    Attributes:
        options: at how many places a node's sizes may hold the batch, for those where the shapes
            don't tell.
    """

    def __init__(self, module: GraphModule, batch: int, choices: dict[Node, int]) -> None:
        from torch._subclasses.fake_tensor import FakeTensorMode

        self.options: dict[Node, int] = {}
        self._module = module
        self._batch = batch
        self._choices = choices
        self._mode = FakeTensorMode(allow_non_fake_inputs=True)
        self._values: dict[Node, Any] = {}
        self._found: dict[Node, Place] = {}
        # Where an axis holds the batch and others, the number of elements before the batch.
        self._before: dict[int, int] = {}

    def run(self) -> Node | None:
        """Run the graph; return the node that can't be run, or None."""
        for node in self._module.graph.nodes:
            try:
                self._values[node] = self._value(node)
            except Exception:  # noqa: BLE001 - the operators raise errors of any type
                return node  # type: ignore[no-any-return]
        return None

    def write(self) -> None:
        """Write the sizes that were found into the graph."""
        import torch

        graph = self._module.graph
        placeholders = [node for node in graph.nodes if node.op == "placeholder"]
        first = next(node for node in placeholders if getattr(node.meta["val"], "shape", ()))
        with graph.inserting_after(placeholders[-1]):
            size = graph.call_function(torch.ops.aten.sym_size.int, (first, 0))
        for node, (position, axis, factor) in self._found.items():
            with graph.inserting_before(node):
                new = graph.call_function(operator.mul, (size, factor)) if factor != 1 else size
            if axis is None:
                node.update_arg(position, new)
            else:
                sizes: list[Any] = list(node.args[position])  # type: ignore[arg-type] # a list of sizes
                sizes[axis] = new
                node.update_arg(position, sizes)
        graph.lint()
        self._module.recompile()

    def _value(self, node: Node) -> Any:
        import torch

        if node.op == "placeholder":
            value = node.meta.get("val")
            if not isinstance(value, torch.Tensor):
                return value
            shape = (PRIME, *value.shape[1:]) if value.ndim else ()
            with self._mode:
                return torch.empty(shape, dtype=value.dtype, device=value.device)
        if node.op == "get_attr":
            found = operator.attrgetter(str(node.target))(self._module)
            is_tensor = isinstance(found, torch.Tensor)
            return self._mode.from_tensor(found) if is_tensor else found
        if node.op == "output":
            return None
        args, kwargs = torch.fx.node.map_arg(
            (node.args, dict(node.kwargs)), self._values.__getitem__
        )
        with self._mode, torch.no_grad():
            return node.target(*self._opened(node, list(args)), **kwargs)  # type: ignore[operator]

    def _opened(self, node: Node, args: list[Any]) -> list[Any]:
        """Return a node's arguments with the batch in its sizes, and remember where."""
        place = self._place(node, args)
        if place is None:
            return args
        position, axis, factor = place
        if axis is None:
            args[position] = PRIME * factor
        elif args[position][axis] == -1:
            return args
        else:
            args[position] = list(args[position])
            args[position][axis] = PRIME * factor
        self._found[node] = place
        return args

    def _place(self, node: Node, args: list[Any]) -> Place | None:
        """Return where the batch is among a node's sizes; None where it is not.

        Raises:
            ValueError: it can't be told, or the node would read beyond its states.
        """
        schema = getattr(node.target, "_schema", None)
        name = "" if schema is None else schema.name.removeprefix("aten::")
        axis = _batch_axis(args[0]) if args and hasattr(args[0], "shape") else None
        if name in CREATING or (name == "expand" and axis is None):
            return self._chosen(node, args, CREATING.get(name, 1))
        return None if axis is None else self._carried(name, node, args, axis)

    def _carried(self, name: str, node: Node, args: list[Any], axis: int) -> Place | None:
        """Return where the batch is among a node's sizes, if its first argument holds the batch."""
        data = args[0]
        static = list(getattr(node.meta.get("val"), "shape", ()))
        if name in RESHAPING:
            return 1, *self._aligned(list(data.shape), static)
        if name == "expand":
            position = axis + len(args[1]) - data.ndim
            return 1, position, args[1][position] // self._batch
        if name == "unflatten" and args[1] % data.ndim == axis:
            return 2, *self._aligned([data.shape[axis]], static[axis : axis + len(args[2])])
        if name == "flatten":
            self._note_flattened(args)
        if name in RECURRENT:
            _check_states(args)
        return None

    def _aligned(self, shape: Sequence[int], static: Sequence[int]) -> tuple[int, int]:
        """Find the axis that holds the batch when elements are kept in order.

        Args:
            shape: the axes before, of which one holds the batch.
            static: the axes afterwards, with the batch size that the program was exported for.

        Returns:
            The axis, and the rest of its size.

        Raises:
            ValueError: there is none.
        """
        axis = next(axis for axis, size in enumerate(shape) if size % PRIME == 0)
        before = math.prod(shape[:axis]) * self._before.get(shape[axis], 1)
        candidates = []
        for position, size in enumerate(static):
            outer = math.prod(static[:position])
            inner, rest = divmod(before, outer) if outer else (0, 1)
            if rest == 0 and inner and size % (inner * self._batch) == 0:
                candidates.append((position, inner))
        if not candidates:
            raise ValueError("no axis can hold the batch")
        # A batch of one may stand at the end of one axis or at the beginning of the next, which
        # is likelier; but features, the last axis, are not multiplied by it.
        whole = [one for one in candidates if one[1] == 1 and one[0] < len(static) - 1]
        position, inner = (whole or candidates)[0]
        factor = static[position] // self._batch
        self._before[factor * PRIME] = inner
        return position, factor

    def _chosen(self, node: Node, args: Sequence[Any], position: int) -> Place | None:
        """Return one of the sizes that may hold the batch, where the shapes don't tell."""
        sizes = args[position]
        if isinstance(sizes, int):
            places: list[int | None] = [None] if sizes == self._batch else []
        else:
            places = [axis for axis, size in enumerate(sizes) if size == self._batch]
        self.options[node] = len(places) + 1
        choice = self._choices.get(node, 0)
        return (position, places[choice - 1], 1) if choice else None

    def _note_flattened(self, args: Sequence[Any]) -> None:
        """Remember how many elements are before the batch in an axis that flattening makes."""
        value, start, end = (*args, *(0, -1)[len(args) - 1 :])[:3]
        axis = _batch_axis(value)
        start, end = start % value.ndim, end % value.ndim
        if axis is not None and start <= axis <= end:
            shape = value.shape
            before = math.prod(shape[start:axis]) * self._before.get(shape[axis], 1)
            self._before[math.prod(shape[start : end + 1])] = before


def _check_states(args: Sequence[Any]) -> None:
    """Check that the states of a recurrent operator have the batch of its input.

    Args:
        args: its arguments: data, state or states, ..., and last whether the batch comes first.

    Raises:
        ValueError: one has not.
    """
    data, states, *_, batch_first = args
    batch = data.shape[0 if batch_first else 1]
    if any(one.shape[1] != batch for one in (states if isinstance(states, list) else [states])):
        raise ValueError("the states have another batch size")


def _batch_axis(value: Any) -> int | None:
    """Return the axis of a value that holds the batch; None where there is none."""
    return next((axis for axis, size in enumerate(value.shape) if size % PRIME == 0), None)
