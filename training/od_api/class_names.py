"""The names of a label map's classes as the OD API reads them: `name` and `display_name` both."""

from pathlib import Path

from object_detection.utils import label_map_util

from tools import label_map


def ids(path: str | Path) -> dict[str, int]:
    """{name or display name: id}. Raises UserError where it is no label map."""
    names = label_map.read(path)  # which says what is wrong, and where
    display_names = label_map_util.get_label_map_dict(str(path), use_display_name=True)
    return {name: number for name, number in display_names.items() if name} | names
