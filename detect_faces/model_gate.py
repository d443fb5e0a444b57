"""The gate: a model is a program, so its operations are looked at before any of it runs.

Whoever loads a model file lists its operations first and hands them to `refuse_other_ops`. What is not in the allow
list is refused, whatever it is: file, network and Python operations, custom operations, and those nobody thought of.
The lists hold what computes with tensors and nothing else. A model made of them can still be wrong, slow, or ask for
more memory than there is.
"""

from collections.abc import Iterable

from detect_faces.errors import UserError

# Of TensorFlow graphs: mathematics, shapes, images, control flow, and variables in memory.
TENSORFLOW_OPS = frozenset(
    """
    Abs Add AddN AddV2 All Any ArgMax ArgMin Assert Assign AssignVariableOp AvgPool BatchMatMulV2 BiasAdd
    BroadcastArgs BroadcastTo Cast Ceil ClipByValue Concat ConcatV2 Const Conv2D CropAndResize Cumsum
    DepthwiseConv2dNative Div DivNoNan Elu EnsureShape Enter Equal Exit Exp ExpandDims Fill Floor FloorDiv FloorMod
    FusedBatchNorm FusedBatchNormV2 FusedBatchNormV3 Gather GatherNd GatherV2 Greater GreaterEqual Identity IdentityN
    If InvertPermutation IsFinite IsNan LeakyRelu Less LessEqual LinSpace Log Log1p LogicalAnd LogicalNot LogicalOr
    LoopCond MatMul Max MaxPool MaxPoolV2 Maximum Mean Merge Min Minimum MirrorPad Mod Mul Neg NextIteration NoOp
    NonMaxSuppression NonMaxSuppressionV2 NonMaxSuppressionV3 NonMaxSuppressionV4 NonMaxSuppressionV5 NotEqual OneHot
    OnesLike Pack Pad PadV2 PartitionedCall Placeholder PlaceholderWithDefault Pow Prelu Prod Range Rank ReadVariableOp
    RealDiv Reciprocal Relu Relu6 Reshape ResizeArea ResizeBicubic ResizeBilinear ResizeNearestNeighbor ResourceGather
    ReverseV2 Round Rsqrt ScatterNd Select SelectV2 Shape ShapeN Sigmoid Sign Size Slice Softmax Softplus SpaceToBatchND
    BatchToSpaceND Split SplitV Sqrt Square SquaredDifference Squeeze StatefulPartitionedCall StatelessIf StatelessWhile
    StopGradient StridedSlice Sub Sum Switch Tanh TensorArrayCloseV3 TensorArrayGatherV3 TensorArrayReadV3
    TensorArrayScatterV3 TensorArraySizeV3 TensorArraySplitV3 TensorArrayV3 TensorArrayWriteV3 TensorListConcatV2
    TensorListElementShape TensorListFromTensor TensorListGather TensorListGetItem TensorListLength TensorListPushBack
    TensorListReserve TensorListResize TensorListScatterIntoExistingList TensorListSetItem TensorListStack
    TensorScatterUpdate Tile TopK TopKV2 Transpose Unpack VarHandleOp VarIsInitializedOp Variable VariableV2 Where While
    ZerosLike
    """.split()
)


def refuse_other_ops(path: object, ops: Iterable[tuple[str, str]], allowed: frozenset[str]) -> None:
    """Raises UserError for the first operation that is not allowed.

    Args:
        path: of the model, for the message.
        ops: pairs of an operation and the name of a node that does it.
        allowed: TENSORFLOW_OPS, or another list.
    """
    for op, node in ops:
        if op not in allowed:
            raise UserError(
                f"{path}: refused: node {node} does {op}, which no detector needs and the gate does not let through; "
                "--trust loads it all the same, with everything that it does"
            )
