"""The ways to print what was found: each turns results into text as they come."""

import io
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from detect_faces.detections_file import ImageDetections
from detect_faces.errors import one_line


@dataclass(frozen=True, eq=False)
class Found:
    """What was found in an image, or in a frame of a video.

    Attributes:
        detections: with the name of the image or the video.
        frame: number of the frame, from 0; None for an image.
        seconds: of the frame from the beginning.
        tracks: in a video, for each face the number that it has in all frames.
        unseen: in a video, for each face since how many frames the detector has not seen it, or until it does.
    """

    detections: ImageDetections
    frame: int | None = None
    seconds: float = 0.0
    tracks: tuple[int, ...] = ()
    unseen: tuple[int, ...] = ()

    @property
    def name(self) -> str:
        """Of the image; of a frame with its number, so that no two are the same."""
        return self.detections.image if self.frame is None else f"{self.detections.image}#{self.frame}"

    def to_json(self) -> dict:
        """The line of a detections file; that of a frame says which, and which face is whose."""
        line = self.detections.to_json()
        if self.frame is not None:
            line |= {"frame": self.frame, "seconds": round(self.seconds, 3)}
            for face, track, unseen in zip(line["faces"], self.tracks, self.unseen, strict=False):
                face |= {"track": track} | ({"unseen": unseen} if unseen else {})
        return line


def text(results: Iterable[Found]) -> Iterator[str]:
    """For people: the number of faces, then a line for each, score first. Nothing for an image that failed."""
    for found in results:
        faces = found.detections.faces
        if faces is None:
            continue
        name = one_line(found.detections.image)
        if found.frame is not None:
            name += f", frame {found.frame} ({found.seconds:.2f} s)"
        lines = [f"{name}: {len(faces) or 'no'} face{'' if len(faces) == 1 else 's'}\n"]
        for (x_min, y_min, x_max, y_max), score in zip(faces.xyxy, faces.scores, strict=True):
            lines.append(f"  {score:.2f}  from ({x_min:.0f}, {y_min:.0f}) to ({x_max:.0f}, {y_max:.0f})\n")
        yield "".join(lines)


def json_lines(results: Iterable[Found]) -> Iterator[str]:
    """A detections file: see detect_faces.detections_file."""
    for found in results:
        yield json.dumps(found.to_json()) + "\n"


def json_array(results: Iterable[Found]) -> Iterator[str]:
    """The objects of json_lines as one JSON array."""
    before = "[\n"
    for found in results:
        yield before + json.dumps(found.to_json())
        before = ",\n"
    yield ("" if before == ",\n" else "[") + "\n]\n"


CSV_COLUMNS = ("image", "frame", "width", "height", "xmin", "ymin", "xmax", "ymax", "score", "error")


def csv_rows(results: Iterable[Found]) -> Iterator[str]:
    """A row for each face; one without a box for an image that has none, or with an error."""
    import csv

    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")

    def written() -> str:
        rows = buffer.getvalue()
        buffer.seek(0)
        buffer.truncate()
        return rows

    writer.writerow(CSV_COLUMNS)
    yield written()
    for found in results:
        line = found.to_json()
        of_image = [line["image"], line.get("frame", ""), line.get("width", ""), line.get("height", "")]
        for face in line.get("faces") or [None]:
            of_face = [*face["box"], face["score"]] if face else [""] * 5
            writer.writerow([*of_image, *of_face, line.get("error", "")])
        yield written()


def coco(results: Iterable[Found]) -> Iterator[str]:
    """One COCO data set with a score on each annotation: images, annotations, categories. Failed images are left out.

    The boxes are printed as they come, the list of images, which COCO has beside them, at the end.
    """
    images: list[str] = []
    yield '{"annotations": ['
    number = 0
    for found in results:
        line = found.to_json()
        if "error" in line:
            continue
        image = {"id": len(images) + 1, "file_name": found.name, "width": line["width"], "height": line["height"]}
        images.append(json.dumps(image))
        rows = []
        for face in line["faces"]:
            x_min, y_min, x_max, y_max = face["box"]
            box = [x_min, y_min, round(x_max - x_min, 2), round(y_max - y_min, 2)]
            number += 1
            annotation = {"id": number, "image_id": len(images), "category_id": 1, "bbox": box}
            annotation |= {"area": round(box[2] * box[3], 2), "iscrowd": 0, "score": face["score"]}
            rows.append((",\n" if number > 1 else "\n") + json.dumps(annotation))
        yield "".join(rows)
    yield '],\n"images": [\n' + ",\n".join(images) + '],\n"categories": [{"id": 1, "name": "face"}]}\n'


def wider_face(results: Iterable[Found]) -> Iterator[str]:
    """As WIDER FACE lists results: the image, the number of faces, and `x y width height score` of each."""
    for found in results:
        line = found.to_json()
        if "error" in line:
            continue
        rows = [f"{found.name}\n{len(line['faces'])}\n"]
        for face in line["faces"]:
            x_min, y_min, x_max, y_max = face["box"]
            rows.append(f"{x_min:g} {y_min:g} {x_max - x_min:.2f} {y_max - y_min:.2f} {face['score']:g}\n")
        yield "".join(rows)


FORMATS: dict[str, Callable[[Iterable[Found]], Iterator[str]]] = {
    "text": text,
    "json": json_array,
    "jsonl": json_lines,
    "csv": csv_rows,
    "coco": coco,
    "wider": wider_face,
}
