"""Single files out of a tar archive that is not trusted."""

import lzma
import re
import shutil
import tarfile
import zlib
from pathlib import Path

from detect_faces.errors import UserError

_LARGEST = 1 << 30  # bytes of a file; nothing that is asked for comes near


def extract(archive: Path, wanted: str, folder: Path) -> list[str]:
    """Copies those files of an archive whose whole path matches the regular expression `wanted`, flat, to `folder`.

    The archive is read to its end, so that a torn one and a wrong checksum are noticed, and one that names any path
    outside of itself is refused.

    Returns:
        the names in `folder`, which are the last parts of the paths.

    Raises:
        UserError: not a whole and harmless tar archive (compressed or not), or two of the files have one name.
    """
    names: list[str] = []
    try:
        with tarfile.open(archive) as tar:
            for member in tar:
                tarfile.data_filter(member, str(folder))
                if not (member.isreg() and re.fullmatch(wanted, member.name)):
                    continue
                name = member.name.rpartition("/")[2]
                if name in names:
                    raise UserError(f"{archive}: holds {name} more than once")
                if member.size > _LARGEST:
                    raise UserError(f"{archive}: {member.name} is too large ({member.size:,} bytes)")
                with open(folder / name, "wb") as file:
                    shutil.copyfileobj(tar.extractfile(member), file)
                names.append(name)
            while tar.fileobj.read(1 << 20):  # the checksum of a compressed archive stands at its end
                pass
    except tarfile.FilterError as error:
        raise UserError(f"{archive}: refused, a harmful archive ({error})") from error
    except (tarfile.TarError, EOFError, zlib.error, lzma.LZMAError, OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error).partition("\n")[0].rstrip(":")
        raise UserError(f"{archive}: not a whole tar archive ({reason}); get it again") from error
    return names
