"""The seam of exporters: who wrote an ONNX file, and what its parameters were called before.

Imports nothing heavy: the command line reads the registered words for its help.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

if TYPE_CHECKING:
    import onnx
    from numpy.typing import NDArray

    from lsuv_cli.core.layout import TensorInfo
    from lsuv_cli.graph.written_tensors import Naming
    from lsuv_cli.layers.layer_node import LayerNode
    from lsuv_cli.reading.model import OnnxModel

Shapes = Mapping[str, tuple[int, ...]]

SHOWN_NAMES = 3


@dataclass(frozen=True, slots=True)
class RecoveredNames:
    """The tensors of a file of weights under a framework's names.

    Attributes:
        naming: the tensors.
        others: the values of those tensors that are no parameters of the graph and not zero.
        guessed: the names that follow from the place of a node alone; what it reads may have been
            computed from the tensor that the framework has under this name.
        reasons: why these names can't be used, a sentence each; with any, none of them is used.
        absent: the framework's tensors that the file does not have, because the network does not
            read them.
        is_complete: whether the file tells all of the framework's tensors, so that a constant of
            the graph that is not among them is none.
        unnamed: other constants that may be tensors of the framework, as `name [shape]`.
        advice: added to the warning about constants that have no name in the framework.
        remedy: how to write the model with all that is lost or absent, for the end of a sentence;
            with it a file that lacks something is refused where names matter.
    """

    naming: Naming
    others: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    guessed: Sequence[str] = ()
    reasons: Sequence[str] = ()
    absent: Sequence[str] = ()
    is_complete: bool = False
    unnamed: Sequence[str] = ()
    advice: str = ""
    remedy: str = ""


class Exporter(Protocol):
    """An exporter to ONNX, and the framework it exports from.

    Subclass it in a file of this folder, and add an instance to `exporters.EXPORTERS`: `--names`
    takes its word, and `--names auto` asks it about files that it wrote. Import heavy libraries in
    its methods. An exporter that stores parameters of equal values once needs a pass as well, with
    `separates=True`: see `passes.pipeline.Pass`.

    A layer reads a view of a stored parameter, `view = model.view(layer.weight_value)`, and
    `layer.layout` describes that view. Where the framework has a tensor in another shape, its steps
    start at the stored parameter, so those of the view come first: for a transposed matrix
    `written_as(view.parameter, info, ((*view.steps, Transposed((1, 0))),))`. `keras_variables.py`
    does this for every kind of layer, and shows how to name parameters outside layers, by the nodes
    that read them. A node has the name it has in the file unless a pass made it, and may have none.

    A name that two parameters would get, and a layer that reads only a part of a parameter
    (`view.part`), are reasons; a parameter left out of the result is not written, with a warning.

    Here the framework puts a scope before each parameter's name, which its exporter drops:

    >>> from lsuv_cli.graph.written_tensors import written_as
    >>> from lsuv_cli.names.exporter import Exporter, RecoveredNames
    >>> class Acme(Exporter):
    ...     word = "acme"
    ...     framework = "Acme"
    ...
    ...     def wrote(self, model):
    ...         return model.producer_name == "acme2onnx"
    ...
    ...     def recover(self, model, layer_nodes, parameters, like=None):
    ...         return RecoveredNames(
    ...             {f"net/{name}": written_as(name, info) for name, info in parameters.items()}
    ...         )
    >>> import onnx
    >>> Acme().wrote(onnx.ModelProto(producer_name="acme2onnx"))
    True

    Attributes:
        word: selects it in `--names`.
        framework: the framework's name, for messages.
        omission: begins the warning about parameters that the exporter leaves out of its files;
            "" if it writes all.
    """

    word: ClassVar[str]
    framework: ClassVar[str]
    omission: ClassVar[str] = ""

    def wrote(self, model: onnx.ModelProto) -> bool:
        """Return whether it wrote the model."""
        ...

    def recover(
        self,
        model: OnnxModel,
        layer_nodes: Sequence[LayerNode],
        parameters: Mapping[str, TensorInfo],
        like: Shapes | None = None,
    ) -> RecoveredNames:
        """Recover the framework's names, and its shapes where the exporter changed them.

        Args:
            model: the model; possibly one that it did not write, if the user asks for its names.
            layer_nodes: the model's layers.
            parameters: shape and dtype of each parameter to be written.
            like: names and shapes of the checkpoint that the written file is for, if known; may
                be ignored, as they are compared with the result anyway.
        """
        ...

    def layer_names(
        self,
        model: OnnxModel,  # noqa: ARG002 - for those that override it
        layer_nodes: Sequence[LayerNode],
        naming: Naming,  # noqa: ARG002 - likewise
        *,
        names_are_own: bool,  # noqa: ARG002 - likewise
    ) -> Sequence[str]:
        """Return what the framework calls layers; unless overridden, the names of their nodes.

        Args:
            model: the model.
            layer_nodes: its layers, with the names under which their weights are written.
            naming: the written tensors.
            names_are_own: whether these have the framework's names.
        """
        return [layer_node.layer.node for layer_node in layer_nodes]


def some_of(names: Sequence[str], count: int = SHOWN_NAMES) -> str:
    """List the first names, and say how many more there are."""
    listed = ", ".join(names[:count])
    more = len(names) - count
    return f"{listed} and {more} more" if more > 0 else listed
