"""The gate: a model is a program, so its operations are looked at before any of it runs.

Whoever loads a model file lists its operations first and hands them to `refuse_other_ops`. What is not in the allow
list is refused, whatever it is: file, network and Python operations, custom operations, and those nobody thought of.
The lists hold what computes with tensors in memory and nothing else. That an operation is "stateless" says nothing:
ReadFile is, and TensorFlow runs it while it only imports a graph, to infer shapes. A model made of allowed operations
can still be wrong, slow, or ask for more memory than there is.
"""

from collections.abc import Iterable

from detect_faces.errors import UserError

# Of TensorFlow graphs: mathematics, shapes, images, control flow, variables in memory, random numbers (initialisers),
# decoders of images and examples that are fed (they get bytes, never a file name).
TENSORFLOW_OPS = frozenset(
    """
    Abs Add AddN AddV2 All Any ArgMax ArgMin Assert Assign AssignAdd AssignAddVariableOp AssignSub AssignSubVariableOp
    AssignVariableOp AvgPool BatchMatMul BatchMatMulV2 BatchMatMulV3 BatchToSpace BatchToSpaceND BiasAdd BiasAddV1
    Bitcast BroadcastArgs BroadcastTo Case Cast Ceil CheckNumerics ClipByValue CombinedNonMaxSuppression Concat ConcatV2
    Const Conv2D Conv2DBackpropInput Cos CropAndResize Cumprod Cumsum DecodeBmp DecodeGif DecodeImage DecodeJpeg
    DecodePng DepthToSpace DepthwiseConv2dNative Dequantize Dilation2D DisableCopyOnRead Div DivNoNan DynamicPartition
    DynamicStitch Einsum Elu EmptyTensorList EnsureShape Enter Equal Erf Exit Exp ExpandDims Expm1 ExtractImagePatches
    FakeQuantWithMinMaxArgs FakeQuantWithMinMaxVars FakeQuantWithMinMaxVarsPerChannel Fill Floor FloorDiv FloorMod
    FusedBatchNorm FusedBatchNormV2 FusedBatchNormV3 Gather GatherNd GatherV2 Greater GreaterEqual Identity IdentityN If
    Inv InvertPermutation IsFinite IsInf IsNan L2Loss LRN LeakyRelu Less LessEqual LinSpace Log Log1p LogSoftmax
    LogicalAnd LogicalNot LogicalOr LoopCond MatMul Max MaxPool MaxPoolV2 MaxPoolWithArgmax Maximum Mean Merge Min
    Minimum MirrorPad Mod Mul MulNoNan Neg NextIteration NoOp NonMaxSuppression NonMaxSuppressionV2 NonMaxSuppressionV3
    NonMaxSuppressionV4 NonMaxSuppressionV5 NonMaxSuppressionWithOverlaps NotEqual OneHot OnesLike Pack Pad PadV2
    ParallelDynamicStitch ParseExample ParseExampleV2 ParseSingleExample PartitionedCall Placeholder PlaceholderV2
    PlaceholderWithDefault Pow PreventGradient Prod QuantizeAndDequantizeV2 QuantizeAndDequantizeV3
    QuantizeAndDequantizeV4 RandomStandardNormal RandomUniform RandomUniformInt Range Rank ReadVariableOp RealDiv
    Reciprocal Relu Relu6 Reshape ResizeArea ResizeBicubic ResizeBilinear ResizeNearestNeighbor ResourceGather
    ResourceGatherNd Reverse ReverseSequence ReverseV2 Rint Roll Round Rsqrt ScaleAndTranslate ScatterNd Select SelectV2
    Selu Shape ShapeN Sigmoid Sign Sin Size Slice Softmax Softplus Softsign SpaceToBatch SpaceToBatchND SpaceToDepth
    Split SplitV Sqrt Square SquaredDifference Squeeze StatefulPartitionedCall StatelessCase StatelessIf
    StatelessRandomNormalV2 StatelessRandomUniformV2 StatelessTruncatedNormalV2 StatelessWhile StopGradient StridedSlice
    Sub Substr Sum Switch Tanh TensorArrayCloseV3 TensorArrayConcatV3 TensorArrayGatherV3 TensorArrayReadV3
    TensorArrayScatterV3 TensorArraySizeV3 TensorArraySplitV3 TensorArrayV3 TensorArrayWriteV3 TensorListConcat
    TensorListConcatV2 TensorListElementShape TensorListFromTensor TensorListGather TensorListGetItem TensorListLength
    TensorListPopBack TensorListPushBack TensorListReserve TensorListResize TensorListScatter
    TensorListScatterIntoExistingList TensorListScatterV2 TensorListSetItem TensorListSplit TensorListStack
    TensorScatterAdd TensorScatterMax TensorScatterUpdate Tile TopK TopKV2 Transpose TruncateDiv TruncateMod
    TruncatedNormal Unique UniqueV2 Unpack VarHandleOp VarIsInitializedOp Variable VariableShape VariableV2 Where While
    ZerosLike
    """.split()
)

