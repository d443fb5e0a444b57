"""A frozen graph run on photographs, as it is or with variables of a checkpoint in the place of constants."""

from collections.abc import Iterable, Iterator, Mapping

import numpy as np
import tensorflow as tf

from detect_faces.errors import UserError
from detect_faces.graph_file import node_name
from export.graph_session import GraphSession
from export.graph_variables import Graph, Layer
from export.unfold import Unfrozen

_SCOPE = "graph"  # that the graph is put into where variables have the names of its nodes


class PhotographSession:
    """A graph to be run on photographs.

    Args:
        graph_def: with one input, the image.
        scope: that the nodes of the graph are in, with a slash behind it.
    """

    def __init__(self, graph_def: tf.compat.v1.GraphDef, scope: str = ""):
        # As written: two graphs are compared to the last bit, and neither may be rewritten for having more constants.
        self.session = GraphSession(graph_def, as_written=True)
        self._scope = scope

    def run(self, tensors: list[str], photograph: np.ndarray) -> list[np.ndarray]:
        """The values of tensors ("node:0") for a photograph, (H, W, 3) uint8 RGB.

        An input of float32 with a size is a preprocessed one: the photograph is stretched to it, and its values to
        -1..1, as MobileNet has them.
        """
        feeds = self.session.photograph(photograph[..., ::-1])
        (name, image), tensor = *feeds.items(), self.session.inputs[0]
        if tensor.dtype == tf.float32 and tensor.shape.rank == 4 and all(tensor.shape[1:3].as_list()):
            feeds[name] = image / np.float32(127.5) - 1
        return self.session.run([self._scope + tensor for tensor in tensors], feeds)


def outputs(graph: Graph) -> list[str]:
    """The tensors that nothing in the graph reads: its outputs."""
    read = {node_name(source) for node in graph.graph_def.node for source in node.input}
    silent = ("Const", "NoOp", "Assert", "Placeholder")
    return [f"{node.name}:0" for node in graph.graph_def.node if node.name not in read and node.op not in silent]


def heads(graph: Graph, layers: list[Layer]) -> list[Layer]:
    """The layers that no other layer comes after: the predictors of a detector."""
    nodes = {layer.node for layer in layers}
    inner = {name for layer in layers for name in graph.before(layer.node) if name in nodes}
    return [layer for layer in layers if layer.node not in inner]


def network_input(graph: Graph, layers: list[Layer]) -> str:
    """The tensor that goes into the network, preprocessed: what the first of the layers reads."""
    nodes = {layer.node for layer in layers}
    first = next(layer for layer in layers if not nodes.intersection(graph.before(layer.node)))
    tensor = graph.nodes[first.node].input[0]
    while (node := graph.nodes[node_name(tensor)]).op in ("Pad", "Identity"):  # explicit padding is the network's
        tensor = node.input[0]
    return tensor if ":" in tensor else f"{tensor}:0"


def moments(
    graph: Graph, layers: list[Layer], photographs: Iterable[np.ndarray]
) -> Iterator[Mapping[str, tuple[np.ndarray, np.ndarray]]]:
    """Of each photograph, mean and variance (channels,) of what the layers' operations put out, by their names."""
    running = PhotographSession(graph.graph_def)
    measured = []
    with running.session.graph.as_default():
        for layer in layers:
            attributes = graph.nodes[layer.node].attr
            if layer.op == "MatMul":
                axes = [0]
            elif "data_format" in attributes and attributes["data_format"].s == b"NCHW":
                axes = [0, 2, 3]
            else:
                axes = [0, 1, 2]
            tensor = running.session.graph.get_tensor_by_name(f"{layer.node}:0")
            measured += [moment.name for moment in tf.nn.moments(tensor, axes)]
    for photograph in photographs:
        values = running.run(measured, photograph)
        yield {layer.node: (values[2 * i], values[2 * i + 1]) for i, layer in enumerate(layers)}


def restored(graph: Graph, unfrozen: Unfrozen, checkpoint: str) -> PhotographSession:
    """The graph with variables in the place of its constants, restored by TensorFlow 1's Saver from a checkpoint."""
    with tf.Graph().as_default() as place:
        variables = {
            name: tf.compat.v1.get_variable(name, value.shape, tf.as_dtype(value.dtype), use_resource=True)
            for name, value in unfrozen.variables.items()
        }
        read = {name: variable.read_value() for name, variable in variables.items()}
        constants = {f"{node}:0": compute(read) for node, compute in unfrozen.constants.items()}
        try:
            tf.import_graph_def(graph.graph_def, input_map=constants, name=_SCOPE)
        except ValueError as error:
            raise UserError(f"the graph cannot be put together with variables: {error}") from error
        saver = tf.compat.v1.train.Saver(variables).saver_def
    running = PhotographSession(place.as_graph_def(), f"{_SCOPE}/")
    running.session.run([saver.restore_op_name], {saver.filename_tensor_name: checkpoint})
    return running
