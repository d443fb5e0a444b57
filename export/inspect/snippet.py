"""Programs that run a model on a photograph: what to feed and what to fetch, to copy and to go on from."""

from export.inspect.description import Tensor

DEFAULT_SIDE = 320  # for a float input whose size is left open


def image_lines(tensor: Tensor) -> list[str]:
    """Lines that make `image`, what the input `tensor` takes, from the photograph named by the program's argument."""
    shape = tensor.shape
    if shape is None or len(shape) != 4:
        sizes = [size or 1 for size in shape or ()]
        return [f'image = np.zeros({sizes}, "{tensor.dtype}")  # not an image: put your own data here']
    channels_first = shape[1] == 3 and shape[3] != 3
    height, width = shape[2:4] if channels_first else shape[1:3]
    lines = ["image = cv2.imread(sys.argv[1])[..., ::-1]  # RGB"]
    if tensor.dtype != "uint8":
        height, width = height or DEFAULT_SIDE, width or DEFAULT_SIDE
    if height and width:
        lines.append(f"image = cv2.resize(image, ({width}, {height}))")
    if tensor.dtype.startswith("float"):
        lines.append(
            f'image = image.astype("{tensor.dtype}") / 127.5 - 1  # the file does not tell the scale: check it'
        )
    elif tensor.dtype != "uint8":
        lines.append(f'image = image.astype("{tensor.dtype}")')
    if channels_first:
        lines.append("image = image.transpose(2, 0, 1)")
    return [*lines, "image = np.ascontiguousarray(image)[None]"]


def feeds(inputs: list[Tensor]) -> tuple[list[str], list[str]]:
    """Lines that make what the inputs take, and an expression for each input: `image`, or zeros."""
    images = [tensor for tensor in inputs if tensor.shape is not None and len(tensor.shape) == 4]
    main = (images or inputs)[:1]
    lines = image_lines(main[0]) if main else []
    zeros = 'np.zeros({}, "{}")'
    given = ["image" if tensor is main[0] else zeros.format([s or 1 for s in tensor.shape or ()], tensor.dtype)
             for tensor in inputs]  # fmt: skip
    return lines, given


def program(imports: list[str], *blocks: list[str]) -> str:
    """A program of these lines."""
    imports = sorted(imports, key=lambda line: (line.startswith("from "), line != "import sys", line))
    return "\n".join([*imports, "", *(line for block in blocks for line in block)]) + "\n"