# Of TFLite files: the builtin codes of the schema. No custom operation is let through, nor TensorFlow's own (Flex).
TFLITE_OPS = {
    int(code): name
    for code, _, name in (
        pair.partition("=")
        for pair in """
    0=ADD 1=AVERAGE_POOL_2D 2=CONCATENATION 3=CONV_2D 4=DEPTHWISE_CONV_2D 5=DEPTH_TO_SPACE 6=DEQUANTIZE 8=FLOOR
    9=FULLY_CONNECTED 11=L2_NORMALIZATION 12=L2_POOL_2D 13=LOCAL_RESPONSE_NORMALIZATION 14=LOGISTIC 17=MAX_POOL_2D
    18=MUL 19=RELU 20=RELU_N1_TO_1 21=RELU6 22=RESHAPE 23=RESIZE_BILINEAR 25=SOFTMAX 26=SPACE_TO_DEPTH 28=TANH
    34=PAD 36=GATHER 37=BATCH_TO_SPACE_ND 38=SPACE_TO_BATCH_ND 39=TRANSPOSE 40=MEAN 41=SUB 42=DIV 43=SQUEEZE
    45=STRIDED_SLICE 47=EXP 48=TOPK_V2 49=SPLIT 50=LOG_SOFTMAX 53=CAST 54=PRELU 55=MAXIMUM 56=ARG_MAX 57=MINIMUM
    58=LESS 59=NEG 60=PADV2 61=GREATER 62=GREATER_EQUAL 63=LESS_EQUAL 64=SELECT 65=SLICE 66=SIN 67=TRANSPOSE_CONV
    68=SPARSE_TO_DENSE 69=TILE 70=EXPAND_DIMS 71=EQUAL 72=NOT_EQUAL 73=LOG 74=SUM 75=SQRT 76=RSQRT 77=SHAPE 78=POW
    79=ARG_MIN 80=FAKE_QUANT 81=REDUCE_PROD 82=REDUCE_MAX 83=PACK 84=LOGICAL_OR 85=ONE_HOT 86=LOGICAL_AND
    87=LOGICAL_NOT 88=UNPACK 89=REDUCE_MIN 90=FLOOR_DIV 91=REDUCE_ANY 92=SQUARE 93=ZEROS_LIKE 94=FILL 95=FLOOR_MOD
    96=RANGE 97=RESIZE_NEAREST_NEIGHBOR 98=LEAKY_RELU 99=SQUARED_DIFFERENCE 100=MIRROR_PAD 101=ABS 102=SPLIT_V
    103=UNIQUE 104=CEIL 105=REVERSE_V2 106=ADD_N 107=GATHER_ND 108=COS 109=WHERE 110=RANK 111=ELU
    112=REVERSE_SEQUENCE 113=MATRIX_DIAG 114=QUANTIZE 115=MATRIX_SET_DIAG 116=ROUND 117=HARD_SWISH 118=IF 119=WHILE
    120=NON_MAX_SUPPRESSION_V4 121=NON_MAX_SUPPRESSION_V5 122=SCATTER_ND 123=SELECT_V2 124=DENSIFY 125=SEGMENT_SUM
    126=BATCH_MATMUL 128=CUMSUM 130=BROADCAST_TO 132=CONV_3D 140=REDUCE_ALL 141=CONV_3D_TRANSPOSE
    145=BROADCAST_ARGS 147=BUCKETIZE 150=GELU 151=DYNAMIC_UPDATE_SLICE 152=RELU_0_TO_1 153=UNSORTED_SEGMENT_PROD
    154=UNSORTED_SEGMENT_MAX 155=UNSORTED_SEGMENT_SUM 156=ATAN2 157=UNSORTED_SEGMENT_MIN 158=SIGN 159=BITCAST
    160=BITWISE_XOR 161=RIGHT_SHIFT 203=DILATE 205=REDUCE_WINDOW
    """.split()
    )
}

TRUST = "--trust loads it all the same, with everything that it does"


def refuse_other_ops(
    path: object, ops: Iterable[tuple[str, str]], allowed: frozenset[str], way_out: str = TRUST
) -> None:
    """Raises UserError for the first operation that is not allowed.

    Args:
        path: of the model, for the message.
        ops: pairs of an operation and the name of a node that does it.
        allowed: TENSORFLOW_OPS, or another list.
        way_out: end of the message: what the user can do.
    """
    for op, node in ops:
        if op not in allowed:
            refuse(path, f"node {shown(node)} does {shown(op)}, which the gate does not let through", way_out)


def refuse(path: object, reason: str, way_out: str = TRUST) -> None:
    """Raises the UserError of a refused model."""
    raise UserError(f"{path}: refused: {reason}; {way_out}")


def shown(name: str) -> str:
    """A name from a model, as it may go to a terminal: one line, printable, at most 200 characters.

    >>> shown("a/b\\n")
    'a/b\\\\n'
    """
    escaped = name.encode("unicode_escape", "backslashreplace").decode()
    return escaped if len(escaped) <= 200 else escaped[:200] + "..."
