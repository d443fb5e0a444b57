"""python -m detect_faces: the same as the command detect-faces."""

from detect_faces.cli import main

if __name__ == "__main__":
    main()
